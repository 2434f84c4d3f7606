/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/page/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

void history_init(struct history *h)
{
	memset(h, 0, sizeof(*h));
	pthread_mutex_init(&h->lock, NULL);
}

void history_deinit(struct history *h)
{
	for (size_t i = 0; i < h->all.n; i++)
		free(h->all.data[i].data);
	vec_deinit(&h->all);
	h->n_bytes = 0;
}

static void remove_at(struct history *h, size_t at)
{
	h->n_bytes -= h->all.data[at].n;
	free(h->all.data[at].data);
	memmove(h->all.data + at, h->all.data + at + 1, (--h->all.n - at) * sizeof(*h->all.data));
}

static void expire(struct history *h, int64_t now_ns)
{
	while (h->all.n && h->all.data[0].kept_ns + HISTORY_MAX_AGE_NS <= now_ns)
		remove_at(h, 0);
}

static void drop_one(struct history *h)
{
	size_t at = 0;

	while (at < h->all.n && *h->all.data[at].name)
		at++;
	remove_at(h, at < h->all.n ? at : 0);
	h->n_dropped++;
}

#define CLEAN(text) clean((text), sizeof(text))

static void clean(char *text, size_t n)
{
	char copy[256];

	snprintf(copy, sizeof(copy), "%.*s", (int)n - 1, text);
	utf8_copy(text, n, copy, strlen(copy));
}

static bool put(struct history *h, struct history_entry *e, const void *data, size_t n)
{
	char *copy = n <= HISTORY_MAX_BYTES && vec_reserve(&h->all, h->all.n + 1) == 0 ? malloc(n + 1) : NULL;

	h->n_added++;
	if (!copy) {
		h->n_dropped++;
		return false;
	}
	memcpy(copy, data, n);
	while (h->all.n >= HISTORY_MAX || h->n_bytes + n > HISTORY_MAX_BYTES)
		drop_one(h);
	snprintf(e->id, sizeof(e->id), "%016llx",
		 (unsigned long long)hash_u64(hash_u64(HASH_SEED, (uint64_t)e->time_ns), h->n_added));
	h->all.data[h->all.n] = *e;
	h->all.data[h->all.n].n = n;
	h->all.data[h->all.n++].data = copy;
	h->n_bytes += n;
	return true;
}

bool history_add(struct history *h, struct history_entry *e, const void *data, size_t n, int64_t now_ns)
{
	bool kept;

	CLEAN(e->comm);
	CLEAN(e->place);
	CLEAN(e->profile);
	CLEAN(e->query);
	CLEAN(e->name);
	e->kept_ns = now_ns;
	pthread_mutex_lock(&h->lock);
	expire(h, now_ns);
	kept = put(h, e, data, n);
	pthread_mutex_unlock(&h->lock);
	return kept;
}

int64_t history_run(struct history *h, int64_t now_ns)
{
	int64_t due = 0;

	pthread_mutex_lock(&h->lock);
	expire(h, now_ns);
	if (h->all.n)
		due = h->all.data[0].kept_ns + HISTORY_MAX_AGE_NS;
	else
		vec_deinit(&h->all);
	pthread_mutex_unlock(&h->lock);
	return due;
}

void history_each(struct history *h, int64_t now_ns, history_fn *each, void *context)
{
	pthread_mutex_lock(&h->lock);
	expire(h, now_ns);
	for (size_t i = h->all.n; i > 0; i--)
		each(context, &h->all.data[i - 1]);
	pthread_mutex_unlock(&h->lock);
}

static struct history_entry *find(struct history *h, const char *id)
{
	for (size_t i = 0; i < h->all.n; i++)
		if (!strcmp(h->all.data[i].id, id))
			return &h->all.data[i];
	return NULL;
}

bool history_find(struct history *h, const char *id, int64_t now_ns, struct history_entry *ret, struct bytes *data)
{
	const struct history_entry *e;

	pthread_mutex_lock(&h->lock);
	expire(h, now_ns);
	e = find(h, id);
	if (e)
		*ret = *e;
	if (e && data)
		bytes_add(data, e->data, e->n);
	pthread_mutex_unlock(&h->lock);
	ret->data = NULL;
	return e && !(data && data->bad);
}

bool history_rename(struct history *h, const char *id, int64_t now_ns, const char *name)
{
	struct history_entry *e;

	pthread_mutex_lock(&h->lock);
	expire(h, now_ns);
	e = find(h, id);
	if (e)
		utf8_copy(e->name, sizeof(e->name), name, strlen(name));
	pthread_mutex_unlock(&h->lock);
	return e;
}

void history_count(struct history *h, struct history_counts *ret)
{
	pthread_mutex_lock(&h->lock);
	*ret = (struct history_counts){ h->all.n, h->n_bytes, h->n_added, h->n_dropped };
	pthread_mutex_unlock(&h->lock);
}
