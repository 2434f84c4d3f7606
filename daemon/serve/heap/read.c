/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/heap/heap.h"

/* name of a row of totals: the stack's hash and the class, as the kernel wrote them. */
struct row_name {
	uint64_t stack, item;
};

double heap_scale(double size, uint64_t item)
{
	double p = -expm1(-size / (item & PP_SIZE_WINDOW ? PP_HEAP_WINDOW_RATE : PP_HEAP_RATE));

	return p > 0 ? 1 / p : 0;
}

int64_t heap_period(const struct target *t)
{
	return t->heap.source == HEAP_TOLD ? 1 : PP_HEAP_RATE;
}

bool heap_knows_in_use(const struct target *t)
{
	return t->heap.source != HEAP_PROBES || t->heap.level != HEAP_OFF;
}

bool heap_holds(const struct core *c, const struct target *t)
{
	return t->heap.source == HEAP_PROBES && t->heap.level == HEAP_OFF && t->heap.n_windows &&
	       c->heap.mode == BROKER_HEAP_INUSE;
}

bool heap_scales(const struct target *t)
{
	return t->heap.source == HEAP_TOLD || t->heap.n_windows;
}

static struct row_name name_of(const struct totals *t, const struct total *row)
{
	struct row_name n;

	memcpy(&n, t->names.data[row->name].text, sizeof(n));
	return n;
}

struct find {
	const struct totals *totals;
	struct hash_index index; /* of this target's rows, by image and name */
};

struct find_key {
	struct row_name name;
	uint32_t target;
};

static bool find_equal(uint32_t item, const void *key, const void *context)
{
	const struct find *f = context;
	const struct find_key *k = key;
	const struct total *row = &f->totals->rows.data[item];
	struct row_name n = name_of(f->totals, row);

	return row->target == k->target && n.stack == k->name.stack && n.item == k->name.item;
}

static uint64_t find_hash(const struct find_key *k)
{
	return hash_u64(hash_u64(hash_u64(HASH_SEED, k->name.stack), k->name.item), k->target);
}

static bool is_ours(const struct target *t, const struct total *row)
{
	return row->collector == PP_HEAP && target_has_image(t, row->target);
}

static int index_rows(const struct target *t, struct find *f)
{
	int r = 0;

	for (size_t i = 0; i < f->totals->rows.n && r == 0; i++) {
		const struct total *row = &f->totals->rows.data[i];
		struct find_key k = { name_of(f->totals, row), row->target };

		if (is_ours(t, row))
			r = hash_put(&f->index, find_hash(&k), (uint32_t)i);
	}
	return r;
}

/* One slot, or false: it is free, not of this image, or just being written or taken away. */
static bool read_slot(const struct heap *h, const struct target *t, uint32_t image, size_t slot,
		      struct pp_live *ret)
{
	const __u64 *key = &h->keys[slot / PP_LIVE_WAYS].key[slot % PP_LIVE_WAYS];
	const struct pp_live *e = &h->live[slot];
	uint64_t k = __atomic_load_n(key, __ATOMIC_ACQUIRE);

