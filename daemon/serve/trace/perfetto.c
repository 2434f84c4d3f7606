/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/trace/perfetto.h"

#include <errno.h>
#include <stdio.h>

#include "daemon/serve/trace/perfetto_intern.h"
#include "daemon/serve/trace/protobuf.h"

#define MAX_CPUS 8192
#define MAX_TID 4194304
#define MAX_BUNDLE (256u << 10)
#define PRIORITY 120	 /* what most have; we do not ask */
#define NEW_THREAD 0x3d0f00 /* clone_flags of pthread_create */
#define HARDIRQ 8
#define SEQUENCE 1
#define OUR_TRACK 1
#define PROCESS_TRACK 2
#define THREAD_TRACK(tid) (1ull << 32 | (tid))
#define TASK_TRACK(task) (1ull << 63 | (task))

enum { PACKET = 1 }; /* Trace */
enum {		     /* TracePacket */
	FTRACE_EVENTS = 1,
	PROCESS_TREE = 2,
	CLOCK_SNAPSHOT = 6,
	TIMESTAMP = 8,
	SEQUENCE_ID = 10,
	TRACK_EVENT = 11,
	INTERNED_DATA = 12,
	SEQUENCE_FLAGS = 13,
	DEFAULTS = 59,
	TRACK_DESCRIPTOR = 60,
	PERF_SAMPLE = 66,
};
enum { STATE_CLEARED = 1, NEEDS_STATE = 2 }; /* SEQUENCE_FLAGS */
enum { REALTIME = 1, MONOTONIC = 3, BOOTTIME = 6 };
enum { /* FtraceEvent */
	EV_TIMESTAMP = 1,
	EV_PID = 2,
	EV_SWITCH = 4,
	EV_FLAGS = 5,
	EV_WAKING = 20,
	EV_NEW = 235,
	EV_RENAME = 236,
	EV_EXIT = 238,
	EV_ENTER = 329,
	EV_LEAVE = 330,
};

struct cpu {
	struct bytes bundle;
	bool left; /* a thread left it and nobody came yet */
	struct trace_event out;
};

struct perfetto {
	uint32_t pid;
	uint64_t monotonic, realtime, boottime; /* ns, of one moment */
	uint64_t ended;				/* the last generation */
	char process[256];
	VEC(struct cpu) cpus;
	struct perfetto_threads threads;
	struct perfetto_intern intern;
	struct bytes packet, message, inner, news;
	struct bytes *out;
	const struct trace_generation *generation;
	bool began, bad;
	bool tracked; /* the process is a track, for those of its tasks */
	uint64_t n_events, n_lost, n_unknown;
};

/* Ends the packet. */
static void put_packet(struct perfetto *p)
{
	pb_number(&p->packet, SEQUENCE_ID, SEQUENCE);
	pb_message(p->out, PACKET, &p->packet);
}

/* Of the target's own words: UTF-8, without control characters. */
static void put_clean(struct perfetto *p, uint32_t field, const char *text)
{
	char clean[256];

	utf8_copy(clean, sizeof(clean), text, strlen(text));
	pb_text(&p->message, field, clean);
}

static uint64_t on_boottime(const struct perfetto *p, uint64_t t)
{
	return t - p->monotonic + p->boottime;
}

/* Ends p->message, which is an event's body, and appends the event to its CPU's bundle. */
static void put_event(struct perfetto *p, uint32_t cpu, uint64_t time, uint32_t tid, uint32_t field,
		      uint32_t flags)
{
	struct bytes *bundle = &p->cpus.data[cpu].bundle;

	pb_number(&p->inner, EV_TIMESTAMP, on_boottime(p, time));
	pb_number(&p->inner, EV_PID, tid);
	if (flags)
		pb_number(&p->inner, EV_FLAGS, flags);
	pb_message(&p->inner, field, &p->message);
	pb_message(bundle, 2, &p->inner);
}

static void put_bundle(struct perfetto *p, uint32_t cpu)
{
	struct bytes *bundle = &p->cpus.data[cpu].bundle;

	if (!bundle->n)
		return;
	pb_number(&p->message, 1, cpu);
	if (p->generation->n_lost)
		pb_number(&p->message, 3, 1);
	bytes_add(&p->message, bundle->data, bundle->n);
	p->message.bad |= bundle->bad;
	bytes_clear(bundle);
	pb_message(&p->packet, FTRACE_EVENTS, &p->message);
	put_packet(p);
}

