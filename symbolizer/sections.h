/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* sections.h - bytes of the sections that hold debug information, wherever in them.
 *
 * Borrows the struct elf_file. Plain sections are read from the file where they are asked for, piece
 * by piece, into buffers of whoever asks: nothing of them stays. Compressed ones (zlib or zstd, SHF_COMPRESSED or
 * .zdebug_*) are inflated whole, once, within a budget of bytes; beyond it they count as missing. Every offset is
 * checked against the section, and the section against the file. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cursor.h"
#include "symbolizer/elf_file.h"

enum section {
	SECTION_INFO,
	SECTION_ABBREV,
	SECTION_LINE,
	SECTION_LINE_STR,
	SECTION_STR,
	SECTION_STR_OFFSETS,
	SECTION_ADDR,
	SECTION_RANGES,
	SECTION_RNGLISTS,
	SECTION_CU_INDEX,
	N_SECTIONS,
};

/* Bytes of the file that were read, kept for the next call with the same buffer. */
struct buffer {
	uint8_t *data;
	size_t cap;
	const struct section_bytes *of; /* NULL: nothing is in it */
	uint64_t offset;		/* in the section, of data[0] */
	size_t n;
};

struct section_bytes {
	uint64_t offset, n_stored; /* in the file */
	uint64_t n;		   /* bytes, inflated */
	uint8_t how;		   /* enum, of sections.c */
	uint8_t *inflated;	   /* NULL: not yet, or not needed */
	bool lost;		   /* it did not fit into the budget, or into memory */
};

struct sections {
	struct elf_file *f;
	size_t *budget; /* bytes that may yet be inflated, of this file and others */
	struct section_bytes all[N_SECTIONS];
	struct buffer windows[N_SECTIONS]; /* for small reads */
};

#define SECTIONS_MAX_INFLATED (128u << 20) /* bytes; what a budget begins with */

/* dwo: it takes those whose names end in .dwo, and no others. Reads headers only. */
void sections_open(struct sections *s, struct elf_file *f, bool dwo, size_t *budget);
void sections_close(struct sections *s);

/* Up to n bytes at this offset, fewer where the section ends; an empty cursor when there are none.
 * Borrowed until the next call with the same buffer. */
struct cursor sections_read(struct sections *s, enum section which, uint64_t offset, uint64_t n,
			    struct buffer *to);
/* The same for a few bytes, near those that were asked for last: n <= 4096. Borrowed until the
 * next call for this section. */
struct cursor sections_peek(struct sections *s, enum section which, uint64_t offset, size_t n);
/* NULL: it does not end within max bytes. Borrowed likewise. */
const char *sections_string(struct sections *s, enum section which, uint64_t offset, size_t max);
void buffer_deinit(struct buffer *b);