	if (!k || (k >> 1) % PP_MAX_PROCESSES != t->index)
		return false;
	ret->born = __atomic_load_n(&e->born, __ATOMIC_ACQUIRE);
	ret->size = __atomic_load_n(&e->size, __ATOMIC_RELAXED);
	ret->weight = __atomic_load_n(&e->weight, __ATOMIC_RELAXED);
	ret->stack = __atomic_load_n(&e->stack, __ATOMIC_RELAXED);
	ret->target = __atomic_load_n(&e->target, __ATOMIC_RELAXED);
	ret->print = __atomic_load_n(&e->print, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return ret->born && ret->born == __atomic_load_n(&e->born, __ATOMIC_RELAXED) &&
	       ret->target == image;
}

/* Whether the bytes of a stack's objects tell when they are gone. Old objects end while probes are on as
 * often as at any other time: of those that were seen freed there must be as many more that were found
 * changed as the time without probes was longer. Else others come to lie where they lay, and look alike. */
#define TELLING 0.5 /* of the frees that bytes show, at least */
#define CHANCE 0.05

/* P(n or more) where so many are expected. */
static double poisson_tail(uint32_t n, double expected)
{
	double term = exp(-expected), below = 0;

	for (uint32_t i = 0; i < n; i++) {
		below += term;
		term *= expected / (i + 1);
	}
	return 1 - below;
}

static bool is_telling(const struct heap *h, const struct target *t, uint64_t stack)
{
	double on = (double)t->heap.windows_ns;
	double part = on / ((double)(monotonic_ns() - t->heap.epoch_ns) - on + 1);

	for (uint32_t i = 0; i < PP_TURN_TRIES; i++) {
		const struct pp_turn *e = &h->turns[PP_TURN_ROW(t->index, stack, i)];

		if (e->stack != stack)
			continue;
		return e->n_changed * part >= TELLING * e->n_freed ||
		       poisson_tail(e->n_freed, (e->n_changed + 1) * part) > CHANCE;
	}
	return true;
}

static void add_live(const struct find *f, const struct pp_live *e, struct heap_reading *to)
{
	struct find_key k = { { e->stack, pp_size_class(e->size) }, e->target };
	double scale;
	uint32_t i;

	if (e->weight)
		k.name.item |= PP_SIZE_WEIGHED;
	if (e->print)
		k.name.item |= PP_SIZE_WINDOW;
	scale = heap_scale((double)e->size, k.name.item);
	i = hash_get(&f->index, find_hash(&k), find_equal, &k, f);
	if (i == HASH_NONE || i >= to->n) {
		to->lost++;
		to->lost_bytes += (int64_t)(e->weight ? (double)e->weight : (double)e->size * scale);
		return;
	}
	to->rows[i].live++;
	to->rows[i].live_bytes += (int64_t)e->size;
	to->rows[i].live_objects +=
		e->weight ? (double)e->weight / (double)e->size : scale;
	to->rows[i].live_space += e->weight ? (double)e->weight : (double)e->size * scale;
}

struct live_objects {
	VEC(struct pp_live) all;
};

static int read_live(const struct core *c, const struct target *t, const struct heap_question *q,
		     struct live_objects *to)
{
	uint32_t image = t->images.n ? t->images.data[t->images.n - 1] : 0;
	uint64_t now = (uint64_t)monotonic_ns(), age = (uint64_t)q->min_age_ns;

