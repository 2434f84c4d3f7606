/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/session.h"

#include <errno.h>
#include <string.h>

#include "daemon/serve/ahead.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/collect/cpu.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/profile.h"

#define COMPACT 2048 /* rows of totals that are not worth looking at */
#define MANY_SLABS 32 /* of PP_MAX_SLABS */

static int arm(struct session *s)
{
	struct core *c = s->core;
	enum pp_collector which = (enum pp_collector)s->profile->collector;
	int r = 0;

	pthread_mutex_lock(&c->arm_lock);
	if (!c->n_armed[which])
		r = broker_arm(&c->broker, which, s->error);
	c->n_armed[which] += r == 0;
	pthread_mutex_unlock(&c->arm_lock);
	s->armed = r == 0;
	return r == 0 ? SESSION_OK : SESSION_REFUSED;
}

static void disarm(struct session *s)
{
	struct core *c = s->core;
	enum pp_collector which = (enum pp_collector)s->profile->collector;

	if (!s->armed)
		return;
	s->armed = false;
	pthread_mutex_lock(&c->arm_lock);
	if (!--c->n_armed[which])
		broker_disarm(&c->broker, which);
	pthread_mutex_unlock(&c->arm_lock);
}

static unsigned window_open(struct windows *w)
{
	unsigned parity = w->epoch & 1;

	w->n[parity]++;
	return parity;
}

/* Whether an epoch has ended with it. */
static bool window_close(struct windows *w, unsigned parity)
{
	w->n[parity]--;
	if (w->n[!(w->epoch & 1)])
		return false;
	w->epoch++;
	return true;
}

unsigned session_keep(struct core *c)
{
	unsigned held;

	pthread_mutex_lock(&c->lock);
	held = window_open(&c->windows);
	pthread_mutex_unlock(&c->lock);
	return held;
}

static void clear_totals(struct core *c)
{
	totals_clear(&c->totals);
	pool_forget_rows(&c->pool);
	c->compact_at = 0;
}

unsigned session_hold(struct core *c)
{
	unsigned held;

	pthread_mutex_lock(&c->lock);
	if (!core_n_windows(c) && pool_used(&c->pool)) {
		pool_flip(&c->pool, &c->totals, &c->kept);
		clear_totals(c);
	}
	held = window_open(&c->windows);
	pthread_mutex_unlock(&c->lock);
	return held;
}

static bool is_unused(const struct object *x)
{
	return x && !x->n_users && x->kind == SYMBOLIZER_FILE;
}

/* What the stacks refer to that are kept: they only grow, until session_mark_anew. */
static void mark_kept(struct core *c)
{
	const struct stacks *s = &c->kept.stacks;

	for (; c->n_marked < s->words.n; c->n_marked++) {
		struct object *x = NULL;

		if (frame_kind(s->words.data[c->n_marked]) == FRAME_FILE)
			x = objects_find(&c->objects, frame_object(s->words.data[c->n_marked]));
		if (x)
			x->kept = true;
	}
}

void session_mark_anew(struct core *c)
{
	for (size_t i = 0; i < c->objects.all.n; i++)
		if (c->objects.all.data[i])
			c->objects.all.data[i]->kept = false;
	c->n_marked = 0;
}

/* Whether nobody has used it for two epochs, or there is no capture. */
static bool is_idle(const struct core *c, struct object *x)
{
	if (!is_unused(x)) {
		if (x)
			x->idle = 0;
		return false;
	}
	if (!x->idle)
		x->idle = c->windows.epoch + 1; /* so never 0 */
	return !core_n_windows(c) || c->windows.epoch > x->idle;
}

static void forget(struct core *c, struct object *x)
{
	tables_forget(&c->tables, &x->place);
	objects_forget(&c->objects, x);
}

/* Nobody runs it: its rows are made again if somebody does. */
static void forget_rows(struct core *c, struct object *x)
{
	if (x->rows != OBJECT_ROWS_READY)
		return;
	tables_forget(&c->tables, &x->place);
	x->place = (struct table_place){ 0 };
	x->rows = OBJECT_ROWS_UNKNOWN;
}

