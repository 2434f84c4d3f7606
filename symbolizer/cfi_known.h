/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* cfi_known.h - rules for code that no FDE covers and that is known by its bytes: the return from a
 * signal handler, and where stacks begin that no thread began on.
 *
 * Owns nothing. Layouts: sigreturn as the kernel, glibc and musl write it; makecontext of glibc,
 * make_fcontext of Boost.Context (PHP's fibers, too). */

#include <stdbool.h>
#include <stdint.h>

#include "symbolizer/cfi_stubs.h"
#include "symbolizer/elf_file.h"

/* Calls fill for what is known in [start, end), a gap. *ret: it was something. 0, or what fill
 * answered below 0. */
int cfi_known(const struct elf_file *f, uint64_t start, uint64_t end, cfi_stub_fn *fill,
	      void *context, bool *ret);
/* Is makecontext of this file? */
bool cfi_has_contexts(struct elf_file *f);
/* Is the function at `at` what a function of makecontext's returns to? It takes its stack pointer
 * from a register: nobody has called it. */
bool cfi_is_context_end(const struct elf_file *f, uint64_t at);
