/* SPDX-License-Identifier: Apache-2.0 */

/* namer_words.c - which frames the shown addresses of earlier answers were. */

#include "daemon/serve/core.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/namer.h"
#include "daemon/serve/shown.h"

/* The lock is held. */
static uint64_t marker_at(const struct core *c, uint64_t shown)
{
	uint64_t end = (shown - SHOWN_MARKERS) >> 32, slot = (shown & UINT32_MAX) >> 4;

	for (size_t i = 0; slot && i < c->objects.all.n; i++)
		if (c->objects.all.data[i] && c->objects.all.data[i]->slot >> 34 == slot)
			return PP_MARKER(end, c->objects.all.data[i]->id);
	return slot || end >= PP_N_ENDS ? 0 : PP_MARKER(end, 0);
}

static bool shown_equal(uint32_t item, const void *key, const void *context)
{
	const struct names_cache *c = context;

	return shown_kernel(c->addresses.data[item].shown) == *(const uint64_t *)key;
}

/* The symbolizer_lock is held. */
static int index_kernel(const struct names_cache *c, struct hash_index *to)
{
	int r = 0;

	for (uint32_t i = 0; i < c->addresses.n && r == 0; i++)
		if (frame_kind(c->addresses.data[i].word) == FRAME_KERNEL && c->addresses.data[i].n_lines)
			r = hash_put(to, hash_u64(HASH_SEED, shown_kernel(c->addresses.data[i].shown)), i);
	return r;
}

int namer_words(struct core *c, struct namer_shown *all, size_t n)
{
	struct hash_index kernel = { 0 };
	int r;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < n; i++)
		if (!all[i].word && all[i].shown >= SHOWN_MARKERS && all[i].shown < SHOWN_END)
			all[i].word = marker_at(c, all[i].shown);
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_lock(&c->symbolizer_lock);
	r = index_kernel(&c->namer.cache, &kernel);
	for (size_t i = 0; i < n && r == 0; i++) {
		uint64_t shown = all[i].shown;
		uint32_t at;

		if (all[i].word || shown < SHOWN_KERNEL || shown >= SHOWN_MARKERS)
			continue;
		at = hash_get(&kernel, hash_u64(HASH_SEED, shown), shown_equal, &shown, &c->namer.cache);
		if (at != HASH_NONE)
			all[i].word = c->namer.cache.addresses.data[at].word;
		else if (shown >= SHOWN_HIDDEN)
			all[i].word = PP_FRAME_KERNEL << 56; /* which has no name either */
	}
	pthread_mutex_unlock(&c->symbolizer_lock);
	hash_deinit(&kernel);
	return r;
}