/* As ftrace writes the state of who leaves. */
static uint32_t state_of(const struct trace_event *e)
{
	switch (e->why) {
	case TRACE_PREEMPTED:
	case TRACE_YIELDED:
		return 0;
	case TRACE_STOPPED:
		return 4;
	case TRACE_DEAD:
		return 16;
	default:
		return e->flags & TRACE_DISK ? 2 : 1;
	}
}

/* out, in: NULL for what is none of ours. */
static void put_switch(struct perfetto *p, uint32_t cpu, const struct trace_event *out,
		       const struct trace_event *in)
{
	pb_text(&p->message, 1, out ? perfetto_thread_name(&p->threads, out->tid) : "swapper");
	pb_number(&p->message, 2, out ? out->tid : 0);
	pb_number(&p->message, 3, PRIORITY);
	pb_number(&p->message, 4, out ? state_of(out) : 0);
	pb_text(&p->message, 5, in ? perfetto_thread_name(&p->threads, in->tid) : "swapper");
	pb_number(&p->message, 6, in ? in->tid : 0);
	pb_number(&p->message, 7, PRIORITY);
	put_event(p, cpu, (out ? out : in)->time, out ? out->tid : 0, EV_SWITCH, 0);
}

/* Nobody of ours came after who left. */
static void settle(struct perfetto *p, uint32_t cpu)
{
	struct cpu *c = &p->cpus.data[cpu];

	if (c->left)
		put_switch(p, cpu, &c->out, NULL);
	c->left = false;
}

static void on_in(struct perfetto *p, const struct trace_event *e)
{
	struct cpu *c = &p->cpus.data[e->cpu];

	if (c->left && c->out.time != e->time)
		settle(p, e->cpu);
	put_switch(p, e->cpu, c->left ? &c->out : NULL, e);
	c->left = false;
}

static void on_out(struct perfetto *p, const struct trace_event *e)
{
	settle(p, e->cpu);
	p->cpus.data[e->cpu].left = true;
	p->cpus.data[e->cpu].out = *e;
}

static void on_waking(struct perfetto *p, const struct trace_event *e)
{
	pb_text(&p->message, 1, perfetto_thread_name(&p->threads, e->tid));
	pb_number(&p->message, 2, e->tid);
	pb_number(&p->message, 3, PRIORITY);
	pb_number(&p->message, 4, 1);
	pb_number(&p->message, 5, e->cpu);
	put_event(p, e->cpu, e->time, e->other, EV_WAKING, e->flags & TRACE_IRQ ? HARDIRQ : 0);
}

static void set_name(struct perfetto *p, const struct trace_event *e, bool is_new)
{
	struct perfetto_thread *th = perfetto_thread(&p->threads, e->tid);

	if (!th)
		return;
	utf8_copy(th->name, sizeof(th->name), e->name, strnlen(e->name, sizeof(e->name)));
	if (is_new)
		th->said = true;
	th->gone = false;
}

static void on_new(struct perfetto *p, const struct trace_event *e)
{
	set_name(p, e, true);
	pb_number(&p->message, 1, e->tid);
	pb_text(&p->message, 2, perfetto_thread_name(&p->threads, e->tid));
	pb_number(&p->message, 3, NEW_THREAD);
	put_event(p, e->cpu, e->time, e->other ? e->other : p->pid, EV_NEW, 0);
}

static void on_name(struct perfetto *p, const struct trace_event *e)
{
	pb_number(&p->message, 1, e->tid);
	pb_text(&p->message, 2, perfetto_thread_name(&p->threads, e->tid));
	set_name(p, e, false);
	pb_text(&p->message, 3, perfetto_thread_name(&p->threads, e->tid));
	put_event(p, e->cpu, e->time, e->tid, EV_RENAME, 0);
}

static void on_exited(struct perfetto *p, const struct trace_event *e)
{
	struct perfetto_thread *th = perfetto_thread(&p->threads, e->tid);

	if (th)
		th->gone = true;
	pb_text(&p->message, 1, perfetto_thread_name(&p->threads, e->tid));
	pb_number(&p->message, 2, e->tid);
	pb_number(&p->message, 3, p->pid);
	pb_number(&p->message, 4, PRIORITY);
	put_event(p, e->cpu, e->time, e->tid, EV_EXIT, 0);
}

