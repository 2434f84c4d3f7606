/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/core.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/lease.h"
#include "daemon/serve/log.h"

#define MAX_SLEEP_MS (3600 * 1000)
#define TRIM_NS (2 * NS_PER_S)
#define MAX_SLEEP_NS (MAX_SLEEP_MS * NS_PER_MS)

void core_init(struct core *c, int broker_fd)
{
	memset(c, 0, sizeof(*c));
	broker_init(&c->broker, broker_fd);
	known_init(&c->known);
	pthread_mutex_init(&c->arming_lock, NULL);
	pthread_mutex_init(&c->lease_lock, NULL);
	pthread_mutex_init(&c->scan_lock, NULL);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->kernel_changed, NULL);
	sources_init(&c->sources);
	pthread_mutex_init(&c->symbolizer_lock, NULL);
	pthread_mutex_init(&c->arm_lock, NULL);
	pthread_mutex_init(&c->dump_lock, NULL);
	pthread_mutex_init(&c->carry_lock, NULL);
	traces_init(&c->traces);
	history_init(&c->history);
	c->symbolizer.fd = -1;
	c->ring.fd = -1;
	c->next_image = 1;
	c->stop_fd = eventfd(0, EFD_CLOEXEC);
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (getrandom(&c->secret, sizeof(c->secret), 0) != sizeof(c->secret))
		c->secret = (uint64_t)realtime_ns();
}

void core_wake(struct core *c)
{
	uint64_t one = 1;

	if (write(c->wake_fd, &one, sizeof(one)) < 0)
		return; /* it is awake already */
}

