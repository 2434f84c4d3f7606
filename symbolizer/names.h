/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* names.h - which functions, files and lines does an address of an ELF file belong to?
 *
 * Owns the parsed symbols of one file; borrows the struct elf_file, which must outlive it. Best
 * answer wins: DWARF (lines and inlined calls), then .symtab, then MiniDebugInfo
 * (.gnu_debugdata), then .dynsym. Parsed lazily, a compilation unit at a time. What it hands out
 * is borrowed until the next call. */

#include <stdint.h>

#include "base/cleanup.h"
#include "symbolizer/elf_file.h"

struct names;

struct names_frame {
	const char *system_name; /* linkage name, never NULL or empty */
	const char *file;	 /* absolute path as the compiler wrote it, or "" */
	uint32_t line;		 /* of the address, or of the inlined call; 0: unknown */
	uint32_t start_line;	 /* of the function; 0: unknown */
};

typedef void names_frame_fn(void *context, const struct names_frame *frame);

/* Cheap: nothing is parsed before the first question. 0 or -ENOMEM. */
int names_new(struct elf_file *f, struct names **ret);
void names_free(struct names *n);
DEFINE_CLEANUP(struct names, names_free)

/* Calls `frame` for every function at the address, innermost (inlined) first and the one that is
 * really there last; at most SYMBOLIZER_MAX_INLINED times. Never, when nothing is known. */
void names_find(struct names *n, uint64_t address, names_frame_fn *frame, void *context);
/* The symbol that begins exactly at the address, from the same tables; NULL: none. */
const char *names_symbol(struct names *n, uint64_t start);