static void on_enter(struct perfetto *p, const struct trace_event *e)
{
	pb_number(&p->message, 1, (uint64_t)e->call);
	put_event(p, e->cpu, e->time, e->tid, EV_ENTER, 0);
}

static void on_leave(struct perfetto *p, const struct trace_event *e)
{
	pb_number(&p->message, 1, (uint64_t)e->call);
	put_event(p, e->cpu, e->time, e->tid, EV_LEAVE, 0);
}

static void on_sample(struct perfetto *p, const struct trace_event *e)
{
	uint32_t stack = perfetto_intern_stack(&p->intern, p->generation, e->stack, &p->news);

	pb_number(&p->packet, TIMESTAMP, on_boottime(p, e->time));
	pb_number(&p->packet, SEQUENCE_FLAGS, NEEDS_STATE);
	if (p->news.n)
		pb_message(&p->packet, INTERNED_DATA, &p->news);
	pb_number(&p->message, 1, e->cpu);
	pb_number(&p->message, 2, p->pid);
	pb_number(&p->message, 3, e->tid);
	if (stack)
		pb_number(&p->message, 4, stack);
	pb_message(&p->packet, PERF_SAMPLE, &p->message);
	put_packet(p);
}

enum { SLICE_BEGIN = 1, SLICE_END, INSTANT };

static void put_said(struct perfetto *p, const struct trace_event *e, uint32_t type, uint64_t track, const char *name)
{
	const struct trace_note *n = &p->generation->notes[e->other - 1];

	pb_number(&p->packet, TIMESTAMP, on_boottime(p, e->time));
	pb_number(&p->packet, SEQUENCE_FLAGS, NEEDS_STATE);
	if (n->task && type != SLICE_END) {
		pb_text(&p->inner, 10, "task");
		pb_number(&p->inner, 3, n->task);
		pb_message(&p->message, 4, &p->inner); /* debug_annotations */
	}
	pb_number(&p->message, 9, type);
	pb_number(&p->message, 11, track);
	if (e->kind == TRACE_LOG && *n->name)
		put_clean(p, 22, n->name); /* categories */
	if (name)
		put_clean(p, 23, name);
	pb_message(&p->packet, TRACK_EVENT, &p->message);
	put_packet(p);
}

/* A thread has a track of its own for what it says, from when it first says something. */
static uint64_t thread_track(struct perfetto *p, uint32_t tid)
{
	struct perfetto_thread *th = perfetto_thread(&p->threads, tid);

	if (!th || th->tracked)
		return THREAD_TRACK(tid);
	th->tracked = true;
	pb_number(&p->inner, 1, p->pid);
	pb_number(&p->inner, 2, tid);
	pb_number(&p->message, 1, THREAD_TRACK(tid));
	pb_message(&p->message, 4, &p->inner);
	pb_message(&p->packet, TRACK_DESCRIPTOR, &p->message);
	put_packet(p);
	return THREAD_TRACK(tid);
}

static uint64_t task_track(struct perfetto *p, uint64_t task, const char *name)
{
	if (!p->tracked) {
		pb_number(&p->inner, 1, p->pid);
		pb_number(&p->message, 1, PROCESS_TRACK);
		pb_message(&p->message, 3, &p->inner);
		pb_message(&p->packet, TRACK_DESCRIPTOR, &p->message);
		put_packet(p);
	}
	p->tracked = true;
	pb_number(&p->message, 1, TASK_TRACK(task));
	put_clean(p, 2, name);
	pb_number(&p->message, 5, PROCESS_TRACK);
	pb_message(&p->packet, TRACK_DESCRIPTOR, &p->message);
	put_packet(p);
	return TASK_TRACK(task);
}

static void on_said(struct perfetto *p, const struct trace_event *e)
{
	const struct trace_note *n;

	if (!e->other || e->other > p->generation->n_notes) {
		p->n_unknown++;
		return;
	}
	n = &p->generation->notes[e->other - 1];
	if (e->kind == TRACE_TASK_BEGIN)
		put_said(p, e, SLICE_BEGIN, task_track(p, n->task, n->name), n->name);
	else if (e->kind == TRACE_TASK_END)
		put_said(p, e, SLICE_END, TASK_TRACK(n->task), NULL);
	else if (e->kind == TRACE_REGION_BEGIN)
		put_said(p, e, SLICE_BEGIN, thread_track(p, e->tid), n->name);
	else if (e->kind == TRACE_REGION_END)
		put_said(p, e, SLICE_END, thread_track(p, e->tid), NULL);
	else
		put_said(p, e, INSTANT, thread_track(p, e->tid), n->message);
}

