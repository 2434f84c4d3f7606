/* SPDX-License-Identifier: Apache-2.0 */

/* tidy.c - drops what was counted for processes that have no slot any more. */

#include <stdlib.h>
#include <string.h>

#include "daemon/serve/lease.h"
#include "daemon/serve/session.h"

#define WORTH 1024 /* rows */

struct live {
	VEC(uint32_t) images; /* sorted */
};

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int list_images(const struct core *c, struct live *to)
{
	int r = 0;

	for (uint32_t i = 0; i < c->n_targets; i++)
		for (size_t k = 0; k < c->targets[i].images.n && r == 0; k++)
			r = vec_push(&to->images, c->targets[i].images.data[k]);
	if (to->images.n)
		qsort(to->images.data, to->images.n, sizeof(uint32_t), by_number);
	return r;
}

static bool is_live(void *context, uint32_t image)
{
	const struct live *l = context;

	return l->images.n && bsearch(&image, l->images.data, l->images.n, sizeof(uint32_t), by_number);
}

static size_t count_dead(const struct core *c, struct live *l)
{
	size_t n = 0;

	for (size_t i = 0; i < c->kept.rows.n; i++)
		n += !is_live(l, c->kept.rows.data[i].target);
	return n;
}

/* Rows of arrays that are in the order of core.kept: those that stay are nearer to the beginning. */
static size_t move_rows(void *rows, size_t n, size_t size, const uint32_t *map)
{
	char *at = rows;
	size_t last = 0;

	for (size_t i = 0; i < n; i++) {
		if (map[i] == HASH_NONE)
			continue;
		memmove(at + map[i] * size, at + i * size, size);
		last = map[i] + 1;
	}
	return last;
}

static void move_all(struct core *c, const uint32_t *map)
{
	for (uint32_t i = 0; i < c->n_targets; i++) {
		struct heap_peak *p = &c->targets[i].heap.peak;

		p->n = move_rows(p->rows, p->n, sizeof(*p->rows), map);
	}
	c->waits.n_shown = move_rows(c->waits.shown, c->waits.n_shown, sizeof(*c->waits.shown), map);
	if (c->rows_moved)
		c->rows_moved(c->rows_context, map);
	pool_forget_rows(&c->pool);
}

/* The lock is held, and nobody has a reading. */
static void drop_dead(struct core *c, struct live *l)
{
	size_t n = c->kept.rows.n, dead = count_dead(c, l);
	uint32_t *map;

	if (dead == n && !c->waits.loaded) { /* nobody is there: with all that was kept of them, labels too */
		totals_clear(&c->kept);
		session_mark_anew(c);
		pool_forget_rows(&c->pool);
		free(c->waits.shown);
		c->waits.shown = NULL;
		c->waits.n_shown = 0;
		return;
	}
	if (dead < WORTH || dead < n / 2)
		return;
	map = malloc(n * sizeof(*map));
	if (map && totals_keep(&c->kept, is_live, l, map) == 0) {
		move_all(c, map);
		session_mark_anew(c);
	}
	free(map);
}

void lease_tidy(struct core *c)
{
	struct live l = { 0 };
	bool done = false;

	pthread_mutex_lock(&c->lock);
	if (c->kernel == CORE_READY && !__atomic_load_n(&c->n_reading, __ATOMIC_SEQ_CST) && list_images(c, &l) == 0) {
		pool_fold(&c->pool, &c->totals, &c->kept);
		drop_dead(c, &l);
		done = true;
	}
	c->untidy = !done;
	pthread_mutex_unlock(&c->lock);
	vec_deinit(&l.images);
	if (done)
		session_forget_objects(c);
}
