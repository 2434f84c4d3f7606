/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* answers.h - frames of the addresses that were asked about last, by their functions' numbers (functions.h).
 *
 * Owns copies of them, at most ANSWERS_MAX and ANSWERS_MAX_BYTES: past either, it begins anew. They stand close together: a
 * table with a place for each hash would touch a page for each answer. An object that learns something gets a new generation, and
 * with it new answers. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/vec.h"
#include "symbolizer/protocol.h"

#define ANSWERS_MAX 65536
#define ANSWERS_MAX_BYTES (12u << 20)

struct answer_key {
	uint64_t generation, address;
	uint32_t how;
};

struct answers {
	VEC(struct answer {
		struct answer_key key;
		uint32_t n;
		uint32_t oldest; /* of the functions' numbers: while it is there, all are */
		bool has_functions;
		struct symbolizer_frame *frames; /* index: 0 */
	}) all;
	struct hash_index index;
	size_t size; /* bytes of frames */
};

/* NULL: not known. Borrowed until the next call. */
const struct answer *answers_get(const struct answers *a, struct answer_key key);
void answers_put(struct answers *a, struct answer_key key, const struct symbolizer_frame *frames, uint32_t n);
/* What it takes. */
size_t answers_bytes(const struct answers *a);
void answers_deinit(struct answers *a);
