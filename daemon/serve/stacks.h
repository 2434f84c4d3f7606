/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* stacks.h - a set of stacks: each is stored once and known by a number.
 *
 * Owns the words. Frames are the words of bpf/event.h, innermost first. */

#include <stdint.h>

#include "base/hash.h"
#include "base/vec.h"

struct stack {
	uint32_t first, n; /* words */
};

struct stacks {
	VEC(uint64_t) words;
	VEC(struct stack) all;
	struct hash_index index;
};

/* The number of the stack; HASH_NONE: not there. */
uint32_t stacks_find(const struct stacks *s, const uint64_t *words, uint32_t n);
/* The same, added if need be; HASH_NONE: no memory, or past 2^32 words. */
uint32_t stacks_intern(struct stacks *s, const uint64_t *words, uint32_t n);
/* Borrowed until the next stacks_intern. */
const uint64_t *stacks_words(const struct stacks *s, uint32_t stack, uint32_t *ret_n);
void stacks_clear(struct stacks *s);
void stacks_deinit(struct stacks *s);
