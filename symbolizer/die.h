/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* die.h - units of .debug_info, their DIEs one after the other, and what attributes of them say.
 *
 * Owns nothing but each file's table of units; reads by sections.h. A DIE is named by its file and its offset there
 * (struct die_ref). Nothing here recurses, and nothing is believed: a DIE that goes past its unit ends the walk.
 * DWARF 2 to 5, GNU's and DWARF 5's split and supplementary files. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cursor.h"
#include "base/vec.h"
#include "symbolizer/abbrev.h"
#include "symbolizer/sections.h"

/* Where the parts of a .dwp's unit begin in its sections. */
struct dwp_row {
	uint64_t start; /* of the unit, in .debug_info */
	uint32_t abbrevs, str_offsets, rnglists;
};

#define DWP_MAX_INDEX (64u << 20) /* bytes */

struct debug_file {
	struct sections sections;
	struct abbrevs_cache abbrevs;
	struct debug_file *alt;	 /* what dwz moved out of it; NULL: unknown */
	struct debug_file *main; /* of a .dwo: where the program's addresses are; else itself */
	VEC(uint64_t) units;	 /* offsets, ascending */
	VEC(struct dwp_row) dwp; /* by start; none where it is no .dwp */
	bool indexed;
	uint32_t number; /* of the index's */
	struct buffer die;
};

/* A unit's head, and what its first DIE says of all others. */
struct unit {
	struct debug_file *file;
	uint64_t start, end, first; /* offsets: of the unit, of the next one, of its first DIE */
	uint64_t abbrevs;
	uint64_t id; /* of a split unit or of a skeleton; 0: none */
	uint16_t version, tag;
	uint8_t type, offset_size;
	uint16_t language;
	uint64_t low;		  /* base of its range lists */
	uint64_t str_offsets, addr, rnglists, gnu_ranges;
	uint64_t ranges_add;	  /* GNU's split units: to every offset of ranges */
	const uint8_t *kept;	  /* from `first` on, borrowed; NULL: they are read where they are needed */
};

struct value {
	uint64_t v; /* DW_FORM_string: the offset of its text */
	uint16_t form;
};

struct die {
	uint64_t offset;
	const struct abbrev *abbrev;
	uint32_t has; /* bits: slots */
	struct value values[N_SLOTS];
};

static inline bool die_has(const struct die *d, enum slot s)
{
	return d->has & 1u << s;
}

/* Goes over DIEs of one unit, which stand in c. */
struct die_reader {
	struct cursor c;
	const uint8_t *start; /* where c began */
	uint64_t offset;      /* of start */
	const struct unit *unit;
	const struct abbrevs *abbrevs;
};

struct die_ref {
	struct debug_file *file; /* NULL: nowhere */
	uint64_t offset;
};

#define DEBUG_MAX_UNITS (512u << 10) /* in a file */

void debug_file_open(struct debug_file *f, struct elf_file *elf, bool dwo, size_t *budget);
void debug_file_close(struct debug_file *f);

/* dwp.c: the index of a .dwp, if it is one; zeros where it has none of the unit. */
void dwp_read(struct debug_file *f);
struct dwp_row dwp_find(const struct debug_file *f, uint64_t start);

/* The head and the first DIE of the unit that begins there. False: none does, or none that can be
 * read; ret->end is past it, or 0. */
bool unit_read(struct debug_file *f, uint64_t start, struct unit *ret, struct die *ret_die);
/* The unit around a DIE. */
bool unit_around(struct debug_file *f, uint64_t offset, struct unit *ret);

/* DIEs from `from` on. The bytes up to `to` are in `buffer` until its next use. False: there are none. */
bool reader_open(struct die_reader *r, const struct unit *u, uint64_t from, uint64_t to,
		 struct buffer *buffer);
static inline uint64_t reader_offset(const struct die_reader *r)
{
	return r->offset + (uint64_t)(r->c.p - r->start);
}
/* The next DIE's kind; NULL: the zero that ends a level, or, with c.bad, no more. Behind it the caller passes over
 * its attributes, or reads them. */
const struct abbrev *reader_next(struct die_reader *r);
void reader_pass(struct die_reader *r, const struct abbrev *a);
void reader_attributes(struct die_reader *r, const struct abbrev *a, struct die *ret);
/* To where the DIE's next sibling is, from behind its abbreviation; false: it does not tell. */
bool reader_sibling(struct die_reader *r, const struct abbrev *a);

/* One DIE, wherever. *ret_unit may be the unit that it is likely in (file set), else zero. */
bool die_at(struct die_ref at, struct unit *unit, struct die *ret);
/* NULL file: there is none, or it is elsewhere. */
struct die_ref die_reference(const struct unit *u, const struct die *d, enum slot s);
/* 0: missing. */
uint32_t die_number(const struct die *d, enum slot s);
/* NULL: missing, empty, or longer than max. Borrowed until the next string is read. */
const char *die_string(const struct unit *u, const struct die *d, enum slot s, size_t max);
bool die_address(const struct unit *u, const struct value *v, uint64_t *ret);

/* Ranges of addresses of a DIE, one after the other. */
struct range_reader {
	const struct unit *unit;
	enum { RANGES_END, RANGES_ONE, RANGES_LIST, RANGES_LIST_5 } kind;
	uint64_t at; /* the offset in its section */
	uint64_t base, start, end;
	size_t *steps;
};

/* steps: how many entries may be looked at yet; it goes down. */
void ranges_open(struct range_reader *r, const struct unit *u, const struct die *d, size_t *steps);
bool ranges_next(struct range_reader *r, uint64_t *ret_start, uint64_t *ret_end);