static void (*const handlers[])(struct perfetto *p, const struct trace_event *e) = {
	[TRACE_IN] = on_in,	  [TRACE_OUT] = on_out,	    [TRACE_WAKING] = on_waking,
	[TRACE_NEW] = on_new,	  [TRACE_EXIT] = on_exited, [TRACE_NAME] = on_name,
	[TRACE_ENTER] = on_enter, [TRACE_LEAVE] = on_leave, [TRACE_SAMPLE] = on_sample,
	[TRACE_TASK_BEGIN] = on_said,   [TRACE_TASK_END] = on_said, [TRACE_REGION_BEGIN] = on_said,
	[TRACE_REGION_END] = on_said,   [TRACE_LOG] = on_said,
};

static void on_event(struct perfetto *p, const struct trace_event *from)
{
	struct trace_event e = *from;

	p->n_events++;
	if (e.kind == TRACE_NAME)
		e.cpu = 0;
	if (e.kind >= sizeof(handlers) / sizeof(*handlers) || !handlers[e.kind] || !e.tid || e.tid >= MAX_TID ||
	    e.other >= MAX_TID || e.cpu >= MAX_CPUS) {
		p->n_unknown++;
		return;
	}
	while (p->cpus.n <= e.cpu)
		if (vec_push(&p->cpus, (struct cpu){ 0 }) < 0) {
			p->bad = true;
			return;
		}
	if (e.kind != TRACE_IN && e.kind < TRACE_SAMPLE)
		settle(p, e.cpu);
	perfetto_thread(&p->threads, e.tid);
	handlers[e.kind](p, &e);
	if (p->cpus.data[e.cpu].bundle.n > MAX_BUNDLE)
		put_bundle(p, e.cpu);
}

static void put_clock(struct perfetto *p, uint32_t id, uint64_t time)
{
	pb_number(&p->inner, 1, id);
	pb_number(&p->inner, 2, time);
	pb_message(&p->message, 1, &p->inner);
}

/* Threads that no reader has heard of, by the names that they have by now. */
static void put_threads(struct perfetto *p, uint64_t time, bool process)
{
	if (process) {
		pb_number(&p->inner, 1, p->pid);
		pb_text(&p->inner, 3, p->process);
		pb_message(&p->message, 1, &p->inner);
	}
	for (size_t i = 0; i < p->threads.all.n; i++) {
		struct perfetto_thread *th = &p->threads.all.data[i];

		if (th->said)
			continue;
		th->said = true;
		pb_number(&p->inner, 1, th->tid);
		if (th->name[0])
			pb_text(&p->inner, 2, th->name);
		pb_number(&p->inner, 3, p->pid);
		pb_message(&p->message, 2, &p->inner);
	}
	if (!p->message.n)
		return;
	pb_number(&p->packet, TIMESTAMP, on_boottime(p, time));
	pb_message(&p->packet, PROCESS_TREE, &p->message);
	put_packet(p);
}

/* A reader may forget all numbers of before. */
static void put_fresh(struct perfetto *p)
{
	perfetto_intern_clear(&p->intern);
	pb_number(&p->packet, SEQUENCE_FLAGS, STATE_CLEARED);
	pb_number(&p->inner, 4, 1); /* SW_CPU_CLOCK */
	pb_message(&p->news, 1, &p->inner);    /* timebase */
	pb_number(&p->message, 58, BOOTTIME);  /* timestamp_clock_id */
	pb_message(&p->message, 12, &p->news); /* perf_sample_defaults */
	pb_message(&p->packet, DEFAULTS, &p->message);
	pb_number(&p->inner, 1, 1);
	pb_text(&p->inner, 2, p->process);
	pb_message(&p->message, 17, &p->inner); /* mapping_paths */
	pb_number(&p->inner, 1, 1);
	pb_number(&p->inner, 7, 1);
	pb_message(&p->message, 19, &p->inner); /* mappings: the one */
	pb_message(&p->packet, INTERNED_DATA, &p->message);
	put_packet(p);
}

