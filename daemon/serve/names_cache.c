/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/names_cache.h"

#include <errno.h>
#include <string.h>

#define MAX_TEXT (64u << 20) /* bytes of names */

static bool address_equal(uint32_t item, const void *key, const void *context)
{
	const struct names_cache *c = context;

	return c->addresses.data[item].word == *(const uint64_t *)key;
}

const struct cached_address *names_cache_find(const struct names_cache *c, uint64_t word)
{
	uint32_t i = hash_get(&c->address_index, hash_u64(HASH_SEED, word), address_equal, &word, c);

	return i == HASH_NONE ? NULL : &c->addresses.data[i];
}

int names_cache_add_address(struct names_cache *c, struct cached_address a)
{
	int r;

	if (names_cache_find(c, a.word))
		return 0;
	r = vec_push(&c->addresses, a);
	if (r == 0)
		r = hash_put(&c->address_index, hash_u64(HASH_SEED, a.word),
			     (uint32_t)c->addresses.n - 1);
	return r;
}

struct text_key {
	const char *text;
	size_t n;
};

static bool text_equal(uint32_t item, const void *key, const void *context)
{
	const struct names_cache *c = context;
	const struct cached_text *t = &c->texts.data[item];
	const struct text_key *k = key;

	return t->n == k->n && !memcmp(c->text.data + t->first, k->text, k->n);
}

static int intern_text(struct names_cache *c, const char *text, size_t n, struct cached_text *ret)
{
	struct text_key k = { text, n };
	uint64_t h = hash_bytes(HASH_SEED, text, n);
	uint32_t i = hash_get(&c->text_index, h, text_equal, &k, c);
	struct cached_text t = { (uint32_t)c->text.n, (uint32_t)n };
	int r;

	if (i != HASH_NONE) {
		*ret = c->texts.data[i];
		return 0;
	}
	r = vec_reserve(&c->text, c->text.n + n + 1);
	if (r == 0)
		r = vec_push(&c->texts, t);
	if (r == 0)
		r = hash_put(&c->text_index, h, (uint32_t)c->texts.n - 1);
	if (r < 0)
		return r;
	memcpy(c->text.data + c->text.n, text, n);
	c->text.n += n;
	*ret = t;
	return 0;
}

static bool function_equal(uint32_t item, const void *key, const void *context)
{
	const struct names_cache *c = context;

	return !memcmp(&c->functions.data[item], key, sizeof(struct cached_function));
}

static int intern_function(struct names_cache *c, const struct cached_function *f, uint32_t *ret)
{
	uint64_t h = hash_bytes(HASH_SEED, f, sizeof(*f));
	int r;

	*ret = hash_get(&c->function_index, h, function_equal, f, c);
	if (*ret != HASH_NONE)
		return 0;
	r = vec_push(&c->functions, *f);
	if (r < 0)
		return r;
	*ret = (uint32_t)c->functions.n - 1;
	return hash_put(&c->function_index, h, *ret);
}

int names_cache_add_line(struct names_cache *c, const struct symbolizer_frame *f, const char *name,
			 const char *system_name, const char *file)
{
	struct cached_function function = { .start_line = f->start_line };
	struct cached_line line = { .line = f->line };
	int r = intern_text(c, name, f->n_name, &function.name);

	if (r == 0)
		r = intern_text(c, system_name, f->n_system_name, &function.system_name);
	if (r == 0)
		r = intern_text(c, file, f->n_file, &function.file);
	if (r == 0)
		r = intern_function(c, &function, &line.function);
	return r < 0 ? r : vec_push(&c->lines, line);
}

void names_cache_empty(struct names_cache *c)
{
	uint64_t n = c->n_emptied;

	names_cache_deinit(c);
	c->n_emptied = n + 1;
}

void names_cache_bound(struct names_cache *c)
{
	if (c->addresses.n >= NAMES_CACHE_MAX || c->text.n >= MAX_TEXT)
		names_cache_empty(c);
}

static uint64_t index_bytes(const struct hash_index *x)
{
	return x->n_slots * sizeof(*x->slots);
}

#define VEC_BYTES(v) ((v).cap * sizeof(*(v).data))

uint64_t names_cache_bytes(const struct names_cache *c)
{
	return VEC_BYTES(c->addresses) + VEC_BYTES(c->lines) + VEC_BYTES(c->functions) + VEC_BYTES(c->text) +
	       VEC_BYTES(c->texts) + index_bytes(&c->address_index) + index_bytes(&c->function_index) +
	       index_bytes(&c->text_index);
}

double names_cache_fill(const struct names_cache *c)
{
	double addresses = (double)c->addresses.n / NAMES_CACHE_MAX, text = (double)c->text.n / MAX_TEXT;

	return addresses > text ? addresses : text;
}

void names_cache_deinit(struct names_cache *c)
{
	vec_deinit(&c->addresses);
	hash_deinit(&c->address_index);
	vec_deinit(&c->lines);
	vec_deinit(&c->functions);
	hash_deinit(&c->function_index);
	vec_deinit(&c->text);
	vec_deinit(&c->texts);
	hash_deinit(&c->text_index);
	memset(c, 0, sizeof(*c));
}