/* Only stacks know them: their descriptors and rows must not take the room of those that are run. */
static void bound_kept(struct core *c, size_t n)
{
	for (size_t i = 0; i < c->objects.all.n; i++) { /* the oldest first */
		struct object *x = c->objects.all.data[i];

		if (!is_idle(c, x))
			continue;
		if (c->tables.n_slabs > MANY_SLABS)
			forget_rows(c, x);
		if (n <= OBJECT_MAX_KEPT)
			continue;
		c->objects.n_dropped++;
		forget(c, x);
		n--;
	}
}

void session_forget_objects(struct core *c)
{
	size_t n_kept = 0;

	pthread_mutex_lock(&c->scan_lock);
	pthread_mutex_lock(&c->lock);
	if (c->kernel == CORE_READY)
		pool_fold(&c->pool, &c->totals, &c->kept);
	mark_kept(c);
	for (size_t i = 0; i < c->objects.all.n; i++) {
		struct object *x = c->objects.all.data[i];

		if (!is_idle(c, x))
			continue;
		n_kept += x->kept;
		if (!x->kept)
			forget(c, x);
	}
	bound_kept(c, n_kept);
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_unlock(&c->scan_lock);
}

/* Whether it is worth the scan_lock. The lock is held. */
static bool has_forgettable(const struct core *c)
{
	size_t n_kept = 0;

	for (size_t i = 0; i < c->objects.all.n; i++) {
		const struct object *x = c->objects.all.data[i];

		if (is_unused(x) && !x->kept)
			return true;
		n_kept += is_unused(x);
	}
	return n_kept > OBJECT_MAX_KEPT;
}

void session_let_go(struct core *c, unsigned held)
{
	bool forget;

	pthread_mutex_lock(&c->lock);
	forget = window_close(&c->windows, held) && has_forgettable(c);
	if (!core_n_windows(c) && c->totals.rows.n) {
		pool_fold(&c->pool, &c->totals, &c->kept);
		clear_totals(c);
	}
	pthread_mutex_unlock(&c->lock);
	if (forget)
		session_forget_objects(c);
}

void session_close(struct session *s)
{
	disarm(s);
	if (s->open)
		session_let_go(s->core, s->held);
	s->open = false;
}

/* Brings the kernel's tables up to date with the process. */
static int prepare(struct session *s)
{
	struct core *c = s->core;
	int r;

	if (!core_wait_kernel(c))
		return SESSION_NO_KERNEL;
	pthread_mutex_lock(&c->scan_lock);
	r = target_settle(c, s->target);
	pthread_mutex_unlock(&c->scan_lock);
	return r == TARGET_GONE ? SESSION_GONE : r < 0 ? r : SESSION_OK;
}

struct reading {
	struct totals_before before;
	struct wait_reading waits;
	struct cpu_figures figures;
	int64_t began_ns;
};

/* Windows that overlap without end leave no moment for totals_clear: what has not changed since the oldest of them began is
 * dropped whenever there are twice as many rows as it left. The lock is held. */
static void drop_idle(struct core *c)
{
	if (c->totals.rows.n < c->compact_at || c->totals.rows.n < COMPACT)
		return;
	if (totals_drop_idle(&c->totals, c->readings) == 0)
		pool_forget_rows(&c->pool);
	c->compact_at = 2 * c->totals.rows.n;
}

static void forget_reading(struct core *c, struct totals_before *b)
{
	pthread_mutex_lock(&c->lock);
	for (struct totals_before **at = &c->readings; *at; at = &(*at)->next)
		if (*at == b) {
			*at = b->next;
			break;
		}
	pthread_mutex_unlock(&c->lock);
	totals_before_deinit(b);
}

static int read_before(struct session *s, struct reading *ret)
{
	struct core *c = s->core;
	int r;

	pthread_mutex_lock(&c->lock);
	pool_fold(&c->pool, &c->totals, &c->kept);
	drop_idle(c);
	r = totals_snapshot(&c->totals, &ret->before);
	if (r == 0) {
		ret->before.next = c->readings;
		c->readings = &ret->before;
	}
	cpu_figures(s, &ret->figures);
	pthread_mutex_unlock(&c->lock);
	ret->began_ns = monotonic_ns();
	return r;
}