static void put_start(struct perfetto *p)
{
	put_clock(p, BOOTTIME, p->boottime);
	put_clock(p, MONOTONIC, p->monotonic);
	put_clock(p, REALTIME, p->realtime);
	pb_number(&p->message, 2, BOOTTIME);
	pb_message(&p->packet, CLOCK_SNAPSHOT, &p->message);
	put_packet(p);
	put_threads(p, p->monotonic, true);
	pb_number(&p->message, 1, OUR_TRACK);
	pb_text(&p->message, 2, "pprofd");
	pb_message(&p->packet, TRACK_DESCRIPTOR, &p->message);
	put_packet(p);
}

static void put_note(struct perfetto *p, uint64_t time, const char *text)
{
	pb_number(&p->packet, TIMESTAMP, on_boottime(p, time));
	pb_number(&p->packet, SEQUENCE_FLAGS, NEEDS_STATE);
	pb_number(&p->message, 9, 3); /* instant */
	pb_number(&p->message, 11, OUR_TRACK);
	pb_text(&p->message, 23, text);
	pb_message(&p->packet, TRACK_EVENT, &p->message);
	put_packet(p);
}

static void begin(struct perfetto *p, struct bytes *out)
{
	p->out = out;
	if (!p->began)
		put_start(p);
	p->began = true;
	if (perfetto_threads_tidy(&p->threads) < 0)
		p->bad = true;
	put_fresh(p);
}

static int result(struct perfetto *p)
{
	p->bad |= p->out->bad || p->packet.bad || p->message.bad || p->inner.bad || p->news.bad;
	return p->bad ? -ENOMEM : 0;
}

int perfetto_new(const struct trace_start *start, struct perfetto **ret)
{
	_cleanup_(perfetto_freep) struct perfetto *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->pid = start->pid;
	p->monotonic = p->ended = start->monotonic;
	p->realtime = start->realtime;
	p->boottime = start->boottime;
	utf8_copy(p->process, sizeof(p->process), start->process, strlen(start->process));
	for (uint32_t i = 0; i < start->n_threads; i++) {
		struct perfetto_thread *th = perfetto_thread(&p->threads, start->threads[i].tid);
		const char *name = start->threads[i].name;

		if (th)
			utf8_copy(th->name, sizeof(th->name), name, strnlen(name, sizeof(start->threads[i].name)));
	}
	*ret = TAKE_PTR(p);
	return 0;
}

void perfetto_free(struct perfetto *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->cpus.n; i++)
		bytes_deinit(&p->cpus.data[i].bundle);
	vec_deinit(&p->cpus);
	perfetto_threads_deinit(&p->threads);
	perfetto_intern_deinit(&p->intern);
	bytes_deinit(&p->packet);
	bytes_deinit(&p->message);
	bytes_deinit(&p->inner);
	bytes_deinit(&p->news);
	free(p);
}

int perfetto_generation(struct perfetto *p, const struct trace_generation *generation, struct bytes *out)
{
	char text[96];

	p->generation = generation;
	begin(p, out);
	for (uint32_t i = 0; i < generation->n && !p->bad && !out->bad; i++)
		on_event(p, &generation->events[i]);
	for (uint32_t i = 0; i < p->cpus.n; i++) {
		settle(p, i);
		put_bundle(p, i);
	}
	put_threads(p, generation->ended, false);
	p->n_lost += generation->n_lost;
	if (generation->n_lost) {
		snprintf(text, sizeof(text), "events were lost: %llu", (unsigned long long)generation->n_lost);
		put_note(p, generation->ended, text);
	}
	p->ended = generation->ended;
	p->generation = NULL;
	return result(p);
}

int perfetto_end(struct perfetto *p, const char *note, struct bytes *out)
{
	uint64_t t = p->ended;
	char text[160];

	begin(p, out);
	if (note)
		put_note(p, t, note);
	snprintf(text, sizeof(text), "in all: %llu events, %llu lost, %llu not understood, %llu of threads without a name",
		 (unsigned long long)p->n_events, (unsigned long long)p->n_lost,
		 (unsigned long long)p->n_unknown, (unsigned long long)p->threads.n_unnamed);
	put_note(p, t, text);
	return result(p);
}
