/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/trace/recording.h"

#define LOOK_NS (10 * NS_PER_MS)  /* at the ring, which then has room for much more */
#define HOLD_NS (20 * NS_PER_MS)  /* what is younger may still get something before it */
#define PIECE_NS NS_PER_S
#define PIECE_SIZE (3ul << 20)
#define BATCH (1u << 20) /* bytes of the ring that are read without letting others have the locks */
#define SPIN_NS (10 * NS_PER_MS)

void traces_init(struct traces *t)
{
	pthread_mutex_init(&t->control, NULL);
	pthread_mutex_init(&t->lock, NULL);
	pthread_mutex_init(&t->handing, NULL);
}

static void *map(int fd, size_t n, int access, off_t at)
{
	void *p = mmap(NULL, n, access, MAP_SHARED, fd, at);

	return p == MAP_FAILED ? NULL : p;
}

static void unmap(void *p, size_t n)
{
	if (p)
		munmap(p, n);
}

static void recording_free(struct trace_recording *r)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (!r)
		return;
	unmap(r->consumer, page);
	unmap((void *)r->producer, page + PP_TRACE_RING);
	unmap(r->states, sizeof(*r->states) * PP_MAX_PROCESSES);
	unmap(r->filter, sizeof(*r->filter));
	vec_deinit(&r->sites);
	free(r);
}
DEFINE_CLEANUP(struct trace_recording, recording_free)

/* The ring is mapped once, not twice as usual: each mapped page counts as ours. */
static int map_all(struct trace_recording *r, const int fds[PP_N_TRACE_MAPS])
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int ring = fds[PP_TRACE_MAP_RING];

	r->consumer = map(ring, page, PROT_READ | PROT_WRITE, 0);
	r->producer = map(ring, page + PP_TRACE_RING, PROT_READ, (off_t)page);
	r->states = map(fds[PP_TRACE_MAP_STATE], sizeof(*r->states) * PP_MAX_PROCESSES, PROT_READ | PROT_WRITE, 0);
	r->filter = map(fds[PP_TRACE_MAP_FILTER], sizeof(*r->filter), PROT_READ | PROT_WRITE, 0);
	if (!r->consumer || !r->producer || !r->states || !r->filter)
		return -ENOMEM;
	r->records = (const uint8_t *)r->producer + page;
	return 0;
}

static void copy_from_ring(const struct trace_recording *r, uint64_t at, void *to, uint32_t n)
{
	uint32_t begin = at & (PP_TRACE_RING - 1), first = PP_TRACE_RING - begin;

	first = first < n ? first : n;
	memcpy(to, r->records + begin, first);
	memcpy((uint8_t *)to + first, r->records, n - first);
}

/* The window for whom most waits loses its oldest piece. False: nobody has one. */
static bool evict(struct trace_recording *r)
{
	struct trace_window *most = NULL;
	struct feed_piece *p;

	for (struct trace_window *w = r->windows; w; w = w->next)
		if (w->queue.n && (!most || w->queue.n > most->queue.n))
			most = w;
	if (!most)
		return false;
	p = most->queue.data[0];
	memmove(most->queue.data, most->queue.data + 1, --most->queue.n * sizeof(p));
	most->n_lost += p->events.n + p->n_lost;
	recording_release(r, p);
	return true;
}

static void add(struct core *c, struct trace_recording *r, uint64_t oldest, const struct pp_trace_record *from, uint32_t n)
{
	struct trace_feed *f = from->slot < BROKER_MAX_TARGETS ? &r->feeds[from->slot] : NULL;

	if (!f || !f->n_windows)
		return;
	/* only what is being collected counts besides: it is bounded by the time between two looks */
	if (feed_piece_size(f->feed.open) < 4 * PIECE_SIZE)
		feed_add(&f->feed, &c->pool, oldest, from, n);
	else
		f->feed.open->n_lost++;
}

/* Reads until `end`, or what is not written yet; true: there may be more. Both locks are held. */
static bool drain(struct core *c, struct trace_recording *r, uint64_t oldest, uint64_t end)
{
	uint64_t at = __atomic_load_n(r->consumer, __ATOMIC_RELAXED);
	struct pp_trace_note copy;

	while (at < end) {
		const uint8_t *record = r->records + (at & (PP_TRACE_RING - 1)); /* its head never wraps */
		uint32_t head = __atomic_load_n((const uint32_t *)(const void *)record, __ATOMIC_ACQUIRE);
		uint32_t n = head & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);

		if (head & BPF_RINGBUF_BUSY_BIT)
			return false;
		if (!(head & BPF_RINGBUF_DISCARD_BIT) && (n == PP_TRACE_SHORT || n == sizeof(copy.r) || n == PP_TRACE_NOTE_SHORT || n == sizeof(copy))) {
			copy_from_ring(r, at + BPF_RINGBUF_HDR_SZ, &copy, n);
			add(c, r, oldest, &copy.r, n);
		}
		at += (n + BPF_RINGBUF_HDR_SZ + 7) & ~7u;
		__atomic_store_n(r->consumer, at, __ATOMIC_RELEASE);
	}
	return true;
}

