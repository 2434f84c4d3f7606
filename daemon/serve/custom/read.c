/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/core.h"
#include "daemon/serve/custom/custom.h"

bool custom_name(const struct pp_custom_profile *p, char ret[PP_CUSTOM_NAME])
{
	char name[PP_CUSTOM_NAME];

	if (!__atomic_load_n(&p->ready, __ATOMIC_ACQUIRE))
		return false;
	memcpy(name, p->name, sizeof(name));
	utf8_copy(ret, PP_CUSTOM_NAME, name, strnlen(name, sizeof(name)));
	return *ret != '\0';
}

/* One slot, or false: it is free, not of this image, or just being written or taken away. */
static bool read_slot(const struct custom *x, const struct target *t, uint32_t image, size_t slot,
		      struct pp_held *ret)
{
	const struct pp_held *e = &x->held[slot];

	if (!__atomic_load_n(&x->keys[slot / PP_HELD_WAYS].key[slot % PP_HELD_WAYS], __ATOMIC_ACQUIRE))
		return false;
	ret->born = __atomic_load_n(&e->born, __ATOMIC_ACQUIRE);
	ret->stack = __atomic_load_n(&e->stack, __ATOMIC_RELAXED);
	ret->target = __atomic_load_n(&e->target, __ATOMIC_RELAXED);
	ret->profile = __atomic_load_n(&e->profile, __ATOMIC_RELAXED);
	ret->skip = __atomic_load_n(&e->skip, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return ret->born && ret->born == __atomic_load_n(&e->born, __ATOMIC_RELAXED) &&
	       ret->target == image && ret->profile / PP_MAX_CUSTOM == t->index;
}

struct values {
	VEC(struct pp_held) all;
};

/* Those of the rows that are wanted. The core's lock is held. */
static int read_values(const struct core *c, const struct target *t, const bool wanted[PP_MAX_CUSTOM],
		       struct values *to)
{
	uint32_t image = t->images.n ? t->images.data[t->images.n - 1] : 0;

	if (c->custom.state != CUSTOM_READY)
		return 0;
	for (size_t slot = 0; slot < (size_t)PP_HELD_WAYS << PP_HELD_BUCKET_BITS; slot++) {
		struct pp_held e = { 0 };

		if (read_slot(&c->custom, t, image, slot, &e) && wanted[e.profile % PP_MAX_CUSTOM] &&
		    vec_push(&to->all, e) < 0)
			return -ENOMEM;
	}
	return 0;
}

static struct custom_listed *find_listed(struct custom_listing *l, const char *name)
{
	for (size_t i = 0; i < l->all.n; i++)
		if (!strcmp(l->all.data[i].name, name))
			return &l->all.data[i];
	return NULL;
}

static int list_name(struct custom_listing *l, const char *raw, size_t n)
{
	struct custom_listed one = { 0 };

	utf8_copy(one.name, sizeof(one.name), raw, n);
	if (!*one.name || custom_is_reserved(one.name) || l->all.n >= CUSTOM_MAX_LISTED || find_listed(l, one.name))
		return 0;
	return vec_push(&l->all, one);
}

static int list_files(struct core *c, const struct target *t, struct custom_listing *to)
{
	int r = 0;

	for (uint32_t i = 0; i < c->n_tracks && r == 0; i++)
		r = list_name(to, c->tracks[i].name, strnlen(c->tracks[i].name, sizeof(c->tracks[i].name)));
	for (size_t i = 0; i < t->custom.files.n; i++) {
		const struct object *x = objects_find(&c->objects, t->custom.files.data[i].object);

		for (size_t k = 0; x && k < x->custom.all.n && r == 0; k++)
			if (x->custom.all.data[k].kind < CUSTOM_TASK_BEGIN)
				r = list_name(to, x->custom.all.data[k].name, x->custom.all.data[k].n_name);
	}
	return r;
}

static int list_rows(const struct core *c, const struct target *t, struct custom_listing *to)
{
	bool all[PP_MAX_CUSTOM];
	struct values values = { 0 };
	char name[PP_CUSTOM_NAME];
	const struct pp_custom_profile *rows;
	int r = 0;

	if (c->custom.state != CUSTOM_READY)
		return 0;
	rows = c->custom.profiles + (size_t)t->index * PP_MAX_CUSTOM;
	for (size_t i = 0; i < PP_MAX_CUSTOM && r == 0; i++)
		if (custom_name(&rows[i], name))
			r = list_name(to, name, strlen(name));
	memset(all, true, sizeof(all));
	if (r == 0)
		r = read_values(c, t, all, &values);
	for (size_t i = 0; i < values.all.n && r == 0; i++) {
		struct custom_listed *l = NULL;

		if (custom_name(&rows[values.all.data[i].profile % PP_MAX_CUSTOM], name))
			l = find_listed(to, name);
		if (l)
			l->n_held++;
	}
	vec_deinit(&values.all);
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct custom_listed *)a)->name, ((const struct custom_listed *)b)->name);
}

