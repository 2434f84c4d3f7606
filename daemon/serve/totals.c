/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/totals.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/event.h"

static bool name_equal(uint32_t item, const void *key, const void *context)
{
	const struct totals *t = context;

	return !memcmp(t->names.data[item].text, key, TOTALS_NAME);
}

static uint32_t intern_name(struct totals *t, const char name[TOTALS_NAME])
{
	uint64_t h = hash_bytes(HASH_SEED, name, TOTALS_NAME);
	uint32_t i = hash_get(&t->name_index, h, name_equal, name, t);
	struct total_name n;

	if (i != HASH_NONE)
		return i;
	memcpy(n.text, name, TOTALS_NAME);
	if (vec_push(&t->names, n) < 0)
		return HASH_NONE;
	i = (uint32_t)t->names.n - 1;
	return hash_put(&t->name_index, h, i) < 0 ? HASH_NONE : i;
}

static bool row_equal(uint32_t item, const void *key, const void *context)
{
	const struct totals *t = context;
	const struct total *a = &t->rows.data[item], *b = key;

	return a->target == b->target && a->collector == b->collector && a->stack == b->stack &&
	       a->name == b->name;
}

uint32_t totals_row(struct totals *t, uint32_t target, uint32_t collector, const uint64_t *words,
		    uint32_t n, const char name[TOTALS_NAME])
{
	static const uint64_t other = PP_MARKER(PP_END_OTHER, 0);
	struct total key = { .target = target, .collector = collector };
	uint64_t h;
	uint32_t i;

	if (t->stacks.words.n + n > TOTALS_MAX_WORDS || t->rows.n >= TOTALS_MAX_ROWS) {
		t->n_other++;
		words = &other;
		n = 1;
	}
	key.stack = stacks_intern(&t->stacks, words, n);
	key.name = intern_name(t, name);
	if (key.stack == HASH_NONE || key.name == HASH_NONE)
		return HASH_NONE;
	h = hash_u64(hash_u64(HASH_SEED, (uint64_t)target << 32 | collector),
		     (uint64_t)key.stack << 32 | key.name);
	i = hash_get(&t->index, h, row_equal, &key, t);
	if (i != HASH_NONE)
		return i;
	if (vec_push(&t->rows, key) < 0)
		return HASH_NONE;
	i = (uint32_t)t->rows.n - 1;
	if (hash_put(&t->index, h, i) < 0) {
		t->rows.n--;
		return HASH_NONE;
	}
	return i;
}

int totals_snapshot(const struct totals *t, struct totals_before *ret)
{
	struct totals_before b = { .n = t->rows.n };

	b.v = malloc((b.n + 1) * sizeof(*b.v));
	if (!b.v)
		return -ENOMEM;
	for (size_t i = 0; i < b.n; i++)
		memcpy(b.v[i], t->rows.data[i].v, sizeof(b.v[i]));
	*ret = b;
	return 0;
}

void totals_before_deinit(struct totals_before *b)
{
	free(b->v);
	*b = (struct totals_before){ 0 };
}

void totals_clear(struct totals *t)
{
	totals_deinit(t);
}

void totals_deinit(struct totals *t)
{
	vec_deinit(&t->rows);
	hash_deinit(&t->index);
	stacks_deinit(&t->stacks);
	vec_deinit(&t->names);
	hash_deinit(&t->name_index);
}
