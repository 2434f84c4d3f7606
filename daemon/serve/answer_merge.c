/* SPDX-License-Identifier: Apache-2.0 */

/* answer_merge.c - one answer of several processes that are called the same: each is asked as if it were alone, in a thread
 * of its own and at the same time, and what comes is added up (merge.h). */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/answer_target.h"
#include "daemon/serve/merge.h"
#include "daemon/serve/profile.h"

#define STACK_SIZE ((size_t)512 * 1024)

struct part {
	struct asking s;
	struct http_response ret;
	const struct known_process *process;
	const char *name;
	enum lease_wish wish;
	pthread_t thread;
	bool started, gone;
};

bool answer_can_merge(const struct asking *s, const char *name)
{
	static const char *const names[] = { "profile", "wall", "heap", "allocs", "block", "mutex", "offcpu",
					     "threadcreate", "growth", "goroutine", "delta_heap", "delta_block",
					     "delta_mutex" };
	const char *format = query_get(&s->q->query, "format");

	if (s->gperftools || query_number(&s->q->query, "debug") || !asking_known_format(format))
		return false;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

static void *run(void *context)
{
	struct part *p = context;

	p->s.target = place_take(&p->s, p->process, p->wish, &p->gone);
	if (!p->s.target)
		return NULL;
	answer_profile(&p->s, p->name);
	lease_end(p->s.a->core, p->s.target);
	p->gone = p->ret.status == 404;
	return NULL;
}

static void start(struct part *p)
{
	pthread_attr_t small;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK_SIZE);
	p->started = pthread_create(&p->thread, &small, run, p) == 0;
	pthread_attr_destroy(&small);
	if (!p->started)
		http_error(&p->ret, 503, "no thread");
}

/* What it says of itself comes first. */
static int say(const struct asking *s, struct merge *m, struct part *parts, const struct place_found *f)
{
	int r = capture_comment(m->sum, "pprofd: %u of %zu processes added up; the label pid tells whose a sample is", m->n,
				f->n_all);

	for (size_t i = 0; i < f->n && r == 0; i++)
		if (parts[i].gone || parts[i].ret.status != 200)
			r = capture_comment(m->sum, "pid %d is not in it: %.200s", f->several[i].pid,
					    parts[i].gone ? "it has ended" : http_said(&parts[i].ret));
	return r == 0 ? asking_say_newcomers(s, m->sum) : r;
}

static void encode(const struct asking *s, struct merge *m, const char *name)
{
	int r = capture_merge(m->sum);

	if (r == 0)
		r = asking_write(s, m->sum, &m->names, name);
	if (r < 0)
		http_error(s->ret, 500, "cannot encode the profile: %s", strerror(-r));
}

/* None has answered: what one of them says is what there is to say. */
static void give_up(const struct asking *s, struct part *parts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (parts[i].gone || (!parts[i].ret.body.n && !parts[i].ret.hang_up))
			continue;
		s->ret->hang_up = parts[i].ret.hang_up;
		http_error(s->ret, parts[i].ret.status ? parts[i].ret.status : 500, "process %d: %.300s",
			   parts[i].process->pid, http_said(&parts[i].ret));
		return;
	}
	http_error(s->ret, 404, "the processes that are called so have ended");
}

/* A thread and a window for each of them, for as long as the client says. */
static bool has_windows(const struct asking *s, const char *name)
{
	const struct profile *p = profile_find(name);

	return (p && (p->arm == PROFILE_WINDOWED || p->arm == PROFILE_WALL)) || query_get(&s->q->query, "seconds");
}

static void ask_all(const struct asking *s, const struct place_found *f, const char *name, enum lease_wish wish)
{
	struct part *parts = calloc(f->n, sizeof(*parts));
	struct merge m = MERGE_INIT;
	int r = 0;

	if (!parts) {
		http_error(s->ret, 500, "out of memory");
		return;
	}
	for (size_t i = 0; i < f->n; i++) {
		parts[i] = (struct part){ .s = *s, .process = &f->several[i], .name = name, .wish = wish };
		parts[i].s.ret = &parts[i].ret;
		parts[i].s.merge = &m;
		start(&parts[i]);
	}
	for (size_t i = 0; i < f->n; i++)
		if (parts[i].started)
			pthread_join(parts[i].thread, NULL);
	if (m.sum)
		r = say(s, &m, parts, f);
	if (m.sum && r == 0)
		encode(s, &m, name);
	else if (r < 0)
		http_error(s->ret, 500, "out of memory");
	else
		give_up(s, parts, f->n);
	for (size_t i = 0; i < f->n; i++)
		http_response_deinit(&parts[i].ret);
	free(parts);
	merge_deinit(&m);
}

void answer_merged(const struct asking *s, const struct place_found *f, const char *name, enum lease_wish wish)
{
	int n = has_windows(s, name) ? (int)f->n : 0;

	if (n && !asking_begin_captures(s, n))
		return;
	ask_all(s, f, name, wish);
	if (n)
		asking_end_captures(s, n);
}
