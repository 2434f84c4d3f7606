/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* names_cache.h - what the symbolizer has said, by frame word.
 *
 * Owns strings, functions and lines, each stored once. Bounded: full, it is emptied and that is
 * counted. Guarded by symbolizer_lock. */

#include <stdint.h>

#include "base/hash.h"
#include "base/vec.h"
#include "symbolizer/client.h"

#define NAMES_CACHE_MAX (1u << 18) /* addresses */

struct cached_text {
	uint32_t first, n; /* bytes of `text` */
};

struct cached_function {
	struct cached_text name, system_name, file;
	uint32_t start_line;
};

struct cached_line {
	uint32_t function, line;
};

struct cached_address {
	uint64_t word;	/* as in captures */
	uint64_t shown; /* kernel: the address to show; else where the function starts, 0: unknown */
	uint32_t first_line, n_lines; /* innermost first; none: no name */
};

struct names_cache {
	VEC(struct cached_address) addresses;
	struct hash_index address_index;
	VEC(struct cached_line) lines;
	VEC(struct cached_function) functions;
	struct hash_index function_index;
	VEC(char) text;
	VEC(struct cached_text) texts;
	struct hash_index text_index;
	uint64_t n_emptied;
};

/* NULL: not known. Borrowed until the next change. */
const struct cached_address *names_cache_find(const struct names_cache *c, uint64_t word);
/* One frame of the address that is being answered: lines of one address follow each other. */
int names_cache_add_line(struct names_cache *c, const struct symbolizer_frame *f, const char *name,
			 const char *system_name, const char *file);
int names_cache_add_address(struct names_cache *c, struct cached_address a);
/* Because better names are known. */
void names_cache_empty(struct names_cache *c);
/* Empties it when it is full. */
void names_cache_bound(struct names_cache *c);
/* What it takes, bytes. */
uint64_t names_cache_bytes(const struct names_cache *c);
/* How full it is: 0 to 1. */
double names_cache_fill(const struct names_cache *c);
void names_cache_deinit(struct names_cache *c);
