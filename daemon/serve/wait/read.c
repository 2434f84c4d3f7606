/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/log.h"
#include "daemon/serve/profile.h"
#include "daemon/serve/wait/wait.h"

/* Parts of time, in the kernel's unit. What waits may cost without being sampled: of the time of each CPU,
 * whatever the process uses of it; and of what it uses, the --max-overhead. */
#define UNIT (1 << 20)
#define FLOOR (UNIT / 100)

/* A wait that has just ended while we looked is missed by one reading, if it was shorter than this. */
#define SHORT_NS (10 * NS_PER_MS)
#define MAX_TRIES 8

static void *map(int fd, size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int load(struct core *c)
{
	const struct timespec pause = { .tv_nsec = 20 * NS_PER_MS };
	struct waits *w = &c->waits;
	struct broker_wait answer;
	int fds[PP_N_WAIT_MAPS], r;

	while ((r = broker_wait(&c->broker, &answer, fds, w->error)) == -EAGAIN)
		nanosleep(&pause, NULL);
	if (r < 0)
		return r;
	w->n_cpus = answer.n_cpus;
	w->keys = map(fds[PP_WAIT_MAP_KEY], sizeof(*w->keys) << PP_WAIT_BUCKET_BITS);
	w->open = map(fds[PP_WAIT_MAP_OPEN], (PP_WAIT_WAYS * sizeof(*w->open)) << PP_WAIT_BUCKET_BITS);
	w->states = map(fds[PP_WAIT_MAP_STATE], PP_MAX_PROCESSES * sizeof(*w->states));
	w->cpus = map(fds[PP_WAIT_MAP_CPU], (size_t)w->n_cpus * PP_MAX_PROCESSES * sizeof(*w->cpus));
	w->filter = map(fds[PP_WAIT_MAP_FILTER], sizeof(*w->filter));
	for (int i = 0; i < PP_N_WAIT_MAPS; i++)
		close_fd(&fds[i]);
	if (!w->filter || !w->keys || !w->open || !w->states || !w->cpus) {
		snprintf(w->error, sizeof(w->error), "no memory for the tables of waits");
		return -ENOMEM;
	}
	return 0;
}

void wait_limit(struct core *c, const struct target *t)
{
	struct pp_wait_state *s = &c->waits.states[t->index];

	if (isinf(c->heap.budget)) {
		s->floor = s->share = UINT32_MAX; /* more than there can be */
		return;
	}
	s->floor = FLOOR;
	s->share = (uint64_t)(c->heap.budget * UNIT);
}

void wait_load(struct core *c)
{
	struct waits *w = &c->waits;
	int r;

	if (w->mode == BROKER_WAIT_OFF)
		return;
	r = w->mapped ? 0 : load(c);
	if (r == 0) {
		for (uint32_t i = 0; i < c->n_targets; i++)
			wait_limit(c, &c->targets[i]);
		pthread_mutex_lock(&c->scan_lock);
		wait_filter(c);
		w->mapped = true;
		for (uint32_t i = 0; i < c->n_targets; i++)
			wait_data_follow(c, &c->targets[i]);
		pthread_mutex_unlock(&c->scan_lock);
		pthread_mutex_lock(&c->lock);
		c->pool.wait_keys = w->keys;
		c->pool.waits = w->open;
		pthread_mutex_unlock(&c->lock);
		r = broker_arm(&c->broker, PP_WAIT, w->error);
	}
	pthread_mutex_lock(&c->lock);
	w->loaded = r == 0;
	w->armed_ns = r == 0 ? monotonic_ns() : 0;
	pthread_mutex_unlock(&c->lock);
	for (uint32_t i = 0; r == 0 && w->mode == BROKER_WAIT_ON && i < c->n_named; i++)
		wait_initial(c, &c->targets[i]);
	if (r < 0)
		log_line("waits cannot be profiled: %s", w->error);
}

struct open_waits {
	VEC(struct pp_wait) all;
};

/* Those of the target that have not ended. */
static int list_open(const struct core *c, const struct target *t, struct open_waits *to)
{
	bool can_be_told = c->waits.mode != BROKER_WAIT_STRICT; /* there, a record stays while its thread runs */

	to->all.n = 0;
	for (uint32_t slot = 0; can_be_told && slot < POOL_N_WAITS; slot++) {
		struct pp_wait w;

		if (!pool_wait(&c->pool, slot, &w) || w.ended || w.slot != t->index ||
		    !target_has_image(t, w.target))
			continue;
		w.walk = slot; /* from here on: where it is, later its row */
		if (vec_push(&to->all, w) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int by_tid(const void *a, const void *b)
{
	const struct wait_open *x = a, *y = b;

	return (x->host_tid > y->host_tid) - (x->host_tid < y->host_tid);
}

int wait_list(struct core *c, const struct target *t, struct wait_list *ret)
{
	struct open_waits open = { 0 };
	struct wait_list to = { 0 };
	int r = 0;

	pthread_mutex_lock(&c->lock);
	if (c->waits.loaded)
		r = list_open(c, t, &open);
	pthread_mutex_unlock(&c->lock);
	for (size_t i = 0; i < open.all.n && r == 0; i++)
		r = vec_push(&to.all, ((struct wait_open){ open.all.data[i].tid, open.all.data[i].began }));
	if (r == 0 && to.all.n)
		qsort(to.all.data, to.all.n, sizeof(*to.all.data), by_tid);
	vec_deinit(&open.all);
	if (r < 0)
		vec_deinit(&to.all);
	else
		*ret = to;
	return r;
}

uint64_t wait_began(const struct wait_list *l, uint32_t host_tid)
{
	struct wait_open key = { .host_tid = host_tid }, *found = NULL;

	if (l->all.n)
		found = bsearch(&key, l->all.data, l->all.n, sizeof(key), by_tid);
	return found ? found->began : 0;
}

/* Those that are still open stay in the list; whether a long one has gone. */
static bool keep_open(const struct core *c, struct open_waits *o, uint64_t now)
{
	bool gone = false;
	size_t out = 0;

	for (size_t i = 0; i < o->all.n; i++) {
		const struct pp_wait *was = &o->all.data[i];
		struct pp_wait w;

		if (pool_wait(&c->pool, was->walk, &w) && w.began == was->began && w.tid == was->tid && !w.ended)
			o->all.data[out++] = *was;
		else
			gone |= now - was->began > (uint64_t)SHORT_NS;
	}
	o->all.n = out;
	return gone;
}

/* What is open is listed before the counts are read, and looked at again afterwards: so that a wait is in
 * one of them, unless it was a short one that ended in between. The lock is held. */
static int read_both(struct core *c, const struct target *t, struct open_waits *open, uint64_t *now)
{
	int r = 0;

	for (int i = 0; i < MAX_TRIES && r == 0; i++) {
		r = list_open(c, t, open);
		pool_fold(&c->pool, &c->totals, &c->kept);
		*now = (uint64_t)monotonic_ns();
		if (r == 0 && !keep_open(c, open, *now))
			break;
	}
	return r;
}

static void add_open(const struct pp_wait *w, uint64_t now, struct wait_reading *to)
{
	if (w->walk == HASH_NONE || w->walk >= to->n || now <= w->began)
		return;
	to->v[w->walk][0] += w->weight;
	to->v[w->walk][1] += (int64_t)((now - w->began) * w->weight);
}

static int read_rows(struct core *c, struct open_waits *open, uint64_t now, struct wait_reading *to)
{
	for (size_t i = 0; i < open->all.n; i++) /* rows are made first: they may be new */
		open->all.data[i].walk = pool_wait_row(&c->pool, &c->kept, &open->all.data[i]);
	to->n = c->kept.rows.n;
	to->n_open = open->all.n;
	to->v = malloc((to->n + 1) * sizeof(*to->v));
	if (!to->v)
		return -ENOMEM;
	for (size_t i = 0; i < to->n; i++)
		memcpy(to->v[i], c->kept.rows.data[i].v, sizeof(to->v[i]));
	for (size_t i = 0; i < open->all.n; i++)
		add_open(&open->all.data[i], now, to);
	return 0;
}

/* Counts never go down in answers, although a short wait may be missed by one reading. */
static int never_less(struct core *c, struct wait_reading *r)
{
	struct waits *w = &c->waits;

	if (r->n > w->n_shown) {
		struct wait_shown *more = realloc(w->shown, r->n * sizeof(*more));

		if (!more)
			return -ENOMEM;
		memset(more + w->n_shown, 0, (r->n - w->n_shown) * sizeof(*more));
		w->shown = more;
		w->n_shown = r->n;
	}
	for (size_t i = 0; i < r->n; i++) {
		if (c->kept.rows.data[i].collector != PP_WAIT)
			continue;
		for (int k = 0; k < 2; k++) {
			if (r->v[i][k] < w->shown[i].v[k])
				r->v[i][k] = w->shown[i].v[k];
			w->shown[i].v[k] = r->v[i][k];
		}
	}
	return 0;
}

int wait_read(struct core *c, const struct target *t, struct wait_reading *ret)
{
	struct open_waits open = { 0 };
	struct wait_reading to = { 0 };
	uint64_t now = 0;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	if (c->waits.loaded)
		r = read_both(c, t, &open, &now);
	if (r == 0) /* before, there are counts of an earlier pprofd at most */
		r = read_rows(c, &open, now, &to);
	if (r == 0)
		r = never_less(c, &to);
	pthread_mutex_unlock(&c->lock);
	vec_deinit(&open.all);
	if (r < 0)
		wait_reading_deinit(&to);
	else
		*ret = to;
	return r;
}

void wait_reading_deinit(struct wait_reading *r)
{
	free(r->v);
	*r = (struct wait_reading){ 0 };
}

void wait_filter(struct core *c)
{
	uint8_t slots[sizeof(c->waits.filter->slot)] = { 0 };

	if (!c->waits.filter)
		return;
	for (uint32_t i = 0; i < c->n_targets; i++) {
		uint8_t *at = &slots[c->targets[i].host_tgid & 0xffff];

		if (c->targets[i].published && !c->targets[i].windows_only)
			*at = *at ? PP_WAIT_SEVERAL : (uint8_t)(c->targets[i].index + 1);
	}
	for (size_t i = 0; i < sizeof(slots); i++) /* one that stays is never absent for a moment */
		if (c->waits.filter->slot[i] != slots[i])
			__atomic_store_n(&c->waits.filter->slot[i], slots[i], __ATOMIC_SEQ_CST);
}

static void drop_open(struct waits *w, uint32_t index)
{
	const size_t n_open = sizeof(w->filter->open) / sizeof(*w->filter->open);

	for (uint32_t slot = 0; slot < POOL_N_WAITS; slot++) {
		struct pp_wait *o = &w->open[slot];
		__u64 began = __atomic_load_n(&o->began, __ATOMIC_ACQUIRE);
		uint32_t tid = o->tid;

		if (!began || o->slot != index ||
		    !__atomic_compare_exchange_n(&o->began, &began, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			continue;
		__atomic_sub_fetch(&w->filter->open[tid % n_open], 1, __ATOMIC_SEQ_CST);
		__atomic_store_n(&w->keys[slot / PP_WAIT_WAYS].key[slot % PP_WAIT_WAYS], 0, __ATOMIC_SEQ_CST);
	}
}

void wait_leave(struct core *c, struct target *t)
{
	struct waits *w = &c->waits;

	if (w->mapped) {
		drop_open(w, t->index);
		memset(&w->states[t->index], 0, sizeof(w->states[t->index]));
		for (uint32_t cpu = 0; cpu < w->n_cpus; cpu++)
			memset(&w->cpus[cpu * PP_MAX_PROCESSES + t->index], 0, sizeof(*w->cpus));
	}
	vec_deinit(&t->wait_data.parts);
	t->wait_data = (struct wait_data){ 0 };
}

uint64_t wait_count(struct core *c, const struct target *t, const struct profile *p)
{
	bool all = !strcmp(p->name, "offcpu");
	uint64_t n = 0;

	pthread_mutex_lock(&c->lock);
	if (c->kernel == CORE_READY)
		pool_fold(&c->pool, &c->totals, &c->kept);
	for (size_t i = 0; i < c->kept.rows.n; i++) {
		const struct total *row = &c->kept.rows.data[i];

		n += row->collector == p->collector && target_has_image(t, row->target) &&
		     (all || row->collector == PP_RELEASE || wait_may_be_sync(row->item));
	}
	pthread_mutex_unlock(&c->lock);
	return n;
}
