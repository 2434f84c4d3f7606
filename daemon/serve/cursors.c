/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/cursors.h"

#include <errno.h>
#include <string.h>

#include "base/hash.h"

static size_t find(const struct cursors *c, const struct cursor_key *k)
{
	size_t i = 0;

	while (i < c->all.n &&
	       !(c->all.data[i].key.client == k->client && c->all.data[i].key.target == k->target &&
		 !strcmp(c->all.data[i].key.profile, k->profile)))
		i++;
	return i;
}

static void drop(struct cursors *c, size_t at)
{
	c->n_rows -= c->all.data[at].rows.n;
	vec_deinit(&c->all.data[at].rows);
	c->all.data[at] = c->all.data[--c->all.n];
}

static void give_up_oldest(struct cursors *c)
{
	size_t oldest = 0;

	for (size_t i = 1; i < c->all.n; i++)
		if (c->all.data[i].used < c->all.data[oldest].used)
			oldest = i;
	drop(c, oldest);
	c->n_given_up++;
}

static int copy_rows(int64_t (*now)[2], size_t n, struct cursor *to)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		if (now[i][0] || now[i][1])
			r = vec_push(&to->rows, ((struct cursor_row){ (uint32_t)i,
								      { now[i][0], now[i][1] } }));
	vec_fit(&to->rows);
	return r;
}

static int put(struct cursors *c, const struct cursor_key *key, int64_t (*now)[2], size_t n,
	       int64_t now_ns)
{
	struct cursor fresh = { .key = *key, .taken_ns = now_ns, .used = ++c->used };
	int r = copy_rows(now, n, &fresh);
	size_t at = find(c, key);

	if (r == 0)
		r = vec_reserve(&c->all, c->all.n + 1);
	if (r < 0) {
		vec_deinit(&fresh.rows);
		return r;
	}
	if (at < c->all.n)
		drop(c, at);
	while (c->all.n && (c->all.n >= CURSORS_MAX || c->n_rows + fresh.rows.n > CURSORS_MAX_ROWS))
		give_up_oldest(c);
	c->all.data[c->all.n++] = fresh;
	c->n_rows += fresh.rows.n;
	return 0;
}

/* The rows that the client has seen, as an array like `now`. */
static int seen(const struct cursors *c, size_t at, int64_t (*now)[2], size_t n,
		struct cursor_before *to)
{
	to->was = at < c->all.n ? CURSOR_KNOWN : c->n_given_up ? CURSOR_GIVEN_UP : CURSOR_FIRST;
	to->n = n;
	to->v = calloc(n + 1, sizeof(*to->v));
	if (!to->v)
		return -ENOMEM;
	if (to->was == CURSOR_GIVEN_UP && n)
		memcpy(to->v, now, n * sizeof(*to->v));
	if (to->was != CURSOR_KNOWN)
		return 0;
	to->taken_ns = c->all.data[at].taken_ns;
	for (size_t i = 0; i < c->all.data[at].rows.n; i++) {
		const struct cursor_row *row = &c->all.data[at].rows.data[i];

		if (row->row < n)
			memcpy(to->v[row->row], row->v, sizeof(row->v));
	}
	return 0;
}

int cursors_move(struct cursors *c, const struct cursor_key *key, int64_t (*now)[2], size_t n,
		 int64_t now_ns, bool stay, struct cursor_before *ret)
{
	struct cursor_before to = { 0 };
	int r = seen(c, find(c, key), now, n, &to);

	if (r == 0 && !stay)
		r = put(c, key, now, n, now_ns);
	if (r < 0)
		cursor_before_deinit(&to);
	else
		*ret = to;
	return r;
}

void cursors_moved(struct cursors *c, const uint32_t *map)
{
	for (size_t i = 0; i < c->all.n; i++) {
		struct cursor *one = &c->all.data[i];
		size_t kept = 0;

		for (size_t k = 0; k < one->rows.n; k++) {
			uint32_t to = map[one->rows.data[k].row];

			if (to == HASH_NONE)
				continue;
			one->rows.data[kept] = one->rows.data[k];
			one->rows.data[kept++].row = to;
		}
		c->n_rows -= one->rows.n - kept;
		one->rows.n = kept;
	}
}

void cursor_before_deinit(struct cursor_before *b)
{
	free(b->v);
	*b = (struct cursor_before){ 0 };
}

void cursors_deinit(struct cursors *c)
{
	while (c->all.n)
		drop(c, c->all.n - 1);
	vec_deinit(&c->all);
}