void core_answered(struct core *c)
{
	int64_t none = 0;

	if (__atomic_compare_exchange_n(&c->trim_ns, &none, monotonic_ns() + TRIM_NS, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		core_wake(c);
}

/* Answers leave holes in the heap, which malloc keeps however large they are. When to look again; 0: not. */
static int64_t run_trim(struct core *c, int64_t now)
{
	int64_t at = __atomic_load_n(&c->trim_ns, __ATOMIC_SEQ_CST);

	if (!at || at > now)
		return at;
	__atomic_store_n(&c->trim_ns, 0, __ATOMIC_SEQ_CST);
	malloc_trim(0);
	return 0;
}

static int slab(void *context, uint32_t index)
{
	struct core *c = context;

	return broker_slab(&c->broker, index);
}

static int load(struct core *c)
{
	struct broker_maps sizes;
	int fds[PP_N_MAPS];
	int r = broker_maps(&c->broker, &sizes, fds);

	if (r < 0)
		return r;
	r = pool_init(&c->pool, &sizes, fds);
	if (r == 0)
		r = tables_init(&c->tables, c->pool.state->processes, fds[PP_MAP_MAPPING],
				fds[PP_MAP_RULE], slab, c);
	if (r == 0)
		r = ring_init(&c->ring, TAKE_FD(fds[PP_MAP_RING]), sizes.ring_size);
	c->targets_fd = TAKE_FD(fds[PP_MAP_TARGETS]);
	for (int i = 0; i < PP_N_MAPS; i++)
		close_fd(&fds[i]);
	return r;
}

int core_load(struct core *c)
{
	int r = load(c);

	if (r == 0) {
		pthread_mutex_lock(&c->symbolizer_lock);
		core_restart_symbolizer(c);
		pthread_mutex_unlock(&c->symbolizer_lock);
	}
	pthread_mutex_lock(&c->lock);
	c->kernel = r == 0 ? CORE_READY : CORE_FAILED;
	pthread_cond_broadcast(&c->kernel_changed);
	pthread_mutex_unlock(&c->lock);
	return r;
}

bool core_wait_kernel(struct core *c)
{
	bool ready;

	pthread_mutex_lock(&c->lock);
	while (c->kernel == CORE_LOADING)
		pthread_cond_wait(&c->kernel_changed, &c->lock);
	ready = c->kernel == CORE_READY;
	pthread_mutex_unlock(&c->lock);
	return ready;
}

bool core_symbolizer_failed(int err)
{
	return err == -EPIPE || err == -ETIMEDOUT || err == -EBADMSG;
}

bool core_symbolizer_again(struct core *c, int err)
{
	if (err != -EPIPE && err != -ENOTCONN)
		return false;
	core_restart_symbolizer(c);
	return true;
}

void core_restart_symbolizer(struct core *c)
{
	int fd = broker_symbolizer(&c->broker);

	if (fd < 0)
		log_line("the symbolizer cannot be started: %s", strerror(-fd));
	symbolizer_replace(&c->symbolizer, fd < 0 ? -1 : fd);
}

static struct target *target_of_image(struct core *c, uint32_t image)
{
	struct target *found = NULL;

	pthread_mutex_lock(&c->lock);
	for (uint32_t i = 0; i < c->n_targets && !found; i++)
		if (target_has_image(&c->targets[i], image))
			found = &c->targets[i];
	pthread_mutex_unlock(&c->lock);
	return found;
}

static void on_notice(void *context, const struct pp_notice *n)
{
	struct core *c = context;
	struct target *t;

	if (n->type == PP_NOTICE_FILLING) {
		pthread_mutex_lock(&c->lock);
		if ((c->pool.control->epoch & 1) == (n->value & 1))
			pool_flip(&c->pool, &c->totals, &c->kept);
		pthread_mutex_unlock(&c->lock);
		return;
	}
	t = target_of_image(c, n->target);
	if (!t)
		return;
	pthread_mutex_lock(&c->scan_lock);
	if (!t->published || target_of_image(c, n->target) != t)
		; /* the slot has been left in the meantime, or is another's */
	else if (n->type == PP_NOTICE_HEAP)
		heap_govern(c, t);
	else if (n->type == PP_NOTICE_FORK)
		heap_forked(c, t);
	else if (n->type == PP_NOTICE_CUSTOM_FORK)
		custom_forked(c, t);
	else if (n->type == PP_NOTICE_CUSTOM)
		custom_govern(c, t);
	else if (n->type == PP_NOTICE_PEAK)
		heap_peak(c, t);
	else
		target_notice(c, t, n);
	pthread_mutex_unlock(&c->scan_lock);
}

static int64_t sooner(int64_t a, int64_t b) /* 0: never */
{
	return !a || (b && b < a) ? b : a;
}

static int64_t run_due_scans(struct core *c, int64_t now)
{
	int64_t next = 0;

	pthread_mutex_lock(&c->scan_lock);
	for (uint32_t i = 0; i < c->n_targets; i++) {
		struct target *t = &c->targets[i];

		if ((t->due_ns && t->due_ns <= now) || (t->files_ns && t->files_ns <= now))
			target_scan(c, t, false);
		if (heap_due(t) && heap_due(t) <= now)
			heap_govern(c, t);
		if (t->custom.clean_ns && t->custom.clean_ns <= now)
			custom_clean(c, t);
		if (t->custom.again_ns && t->custom.again_ns <= now)
			custom_again(c, t);
		if (t->custom.account.due_ns && t->custom.account.due_ns <= now)
			custom_govern(c, t);
		next = sooner(sooner(sooner(next, t->due_ns), sooner(t->files_ns, heap_due(t))),
			      sooner(sooner(t->custom.clean_ns, t->custom.again_ns), t->custom.account.due_ns));
	}
	pthread_mutex_unlock(&c->scan_lock);
	return next;
}

/* Scans that had to wait for their pace, heaps, captures that are too old, and leases that have run out; milliseconds until the next, -1: none. */
static int run_due(struct core *c)
{
	int64_t now = monotonic_ns(), next = lease_due(c);

	if (next && next <= now) {
		lease_run(c);
		next = lease_due(c);
	}
	next = sooner(sooner(next, history_run(&c->history, now)), sooner(run_due_scans(c, now), run_trim(c, now)));
	return !next ? -1 : next < now ? 0 : next - now > MAX_SLEEP_NS ? MAX_SLEEP_MS : (int)((next - now) / NS_PER_MS) + 1;
}

static void on_end(struct core *c, struct target *t)
{
	pthread_mutex_lock(&c->lock);
	t->ended_ns = monotonic_ns();
	pthread_mutex_unlock(&c->lock);
	known_gone(&c->known, t->known);
	__atomic_add_fetch(&c->n_reading, 1, __ATOMIC_SEQ_CST);
	heap_last_word(c, t);
	__atomic_sub_fetch(&c->n_reading, 1, __ATOMIC_SEQ_CST);
}

/* What the watcher waits for, before the slots. */
enum { WATCH_RING, WATCH_STOP, WATCH_WAKE, WATCH_BROKER, WATCH_SLOTS };

/* Who has which slot, as the watcher knows it: descriptors of its own, so that no other's number is polled. */
struct watch {
	struct pollfd f[WATCH_SLOTS + BROKER_MAX_TARGETS];
	uint32_t serials[BROKER_MAX_TARGETS];
	uint32_t n;
};

static void watch_slots(struct core *c, struct watch *w)
{
	pthread_mutex_lock(&c->lease_lock);
	for (uint32_t i = 0; i < c->n_targets; i++) {
		const struct target *t = &c->targets[i];

		if (i < w->n && t->serial == w->serials[i])
			continue;
		if (i < w->n)
			close_fd(&w->f[WATCH_SLOTS + i].fd);
		w->f[WATCH_SLOTS + i] = (struct pollfd){ .fd = t->pid ? dup(t->pidfd) : -1, .events = POLLIN };
		w->serials[i] = t->pid && w->f[WATCH_SLOTS + i].fd < 0 ? 0 : t->serial; /* no room now: at the next look */
	}
	w->n = c->n_targets;
	pthread_mutex_unlock(&c->lease_lock);
}

/* The slot may be another's already. */
static void slot_ended(struct core *c, struct watch *w, uint32_t i)
{
	struct target *t = &c->targets[i];
	bool same;

	close_fd(&w->f[WATCH_SLOTS + i].fd);
	pthread_mutex_lock(&c->lease_lock);
	same = t->pid && t->serial == w->serials[i];
	t->n_open += same;
	pthread_mutex_unlock(&c->lease_lock);
	if (!same)
		return;
	on_end(c, t);
	pthread_mutex_lock(&c->lease_lock);
	t->n_open--;
	pthread_mutex_unlock(&c->lease_lock);
}

void core_watch(struct core *c)
{
	/* Of the broker's end only that it has hung up: when it was killed, nobody else may end us. */
	struct watch w = { .f = { [WATCH_RING] = { .fd = c->ring.fd, .events = POLLIN },
				  [WATCH_STOP] = { .fd = c->stop_fd, .events = POLLIN },
				  [WATCH_WAKE] = { .fd = c->wake_fd, .events = POLLIN },
				  [WATCH_BROKER] = { .fd = c->broker.fd } } };

	for (;;) {
		uint64_t woken;
		int r;

		watch_slots(c, &w);
		r = poll(w.f, WATCH_SLOTS + w.n, run_due(c));
		if ((r < 0 && errno != EINTR) || w.f[WATCH_STOP].revents || w.f[WATCH_BROKER].revents)
			break;
		if (r > 0 && w.f[WATCH_WAKE].revents && read(c->wake_fd, &woken, sizeof(woken)) < 0)
			break;
		if (r > 0 && w.f[WATCH_RING].revents)
			ring_read(&c->ring, on_notice, c);
		for (uint32_t i = 0; r > 0 && i < w.n; i++)
			if (w.f[WATCH_SLOTS + i].fd >= 0 && w.f[WATCH_SLOTS + i].revents)
				slot_ended(c, &w, i);
	}
	for (uint32_t i = 0; i < w.n; i++)
		close_fd(&w.f[WATCH_SLOTS + i].fd);
}
