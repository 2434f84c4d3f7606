/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/profile.h"
#include "daemon/serve/session.h"
#include "daemon/serve/threads/threads.h"

const uint64_t *threads_words(const struct dump *d, const struct dump_thread *t, uint64_t *marker, uint32_t *n)
{
	*n = t->n;
	if (t->n)
		return d->words.data + t->first;
	*marker = PP_MARKER(t->t.running ? PP_END_RUNNING : PP_END_EXEC, 0);
	*n = 1;
	return marker;
}

static int add_label(struct capture *to, struct capture_label *l, const char *key, const char *value)
{
	l->key = capture_string(to, key, strlen(key));
	l->value = capture_string(to, value, strlen(value));
	return l->key == HASH_NONE || l->value == HASH_NONE ? -ENOMEM : 0;
}

static uint32_t label_set(struct core *c, const struct target *of, const struct dump_thread *k, bool tid,
			  struct capture *to)
{
	const struct pp_thread *t = &k->t;
	char name[sizeof(t->comm) + 1] = "", number[16];
	struct capture_label l[CAPTURE_MAX_LABELS] = { 0 };
	uint32_t n = 0;
	int r = 0;

	memcpy(name, t->comm, sizeof(t->comm));
	if (*name)
		r = add_label(to, &l[n++], "thread", name);
	snprintf(number, sizeof(number), "%u", t->tid);
	if (tid && r == 0)
		r = add_label(to, &l[n++], "tid", number);
	if (r == 0 && k->labels) {
		pthread_mutex_lock(&c->lock);
		n = label_list(to, &c->kept, k->labels, &of->labels, l, n);
		pthread_mutex_unlock(&c->lock);
	}
	return r < 0 || n == HASH_NONE ? HASH_NONE : n ? capture_label_set(to, l, n) : 0;
}

int threads_add(struct core *c, const struct target *t, const struct dump *d, bool tid, int64_t value,
		struct capture *to)
{
	int r = 0;

	for (size_t i = 0; i < d->threads.n && r == 0; i++) {
		const struct dump_thread *k = &d->threads.data[i];
		struct capture_sample s = { .values = { value } };
		const uint64_t *words;
		uint64_t marker;
		uint32_t n;

		if (k->t.exit_state)
			continue;
		words = threads_words(d, k, &marker, &n);
		s.stack = capture_stack(to, words, n);
		s.labels = label_set(c, t, k, tid, to);
		r = s.stack == HASH_NONE || s.labels == HASH_NONE ? -ENOMEM : capture_add(to, s);
	}
	return r;
}

static bool broken(const struct thread_view *v)
{
	uint64_t last = v->words[v->n - 1];

	return frame_kind(last) == FRAME_MARKER && !frame_end_truncated(frame_end(last));
}

static int view_all(struct core *c, const struct target *t, struct threads *to)
{
	struct wait_list since = { 0 };
	struct dump *d = &to->dump;
	int r = wait_list(c, t, &since);

	for (size_t i = 0; i < d->threads.n && r == 0; i++) {
		const struct dump_thread *k = &d->threads.data[i];
		struct thread_view v = { .t = &k->t, .item = wait_item(&k->t) };
		uint64_t began;

		if (k->t.exit_state)
			continue;
		v.words = d->words.data + k->first;
		v.n = k->n;
		if (!k->t.running && k->t.state) {
			began = wait_began(&since, k->t.host_tid);
			v.waited_ns = began && (int64_t)began < d->began_ns ? d->began_ns - (int64_t)began : 0;
		}
		to->n_running += k->t.running != 0;
		to->n_broken += v.n && broken(&v);
		r = vec_push(&to->all, v);
	}
	vec_deinit(&since.all);
	return r;
}

