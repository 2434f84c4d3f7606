/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* names.h - which functions, files and lines does an address of an ELF file belong to?
 *
 * Owns the parsed symbols of one file; borrows the struct elf_file, which must outlive it. Best
 * answer wins: DWARF (lines and inlined calls), then .symtab, then MiniDebugInfo
 * (.gnu_debugdata), then .dynsym. Parsed lazily, a compilation unit at a time. What it hands out
 * is borrowed until the next call. */

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "symbolizer/elf_file.h"

struct names;

struct names_frame {
	const char *system_name; /* as the file has it: the linkage name, or DW_AT_name. Never NULL; "": the address has a
				  * line and is in no function, as padding is */
	const char *file;	 /* absolute path as the compiler wrote it, or "" */
	uint32_t line;		 /* of the address, or of the inlined call; 0: unknown */
	uint32_t start_line;	 /* of the function; 0: unknown */
	const char *qualified;	 /* system_name with the namespaces and classes that it is in; NULL: it says all */
};

typedef void names_frame_fn(void *context, const struct names_frame *frame);

/* What is not in the file itself. Whoever finds such files checks that they belong to it (build-id,
 * CRC, the id of a unit); here they are only as hostile as the file is. */
enum names_kind {
	NAMES_DEBUG, /* what was stripped from the file: DWARF and .symtab, at the file's addresses */
	NAMES_ALT,   /* what dwz moved out of the file that has the DWARF */
	NAMES_DWO,   /* one .dwo or .dwp; several may be added */
};

#define NAMES_MAX_DWO 512 /* files */

/* A .dwo that a unit of the file needs and that has not been added. Borrowed until the next call. */
struct names_dwo {
	const char *name, *directory; /* as the compiler wrote them; directory may be "" */
	uint64_t id;
};

/* Cheap: nothing is parsed before the first question. 0 or -ENOMEM. */
int names_new(struct elf_file *f, struct names **ret);
void names_free(struct names *n);
DEFINE_CLEANUP(struct names, names_free)

/* Takes `other` in every case, and closes it with *n. Whatever was parsed of DWARF is forgotten. A second
 * NAMES_DEBUG or NAMES_ALT takes the place of the first. 0, -ENOMEM, -E2BIG (NAMES_MAX_DWO). */
int names_add(struct names *n, enum names_kind kind, struct elf_file *other);
/* The .dwo that the unit at this address lacks; false: it lacks none, or was told of before, or there are too many.
 * Parses no more than units' heads. */
bool names_missing_dwo(struct names *n, uint64_t address, struct names_dwo *ret);
/* One of those that were told to be missing; takes it in every case. Nothing else is forgotten. 0; -ESTALE: it is another
 * one; -ENOMEM; -E2BIG (NAMES_MAX_DWO). */
int names_add_dwo(struct names *n, struct elf_file *dwo);
/* How many .dwo and .dwp files it holds. */
size_t names_n_split(const struct names *n);
/* What was given up at a bound so far (docs/names.md): sections, units, .dwo files. */
uint64_t names_lost(const struct names *n);

/* Calls `frame` for every function at the address, innermost (inlined) first and the one that is
 * really there last; at most SYMBOLIZER_MAX_INLINED times. Never, when nothing is known. */
void names_find(struct names *n, uint64_t address, names_frame_fn *frame, void *context);
/* The symbol that begins exactly at the address, from the same tables; NULL: none. */
const char *names_symbol(struct names *n, uint64_t start);
