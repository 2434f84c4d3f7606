/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/answer_target.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/serve/path.h"

void place_parse(const char *path, struct place *ret)
{
	char *end;
	long pid;

	*ret = (struct place){ .kind = PLACE_ALONE, .rest = path };
	if (!strncmp(path, "/pid/", 5)) {
		pid = strtol(path + 5, &end, 10);
		ret->kind = PLACE_PID;
		ret->rest = end;
		/* digits alone: strtol also takes blanks and signs */
		if (path[5] >= '1' && path[5] <= '9' && pid <= INT32_MAX && *end == '/')
			ret->pid = (int32_t)pid;
	} else if (!strncmp(path, "/t/", 3)) {
		size_t n = strcspn(path + 3, "/");

		ret->kind = PLACE_NAME;
		ret->rest = path + 3 + n;
		if (n < sizeof(ret->name))
			memcpy(ret->name, path + 3, n);
	}
}

enum lease_wish place_wish(const char *name)
{
	static const char *const kept[] = { "heap", "allocs", "block", "mutex", "offcpu", "threadcreate", "growth", "wall",
					    "contention", "delta_heap", "delta_block", "delta_mutex" };

	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
		if (!strcmp(name, kept[i]))
			return LEASE_KEPT;
	return LEASE_WINDOW;
}

bool place_reads_kept(const char *name)
{
	const struct profile *p = profile_find(name);

	return !p || (p->arm != PROFILE_WINDOWED && p->arm != PROFILE_INSTANT && p->arm != PROFILE_SYMBOL);
}

struct target *place_take(const struct asking *s, const struct known_process *k, enum lease_wish wish, bool *gone)
{
	char error[BROKER_MAX_TEXT];
	struct target *t = NULL;
	int r = lease_take(s->a->core, k, wish, &t, error);

	*gone = r == LEASE_GONE;
	if (r == LEASE_FULL)
		http_error(s->ret, 503, "all %d processes that can be looked at at a time are being asked about",
			   BROKER_MAX_TARGETS);
	else if (r == -EAGAIN)
		http_error(s->ret, 503, "process %d is in the middle of executing a program: try again", k->pid);
	else if (r < 0)
		http_error(s->ret, 500, "process %d (%s) cannot be looked at: %s", k->pid, k->comm,
			   *error ? error : strerror(-r));
	return r == LEASE_OK ? t : NULL;
}

static void take_one(const struct asking *s, const struct known_process *k, enum lease_wish wish, struct place_found *ret)
{
	bool gone;

	ret->target = place_take(s, k, wish, &gone);
	if (gone)
		http_error(s->ret, 404, "process %d (%s) has ended", k->pid, k->comm);
}

/* One whose slot is still there, although it may have ended. */
static bool take_bound(const struct asking *s, const struct place *p, enum lease_wish wish, bool alive, struct place_found *ret)
{
	struct core *c = s->a->core;
	struct target *t = p->pid ? lease_find(c, p->pid) : NULL;

	if (t && alive && !target_alive(t)) {
		lease_end(c, t);
		t = NULL;
	}
	if (!t)
		return false;
	if (alive)
		lease_wish(c, t, wish);
	ret->target = t;
	return true;
}

static void find_pid(const struct asking *s, const struct place *p, enum lease_wish wish, struct place_found *ret)
{
	struct core *c = s->a->core;
	struct known_process k;

	if (take_bound(s, p, wish, true, ret))
		return;
	known_wait(&c->known);
	if (p->pid && known_find(&c->known, p->pid, &k))
		take_one(s, &k, wish, ret);
	else if (!take_bound(s, p, wish, false, ret))
		http_error(s->ret, 404, "there is no such process: / lists those that there are");
}

/* The first PLACE_MAX of all. */
struct list {
	struct known_process *all;
	size_t n;
};

static bool add(void *context, const struct known_process *k)
{
	struct list *l = context;

	l->all[l->n++] = *k;
	return l->n < PLACE_MAX;
}

static void find_alone(const struct asking *s, enum lease_wish wish, struct place_found *ret)
{
	struct core *c = s->a->core;
	struct list l = { calloc(PLACE_MAX, sizeof(*l.all)), 0 };

	if (c->n_named == 1 && (core_is_single(c) || c->known.socket < 0)) {
		ret->target = &c->targets[0];
		lease_hold(c, ret->target);
	} else if (l.all) {
		known_wait(&c->known);
		known_each(&c->known, add, &l);
	}
	if (ret->target)
		;
	else if (l.n == 1)
		take_one(s, &l.all[0], wish, ret);
	else if (l.n || c->n_named)
		http_error(s->ret, 404, "there are several processes: / lists them");
	else
		http_error(s->ret, 404, "there is no process now of those that are described");
	free(l.all);
}

static void find_name(const struct asking *s, const struct place *p, enum lease_wish wish, struct place_found *ret)
{
	struct core *c = s->a->core;
	_cleanup_(freep) struct known_process *all = calloc(PLACE_MAX, sizeof(*all));

	if (!all) {
		http_error(s->ret, 500, "out of memory");
		return;
	}
	known_wait(&c->known);
	ret->n_all = known_named(&c->known, p->name, all, PLACE_MAX, s->newcomers);
	ret->n = ret->n_all < PLACE_MAX ? ret->n_all : PLACE_MAX;
	if (!ret->n)
		http_error(s->ret, 404, "no process is called so: / lists those that there are");
	else if (ret->n == 1)
		take_one(s, &all[0], wish, ret);
	else
		ret->several = TAKE_PTR(all);
}

void place_find(const struct asking *s, const struct place *p, enum lease_wish wish, struct place_found *ret)
{
	*ret = (struct place_found){ 0 };
	if (p->kind == PLACE_PID)
		find_pid(s, p, wish, ret);
	else if (p->kind == PLACE_NAME)
		find_name(s, p, wish, ret);
	else
		find_alone(s, wish, ret);
}

void place_refuse(const struct asking *s, const struct place_found *f)
{
	struct bytes *to = &s->ret->body;

	s->ret->status = 409;
	s->ret->kind = HTTP_ERROR;
	bytes_printf(to, "%zu processes are called so, and this cannot be merged. Each has a path of its own:\n", f->n_all);
	for (size_t i = 0; i < f->n; i++)
		bytes_printf(to, "%d %s /pid/%d/debug/pprof/\n", f->several[i].pid, f->several[i].comm,
			     f->several[i].pid);
	if (f->n < f->n_all)
		bytes_printf(to, "and %zu more\n", f->n_all - f->n);
}
