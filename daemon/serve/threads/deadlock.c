/* SPDX-License-Identifier: Apache-2.0 */

/* deadlock.c - who waits for whom. A mutex of glibc's has its holder's number 8 bytes behind its futex word,
 * one with priority inheritance in the word; a thread that is to be joined clears a word with its number. */

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/threads/threads.h"

#define DEPTH 5 /* frames in which the C library is looked for */
#define FUTEX_LOCK_PI 6
#define FUTEX_LOCK_PI2 13
#define FUTEX_TID 0x3fffffffu

static bool is_pthreads(const char *name)
{
	static const char *const patterns[] = { "*pthread_mutex_*lock*", "*__lll_lock_wait*",
						"*pthread_cond_*wait*", "*pthread_*join*", "mtx_*lock",
						"thrd_join" };

	for (size_t i = 0; name && i < sizeof(patterns) / sizeof(*patterns); i++)
		if (!fnmatch(patterns[i], name, 0))
			return true;
	return false;
}

/* Others lay out their locks otherwise. */
static bool in_pthreads(const struct thread_view *v, const struct naming *named)
{
	for (uint32_t i = 0; i < v->n && i < DEPTH; i++) {
		uint32_t at = naming_find(named, v->words[i]), n;
		const struct naming_line *lines = naming_lines(named, at, &n);

		for (uint32_t k = 0; k < n; k++)
			if (is_pthreads(naming_function(named, lines[k].function)->name))
				return true;
		if (at != UINT32_MAX && is_pthreads(named->locations.data[at].callee))
			return true;
	}
	return false;
}

/* As the target numbers its threads; 0: nothing tells. */
static uint32_t waits_for(const struct thread_view *v, const struct naming *named)
{
	uint32_t op = PP_WAIT_OP(v->item), word = (uint32_t)v->t->lock[0];

	if (!v->t->has_lock || !word || (v->kind != WAIT_MUTEX && v->kind != WAIT_JOIN))
		return 0;
	if (op == FUTEX_LOCK_PI || op == FUTEX_LOCK_PI2)
		return word & FUTEX_TID;
	if (!in_pthreads(v, named))
		return 0;
	return v->kind == WAIT_JOIN ? word & FUTEX_TID : (uint32_t)v->t->lock[1];
}

struct numbered {
	uint32_t tid, index;
};

static int by_tid(const void *a, const void *b)
{
	const struct numbered *x = a, *y = b;

	return (x->tid > y->tid) - (x->tid < y->tid);
}

void deadlock_owners(struct threads *t)
{
	_cleanup_(freep) struct numbered *all = malloc((t->all.n + 1) * sizeof(*all));

	if (!all) /* nobody is named then */
		return;
	for (uint32_t i = 0; i < t->all.n; i++)
		all[i] = (struct numbered){ t->all.data[i].t->own_tid, i };
	qsort(all, t->all.n, sizeof(*all), by_tid);
	for (size_t i = 0; i < t->all.n; i++) {
		struct thread_view *v = &t->all.data[i];
		struct numbered key = { .tid = waits_for(v, &t->names) }, *found = NULL;

		if (key.tid)
			found = bsearch(&key, all, t->all.n, sizeof(key), by_tid);
		v->for_whom = found ? found->index + 1 : 0;
	}
}

static int add_cycle(struct threads *t, uint32_t first)
{
	uint32_t i = first;
	int r;

	do {
		r = vec_push(&t->cycles, i);
		i = t->all.data[i].for_whom - 1;
	} while (r == 0 && i != first);
	return r < 0 ? r : vec_push(&t->cycles, UINT32_MAX);
}

/* Everyone waits for one at most: whoever comes back to a thread of the same walk has found a cycle. */
int deadlock_cycles(struct threads *t)
{
	_cleanup_(freep) uint32_t *walk = calloc(t->all.n + 1, sizeof(*walk));
	int r = walk ? 0 : -ENOMEM;

	for (uint32_t first = 0; first < t->all.n && r == 0; first++) {
		uint32_t i = first;

		while (!walk[i]) {
			walk[i] = first + 1;
			if (!t->all.data[i].for_whom)
				break;
			i = t->all.data[i].for_whom - 1;
			if (walk[i] == first + 1)
				r = add_cycle(t, i);
		}
	}
	return r;
}

bool deadlock_still(const struct dump *now, const struct pp_thread *was)
{
	for (size_t i = 0; i < now->threads.n; i++) {
		const struct pp_thread *t = &now->threads.data[i].t;

		if (t->host_tid == was->host_tid)
			return t->started == was->started && t->n_switches == was->n_switches && !t->running &&
			       t->state && !memcmp(t->lock, was->lock, sizeof(t->lock));
	}
	return false;
}