/* The pool's before_empty: stacks of the old half are still there, and every program that has put one there has
 * written its record. The core's lock is held. */
static void on_empty(void *context)
{
	struct core *c = context;
	struct trace_recording *r;
	int64_t until = monotonic_ns() + SPIN_NS;
	uint64_t end;

	pthread_mutex_lock(&c->traces.lock);
	r = c->traces.recording;
	end = r ? __atomic_load_n(r->producer, __ATOMIC_ACQUIRE) : 0;
	while (r && !drain(c, r, c->pool.control->epoch - 1, end) && monotonic_ns() < until)
		; /* another CPU is just writing one */
	for (uint32_t i = 0; r && i < BROKER_MAX_TARGETS; i++)
		if (r->feeds[i].n_windows)
			feed_forget_rows(&r->feeds[i].feed);
	pthread_mutex_unlock(&c->traces.lock);
}

void recording_release(struct trace_recording *r, struct feed_piece *p)
{
	if (--p->n_users)
		return;
	r->held -= feed_piece_size(p);
	feed_piece_free(p);
}

static void tell(const struct trace_window *w)
{
	eventfd_write(w->fd, 1);
}

static void deliver(struct trace_recording *r, const struct trace_feed *f, struct feed_piece *p)
{
	p->n_users = 1;
	r->held += feed_piece_size(p);
	for (struct trace_window *w = r->windows; w; w = w->next) {
		if (w->target != f->target || w->complete)
			continue;
		if (w->from < p->ended && vec_push(&w->queue, p) == 0)
			p->n_users++;
		else if (w->from < p->ended)
			w->broken = true;
		w->complete = w->until <= p->ended || w->broken;
		tell(w);
	}
	recording_release(r, p);
	while (r->held > TRACE_MAX_HELD && evict(r))
		;
}

/* Whether what is collected is to be cut where it can be. */
static bool is_due(struct trace_recording *r, const struct trace_feed *f, uint64_t at)
{
	bool due = at - f->feed.began >= (uint64_t)PIECE_NS || feed_piece_size(f->feed.open) >= PIECE_SIZE;

	for (struct trace_window *w = r->windows; w; w = w->next)
		due |= w->target == f->target && !w->complete && w->until <= at;
	return due;
}

static void end_windows(struct trace_recording *r, const struct trace_feed *f, uint64_t now)
{
	for (struct trace_window *w = r->windows; w; w = w->next) {
		if (w->target != f->target || w->until <= now)
			continue;
		w->until = now;
		w->target_ended = true;
	}
}

static void tend(struct trace_recording *r, struct trace_feed *f, uint64_t now)
{
	struct feed_piece *p;
	uint64_t at = now - HOLD_NS;

	if (!target_alive(f->target))
		end_windows(r, f, now);
	if (at <= f->feed.began || !is_due(r, f, at))
		return;
	if (feed_cut(&f->feed, at, __atomic_load_n(&r->states[f->target->index].n_lost, __ATOMIC_RELAXED), &p) == 0)
		deliver(r, f, p);
}

/* True: there is more to read at once. */
static bool look(struct core *c, struct trace_recording *r, bool *stop)
{
	uint64_t now, at, end;
	bool more;

	pthread_mutex_lock(&c->lock);
	pthread_mutex_lock(&c->traces.lock);
	now = (uint64_t)monotonic_ns(); /* before: what was written by then is read */
	at = __atomic_load_n(r->consumer, __ATOMIC_RELAXED);
	end = __atomic_load_n(r->producer, __ATOMIC_ACQUIRE);
	more = end - at > BATCH;
	more = drain(c, r, c->pool.control->epoch, more ? at + BATCH : end) && more;
	pthread_mutex_unlock(&c->lock);
	for (uint32_t i = 0; i < BROKER_MAX_TARGETS && !more; i++)
		if (r->feeds[i].n_windows)
			tend(r, &r->feeds[i], now);
	*stop = r->stop;
	pthread_mutex_unlock(&c->traces.lock);
	return more;
}

static void *record(void *context)
{
	const struct timespec pause = { .tv_nsec = LOOK_NS };
	struct core *c = context;
	struct trace_recording *r = c->traces.recording;
	bool stop = false;

	pthread_setname_np(pthread_self(), "pprofd-trace");
	while (!stop)
		if (!look(c, r, &stop) && !stop)
			nanosleep(&pause, NULL);
	return NULL;
}

