/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* kernel.h - kernel and module symbols from /proc/kallsyms.
 *
 * Owns an index of the text symbols. Where addresses are hidden (all zero: kptr_restrict, or the
 * opener lacked CAP_SYSLOG) opening answers -EPERM. An address is shown relative to the kernel's
 * text, or to its module's, so that no answer tells where this kernel was loaded. */

#include <stdint.h>

#include "base/cleanup.h"

struct kernel;

struct kernel_symbol {
	const char *name;   /* borrowed until kernel_free */
	const char *module; /* "" for the kernel itself; "bpf" for BPF programs */
	uint64_t offset;    /* from the symbol */
	uint64_t shown;	    /* (module's place in the sorted list, 0: the kernel) << 32 | offset in it */
};

/* Reads the descriptor to its end; it stays the caller's. 0, -EPERM, -ENODATA, -ENOMEM, -errno. */
int kernel_open(int fd, struct kernel **ret);
void kernel_free(struct kernel *k);
DEFINE_CLEANUP(struct kernel, kernel_free)

/* 0 or -ENOENT. */
int kernel_find(const struct kernel *k, uint64_t address, struct kernel_symbol *ret);
