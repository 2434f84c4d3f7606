/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/stacks.h"

#include <string.h>

struct key {
	const uint64_t *words;
	uint32_t n;
};

static bool equal(uint32_t item, const void *key, const void *context)
{
	const struct stacks *s = context;
	const struct stack *x = &s->all.data[item];
	const struct key *k = key;

	return x->n == k->n && !memcmp(s->words.data + x->first, k->words, k->n * sizeof(uint64_t));
}

static uint64_t hash(const uint64_t *words, uint32_t n)
{
	return hash_bytes(HASH_SEED, words, n * sizeof(*words));
}

uint32_t stacks_find(const struct stacks *s, const uint64_t *words, uint32_t n)
{
	struct key k = { words, n };

	return hash_get(&s->index, hash(words, n), equal, &k, s);
}

uint32_t stacks_intern(struct stacks *s, const uint64_t *words, uint32_t n)
{
	uint32_t i = stacks_find(s, words, n);
	struct stack x = { (uint32_t)s->words.n, n };

	if (i != HASH_NONE)
		return i;
	if (s->words.n + n >= UINT32_MAX || s->all.n >= HASH_NONE - 1 ||
	    vec_reserve(&s->words, s->words.n + n) < 0 || vec_reserve(&s->all, s->all.n + 1) < 0 ||
	    hash_put(&s->index, hash(words, n), (uint32_t)s->all.n) < 0)
		return HASH_NONE;
	if (n)
		memcpy(s->words.data + s->words.n, words, n * sizeof(*words));
	s->words.n += n;
	s->all.data[s->all.n] = x;
	return (uint32_t)s->all.n++;
}

const uint64_t *stacks_words(const struct stacks *s, uint32_t stack, uint32_t *ret_n)
{
	const struct stack *x = &s->all.data[stack];

	*ret_n = x->n;
	return s->words.data + x->first;
}

void stacks_clear(struct stacks *s)
{
	s->words.n = s->all.n = 0;
	hash_clear(&s->index);
}

void stacks_deinit(struct stacks *s)
{
	vec_deinit(&s->words);
	vec_deinit(&s->all);
	hash_deinit(&s->index);
}
