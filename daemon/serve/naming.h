/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* naming.h - the named form of a capture's frames, as the encoders need it.
 *
 * Shapes that do not know where names come from: namer.c fills them through the symbolizer, a test
 * fills them by hand. Every location has at least one line: real, or the stub
 * "libfoo.so+0x1231". */

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/vec.h"

#define NAMING_NO_USER "[no user code]" /* a stub: a thread that is the kernel's alone, as io_uring's */
#define NAMING_NO_FILE "[anonymous code]" /* a stub: code without a file, and nobody tells what it is */

struct naming_function {
	const char *name, *system_name, *file; /* UTF-8; file may be "" */
	uint32_t start_line;
};

struct naming_line {
	uint32_t function; /* index */
	uint32_t line;
};

struct naming_location {
	uint64_t address; /* as shown: unique, not 0, stable for the object's life */
	uint64_t entry;	  /* of the function that is really there, as shown; 0: unknown */
	uint32_t mapping; /* index + 1; 0: none */
	uint32_t first_line, n_lines; /* innermost (inlined) first */
	const char *callee; /* whom the call there calls; NULL: unknown, or nobody asked */
};

struct naming_mapping {
	uint64_t start, limit, offset; /* as shown */
	const char *file;
	const char *build_id; /* hex, or "" */
	bool has_file_names, has_line_numbers, has_inline_frames;
};

struct naming {
	VEC(struct naming_function) functions;
	VEC(struct naming_line) lines;
	VEC(struct naming_location) locations; /* one for each frame word */
	VEC(struct naming_mapping) mappings;   /* [0] is the main executable */
	VEC(uint64_t) words;		       /* the frame words, in the order of locations */
	struct hash_index word_index;	       /* by hash_u64(HASH_SEED, word) */
	VEC(char *) owned; /* strings */
};

/* Frees what it owns and leaves it empty; the struct itself is the caller's. */
void naming_free(struct naming *n);

/* The location of a frame word; UINT32_MAX when it was never named. */
uint32_t naming_find(const struct naming *n, uint64_t word);

/* What the encoders show: also for a frame that nobody named (UINT32_MAX), so that no sample loses
 * one silently. Never no lines. */
const struct naming_line *naming_lines(const struct naming *n, uint32_t location, uint32_t *ret_n);
const struct naming_function *naming_function(const struct naming *n, uint32_t function);
