/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* dwarf.h - lines and inlined calls by address, out of .debug_info and .debug_line.
 *
 * Owns an index of where units have code and, for the units asked about last, one each: its functions and its rows of
 * lines; the inlined calls of a function are read when one of its addresses is asked about first. Borrows the struct
 * elf_files. Bounded in units, ranges, steps, time and bytes: past a bound it knows less, and never fails. A unit's
 * DIEs may be in a .dwo, and what they refer to in a file of dwz's, where those have been added. DWARF 2 to 5. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/vec.h"
#include "symbolizer/die.h"
#include "symbolizer/elf_file.h"
#include "symbolizer/lines.h"
#include "symbolizer/protocol.h"
#include "symbolizer/symtab.h"

#define DWARF_MAX_UNITS (512u << 10) /* in a file */
#define DWARF_MAX_RANGES (2u << 20)  /* in a unit */
#define DWARF_MAX_INDEX (80u << 20)  /* bytes of all units' indexes */
#define DWARF_MAX_KEPT (24u << 20)   /* bytes of indexes, until which units' DIEs are kept too */
#define DWARF_MAX_WANTED 512u /* .dwo files, of a file */
#define DWARF_MAX_SCOPES (1u << 20)  /* inlined calls, in a unit */

struct dwarf_position {
	uint32_t line, file; /* file: an offset in strings; 0: unknown */
};

/* An inlined call, where it has code. */
struct dwarf_scope {
	uint32_t parent; /* what it is inlined into; NO_ITEM: the function that is really there */
	uint32_t function;
	struct line_place call;
};

/* A function that is really there. */
struct dwarf_code {
	uint64_t die, end;     /* offsets: its own, and behind what it holds */
	uint32_t function;     /* NO_ITEM: not asked yet */
	uint32_t first, n;     /* its segments */
	bool read;	       /* its inlined calls were */
};

/* Described by a DIE, which whoever wants the name reads, once. */
struct dwarf_function {
	struct die_ref die;
	uint32_t name; /* in strings; 0: none */
	uint32_t qualified; /* with what it is in, where it has no linkage name; 0: nothing to add */
	uint32_t line; /* of the declaration; 0: unknown */
	bool read, linkage; /* linkage: it is a linkage name */
};

struct dwarf_namespace {
	uint64_t die;
	uint32_t in; /* NO_ITEM: nothing */
};

/* A DIE that stands in a namespace, and not in anything else: where the search for another may begin. */
struct dwarf_mark {
	uint64_t die;
	uint32_t in; /* of the namespaces */
};

/* The index of a compilation unit. */
struct dwarf_cu {
	struct unit unit; /* where its DIEs are */
	struct lines lines;
	char *directory;
	uint8_t *kept; /* its DIEs; NULL: they are read from the file each time */
	struct segments by_address; /* items: codes */
	VEC(struct dwarf_code) codes;
	struct segments calls; /* of each code that was read, behind one another; items: scopes */
	VEC(struct dwarf_scope) scopes;
	VEC(struct dwarf_function) functions;
	struct hash_index function_index;
	VEC(struct dwarf_namespace) namespaces; /* 0: the unit itself */
	VEC(struct dwarf_mark) marks; /* ascending */
	VEC(uint32_t) files; /* offsets in strings; 0: not asked, UINT32_MAX: unknown */
	struct bytes strings;
	size_t size;
	bool deep;    /* every DIE was looked at */
	bool grown;   /* its size has changed */
};

struct dwarf_unit {
	uint64_t start;	     /* offset in .debug_info */
	struct dwarf_cu *cu; /* NULL: not read */
	uint64_t used;
	bool bad;
	bool told; /* of the .dwo that it lacks, if it does */
};

/* A .dwo that was asked for. */
struct dwarf_wanted {
	uint64_t id; /* 0: it is there */
	uint32_t unit;
};

struct dwarf_dwo {
	uint64_t id;
	struct debug_file *file;
	uint64_t start;
};

