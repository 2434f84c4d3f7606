/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* dwarf.h - lines and inlined calls by address, out of .debug_info and .debug_line.
 *
 * Owns libdw's handle and, for the compilation units asked about last, an index each; borrows the
 * struct elf_file. Bounded in units, ranges and bytes: past a bound it knows less, and never
 * fails. What is in a .dwo or a .dwz file is not known: it asks for none, and where libdw does so
 * by itself the sandbox refuses. DWARF 2 to 5. */

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/vec.h"
#include "symbolizer/elf_file.h"
#include "symbolizer/protocol.h"
#include "symbolizer/symtab.h"

#define DWARF_MAX_UNITS (512u << 10) /* in a file */
#define DWARF_MAX_RANGES (2u << 20)  /* in a unit */
#define DWARF_MAX_INDEX (64u << 20)  /* bytes of all units' indexes */

struct dwarf_position {
	uint32_t line, file; /* file: an offset in strings */
};

/* A function, or an inlined call of one, where it has code. */
struct dwarf_scope {
	uint32_t parent; /* what it is inlined into; NO_ITEM: it is really there */
	uint32_t function;
	struct dwarf_position call;
};

/* Described by a DIE, which whoever wants the name reads, once. */
struct dwarf_function {
	uint64_t die;
	const char *name;   /* in the file's sections */
	uint32_t qualified; /* name in strings; 0: none was made */
	uint32_t line;	    /* of the declaration; 0: unknown */
	bool read, linkage; /* linkage: it is a linkage name */
};

/* A namespace, a class, or a function. */
struct dwarf_container {
	uint64_t die;
	uint32_t parent;
};

/* The index of a compilation unit. Code is counted from the lowest text address, DIEs from the
 * unit's own. */
struct dwarf_cu {
	uint64_t die;
	struct segments rows; /* items: positions; NO_ITEM: code of somebody else */
	VEC(struct dwarf_position) positions;
	struct segments by_address; /* items: scopes */
	VEC(struct dwarf_scope) scopes;
	VEC(struct dwarf_function) functions;
	struct segments by_die; /* items: containers */
	VEC(struct dwarf_container) containers;
	VEC(uint32_t) files; /* offsets in strings; 0: not used */
	struct bytes strings;
	size_t size;
};

struct dwarf_unit {
	uint64_t die;
	struct dwarf_cu *cu; /* NULL: not read */
	uint64_t used;
};

struct dwarf_index {
	struct elf_file *f;
	Dwarf *dw; /* NULL: there is none */
	bool opened;
	uint64_t low, high; /* of the text */
	struct elf_section info, lines;
	VEC(struct dwarf_unit) units;
	struct segments by_address; /* items: units */
	uint64_t clock;		    /* counts questions */
	size_t size;		    /* bytes of all indexes */
	size_t handle_size;	    /* bytes that libdw keeps until its end, roughly */
	size_t steps;		    /* left for the unit that is being read */
};

struct dwarf_place {
	uint32_t function;	  /* NO_ITEM: unknown */
	struct dwarf_position at; /* of the address, or of the inlined call */
};

struct dwarf_answer {
	struct dwarf_cu *cu; /* borrowed until the next call */
	size_t n;
	struct dwarf_place places[SYMBOLIZER_MAX_INLINED]; /* innermost first */
};

/* Of a struct that was zero, but for f, before the first question. */
void dwarf_index_deinit(struct dwarf_index *d);

/* False: nothing is known. Where only a line is known, it is one place without a function. */
bool dwarf_index_find(struct dwarf_index *d, uint64_t address, struct dwarf_answer *ret);

/* Attributes. What is in a supplementary file counts as missing. */
uint32_t die_number(Dwarf_Die *die, unsigned name); /* 0: missing */
bool die_reference(Dwarf_Die *die, unsigned name, Dwarf_Die *ret);
/* NULL: missing, empty, or longer than SYMTAB_MAX_NAME. In the file's sections. */
const char *die_string(const struct dwarf_index *d, Dwarf_Die *die, unsigned name);
