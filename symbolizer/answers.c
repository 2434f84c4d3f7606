/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/answers.h"

#include <stdlib.h>
#include <string.h>

static uint64_t hash(struct answer_key k)
{
	return hash_u64(hash_u64(hash_u64(HASH_SEED, k.generation), k.address), k.how);
}

static bool equal(uint32_t item, const void *key, const void *context)
{
	const struct answers *a = context;
	const struct answer_key *x = &a->all.data[item].key, *y = key;

	return x->generation == y->generation && x->address == y->address && x->how == y->how;
}

const struct answer *answers_get(const struct answers *a, struct answer_key k)
{
	uint32_t i = hash_get(&a->index, hash(k), equal, &k, a);

	return i == HASH_NONE ? NULL : &a->all.data[i];
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

/* NULL: no memory. */
static struct answer *place_for(struct answers *a, struct answer_key k)
{
	uint32_t i = hash_get(&a->index, hash(k), equal, &k, a);

	if (i != HASH_NONE)
		return &a->all.data[i];
	if (vec_push(&a->all, (struct answer){ .key = k }) < 0)
		return NULL;
	if (hash_put(&a->index, hash(k), (uint32_t)a->all.n - 1) == 0)
		return &a->all.data[a->all.n - 1];
	a->all.n--;
	return NULL;
}

void answers_put(struct answers *a, struct answer_key k, const struct symbolizer_frame *frames,
		 uint32_t n)
{
	size_t size = n * sizeof(*frames);
	struct symbolizer_frame *copy = n ? malloc(size) : NULL;
	struct answer *x;

	if (n && !copy)
		return;
	if (a->size + size > ANSWERS_MAX_BYTES || a->all.n == ANSWERS_MAX)
		answers_deinit(a);
	x = place_for(a, k);
	if (!x) {
		free(copy);
		return;
	}
	if (n)
		memcpy(copy, frames, size);
	a->size += size - x->n * sizeof(*frames);
	free(x->frames);
	*x = (struct answer){ .key = k, .n = n, .frames = copy };
	note_oldest(x);
}

size_t answers_bytes(const struct answers *a)
{
	return a->size + a->all.cap * sizeof(*a->all.data) + a->index.n_slots * sizeof(*a->index.slots);
}

void answers_deinit(struct answers *a)
{
	for (size_t i = 0; i < a->all.n; i++)
		free(a->all.data[i].frames);
	vec_deinit(&a->all);
	hash_deinit(&a->index);
	a->size = 0;
}
