/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* jit.h - names of code that a program makes while it runs, as it tells them itself.
 *
 * Two kinds of file, both written by the target, both only growing: perf map files (/tmp/perf-PID.map; the kernel's
 * tools/perf/Documentation/jit-interface.txt: START SIZE name, hexadecimal) and jitdump files (jitdump-specification.txt
 * beside it), of which loads and moves of code, and their lines,
 * are read. What was told last of an address holds. Owns the index; reads what
 * was added since the last time. Bounded: past a bound the rest is left out and counted. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define JIT_MAX_ENTRIES (1u << 20)
#define JIT_MAX_TEXT (64u << 20)   /* bytes of names */
#define JIT_MAX_FILE (1ull << 30)  /* bytes that are looked at */
#define JIT_MAX_NAME 1024	   /* bytes; longer ones are cut */

enum jit_format { JIT_PERF_MAP, JIT_DUMP };

struct jit;

struct jit_symbol {
	const char *name, *file; /* borrowed until the next update; file: "" where it is unknown */
	uint64_t start;
	uint32_t line; /* 0: unknown */
};

/* 0 or -ENOMEM. */
int jit_new(enum jit_format format, struct jit **ret);
void jit_free(struct jit *j);
DEFINE_CLEANUP(struct jit, jit_free)

/* Reads what is new in the file; all of it when it is another one than last time, was cut, or written
 * anew. The descriptor stays the
 * caller's. 0; -ENOEXEC: not a regular file, or not of this format; -ENOMEM; -errno. */
int jit_update(struct jit *j, int fd);
bool jit_find(struct jit *j, uint64_t address, struct jit_symbol *ret);
/* Lines and records that were of no use, or did not fit. */
uint64_t jit_left_out(const struct jit *j);
