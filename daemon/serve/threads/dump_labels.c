/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/vec.h"
#include "daemon/serve/core.h"
#include "daemon/serve/threads/dump.h"

struct labelling {
	struct core *c;
	struct target *t;
	struct dump *d;
	struct broker_labels q;
	uint64_t pointers[BROKER_MAX_LABELS];
	struct dump_thread *threads[BROKER_MAX_LABELS];
};

/* Exactly n bytes, or false. */
static bool read_exactly(int fd, void *to, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t got = read(fd, (char *)to + at, n - at);

		if (got <= 0)
			return false;
		at += (size_t)got;
	}
	return true;
}

static void ask(struct labelling *l)
{
	_cleanup_(closep) int fd = broker_open_labels(&l->c->broker, &l->q, l->pointers);
	uint64_t words[PP_MAX_WORDS], n;

	for (uint32_t i = 0; i < l->q.n; i++) {
		if (fd < 0 || !read_exactly(fd, &n, sizeof(n)) || n > PP_MAX_WORDS ||
		    !read_exactly(fd, words, n * sizeof(*words))) {
			l->d->n_unlabelled += l->q.n - i;
			break;
		}
		pthread_mutex_lock(&l->c->lock);
		l->threads[i]->labels = n ? totals_labels(&l->c->kept, l->d->image, words, (uint32_t)n) : 0;
		pthread_mutex_unlock(&l->c->lock);
	}
	l->q.n = 0;
}

static int by_host_tid(const void *x, const void *y)
{
	const struct dump_thread *a = x, *b = y;

	return (a->t.host_tid > b->t.host_tid) - (a->t.host_tid < b->t.host_tid);
}

/* What has run since its stack was read may have had other labels then. */
static void check(struct dump *d, struct dump *now)
{
	if (now->threads.n)
		qsort(now->threads.data, now->threads.n, sizeof(*now->threads.data), by_host_tid);
	for (size_t i = 0; i < d->threads.n; i++) {
		struct dump_thread *k = &d->threads.data[i], *same = NULL;

		if (now->threads.n)
			same = bsearch(k, now->threads.data, now->threads.n, sizeof(*k), by_host_tid);
		if (k->t.running || k->t.exit_state ||
		    (same && same->t.started == k->t.started && same->t.n_switches == k->t.n_switches &&
		     !same->t.running))
			continue;
		d->n_unlabelled++;
		k->labels = 0;
	}
}

void dump_add_labels(struct core *c, struct target *t, struct dump *d)
{
	struct labelling *l = calloc(1, sizeof(*l));
	struct dump now = { 0 };

	if (!l)
		return;
	l->c = c;
	l->t = t;
	l->d = d;
	l->q.target = t->index;
	pthread_mutex_lock(&c->scan_lock);
	l->q.labels = c->pool.labels[t->index];
	pthread_mutex_unlock(&c->scan_lock);
	for (size_t i = 0; i < d->threads.n && l->q.labels.n; i++) {
		struct dump_thread *k = &d->threads.data[i];

		if (k->t.running || k->t.exit_state || !k->t.thread_pointer)
			continue;
		l->pointers[l->q.n] = k->t.thread_pointer;
		l->threads[l->q.n++] = k;
		if (l->q.n == BROKER_MAX_LABELS)
			ask(l);
	}
	if (l->q.n)
		ask(l);
	if (l->q.labels.n && dump_read(c, t, BROKER_THREADS_LIST, &now) == 0)
		check(d, &now);
	dump_deinit(&now);
	free(l);
}