static int ask(struct core *c, int fds[PP_N_TRACE_MAPS], char *error)
{
	const struct timespec pause = { .tv_nsec = 5 * NS_PER_MS };
	int r;

	while ((r = broker_trace(&c->broker, fds, error)) == -EAGAIN)
		nanosleep(&pause, NULL);
	return r;
}

static void set_recording(struct core *c, struct trace_recording *r)
{
	pthread_mutex_lock(&c->lock);
	pthread_mutex_lock(&c->traces.lock);
	c->traces.recording = r;
	c->pool.before_empty = r ? on_empty : NULL;
	c->pool.context = c;
	pthread_mutex_unlock(&c->traces.lock);
	pthread_mutex_unlock(&c->lock);
}

int recording_start(struct core *c, char *error)
{
	_cleanup_(recording_freep) struct trace_recording *r = calloc(1, sizeof(*r));
	int fds[PP_N_TRACE_MAPS] = { -1, -1, -1 };
	int err = r ? ask(c, fds, error) : -ENOMEM;

	if (err < 0)
		return err;
	err = map_all(r, fds);
	for (int i = 0; i < PP_N_TRACE_MAPS; i++)
		close_fd(&fds[i]);
	if (err == 0)
		err = broker_arm(&c->broker, PP_TRACE, error);
	if (err == 0) {
		set_recording(c, r);
		err = -pthread_create(&r->thread, NULL, record, c);
	}
	if (err < 0) {
		set_recording(c, NULL);
		broker_disarm(&c->broker, PP_TRACE);
		return err;
	}
	TAKE_PTR(r);
	return 0;
}

void recording_stop(struct core *c)
{
	struct trace_recording *r = c->traces.recording;

	pthread_mutex_lock(&c->traces.lock);
	r->stop = true;
	pthread_mutex_unlock(&c->traces.lock);
	pthread_join(r->thread, NULL);
	set_recording(c, NULL);
	broker_disarm(&c->broker, PP_TRACE);
	recording_free(r);
}

/* Which events are whose. */
static void filter(struct trace_recording *r)
{
	uint8_t slots[sizeof(r->filter->slot)] = { 0 };

	for (uint32_t i = 0; i < BROKER_MAX_TARGETS; i++) {
		const struct trace_feed *f = &r->feeds[i];
		uint8_t *at = &slots[f->host_tgid & 0xffff];

		if (f->n_windows)
			*at = *at ? PP_WAIT_SEVERAL : (uint8_t)(i + 1);
	}
	for (size_t i = 0; i < sizeof(slots); i++) /* one that stays is never absent for a moment */
		if (r->filter->slot[i] != slots[i])
			__atomic_store_n(&r->filter->slot[i], slots[i], __ATOMIC_SEQ_CST);
}

/* What the programs are to tell of a target. */
static void want(struct trace_recording *r, const struct trace_feed *f)
{
	uint64_t wants = 0;

	for (struct trace_window *w = r->windows; w; w = w->next)
		if (w->target == f->target)
			wants |= PP_TRACE_WANT | (w->wish.stacks ? PP_TRACE_WANT_STACKS : 0) |
				 (w->wish.calls ? PP_TRACE_WANT_CALLS : 0);
	__atomic_store_n(&r->states[f->target->index].wants, wants, __ATOMIC_SEQ_CST);
	filter(r);
}

int recording_add(struct core *c, struct trace_window *w)
{
	struct trace_recording *r = c->traces.recording;
	struct trace_feed *f = &r->feeds[w->target->index];
	uint64_t now = (uint64_t)monotonic_ns();
	int err = 0;

	if (!f->n_windows) {
		f->target = w->target;
		err = feed_open(&f->feed, &c->pool, now,
				__atomic_load_n(&r->states[w->target->index].n_lost, __ATOMIC_RELAXED));
	}
	if (err < 0)
		return err;
	f->host_tgid = w->target->host_tgid; /* control is held, and nobody changes it after it was published */
	f->n_windows++;
	w->next = r->windows;
	r->windows = w;
	want(r, f);
	w->from = (uint64_t)monotonic_ns();
	w->until = w->from + (uint64_t)w->wish.window_ns;
	return 0;
}

void recording_remove(struct trace_window *w)
{
	struct trace_recording *r = w->core->traces.recording;
	struct trace_feed *f = &r->feeds[w->target->index];
	struct trace_window **at = &r->windows;

	while (*at && *at != w)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = w->next;
	for (size_t i = 0; i < w->queue.n; i++)
		recording_release(r, w->queue.data[i]);
	vec_deinit(&w->queue);
	f->n_windows--;
	want(r, f);
	if (!f->n_windows)
		feed_close(&f->feed);
}
