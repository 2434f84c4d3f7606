/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/threads.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/vec.h"
#include "daemon/broker/peek.h"

#define MAX_ANSWERS 8 /* at once */
#define MAX_TRIES 4   /* at a thread that has run meanwhile */
#define SEND_SIZE (128 * 1024)
#define TIMEOUT_S 120 /* for whoever asks to ask on, or to take the answer */

struct one {
	struct pp_thread t; /* at the last look */
	bool gone;
};

struct key {
	uint32_t host_tid, position;
};

/* One that is asked for. */
struct want {
	struct broker_more q;
	unsigned n_tries;
	bool done;
	int from;	/* piece: where the other stack begins */
	uint64_t other; /* there; 0: it may not be read */
};

/* What is being read of one, and its registers from before. */
struct reading {
	uint32_t want;
	struct pp_thread t;
	int lock, stack, other; /* pieces; -1: none */
	bool refused;		/* the other one */
	int look;		/* -1: between two looks at all of them */
};

struct answer {
	struct process process; /* its pidfd is borrowed: it stays open for as long as we run */
	enum broker_threads_what what;
	struct kernel_threads kernel;
	int socket;
	VEC(struct one) all;	    /* in the order of the first look */
	VEC(struct key) by_tid;
	uint64_t n_left_out;
	VEC(struct want) wants;
	VEC(struct reading) readings;
	VEC(unsigned char) out;
	struct broker_more questions[BROKER_MAX_QUESTIONS];
	struct peek peek; /* .area NULL: not needed yet */
};

static unsigned n_answers; /* atomic */

static struct one *find(struct answer *a, uint32_t host_tid)
{
	size_t low = 0, high = a->by_tid.n;