struct dwarf_index {
	struct elf_file *f; /* whose addresses are asked about */
	bool opened, known; /* known: it has debug information */
	uint64_t low, high; /* of the text */
	struct debug_file main, alt;
	VEC(struct debug_file *) split;
	VEC(struct dwarf_dwo) dwos; /* by id */
	VEC(struct dwarf_wanted) wanted; /* at most DWARF_MAX_WANTED */
	bool has_skeletons; /* units that may lack one */
	uint64_t n_lost; /* what was given up at a bound: units, .dwo files */
	size_t budget;
	VEC(struct dwarf_unit) units;
	struct segments by_address; /* items: units */
	uint64_t clock;		    /* counts questions */
	size_t size;		    /* bytes of all indexes */
	size_t steps;		    /* left for the unit that is being read */
	uint64_t deadline;	    /* of CPU time, likewise */
	struct buffer bytes;	    /* DIEs that are being read */
	struct buffer tables;	    /* a line program's files */
	struct line_scratch scratch;
	struct bytes text; /* of dwarf_index_missing */
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

/* Other files, borrowed: the one that has the DWARF, dwz's, and .dwo or .dwp files. */
struct dwarf_files {
	struct elf_file *debug, *alt; /* NULL: none */
	struct elf_file *const *split;
	size_t n_split;
};

/* Of a struct that was zero, but for f, before the first question. */
void dwarf_index_open(struct dwarf_index *d, const struct dwarf_files *files);
void dwarf_index_deinit(struct dwarf_index *d);

/* False: nothing is known. Where only a line is known, it is one place without a function. */
bool dwarf_index_find(struct dwarf_index *d, uint64_t address, struct dwarf_answer *ret);
/* Reads the function's name and line into *f, unless they were. */
void dwarf_function_read(struct dwarf_index *d, struct dwarf_cu *cu, uint32_t function);
/* The .dwo that the unit at this address lacks; false: it lacks none, or has been told, or there were too many. Borrowed
 * until the next call. */
bool dwarf_index_missing(struct dwarf_index *d, uint64_t address, const char **ret_name,
			 const char **ret_directory, uint64_t *ret_id);
/* One of those, borrowed; its units are read again. 0; -ESTALE: nobody has been told to lack it; -ENOMEM. */
int dwarf_index_add_dwo(struct dwarf_index *d, struct elf_file *f);
/* What was given up at a bound: sections that were not inflated, units, .dwo files. */
uint64_t dwarf_index_lost(const struct dwarf_index *d);

/* ---- of one unit, for dwarf.c: dwarf_unit.c */

uint64_t dwarf_cpu_ns(void);
/* Adds ranges of a DIE's code that is in the file: those of functions the linker dropped begin at 0 or at another
 * address outside of the text. How many, or -errno. */
int dwarf_add_ranges(struct dwarf_index *d, const struct unit *u, const struct die *die,
		     uint32_t item, struct ranges *to);
/* Of a unit whose own DIE tells none: those of its functions. 0, how many, or -errno; stops at the end of the file's
 * steps, or when the clock says so. */
int dwarf_add_functions(struct dwarf_index *d, const struct unit *u, uint32_t item, uint64_t deadline,
			struct ranges *to);
/* The unit in a .dwo that has this skeleton's DIEs; false: it has not been added. */
bool dwarf_split_unit(struct dwarf_index *d, const struct unit *skeleton, struct unit *ret);
/* NULL: no memory, or a unit that cannot be read; *ret_slow: it was made to be slow. */
struct dwarf_cu *dwarf_cu_read(struct dwarf_index *d, uint64_t start, bool *ret_slow);
void dwarf_cu_free(struct dwarf_cu *cu);
size_t dwarf_cu_size(const struct dwarf_cu *cu);
void dwarf_cu_find(struct dwarf_index *d, struct dwarf_cu *cu, uint32_t offset,
		   struct dwarf_answer *ret);