int custom_list(struct core *c, struct target *t, struct custom_listing *ret)
{
	struct custom_listing l = { 0 };
	int r;

	pthread_mutex_lock(&c->scan_lock);
	pthread_mutex_lock(&c->lock);
	r = list_files(c, t, &l);
	if (r == 0)
		r = list_rows(c, t, &l);
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_unlock(&c->scan_lock);
	if (r < 0) {
		custom_listing_deinit(&l);
		return r;
	}
	if (l.all.n)
		qsort(l.all.data, l.all.n, sizeof(*l.all.data), by_name);
	*ret = l;
	return 0;
}

void custom_listing_deinit(struct custom_listing *l)
{
	vec_deinit(&l->all);
}

static void add_counters(struct pp_custom_profile *to, const struct pp_custom_profile *from)
{
	to->n_added += from->n_added;
	to->n_removed += from->n_removed;
	to->n_twice += from->n_twice;
	to->n_absent += from->n_absent;
	to->n_lost += from->n_lost;
}

static int by_stack(const void *a, const void *b)
{
	const struct pp_held *x = a, *y = b;

	if (x->stack != y->stack)
		return x->stack < y->stack ? -1 : 1;
	return (x->skip > y->skip) - (x->skip < y->skip);
}

/* Values of one stack become a group. */
static int group(const struct core *c, struct values *v, struct custom_reading *to)
{
	if (v->all.n)
		qsort(v->all.data, v->all.n, sizeof(*v->all.data), by_stack);
	for (size_t i = 0, k; i < v->all.n; i = k) {
		const struct pp_held *e = &v->all.data[i];
		struct custom_group g = { totals_known(&c->kept, e->stack), e->skip, 0 };

		for (k = i; k < v->all.n && !by_stack(&v->all.data[k], e); k++)
			g.n++;
		to->n_values += (uint64_t)g.n;
		if (g.row == HASH_NONE)
			to->n_unknown += (uint64_t)g.n;
		if (vec_push(&to->groups, g) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Values are read before the counts: the stack of what is held has been counted by then. */
int custom_read(struct core *c, const struct target *t, const char *name, struct custom_reading *ret)
{
	struct custom_reading to = { 0 };
	bool wanted[PP_MAX_CUSTOM] = { false };
	struct values values = { 0 };
	char shown[PP_CUSTOM_NAME];
	int r = 0;

	pthread_mutex_lock(&c->scan_lock);
	pthread_mutex_lock(&c->lock);
	to.epoch = t->custom.epoch;
	to.armed_ns = t->custom.armed_ns;
	if (c->custom.state == CUSTOM_READY) /* first: then the rest is what it will be until the next epoch */
		to.stopped_ns = (int64_t)__atomic_load_n(&c->custom.states[t->index].stopped_ns, __ATOMIC_SEQ_CST);
	for (size_t i = 0; c->custom.state == CUSTOM_READY && i < PP_MAX_CUSTOM; i++) {
		const struct pp_custom_profile *p = &c->custom.profiles[(size_t)t->index * PP_MAX_CUSTOM + i];

		wanted[i] = custom_name(p, shown) && !strcmp(shown, name);
		if (wanted[i])
			add_counters(&to.counters, p);
	}
	r = read_values(c, t, wanted, &values);
	if (r == 0 && values.all.n)
		pool_fold(&c->pool, &c->totals, &c->kept);
	if (r == 0)
		r = group(c, &values, &to);
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_unlock(&c->scan_lock);
	vec_deinit(&values.all);
	if (r < 0)
		custom_reading_deinit(&to);
	else
		*ret = to;
	return r;
}

void custom_reading_deinit(struct custom_reading *r)
{
	vec_deinit(&r->groups);
	*r = (struct custom_reading){ 0 };
}
