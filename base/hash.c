/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint64_t hash_bytes(uint64_t h, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (; n >= 8; p += 8, n -= 8) {
		uint64_t v;

		memcpy(&v, p, 8);
		h = hash_u64(h, v);
	}
	if (n) {
		uint64_t v = 0;

		memcpy(&v, p, n);
		h = hash_u64(h, v);
	}
	return hash_u64(h, n);
}

/* From the 32 bits that are kept, so that growing needs nothing from the caller. */
static size_t home(uint32_t tag, size_t n_slots)
{
	return tag & (n_slots - 1);
}

uint32_t hash_get(const struct hash_index *h, uint64_t hash, hash_equal *equal, const void *key,
		  const void *context)
{
	uint32_t tag = (uint32_t)(hash >> 32);

	if (!h->n_slots)
		return HASH_NONE;
	for (size_t i = home(tag, h->n_slots);; i = (i + 1) & (h->n_slots - 1)) {
		const struct hash_slot *s = &h->slots[i];

		if (!s->item_plus_1)
			return HASH_NONE;
		if (s->hash == tag && equal(s->item_plus_1 - 1, key, context))
			return s->item_plus_1 - 1;
	}
}

static void place(struct hash_slot *slots, size_t n_slots, struct hash_slot s)
{
	size_t i = home(s.hash, n_slots);

	while (slots[i].item_plus_1)
		i = (i + 1) & (n_slots - 1);
	slots[i] = s;
}

static int grow(struct hash_index *h)
{
	size_t n = h->n_slots ? h->n_slots * 2 : 64;
	struct hash_slot *slots = calloc(n, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < h->n_slots; i++)
		if (h->slots[i].item_plus_1)
			place(slots, n, h->slots[i]);
	free(h->slots);
	h->slots = slots;
	h->n_slots = n;
	return 0;
}

int hash_put(struct hash_index *h, uint64_t hash, uint32_t item)
{
	if ((h->n + 1) * 2 > h->n_slots) {
		int r = grow(h);

		if (r < 0)
			return r;
	}
	place(h->slots, h->n_slots, (struct hash_slot){ (uint32_t)(hash >> 32), item + 1 });
	h->n++;
	return 0;
}

void hash_clear(struct hash_index *h)
{
	if (h->slots)
		memset(h->slots, 0, h->n_slots * sizeof(*h->slots));
	h->n = 0;
}

void hash_deinit(struct hash_index *h)
{
	free(h->slots);
	*h = (struct hash_index){ 0 };
}
