/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/answers.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define WAYS 4

static size_t slot_of(struct answer_key k)
{
	return hash_u64(hash_u64(hash_u64(HASH_SEED, k.generation), k.address), k.how) %
	       ANSWERS_SLOTS;
}

static bool same(struct answer_key x, struct answer_key y)
{
	return x.generation == y.generation && x.address == y.address && x.how == y.how;
}

/* Each may be in WAYS places, beside each other. */
static size_t place(size_t slot, unsigned way)
{
	return (slot & ~(size_t)(WAYS - 1)) + (slot + way) % WAYS;
}

const struct answer *answers_get(const struct answers *a, struct answer_key k)
{
	size_t slot = slot_of(k);

	for (unsigned i = 0; i < WAYS; i++)
		if (same(a->slots[place(slot, i)].key, k))
			return &a->slots[place(slot, i)];
	return NULL;
}

/* Its own place, a free one, or the one where it would be looked for first. */
static struct answer *place_for(struct answers *a, struct answer_key k)
{
	size_t slot = slot_of(k), to = slot;

	for (unsigned i = WAYS; i-- > 0;)
		if (!a->slots[place(slot, i)].key.generation || same(a->slots[place(slot, i)].key, k))
			to = place(slot, i);
	return &a->slots[to];
}

/* Numbers wrap around; those that are there now are close to each other. */
static void note_oldest(struct answer *x)
{
	for (uint32_t i = 0; i < x->n; i++) {
		if (!x->frames[i].told)
			continue;
		if (!x->has_functions || (int32_t)(x->frames[i].function - x->oldest) < 0)
			x->oldest = x->frames[i].function;
		x->has_functions = true;
	}
}

void answers_put(struct answers *a, struct answer_key k, const struct symbolizer_frame *frames,
		 uint32_t n)
{
	size_t size = n * sizeof(*frames);
	struct answer *x = place_for(a, k);

	if (a->size + size > ANSWERS_MAX_BYTES)
		answers_deinit(a);
	a->size -= x->n * sizeof(*frames);
	free(x->frames);
	*x = (struct answer){ .key = k, .n = n };
	if (n) {
		x->frames = malloc(size);
		if (!x->frames) {
			*x = (struct answer){ .n = 0 };
			return;
		}
		memcpy(x->frames, frames, size);
	}
	note_oldest(x);
	a->size += size;
}

void answers_deinit(struct answers *a)
{
	for (size_t i = 0; i < ANSWERS_SLOTS; i++) {
		free(a->slots[i].frames);
		a->slots[i] = (struct answer){ .n = 0 };
	}
	a->size = 0;
}
