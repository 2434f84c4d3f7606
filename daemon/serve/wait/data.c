/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/wait/data.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/serve/core.h"

#define MAX_VADDR (1ull << (PP_ADDRESS_BITS - 1))
#define MAX_ADDRESS (1ull << 56) /* of user space, on any machine */

/* Files that touch each other. */
struct run {
	uint64_t start, end, bytes; /* of the data */
	uint32_t n_files;	    /* with data */
	bool main;
};

static int by_start(const void *a, const void *b)
{
	const struct wait_file *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int by_worth(const void *a, const void *b)
{
	const struct run *x = a, *y = b;

	if (x->main != y->main)
		return x->main ? -1 : 1;
	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

static void add_file(struct run *r, const struct wait_file *f)
{
	if (f->data == f->data_end)
		return;
	if (!r->n_files++)
		r->start = f->data;
	r->start = f->data < r->start ? f->data : r->start;
	r->end = f->data_end > r->end ? f->data_end : r->end;
	r->bytes += f->data_end - f->data;
	r->main |= f->main;
}

/* Of the first n_ranges + 1 the last one is thrown away. */
static uint32_t take_run(struct run *best, uint32_t n, const struct run *r, uint32_t *left_out)
{
	if (!r->n_files)
		return n;
	best[n++] = *r;
	qsort(best, n, sizeof(*best), by_worth);
	if (n > PP_WAIT_RANGES)
		*left_out += best[--n].n_files;
	return n;
}

uint32_t wait_ranges(struct wait_file *files, size_t n, uint64_t ret[PP_WAIT_RANGES][2],
		     uint32_t *left_out)
{
	struct run best[PP_WAIT_RANGES + 1], r = { 0 };
	uint32_t n_ranges = 0;
	uint64_t end = 0;

	*left_out = 0;
	if (n)
		qsort(files, n, sizeof(*files), by_start);
	for (size_t i = 0; i < n; i++) {
		if (files[i].start > end) {
			n_ranges = take_run(best, n_ranges, &r, left_out);
			r = (struct run){ 0 };
		}
		add_file(&r, &files[i]);
		end = files[i].end > end ? files[i].end : end;
	}
	n_ranges = take_run(best, n_ranges, &r, left_out);
	for (uint32_t i = 0; i < n_ranges; i++) {
		ret[i][0] = best[i].start;
		ret[i][1] = best[i].end;
	}
	return n_ranges;
}

/* Where the file's segments are, if it is mapped with this bias. False: nowhere that could be. */
static bool place(const struct object *x, uint64_t bias, struct wait_file *f)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	f->start = f->data = UINT64_MAX;
	for (uint32_t i = 0; i < x->info.n_segments; i++) {
		const struct symbolizer_segment *s = &x->info.segments[i];
		uint64_t start = s->vaddr + bias, end = start + s->memsz;

		if (!s->memsz)
			continue;
		if (end < start || end > MAX_ADDRESS || s->vaddr > MAX_VADDR ||
		    s->memsz > MAX_VADDR)
			return false;
		f->start = start < f->start ? start : f->start;
		f->end = end > f->end ? end : f->end;
		if (!(s->flags & PF_W))
			continue;
		f->data = start < f->data ? start : f->data;
		f->data_end = end > f->data_end ? end : f->data_end;
	}
	f->start &= ~(page - 1);
	f->end = (f->end + page - 1) & ~(page - 1);
	if (!f->data_end)
		f->data = 0;
	return f->start < f->end;
}

struct files {
	VEC(struct wait_file) all;
};

static bool listed(const struct files *l, uint32_t object, uint64_t bias)
{
	for (size_t i = 0; i < l->all.n; i++)
		if (l->all.data[i].object == object && l->all.data[i].bias == bias)
			return true;
	return false;
}

static int list_files(struct core *c, const struct target *t, struct files *l)
{
	int r = 0;

	for (size_t i = 0; i < t->mappings.n && r == 0 && l->all.n < WAIT_MAX_PARTS; i++) {
		const struct target_mapping *m = &t->mappings.data[i];
		const struct object *x = objects_find(&c->objects, m->object);
		struct wait_file f = { 0 };
		uint64_t address;

		if (!x || x->kind != SYMBOLIZER_FILE || !object_address_at(x, m->offset, &address))
			continue;
		f.object = x->id;
		f.bias = m->start - address;
		f.main = x->id == t->main_object;
		if (!listed(l, f.object, f.bias) && place(x, f.bias, &f))
			r = vec_push(&l->all, f);
	}
	return r;
}

/* The kernel looks at the ranges without a lock: while they change, it sees none. */
static void put_ranges(struct pp_wait_state *s, const uint64_t ranges[PP_WAIT_RANGES][2],
		       uint32_t n)
{
	bool same = s->n_ranges == n;

	for (uint32_t i = 0; i < n && same; i++)
		same = s->ranges[i][0] == ranges[i][0] && s->ranges[i][1] == ranges[i][1];
	if (same)
		return;
	__atomic_store_n(&s->n_ranges, 0, __ATOMIC_SEQ_CST);
	for (uint32_t i = 0; i < n; i++) {
		__atomic_store_n(&s->ranges[i][0], ranges[i][0], __ATOMIC_SEQ_CST);
		__atomic_store_n(&s->ranges[i][1], ranges[i][1], __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(&s->n_ranges, n, __ATOMIC_SEQ_CST);
}

static void take_out(struct wait_data *d, size_t i)
{
	memmove(d->parts.data + i, d->parts.data + i + 1,
		(--d->parts.n - i) * sizeof(*d->parts.data));
}

static bool same_part(const struct wait_part *a, const struct wait_part *b)
{
	return a->object == b->object && a->bias == b->bias && a->image == b->image;
}

/* Files that are forgotten have no names any more. */
static void forget(struct core *c, struct wait_data *d)
{
	size_t out = 0;

	for (size_t i = 0; i < d->parts.n; i++)
		if (objects_find(&c->objects, d->parts.data[i].object))
			d->parts.data[out++] = d->parts.data[i];
	d->parts.n = out;
}

static void remember(struct wait_data *d, const struct wait_file *f, uint32_t image)
{
	struct wait_part p = { f->data, f->data_end, f->bias, f->object, image };
	size_t i = 0;

	if (f->data == f->data_end)
		return;
	while (i < d->parts.n && !same_part(&d->parts.data[i], &p))
		i++;
	if (i < d->parts.n) {
		take_out(d, i);
	} else if (d->parts.n == WAIT_MAX_PARTS) {
		take_out(d, 0);
		d->n_forgotten++;
	}
	if (vec_push(&d->parts, p) < 0)
		d->n_forgotten++;
}

void wait_data_follow(struct core *c, struct target *t)
{
	uint64_t ranges[PP_WAIT_RANGES][2];
	struct wait_data *d = &t->wait_data;
	struct files l = { 0 };
	uint32_t n, left_out;

	if (!c->waits.mapped || !t->images.n || list_files(c, t, &l) < 0) {
		vec_deinit(&l.all);
		return;
	}
	n = wait_ranges(l.all.data, l.all.n, ranges, &left_out);
	pthread_mutex_lock(&c->lock);
	forget(c, d);
	d->n_files = 0;
	d->n_left_out = left_out;
	for (size_t i = 0; i < l.all.n; i++) {
		d->n_files += l.all.data[i].data < l.all.data[i].data_end;
		remember(d, &l.all.data[i], t->images.data[t->images.n - 1]);
	}
	put_ranges(&c->waits.states[t->index], ranges, n);
	pthread_mutex_unlock(&c->lock);
	vec_deinit(&l.all);
}

uint64_t wait_data_word(const struct target *t, uint32_t image, uint64_t address)
{
	uint64_t word = 0;

	for (size_t i = 0; i < t->wait_data.parts.n; i++) {
		const struct wait_part *p = &t->wait_data.parts.data[i];

		if (p->image != image || address < p->start || address >= p->end)
			continue;
		if (word) /* one file after the other: counts do not tell when they were counted */
			return 0;
		word = PP_FRAME(p->object, address - p->bias);
	}
	return word;
}

bool wait_data_watched(const struct pp_wait_state *s, uint64_t address)
{
	for (uint64_t i = 0; i < s->n_ranges; i++)
		if (address >= s->ranges[i][0] && address < s->ranges[i][1])
			return true;
	return false;
}