	if (heap_holds(c, t) && age < HEAP_HELD_NS)
		age = HEAP_HELD_NS;
	for (size_t slot = 0; slot < (size_t)PP_LIVE_WAYS << PP_LIVE_BUCKET_BITS; slot++) {
		struct pp_live e;

		if (!read_slot(&c->heap, t, image, slot, &e) || e.born < (uint64_t)t->heap.epoch_ns)
			continue;
		if (age && e.born + age > now)
			continue;
		if (e.print && (e.print & PP_PRINT_SEEN) != PP_PRINT_SEEN)
			continue;
		if (vec_push(&to->all, e) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int read_rows(const struct totals *totals, const struct target *t, struct heap_reading *to)
{
	to->n = totals->rows.n;
	to->rows = calloc(to->n + 1, sizeof(*to->rows));
	if (!to->rows)
		return -ENOMEM;
	for (size_t i = 0; i < to->n; i++) {
		const struct total *row = &totals->rows.data[i];

		if (!is_ours(t, row))
			continue;
		to->rows[i].allocs = row->v[0];
		to->rows[i].alloc_bytes = row->v[1];
	}
	return 0;
}

static int read_all(struct core *c, const struct target *t, const struct live_objects *live,
		    struct heap_reading *to)
{
	struct find f = { .totals = &c->kept };
	int r = read_rows(&c->kept, t, to);

	if (r == 0)
		r = index_rows(t, &f);
	for (size_t i = 0; i < live->all.n && r == 0; i++) {
		const struct pp_live *e = &live->all.data[i];

		if (!e->print || is_telling(&c->heap, t, e->stack))
			add_live(&f, e, to);
		else
			to->unsure += (double)e->size * heap_scale((double)e->size, PP_SIZE_WINDOW);
	}
	hash_deinit(&f.index);
	return r;
}

/* The core's lock is held. */
static void put_peak(const struct target *t, struct heap_reading *to)
{
	const struct heap_peak *peak = &t->heap.peak;

	for (size_t i = 0; i < to->n; i++) {
		const struct heap_row none = { 0 }, *row = i < peak->n ? &peak->rows[i] : &none;

		to->rows[i].live = row->live;
		to->rows[i].live_bytes = row->live_bytes;
		to->rows[i].live_objects = row->live_objects;
		to->rows[i].live_space = row->live_space;
	}
}

/* Live objects are read before the counts: what is in use has been counted by then. */
int heap_read(struct core *c, struct target *t, const struct heap_question *q,
	      struct heap_reading *ret)
{
	struct live_objects live = { 0 };
	struct heap_reading to = { 0 };
	int r = 0;

	pthread_mutex_lock(&c->lock);
	if (c->heap.loaded) /* before, there are counts of an earlier pprofd at most */
		r = read_live(c, t, q, &live);
	pool_fold(&c->pool, &c->totals, &c->kept);
	if (r == 0)
		r = read_all(c, t, &live, &to);
	if (r == 0 && q->peak)
		put_peak(t, &to);
	heap_count(c, t, &to.counters);
	pthread_mutex_unlock(&c->lock);
	vec_deinit(&live.all);
	if (r < 0)
		heap_reading_deinit(&to);
	else
		*ret = to;
	return r;
}

void heap_peak(struct core *c, struct target *t)
{
	const struct heap_question q = { 0 };
	struct heap_peak *peak = &t->heap.peak;
	struct heap_reading now;

	if (heap_read(c, t, &q, &now) < 0)
		return;
	pthread_mutex_lock(&c->lock);
	free(peak->rows);
	peak->rows = TAKE_PTR(now.rows);
	peak->n = now.n;
	peak->taken_ns = monotonic_ns();
	pthread_mutex_unlock(&c->lock);
	heap_reading_deinit(&now);
}

void heap_reading_deinit(struct heap_reading *r)
{
	free(r->rows);
	*r = (struct heap_reading){ 0 };
}

void heap_sum(struct core *c, const struct target *t, const struct heap_reading *r,
	      struct heap_totals *ret)
{
	double objects = 0, space = 0;
	bool known, told;

	pthread_mutex_lock(&c->scan_lock);
	known = heap_knows_in_use(t);
	told = t->heap.source == HEAP_TOLD;
	pthread_mutex_unlock(&c->scan_lock);
	*ret = (struct heap_totals){ 0 };
	for (size_t i = 0; i < r->n && known; i++) {
		objects += r->rows[i].live_objects;
		space += r->rows[i].live_space;
	}
	ret->live_objects = (uint64_t)objects;
	ret->live_space = (uint64_t)space;
	ret->alloc_objects = r->counters.n_allocs;
	ret->alloc_space = r->counters.n_bytes;
	for (size_t i = 0; i < r->n && told; i++) {
		ret->alloc_objects += (uint64_t)r->rows[i].allocs >> 16;
		ret->alloc_space += (uint64_t)r->rows[i].alloc_bytes;
	}
	if (ret->live_objects > ret->alloc_objects) /* an estimate against a count */
		ret->live_objects = ret->alloc_objects;
	pthread_mutex_lock(&c->lock);
	ret->tables = c->kept.stacks.words.n * sizeof(uint64_t) +
		      c->kept.rows.n * sizeof(struct total);
	pthread_mutex_unlock(&c->lock);
	for (size_t i = 0; i < r->n; i++)
		ret->tables += (uint64_t)r->rows[i].live * sizeof(struct pp_live);
}
