/* SPDX-License-Identifier: Apache-2.0 */

/* window.c - a window's life, and what was there when it began. */

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/session.h"
#include "daemon/serve/threads/dump.h"
#include "daemon/serve/trace/recording.h"

static void window_free(struct trace_window *w)
{
	close_fd(&w->fd);
	free(w->threads);
	free(w);
}

static uint32_t n_cpus(const struct target *t)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (sched_getaffinity(t->pid, sizeof(set), &set) < 0 && sched_getaffinity(0, sizeof(set), &set) < 0)
		return 1;
	return (uint32_t)CPU_COUNT(&set);
}

static bool is_in_call(const struct pp_thread *t)
{
	return !t->running && t->state && trace_why(wait_item(t)) == TRACE_SYSCALL;
}

/* Those that are older than the window: of others there are events. */
static int list_threads(struct trace_window *w)
{
	int64_t since_boot = clock_ns(CLOCK_BOOTTIME) - monotonic_ns();
	struct dump d = { 0 };
	int r = dump_read(w->core, w->target, BROKER_THREADS_LIST, &d);

	if (r < 0)
		return r;
	w->threads = calloc(d.threads.n + 1, sizeof(*w->threads));
	for (size_t i = 0; w->threads && i < d.threads.n; i++) {
		const struct pp_thread *t = &d.threads.data[i].t;
		struct trace_thread *to = &w->threads[w->start.n_threads];

		if (!t->tid || t->exit_state || (int64_t)t->started - since_boot > (int64_t)w->from)
			continue;
		to->tid = t->tid;
		memcpy(to->name, t->comm, sizeof(to->name));
		to->name[sizeof(to->name) - 1] = '\0';
		to->in_call = is_in_call(t);
		w->start.n_threads++;
	}
	dump_deinit(&d);
	return w->threads ? 0 : -ENOMEM;
}

static int describe(struct trace_window *w)
{
	int r = list_threads(w);
	uint64_t since = (uint64_t)monotonic_ns() - w->from;

	w->start.pid = (uint32_t)w->target->pid;
	w->start.process = w->target->comm;
	w->start.n_cpus = n_cpus(w->target);
	w->start.monotonic = w->from; /* no event is older */
	w->start.realtime = (uint64_t)realtime_ns() - since;
	w->start.boottime = (uint64_t)clock_ns(CLOCK_BOOTTIME) - since;
	w->start.threads = w->threads;
	return r;
}

/* Counts the window, and has the kernel's side there for it. Control is held. */
static int arm(struct trace_window *w, char *error)
{
	struct core *c = w->core;
	struct traces *t = &c->traces;
	int r = 0;

	if (t->n_windows == TRACE_MAX_WINDOWS)
		return TRACE_TOO_MANY;
	if (!t->n_windows)
		r = recording_start(c, error);
	if (r < 0)
		return *error ? TRACE_REFUSED : r;
	t->n_windows++;
	if (w->wish.calls && !t->n_calls)
		r = broker_arm(&c->broker, PP_TRACE_CALLS, error);
	if (r < 0 && !--t->n_windows)
		recording_stop(c);
	if (r < 0)
		return *error ? TRACE_REFUSED : r;
	t->n_calls += w->wish.calls;
	w->counted = true;
	return TRACE_OPEN;
}

static void disarm(struct trace_window *w)
{
	struct core *c = w->core;

	if (w->counted && w->wish.calls && !--c->traces.n_calls)
		broker_disarm(&c->broker, PP_TRACE_CALLS);
	if (w->counted && !--c->traces.n_windows)
		recording_stop(c);
	w->counted = false;
}

static int begin(struct trace_window *w, char *error)
{
	struct core *c = w->core;
	int r;

	pthread_mutex_lock(&c->traces.control);
	r = arm(w, error);
	if (r == TRACE_OPEN) { /* probed before it begins, so that it has all or nothing */
		pthread_mutex_lock(&c->scan_lock);
		recording_probe(c, w->target);
		pthread_mutex_unlock(&c->scan_lock);
		pthread_mutex_lock(&c->lock);
		pthread_mutex_lock(&c->traces.lock);
		r = recording_add(c, w);
		pthread_mutex_unlock(&c->traces.lock);
		pthread_mutex_unlock(&c->lock);
	}
	if (r < 0)
		disarm(w);
	pthread_mutex_unlock(&c->traces.control);
	return r;
}

static int open_window(struct trace_window *w, char *error)
{
	struct core *c = w->core;
	int r;

	pthread_mutex_lock(&c->scan_lock);
	r = target_settle(c, w->target);
	pthread_mutex_unlock(&c->scan_lock);
	if (r != TARGET_OK)
		return r == TARGET_GONE ? TRACE_GONE : r;
	w->window = session_hold(c);
	w->held = true;
	r = begin(w, error);
	if (r == TRACE_OPEN)
		r = describe(w);
	return r == -ESRCH ? TRACE_GONE : r;
}

int trace_open(struct core *c, struct target *t, const struct trace_wish *wish, struct trace_window **ret, char *error)
{
	struct trace_window *w;
	int r;

	*error = '\0';
	if (!core_wait_kernel(c))
		return TRACE_NO_KERNEL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = (struct trace_window){ .core = c, .target = t, .wish = *wish, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	r = w->fd < 0 ? -errno : open_window(w, error);
	if (r == TRACE_OPEN)
		*ret = w;
	else
		trace_close(w);
	return r;
}

void trace_close(struct trace_window *w)
{
	struct core *c;

	if (!w)
		return;
	c = w->core;
	pthread_mutex_lock(&c->traces.control);
	pthread_mutex_lock(&c->traces.lock);
	if (w->counted)
		recording_remove(w);
	pthread_mutex_unlock(&c->traces.lock);
	disarm(w);
	pthread_mutex_unlock(&c->traces.control);
	if (w->held)
		session_let_go(c, w->window);
	core_answered(c);
	window_free(w);
}

const struct trace_start *trace_start(const struct trace_window *w)
{
	return &w->start;
}

int trace_fd(const struct trace_window *w)
{
	return w->fd;
}

void trace_stop(struct trace_window *w)
{
	uint64_t now = (uint64_t)monotonic_ns();

	pthread_mutex_lock(&w->core->traces.lock);
	if (w->until > now)
		w->until = now;
	pthread_mutex_unlock(&w->core->traces.lock);
}

bool trace_target_ended(const struct trace_window *w)
{
	bool ended;

	pthread_mutex_lock(&w->core->traces.lock);
	ended = w->target_ended;
	pthread_mutex_unlock(&w->core->traces.lock);
	return ended;
}
