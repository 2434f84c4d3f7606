/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* hash.h - finds the position of an item by its content.
 *
 * A struct hash_index maps hashes to positions in an array that someone else owns; only that owner
 * can compare items, so it passes `equal`. Nothing is ever removed: clear and fill again. The
 * hash itself is FNV-1a over 64-bit words with a final mix; it is not secret, so whoever
 * indexes foreign bytes bounds how many items there may be. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_NONE UINT32_MAX
#define HASH_SEED 0xcbf29ce484222325ull

struct hash_slot {
	uint32_t hash, item_plus_1;
};

struct hash_index {
	struct hash_slot *slots;
	size_t n_slots, n;
};

typedef bool hash_equal(uint32_t item, const void *key, const void *context);

static inline uint64_t hash_u64(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9fb21c651e98df25ull;
	return h ^ h >> 32;
}

uint64_t hash_bytes(uint64_t h, const void *data, size_t n);

/* Position of the item equal to key, or HASH_NONE. */
uint32_t hash_get(const struct hash_index *h, uint64_t hash, hash_equal *equal, const void *key,
		  const void *context);
/* Adds an item that is not there yet; 0 or -ENOMEM. */
int hash_put(struct hash_index *h, uint64_t hash, uint32_t item);
void hash_clear(struct hash_index *h);
void hash_deinit(struct hash_index *h);
