/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/naming.h"

#include <assert.h>

static const struct naming_function unnamed = { "[unnamed]", "[unnamed]", "", 0 };
static const struct naming_line unnamed_line = { UINT32_MAX, 0 };

void naming_free(struct naming *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < n->owned.n; i++)
		free(n->owned.data[i]);
	vec_deinit(&n->owned);
	vec_deinit(&n->functions);
	vec_deinit(&n->lines);
	vec_deinit(&n->locations);
	vec_deinit(&n->mappings);
	vec_deinit(&n->words);
	hash_deinit(&n->word_index);
}

static bool word_equal(uint32_t item, const void *key, const void *context)
{
	const struct naming *n = context;

	return n->words.data[item] == *(const uint64_t *)key;
}

uint32_t naming_find(const struct naming *n, uint64_t word)
{
	return hash_get(&n->word_index, hash_u64(HASH_SEED, word), word_equal, &word, n);
}

const struct naming_line *naming_lines(const struct naming *n, uint32_t location, uint32_t *ret_n)
{
	const struct naming_location *l;

	*ret_n = 1;
	if (location == UINT32_MAX)
		return &unnamed_line;
	assert(location < n->locations.n);
	l = &n->locations.data[location];
	if (!l->n_lines)
		return &unnamed_line;
	assert((size_t)l->first_line + l->n_lines <= n->lines.n);
	*ret_n = l->n_lines;
	return &n->lines.data[l->first_line];
}

const struct naming_function *naming_function(const struct naming *n, uint32_t function)
{
	if (function == UINT32_MAX)
		return &unnamed;
	assert(function < n->functions.n);
	return &n->functions.data[function];
}
