/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/answers.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

static size_t slot_of(struct answer_key k)
{
	return hash_u64(hash_u64(hash_u64(HASH_SEED, k.generation), k.address), k.how) %
	       ANSWERS_SLOTS;
}

static bool same(struct answer_key x, struct answer_key y)
{
	return x.generation == y.generation && x.address == y.address && x.how == y.how;
}

/* Each may be in two places, beside each other. */
const struct answer *answers_get(const struct answers *a, struct answer_key k)
{
	size_t slot = slot_of(k);

	if (same(a->slots[slot].key, k))
		return &a->slots[slot];
	return same(a->slots[slot ^ 1].key, k) ? &a->slots[slot ^ 1] : NULL;
}

void answers_put(struct answers *a, struct answer_key k, const void *data, size_t n)
{
	size_t slot = slot_of(k);
	struct answer *x = &a->slots[a->slots[slot].key.generation ? slot ^ 1 : slot];
	void *copy = NULL;

	if (n > ANSWERS_MAX_EACH)
		return;
	if (a->size + n > ANSWERS_MAX_BYTES)
		answers_deinit(a);
	if (n) {
		copy = malloc(n);
		if (!copy)
			return;
		memcpy(copy, data, n);
	}
	a->size -= x->n;
	free(x->data);
	*x = (struct answer){ k, (uint32_t)n, copy };
	a->size += n;
}

void answers_deinit(struct answers *a)
{
	for (size_t i = 0; i < ANSWERS_SLOTS; i++) {
		free(a->slots[i].data);
		a->slots[i] = (struct answer){ .data = NULL };
	}
	a->size = 0;
}