static int read_after(struct session *s, const struct reading *from, struct capture *to)
{
	struct core *c = s->core;
	int r;

	to->duration_ns = monotonic_ns() - from->began_ns;
	label_refresh(c, s->target);
	pthread_mutex_lock(&c->lock);
	pool_fold(&c->pool, &c->totals, &c->kept);
	r = cpu_capture(s, &from->before, &from->figures, to);
	pthread_mutex_unlock(&c->lock);
	return r;
}

struct looking {
	struct session *s;
	const struct reading *from;
};

/* What the window has seen so far. */
static int look(void *context, struct ahead_words *to)
{
	const struct looking *l = context;
	struct core *c = l->s->core;
	int r;

	pthread_mutex_lock(&c->lock);
	pool_fold(&c->pool, &c->totals, &c->kept);
	r = cpu_words(l->s, &l->from->before, to);
	pthread_mutex_unlock(&c->lock);
	if (r == 0 && l->s->profile->arm == PROFILE_WALL)
		r = wait_words(c, l->s->target, &l->from->waits, to);
	return r;
}

static void say_window(const struct session *s, const struct capture *to, enum session_wait how)
{
	capture_comment((struct capture *)to,
			"pprofd: %.3f s of process %d at %u samples a second and CPU; each stands "
			"for %.3f ms of CPU time",
			(double)to->duration_ns / 1e9, s->target->pid, s->core->hz,
			(double)s->core->period_ns / 1e6);
	if (how == SESSION_WAIT_TARGET)
		capture_comment((struct capture *)to,
				"the process ended %.3f s into the window of %.0f s",
				(double)to->duration_ns / 1e9, (double)s->window_ns / 1e9);
}

/* What the threads did meanwhile that were not on a CPU. */
static int read_waits(struct session *s, const struct reading *from, struct capture *to)
{
	_cleanup_(wait_reading_deinit) struct wait_reading now = { 0 };
	int r = wait_read(s->core, s->target, &now);

	to->began_ns = from->began_ns;
	return r < 0 ? r : wait_add_wall(s->core, s->target, &from->waits, &now, to->period, to);
}

static int run_window(struct session *s, struct capture *to)
{
	bool wall = s->profile->arm == PROFILE_WALL;
	struct reading from = { 0 };
	struct looking looking = { s, &from };
	struct ahead ahead = { .core = s->core, .collect = look, .context = &looking };
	enum session_wait how;
	int r = wall ? wait_read(s->core, s->target, &from.waits) : 0;

	if (r == 0)
		r = read_before(s, &from);
	if (r < 0) {
		wait_reading_deinit(&from.waits);
		return r;
	}
	to->time_ns = realtime_ns();
	to->period = (int64_t)s->core->period_ns;
	ahead.began_ns = from.began_ns;
	ahead.window_ns = s->window_ns;
	ahead_begin(&ahead);
	how = s->wait(s->context, from.began_ns + s->window_ns, s->target->pidfd);
	if (how == SESSION_WAIT_CLIENT_GONE)
		r = SESSION_CLIENT_GONE;
	else if (how == SESSION_WAIT_STOPPING)
		r = SESSION_STOPPING;
	else
		r = read_after(s, &from, to);
	if (r == 0 && wall)
		r = read_waits(s, &from, to);
	ahead_end(&ahead);
	forget_reading(s->core, &from.before);
	wait_reading_deinit(&from.waits);
	if (r == 0) {
		say_window(s, to, how);
		r = capture_merge(to);
	}
	return r;
}

int session_run(struct session *s, struct capture **ret)
{
	_cleanup_(capture_freep) struct capture *to = NULL;
	int r = prepare(s);

	if (r != SESSION_OK)
		return r;
	r = capture_new(s->profile, &to);
	if (r < 0)
		return r;
	s->held = session_hold(s->core);
	s->open = true;
	r = arm(s);
	if (r == SESSION_OK)
		r = run_window(s, to);
	if (r != SESSION_OK) {
		session_close(s);
		return r;
	}
	disarm(s);
	*ret = TAKE_PTR(to);
	return SESSION_OK;
}
