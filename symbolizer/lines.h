/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* lines.h - a unit's line program (.debug_line) as rows: from this address on it is that line of that file.
 *
 * Owns its rows; names of files are read when they are asked for. Bounded in bytes of program and in rows. Sequences
 * of code that is not in the file are left out; where two claim the same code, the one that begins first has it.
 * Format: DWARF 5, 6.2; versions 2 to 5. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/vec.h"
#include "symbolizer/die.h"

#define LINES_MAX_PROGRAM (16u << 20) /* bytes */
#define LINES_MAX_ROWS (2u << 20)

struct line_place {
	uint32_t line, file;
};

/* Code is counted from the lowest text address. */
struct line_row {
	uint32_t offset;
	uint32_t place; /* lines.c packs it */
};

struct lines {
	struct debug_file *file; /* NULL: there are none */
	uint64_t tables, program, end; /* offsets: the tables of files, the program, what follows it */
	uint8_t version, offset_size;
	bool cut; /* at a bound */
	struct line_row *rows; /* ascending */
	size_t n_rows, n_cap;
	VEC(struct line_place) large; /* places that do not fit into a row */
};

struct line_sequence {
	uint32_t start;
	uint32_t first, n; /* rows; the last is its end */
};

/* Of one build at a time; kept to be used again. */
struct line_scratch {
	struct buffer bytes;
	VEC(struct line_row) rows;
	VEC(struct line_sequence) sequences;
};

/* Of the unit whose first DIE says that its program is at `offset`. 0, also where nothing can be read; -ENOMEM. */
int lines_read(struct lines *l, struct debug_file *f, uint64_t offset, uint64_t low, uint64_t high,
	       struct line_scratch *scratch);
void lines_deinit(struct lines *l);
void line_scratch_deinit(struct line_scratch *s);
size_t lines_size(const struct lines *l);

/* False: no row has this code. */
bool lines_find(const struct lines *l, uint32_t offset, struct line_place *ret);
/* Appends the path of a file, with NUL, to `to`, and returns where it begins; 0: unknown, or too long. What is relative
 * is under `directory`, the unit's. */
uint32_t lines_path(const struct lines *l, uint32_t file, const char *directory, struct bytes *to,
		    struct buffer *buffer);
