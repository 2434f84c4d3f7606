/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "daemon/serve/trace/go_state.h"

#define WAKE_RACE_NS 50000 /* a waking is seen this much before the switch that it ends */
#define NEW_RACE_NS 100000000ull /* a creation is seen at most this much after what the new thread does */

/* Words have a meaning to the reader: "sync" and "chan" go to its page of synchronization, "network" to that of the
 * network; "forever" would mean that the goroutine never goes on. */
static const char *const reasons[] = {
	[TRACE_PREEMPTED] = "preempted",
	[TRACE_YIELDED] = "yield",
	[TRACE_STOPPED] = "stopped",
	[TRACE_SYNC] = "sync (futex)",
	[TRACE_NETWORK] = "network",
	[TRACE_PIPE] = "chan (pipe)",
	[TRACE_EVENTFD] = "sync (eventfd)",
	[TRACE_POLL] = "poll",
	[TRACE_SLEEP] = "sleep",
	[TRACE_CHILD] = "wait child",
	[TRACE_SIGNAL] = "signal wait",
	[TRACE_FAULT] = "page fault",
};

/* A declared thread that was in `status` just before; NULL: none to speak of. */
static struct go_thread *known(struct go_trace *g, uint64_t t, uint32_t tid, enum go_status status, uint32_t cpu)
{
	struct go_thread *th = tid && tid < GO_OUTSIDE ? go_thread_get(g, tid) : NULL;

	if (!th)
		return NULL;
	if (th->gone && t - th->declared_at < GO_GONE_NS)
		return NULL;
	th->dead |= th->gone;
	th->gone = false;
	go_declare(g, t, th, status, cpu);
	return th;
}

static void come(struct go_trace *g, uint64_t t, struct go_thread *th, uint32_t cpu)
{
	if (th->cpu >= 0) {
		go_repair(g, GO_LOST_OUT);
		if (th->cpu == (int32_t)cpu)
			return;
		go_stop(g, t, th, "lost event", 0);
	}
	go_start(g, t, th, cpu);
}

struct go_thread *go_running(struct go_trace *g, uint64_t t, uint32_t tid, uint32_t cpu)
{
	struct go_thread *th = known(g, t, tid, GO_RUNNING, cpu);

	if (th && th->cpu != (int32_t)cpu) {
		go_repair(g, GO_LOST_IN);
		come(g, t, th, cpu);
	}
	return th;
}

/* Its number stays taken until its last switch: it still runs in the kernel for a while. */
static void finish(struct go_trace *g, uint64_t t, struct go_thread *th)
{
	go_destroy(g, t, th);
	th->gone = true;
	th->declared_at = t;
}

static void on_in(struct go_trace *g, const struct trace_event *e, uint64_t t)
{
	struct go_thread *th = known(g, t, e->tid, GO_RUNNABLE, e->cpu);

	if (th)
		come(g, t, th, e->cpu);
}

static void on_dead(struct go_trace *g, const struct trace_event *e, uint64_t t)
{
	struct go_thread *th = go_thread_find(g, e->tid);

	if (!th || !th->gone) {
		th = go_running(g, t, e->tid, e->cpu);
		if (!th)
			return;
		go_destroy(g, t, th);
	}
	th->gone = false;
	th->dead = true;
	if (!g->first)
		go_thread_release(g, th);
}

static void on_blocked(struct go_trace *g, const struct trace_event *e, uint64_t t, struct go_thread *th)
{
	struct go_wake w = th->wake;
	struct go_thread *waker;

	if (e->why == TRACE_SYSCALL) {
		if (th->status != GO_SYSCALL)
			go_call_begin(g, t, th, go_stack(g, e->stack, e->call));
		go_block_in_call(g, t, th);
	} else {
		go_block(g, t, th, reasons[e->why], go_stack(g, e->stack, -1));
	}
	if (!w.time || t - w.time >= WAKE_RACE_NS)
		return;
	waker = w.waker ? go_thread_find(g, w.waker) : NULL;
	if (waker && waker->cpu < 0)
		waker = NULL;
	go_unblock(g, t, th, waker, w.generation == g->wire.generation ? w.stack : 0);
}

static void on_out(struct go_trace *g, const struct trace_event *e, uint64_t t)
{
	struct go_thread *th;

	if (e->why == TRACE_DEAD) {
		on_dead(g, e, t);
		return;
	}
	if (e->why < TRACE_PREEMPTED || e->why > TRACE_SYSCALL) {
		go_repair(g, GO_UNKNOWN);
		return;
	}
	th = go_running(g, t, e->tid, e->cpu);
	if (!th)
		return;
	if (e->why <= TRACE_YIELDED)
		go_stop(g, t, th, reasons[e->why], go_stack(g, e->stack, -1));
	else
		on_blocked(g, e, t, th);
	th->wake.time = 0;
}

/* What to show for a waker that is no thread of the target. */
static uint32_t outside(struct go_trace *g, const struct trace_event *e)
{
	char name[sizeof(e->name) + 1] = "", words[64];

	memcpy(name, e->name, sizeof(e->name));
	if (e->flags & TRACE_IRQ)
		snprintf(words, sizeof(words), "[interrupt%s%s]", name[0] ? " " : "", name);
	else
		snprintf(words, sizeof(words), "[woken by %s]", name[0] ? name : "another process");
	return go_wire_say(&g->wire, words);
}

