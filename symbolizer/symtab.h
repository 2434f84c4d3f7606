/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* symtab.h - what is at an address: nested ranges, and the functions an ELF symbol table names.
 *
 * Owns its index; names are borrowed from the file's string table, until elf_file_close. Takes
 * functions (STT_FUNC, STT_GNU_IFUNC), and labels (STT_NOTYPE in executable sections) where no
 * function is. Refuses mapping symbols, addresses outside of executable segments and names that
 * are not in the string table. Format: gABI chapter 4, "Symbol Table". */

#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"
#include "symbolizer/elf_file.h"

#define NO_ITEM UINT32_MAX

/* [start, end) is of this item. */
struct range {
	uint32_t start, end, item;
};

struct ranges {
	struct range *data;
	size_t n, cap;
};

/* From this offset to the next segment's it is this item's, or NO_ITEM's. Ascending. */
struct segment {
	uint32_t offset, item;
};

struct segments {
	struct segment *data;
	size_t n, cap;
};

/* Appends, at an offset that is not lower than the last one; of two at one offset the later
 * holds. 0 or -ENOMEM. */
int segments_add(struct segments *s, uint32_t offset, uint32_t item);
/* Each address belongs to the innermost range; of equal ones to the one with the greater item;
 * where two overlap and neither holds the other, to the one that begins later. Leaves r in
 * disorder. 0 or -ENOMEM. */
int segments_from_ranges(struct segments *s, struct ranges *r);
uint32_t segments_find(const struct segments *s, uint32_t offset);

struct symtab_symbol {
	uint32_t start, size; /* start: from symtab.low */
	uint32_t name;	      /* offset in strings */
};

struct symtab {
	uint64_t low;
	VEC(struct symtab_symbol) symbols; /* ascending, one at an address */
	struct segments segments;	   /* items: symbols */
	struct elf_section strings;
};

struct symtab_answer {
	const char *name; /* borrowed until elf_file_close; not longer than SYMTAB_MAX_NAME */
	uint64_t start, size;
};

#define SYMTAB_MAX_SYMBOLS (2u << 20)
#define SYMTAB_MAX_NAME 16384

/* section_type: SHT_SYMTAB or SHT_DYNSYM. 0, also where the table names nothing; -ENODATA: there
 * is no such table, or no text to name; -ENOMEM; -E2BIG: past SYMTAB_MAX_SYMBOLS. */
int symtab_build(struct elf_file *f, uint32_t section_type, struct symtab *ret);
void symtab_deinit(struct symtab *s);

/* The innermost symbol that covers the address; false where none does. */
bool symtab_find(const struct symtab *s, uint64_t address, struct symtab_answer *ret);