/* The stacks of creators are to be named as well. */
static int add_creators(struct core *c, struct threads *to)
{
	int r = 0;

	pthread_mutex_lock(&c->lock);
	pool_fold(&c->pool, &c->totals, &c->kept);
	for (size_t i = 0; i < to->all.n && r == 0; i++) {
		struct thread_view *v = &to->all.data[i];
		struct created_by by = created_by(c, v->t);
		const uint64_t *words;
		uint32_t n;

		if (!by.row)
			continue;
		words = stacks_words(&c->kept.stacks, c->kept.rows.data[by.row - 1].stack, &n);
		v->creator = by.tid;
		v->creator_stack = capture_stack(to->capture, words, n) + 1;
		r = v->creator_stack == 0 ? -ENOMEM : 0;
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

static int name_callees(struct core *c, struct threads *t)
{
	VEC(uint64_t) words = { 0 };
	int r = 0;

	for (size_t i = 0; i < t->all.n && r == 0; i++) {
		const struct thread_view *v = &t->all.data[i];

		r = vec_reserve(&words, words.n + WAIT_MAX_CALLERS);
		if (r == 0 && v->n)
			words.n += wait_callers(v->item, v->words, v->n, &t->names, words.data + words.n);
	}
	if (r == 0 && words.n)
		r = namer_callees(c, words.data, words.n, &t->names);
	vec_deinit(&words);
	return r;
}

/* A cycle is one only if none of its threads has run since the first of them was looked at. */
static int check_cycles(struct core *c, struct target *t, struct threads *to)
{
	struct dump now = { 0 };
	size_t begin = 0, out = 0;
	bool holds = true;
	int r = dump_read(c, t, BROKER_THREADS_LOCKS, &now);

	for (size_t i = 0; i < to->cycles.n && r == 0; i++) {
		uint32_t k = to->cycles.data[i];

		to->cycles.data[out++] = k;
		if (k != UINT32_MAX) {
			holds = holds && deadlock_still(&now, to->all.data[k].t);
			continue;
		}
		out = holds ? out : begin;
		begin = out;
		holds = true;
	}
	to->cycles.n = r == 0 ? out : 0;
	dump_deinit(&now);
	return r == -ESRCH ? 0 : r;
}

static bool waits_alike(const struct thread_view *a, const struct thread_view *b)
{
	return a->item == b->item && a->n == b->n && !memcmp(a->words, b->words, a->n * sizeof(*a->words));
}

static int tell(struct core *c, struct target *t, struct threads *to)
{
	const struct thread_view *last = NULL; /* threads of a pool wait at one place: it is asked about once */
	int r = name_callees(c, to);

	if (r < 0)
		return r;
	for (size_t i = 0; i < to->all.n; i++) {
		struct thread_view *v = &to->all.data[i];

		if (!v->n || v->t->running || !v->t->state)
			continue;
		v->kind = last && waits_alike(last, v) ? last->kind :
							 wait_kind(v->item, v->words, v->n, &to->names);
		last = v;
	}
	deadlock_owners(to);
	r = deadlock_cycles(to);
	return r == 0 && to->cycles.n ? check_cycles(c, t, to) : r;
}

/* The same for /metrics. */
static void count_losses(struct tallies *to, const struct dump *d)
{
	tally_add(to, TALLY_DUMP_LATE, d->n_late);
	tally_add(to, TALLY_DUMP_DEEP, d->n_deep);
	tally_add(to, TALLY_DUMP_UNLABELLED, d->n_unlabelled);
	tally_add(to, TALLY_DUMP_LEFT_OUT, d->n_left_out);
}

static void say(const struct target *t, const struct threads *from, struct capture *to)
{
	const struct dump *d = &from->dump;

	capture_comment(to, "threads of process %d (%s): read one after the other within %.2f ms, none was stopped",
			t->pid, t->comm, (double)d->took_ns / 1e6);
	if (d->n_late)
		capture_comment(to, "memory of the process did not answer %llu readings in time: their stacks are not "
				"complete", (unsigned long long)d->n_late);
	if (d->n_deep)
		capture_comment(to, "stacks of %llu threads are not complete: all together they are too deep",
				(unsigned long long)d->n_deep);
	if (d->n_unlabelled)
		capture_comment(to, "labels of %llu threads are not known: they have run since their stacks were read",
				(unsigned long long)d->n_unlabelled);
	if (d->n_left_out)
		capture_comment(to, "left out: %llu threads past the first %d", (unsigned long long)d->n_left_out,
				DUMP_MAX_THREADS);
}

/* before: whose threads count -1 each, or NULL */
static int read_threads(struct core *c, struct target *t, const struct profile *p, bool tid, bool whole,
			const struct dump *before, struct threads *ret)
{
	struct threads to = { 0 };
	int r = capture_new(p, &to.capture);
	unsigned held;

	held = session_keep(c); /* the objects, while they are named */
	if (r == 0)
		r = dump_read(c, t, BROKER_THREADS_STACKS, &to.dump);
	if (r == 0)
		label_refresh(c, t);
	if (r == 0)
		r = threads_add(c, t, &to.dump, tid, 1, to.capture);
	if (r == 0 && before)
		r = threads_add(c, t, before, tid, -1, to.capture);
	if (r == 0 && whole)
		r = view_all(c, t, &to);
	if (r == 0 && whole)
		r = add_creators(c, &to);
	if (r == 0)
		r = namer_run(c, t, to.capture, &to.names);
	if (r == 0 && whole)
		r = tell(c, t, &to);
	session_let_go(c, held);
	if (r == 0)
		r = capture_merge(to.capture);
	if (r < 0) {
		threads_deinit(&to);
		return r;
	}
	say(t, &to, to.capture);
	count_losses(&c->tally, &to.dump);
	*ret = to;
	return 0;
}

int threads_read(struct core *c, struct target *t, const struct profile *p, bool tid, bool whole,
		 struct threads *ret)
{
	return read_threads(c, t, p, tid, whole, NULL, ret);
}

int threads_less(struct core *c, struct target *t, const struct profile *p, bool tid, const struct dump *before,
		 struct threads *ret)
{
	return read_threads(c, t, p, tid, false, before, ret);
}

void threads_deinit(struct threads *t)
{
	dump_deinit(&t->dump);
	capture_free(t->capture);
	naming_free(&t->names);
	vec_deinit(&t->all);
	vec_deinit(&t->cycles);
	*t = (struct threads){ 0 };
}