	while (low < high) {
		size_t mid = (low + high) / 2;
		const struct key *k = &a->by_tid.data[mid];

		if (k->host_tid == host_tid)
			return &a->all.data[k->position];
		if (k->host_tid < host_tid)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static int seen_first(struct answer *a, const struct pp_thread *t)
{
	struct one o = { *t, false };

	if (a->all.n == BROKER_MAX_THREADS) {
		a->n_left_out++;
		return 0;
	}
	o.t.position = (uint32_t)a->all.n;
	return vec_push(&a->all, o);
}

static void seen_again(struct answer *a, const struct pp_thread *t)
{
	struct one *o = find(a, t->host_tid);
	uint32_t position;

	if (!o || o->t.started != t->started)
		return;
	position = o->t.position;
	o->t = *t;
	o->t.position = position;
	o->gone = false;
}

/* All of them, one after the other. */
static int look(struct answer *a, bool first)
{
	static const size_t most = 32 * 1024 / sizeof(struct pp_thread); /* the kernel gives no more at once */
	_cleanup_(freep) struct pp_thread *t = malloc(most * sizeof(*t));
	_cleanup_(closep) int fd = kernel_iterate(&a->kernel);
	int r = !t ? -ENOMEM : fd < 0 ? fd : 0;
	ssize_t n = 0;

	for (size_t i = 0; i < a->all.n; i++)
		a->all.data[i].gone = true;
	while (r == 0 && (n = read(fd, t, most * sizeof(*t))) != 0) {
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		for (ssize_t i = 0; i < n / (ssize_t)sizeof(*t) && r == 0; i++) {
			if (first)
				r = seen_first(a, &t[i]);
			else
				seen_again(a, &t[i]);
		}
	}
	return r;
}

static int by_host_tid(const void *x, const void *y)
{
	const struct key *a = x, *b = y;

	return (a->host_tid > b->host_tid) - (a->host_tid < b->host_tid);
}

static int number(struct answer *a)
{
	int r = vec_reserve(&a->by_tid, a->all.n + 1);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < a->all.n; i++)
		a->by_tid.data[a->by_tid.n++] = (struct key){ a->all.data[i].t.host_tid, i };
	qsort(a->by_tid.data, a->by_tid.n, sizeof(*a->by_tid.data), by_host_tid);
	return 0;
}

static int flush(struct answer *a)
{
	for (size_t at = 0; at < a->out.n;) {
		ssize_t n = send(a->socket, a->out.data + at, a->out.n - at, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	a->out.n = 0;
	return 0;
}

static int put(struct answer *a, const void *data, size_t n)
{
	if (vec_reserve(&a->out, a->out.n + n) < 0)
		return -ENOMEM;
	if (n)
		memcpy(a->out.data + a->out.n, data, n);
	a->out.n += n;
	return a->out.n >= SEND_SIZE ? flush(a) : 0;
}

static uint32_t got(const struct answer *a, int piece)
{
	return piece < 0 ? 0 : a->peek.area->pieces[piece].got;
}

static int put_piece(struct answer *a, int piece)
{
	return piece < 0 ? 0 : put(a, peek_bytes(&a->peek, piece), got(a, piece));
}

static bool ended(const struct answer *a, int piece)
{
	return piece >= 0 && got(a, piece) < a->peek.area->pieces[piece].n;
}

static int put_thread(struct answer *a, const struct reading *k)
{
	struct pp_thread t = k->t;
	int r;

	t.n_stack = got(a, k->stack);
	t.n_other = got(a, k->other);
	t.ends = (ended(a, k->stack) ? PP_ENDS_STACK : 0) | (k->refused || ended(a, k->other) ? PP_ENDS_OTHER : 0);
	t.has_lock = k->lock >= 0 && got(a, k->lock) == sizeof(t.lock);
	if (t.has_lock)
		memcpy(t.lock, peek_bytes(&a->peek, k->lock), sizeof(t.lock));
	r = put(a, &t, sizeof(t));
	if (r == 0)
		r = put_piece(a, k->stack);
	return r == 0 ? put_piece(a, k->other) : r;
}

/* It has no stack: it runs. */
static int put_running(struct answer *a, const struct pp_thread *t)
{
	struct reading k = { .t = *t, .lock = -1, .stack = -1, .other = -1, .look = -1 };

	k.t.running = 1;
	return put_thread(a, &k);
}

/* A thread that handles a signal on a stack of its own for that has left its stack pointer there: nowhere else is
 * looked for it. */
static bool on_signal_stack(const struct pp_thread *t, uint64_t from)
{
	uint64_t sp = t->registers[PP_THREAD_SP];

	return sp - t->signal_stack < t->signal_size && from - t->signal_stack < t->signal_size && from >= sp;
}

/* Where other stacks begin, of all that ask for one: after the same look as what is read of them then. */
static void find_others(struct answer *a)
{
	peek_clear(&a->peek);
	for (size_t i = 0; i < a->wants.n; i++) {
		struct want *w = &a->wants.data[i];
		const struct one *o = &a->all.data[w->q.position];

		w->other = 0;
		w->from = -1;
		if (!w->done && w->q.n_other && !o->gone && !o->t.running && on_signal_stack(&o->t, w->q.from))
			w->from = peek_add(&a->peek, (pid_t)o->t.tid, w->q.from, sizeof(w->other));
	}
	if (a->peek.area->n)
		peek_run(&a->peek);
	for (size_t i = 0; i < a->wants.n; i++) {
		struct want *w = &a->wants.data[i];

		if (w->from >= 0 && got(a, w->from) == sizeof(w->other))
			memcpy(&w->other, peek_bytes(&a->peek, w->from), sizeof(w->other));
	}
}

/* Into the list of what is read next, if there is room: 0, or -1. */
static int add_pieces(struct answer *a, const struct want *w, struct reading *k)
{
	pid_t tid = (pid_t)k->t.tid;
	uint32_t n = a->peek.area->n, used = a->peek.used;

	k->lock = k->stack = k->other = -1;
	if (a->what != BROKER_THREADS_LIST && k->t.has_lock)
		k->lock = peek_add(&a->peek, tid, k->t.argument, sizeof(k->t.lock));
	if (a->what == BROKER_THREADS_STACKS)
		k->stack = peek_add(&a->peek, tid, k->t.registers[PP_THREAD_SP], w->q.n_stack);
	if (w->other)
		k->other = peek_add(&a->peek, tid, w->other, w->q.n_other);
	k->refused = w->q.n_other && !w->other;
	if ((a->what != BROKER_THREADS_STACKS || k->stack >= 0) && (!w->other || k->other >= 0) &&
	    (a->what == BROKER_THREADS_LIST || !k->t.has_lock || k->lock >= 0))
		return 0;
	a->peek.area->n = n;
	a->peek.used = used;
	return -1;
}

/* It has run since the looks at all: it gets looks of its own, close to its reading. One with two stacks is read
 * in two steps, which are not close. */
static bool moves(const struct want *w)
{
	return w->n_tries && !w->q.n_other;
}

/* Those that are still wanted, as many as there is room for. */
static int choose(struct answer *a)
{
	int r = 0;

	a->readings.n = 0;
	find_others(a);
	peek_clear(&a->peek);
	for (uint32_t i = 0; i < a->wants.n && r == 0; i++) {
		struct want *w = &a->wants.data[i];
		struct one *o = &a->all.data[w->q.position];
		struct reading k = { .want = i, .t = o->t, .look = -1 };

		if (w->done || moves(w))
			continue;
		if (o->gone || o->t.running || w->n_tries == MAX_TRIES) {
			w->done = true;
			r = o->gone ? 0 : put_running(a, &o->t);
			continue;
		}
		if (add_pieces(a, w, &k) < 0)
			break;
		r = vec_push(&a->readings, k);
	}
	return r;
}

/* The look after a reading tells whether it was of one moment; it is the look before the next one, too. */
static int settle(struct answer *a)
{
	int r = 0;

	for (size_t i = 0; i < a->readings.n && r == 0; i++) {
		const struct reading *k = &a->readings.data[i];
		struct want *w = &a->wants.data[k->want];
		const struct one *o = &a->all.data[w->q.position];

		w->n_tries++;
		if (o->gone || o->t.running || o->t.n_switches != k->t.n_switches)
			continue;
		w->done = true;
		r = put_thread(a, k);
	}
	return r;
}

static int add_moving(struct answer *a, uint32_t i)
{
	const struct want *w = &a->wants.data[i];
	const struct pp_thread *t = &a->all.data[w->q.position].t;
	struct reading k = { .want = i, .t = *t, .lock = -1, .stack = -1, .other = -1 };
	bool stack = a->what == BROKER_THREADS_STACKS;
	int fds[2], r = t->tid ? kernel_iterate_one(&a->kernel, t->tid, fds) : -ESRCH;

	if (r < 0)
		return r;
	k.look = peek_add_look(&a->peek, fds);
	k.lock = peek_add_by(&a->peek, (pid_t)t->tid, k.look, PEEK_BEFORE | PEEK_LOCK | (stack ? 0 : PEEK_AFTER),
			     sizeof(t->lock));
	if (stack)
		k.stack = peek_add_by(&a->peek, (pid_t)t->tid, k.look, PEEK_AFTER, w->q.n_stack);
	return vec_push(&a->readings, k);
}

/* A few of those that move. */
static int choose_moving(struct answer *a)
{
	uint64_t bytes = 0;
	int r = 0;

	a->readings.n = 0;
	peek_clear(&a->peek);
	for (uint32_t i = 0; i < a->wants.n && a->readings.n < PEEK_MAX_LOOKS && r == 0; i++) {
		struct want *w = &a->wants.data[i];

		if (w->done || !moves(w))
			continue;
		bytes += w->q.n_stack + 32;
		if (bytes > PEEK_BYTES)
			break;
		r = add_moving(a, i);
		if (r == -ESRCH) { /* it has ended */
			w->done = true;
			r = 0;
		}
	}
	return r;
}

/* One that was read between two looks of its own. */
static int settle_moving(struct answer *a, struct reading *k)
{
	const struct peek_look *l = &a->peek.area->looks[k->look];
	const struct pp_thread *before = &l->t[0], *after = &l->t[1];
	struct want *w = &a->wants.data[k->want];
	uint32_t position = k->t.position;

	w->done = true;
	if (l->n[0] == UINT32_MAX) /* nothing is read any more */
		return put_thread(a, k);
	if (l->n[0] != sizeof(*before) || before->host_tid != k->t.host_tid || before->started != k->t.started)
		return 0; /* it has ended */
	k->t = *before;
	k->t.position = position;
	if (before->running)
		return put_running(a, &k->t);
	if (l->n[1] == UINT32_MAX) { /* its memory did not answer; or nothing of it was to be read */
		k->lock = -1;
		return put_thread(a, k);
	}
	if (l->n[1] == sizeof(*after) && !after->running && after->started == before->started &&
	    after->n_switches == before->n_switches)
		return put_thread(a, k);
	if (l->n[1] && ++w->n_tries == MAX_TRIES)
		return put_running(a, &k->t);
	w->done = !l->n[1];
	return 0;
}

static void close_looks(struct answer *a)
{
	for (uint32_t i = 0; i < a->peek.area->n_looks; i++) {
		close_fd(&a->peek.area->looks[i].fds[0]);
		close_fd(&a->peek.area->looks[i].fds[1]);
	}
}

static int read_moving(struct answer *a)
{
	int r = choose_moving(a);

	while (r == 0 && a->readings.n) {
		peek_run(&a->peek);
		for (size_t i = 0; i < a->readings.n && r == 0; i++)
			r = settle_moving(a, &a->readings.data[i]);
		close_looks(a);
		if (r == 0)
			r = choose_moving(a);
	}
	close_looks(a);
	return r;
}

static int put_end(struct answer *a)
{
	struct broker_threads_end end = { a->peek.n_late, a->n_left_out };
	struct pp_thread t = { 0 };
	int r = put(a, &t, sizeof(t));

	if (r == 0)
		r = put(a, &end, sizeof(end));
	return r == 0 ? flush(a) : r;
}

static int read_wanted(struct answer *a)
{
	int r = a->peek.area ? 0 : peek_init(&a->peek);

	if (r == 0)
		r = choose(a);
	while (r == 0 && a->readings.n) {
		peek_run(&a->peek);
		r = process_alive(&a->process) ? look(a, false) : -ESRCH;
		if (r == 0)
			r = settle(a);
		if (r == 0)
			r = choose(a);
	}
	if (r == 0)
		r = read_moving(a);
	return r == 0 ? put_end(a) : r;
}

static int want(struct answer *a, const struct broker_more *q)
{
	struct want w = { .q = *q };

	return vec_push(&a->wants, w);
}

static int answer_first(struct answer *a)
{
	struct broker_more q = { .n_stack = BROKER_FIRST_STACK };
	int r = look(a, true);

	if (r == 0 && a->what == BROKER_THREADS_LIST) {
		for (size_t i = 0; i < a->all.n && r == 0; i++) {
			struct reading k = { .t = a->all.data[i].t, .lock = -1, .stack = -1, .other = -1,
					     .look = -1 };

			r = put_thread(a, &k);
		}
		return r == 0 ? put_end(a) : r;
	}
	if (r == 0)
		r = number(a);
	for (; q.position < a->all.n && r == 0; q.position++)
		r = want(a, &q);
	return r == 0 ? read_wanted(a) : r;
}

static int receive(struct answer *a, void *to, size_t n)
{
	ssize_t k = recv(a->socket, to, n, MSG_WAITALL);

	return k < 0 ? -errno : (size_t)k == n ? 0 : -EPIPE;
}

static int take_questions(struct answer *a)
{
	uint64_t bytes = 0;
	uint32_t n;
	int r = receive(a, &n, sizeof(n));

	a->wants.n = 0;
	if (r == 0 && (!n || n > BROKER_MAX_QUESTIONS || a->what != BROKER_THREADS_STACKS))
		r = -EBADMSG;
	if (r == 0)
		r = receive(a, a->questions, n * sizeof(*a->questions));
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		const struct broker_more *q = &a->questions[i];

		bytes += (uint64_t)q->n_stack + q->n_other;
		if (q->position >= a->all.n || q->n_stack > BROKER_MAX_STACK || q->n_other > BROKER_MAX_STACK ||
		    bytes > BROKER_MAX_MORE)
			r = -EBADMSG;
		else
			r = want(a, q);
	}
	return r;
}

static void *run(void *context)
{
	struct answer *a = context;
	int r = answer_first(a);

	while (r == 0) {
		r = take_questions(a);
		if (r == 0)
			r = look(a, false);
		if (r == 0)
			r = read_wanted(a);
	}
	if (a->peek.area)
		peek_deinit(&a->peek);
	close_fd(&a->kernel.link);
	close_fd(&a->kernel.program);
	vec_deinit(&a->all);
	vec_deinit(&a->by_tid);
	vec_deinit(&a->wants);
	vec_deinit(&a->readings);
	vec_deinit(&a->out);
	__atomic_sub_fetch(&n_answers, 1, __ATOMIC_SEQ_CST);
	close_fd(&a->socket); /* last: who sees it may come again */
	free(a);
	return NULL;
}

static int start(struct answer *a)
{
	pthread_attr_t detached;
	pthread_t thread;
	int r;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	r = -pthread_create(&thread, &detached, run, a);
	pthread_attr_destroy(&detached);
	return r;
}

/* Ours, and theirs: what we read and write there has an end. */
static int make_sockets(int pair[2])
{
	struct timeval t = { TIMEOUT_S, 0 };

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
	return 0;
}

int threads_answer(const struct process *p, struct kernel_threads k, enum broker_threads_what what)
{
	_cleanup_(freep) struct answer *a = calloc(1, sizeof(*a));
	_cleanup_(closep) int link = k.link, program = k.program, ours = -1, theirs = -1;
	int pair[2], r;

	if (!a)
		return -ENOMEM;
	r = make_sockets(pair);
	if (r < 0)
		return r;
	ours = pair[0];
	theirs = pair[1];
	if (__atomic_add_fetch(&n_answers, 1, __ATOMIC_SEQ_CST) > MAX_ANSWERS)
		r = -EAGAIN;
	a->process = *p;
	a->what = what;
	a->kernel = k;
	a->socket = ours;
	if (r == 0)
		r = start(a);
	if (r < 0) {
		__atomic_sub_fetch(&n_answers, 1, __ATOMIC_SEQ_CST);
		return r;
	}
	TAKE_PTR(a);
	TAKE_FD(link);
	TAKE_FD(program);
	TAKE_FD(ours);
	return TAKE_FD(theirs);
}