static void on_waking(struct go_trace *g, const struct trace_event *e, uint64_t t)
{
	struct go_thread *waker = NULL, *th;
	uint32_t stack;

	if (e->other && e->other != e->tid)
		waker = go_running(g, t, e->other, e->cpu);
	th = known(g, t, e->tid, GO_WAITING, e->cpu);
	if (!th || th->status == GO_RUNNABLE)
		return;
	stack = e->other ? go_stack(g, e->stack, -1) : outside(g, e);
	if (th->cpu >= 0)
		th->wake = (struct go_wake){ t, g->wire.generation, waker ? waker->tid : 0, stack };
	else
		go_unblock(g, t, th, waker, stack);
}

static void on_new(struct go_trace *g, const struct trace_event *e, uint64_t t)
{
	struct go_thread *creator = NULL, *th = go_thread_find(g, e->tid);

	if (th && th->status) {
		if (t - th->declared_at < NEW_RACE_NS) {
			go_repair(g, GO_LATE_NEW);
			return;
		}
		go_repair(g, GO_LOST_EXIT);
		go_destroy(g, t, th);
	}
	if (th)
		go_thread_release(g, th);
	if (e->other && e->other != e->tid)
		creator = go_running(g, t, e->other, e->cpu);
	th = go_thread_get(g, e->tid);
	if (!th)
		return;
	go_thread_name(th, e->name);
	go_create(g, t, th, creator, go_stack(g, e->stack, -1));
}

static void on_end(struct go_trace *g, const struct trace_event *e, uint64_t t)
{
	struct go_thread *th = go_running(g, t, e->tid, e->cpu);

	if (th)
		finish(g, t, th);
}

static void on_name(struct go_trace *g, const struct trace_event *e, uint64_t t)
{
	struct go_thread *th = go_thread_get(g, e->tid);

	if (th)
		go_thread_name(th, e->name);
}

/* They do not return. */
static bool never_left(int16_t call)
{
	return call == SYS_exit || call == SYS_exit_group || call == SYS_rt_sigreturn;
}

static void on_enter(struct go_trace *g, const struct trace_event *e, uint64_t t)
{
	struct go_thread *th = go_running(g, t, e->tid, e->cpu);

	if (!th)
		return;
	if (th->call >= 0)
		go_repair(g, GO_LOST_LEAVE);
	go_call_end(g, t, th);
	th->sees_calls = true;
	th->call = -1;
	if (e->call < 0 || never_left(e->call))
		return;
	th->call = e->call;
	th->call_stack = go_stack(g, e->stack, e->call);
	th->call_generation = g->wire.generation;
	go_call_begin(g, t, th, th->call_stack);
}

static void on_leave(struct go_trace *g, const struct trace_event *e, uint64_t t)
{
	struct go_thread *th = go_running(g, t, e->tid, e->cpu);

	if (!th)
		return;
	if (th->call < 0 && th->sees_calls && e->call >= 0 && !never_left(e->call))
		go_repair(g, GO_LOST_ENTER);
	go_call_end(g, t, th);
	th->sees_calls = true;
	th->call = -1;
}

static void on_sample(struct go_trace *g, const struct trace_event *e, uint64_t t)
{
	struct go_thread *th = go_running(g, t, e->tid, e->cpu);

	if (!th)
		go_repair(g, GO_AFTER_END);
	else
		go_wire_sample(&g->wire, t, th->tid, e->cpu + 1ull, th->tid, go_stack(g, e->stack, -1));
}

static void (*const handlers[])(struct go_trace *g, const struct trace_event *e, uint64_t t) = {
	[TRACE_IN] = on_in,	  [TRACE_OUT] = on_out,	    [TRACE_WAKING] = on_waking,
	[TRACE_NEW] = on_new,	  [TRACE_EXIT] = on_end,   [TRACE_NAME] = on_name,
	[TRACE_ENTER] = on_enter, [TRACE_LEAVE] = on_leave, [TRACE_SAMPLE] = on_sample,
	[TRACE_TASK_BEGIN] = go_say,   [TRACE_TASK_END] = go_say, [TRACE_REGION_BEGIN] = go_say,
	[TRACE_REGION_END] = go_say,   [TRACE_LOG] = go_say,
};

/* Within its generation: what came far too late (or early) must not move the clock. */
static uint64_t time_of(struct go_trace *g, const struct trace_event *e)
{
	const struct trace_generation *in = g->generation;
	uint64_t t = e->time;

	if (t < g->before || t < in->began || t > in->ended)
		go_repair(g, GO_LATE);
	else
		g->before = t;
	if (t > in->ended)
		t = in->ended;
	return t > g->wire.now ? t : g->wire.now + 1;
}

static bool twice(struct go_trace *g, const struct trace_event *e)
{
	struct go_thread *th = go_thread_find(g, e->tid);
	bool same = th && th->last_time == e->time && th->last_kind == e->kind;

	if (same)
		go_repair(g, GO_TWICE);
	if (th) {
		th->last_time = e->time;
		th->last_kind = e->kind;
	}
	return same;
}

void go_switch_event(struct go_trace *g, const struct trace_event *e)
{
	g->n_events++;
	if (e->kind >= sizeof(handlers) / sizeof(*handlers) || !handlers[e->kind] || !e->tid ||
	    e->tid >= GO_OUTSIDE || (e->kind != TRACE_NAME && !go_cpu_get(g, e->cpu))) {
		go_repair(g, GO_UNKNOWN);
		return;
	}
	if (!twice(g, e))
		handlers[e->kind](g, e, time_of(g, e));
}
