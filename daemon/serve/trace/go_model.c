/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/trace/go_model.h"

#include <stdio.h>
#include <string.h>

#include "daemon/serve/trace/go_state.h"

#define NAME_OUTSIDE "pprofd"

static const char *const texts[] = {
	[GO_LOST_OUT] = "a switch from a CPU was not seen",
	[GO_LOST_IN] = "a switch to a CPU was not seen",
	[GO_LOST_WAKING] = "a wake-up was not seen",
	[GO_LOST_NEW] = "a creation was not seen",
	[GO_LOST_EXIT] = "an exit was not seen",
	[GO_LOST_ENTER] = "the begin of a system call was not seen",
	[GO_LOST_LEAVE] = "the end of a system call was not seen",
	[GO_TWICE] = "an event came twice",
	[GO_LATE] = "an event came late",
	[GO_LATE_NEW] = "a creation came after the thread's first event",
	[GO_AFTER_END] = "a sample of an ending thread was left out",
	[GO_TOO_MANY] = "more than 65536 threads: an event was left out",
	[GO_TASK_TWICE] = "a task began twice, or had no number",
	[GO_REGION_OPEN] = "a region was not ended",
	[GO_REGION_END_ALONE] = "a region ended that was not open",
	[GO_SAID_TOO_MUCH] = "more than 4096 open tasks, or 32 regions in each other: left out",
	[GO_UNKNOWN] = "an event was not understood",
};
_Static_assert(sizeof(texts) / sizeof(*texts) == GO_N_REPAIRS, "a text each");

const char *go_repair_text(enum go_repair repair)
{
	return texts[repair];
}

uint64_t go_trace_repairs(const struct go_trace *g, enum go_repair repair)
{
	return g->repairs[repair] + g->now[repair];
}

/* Those that are there but silent are declared when the first generation ends. */
static int list_threads(struct go_trace *g, const struct trace_start *start)
{
	for (uint32_t i = 0; i < start->n_threads && !g->bad; i++) {
		const struct trace_thread *from = &start->threads[i];
		struct go_thread *th;

		th = from->tid && from->tid < GO_OUTSIDE ? go_thread_get(g, from->tid) : NULL;
		if (!th)
			continue;
		go_thread_name(th, from->name);
		th->listed_in_call = from->in_call;
	}
	return g->bad ? -ENOMEM : 0;
}

int go_trace_new(const struct trace_start *start, unsigned version, struct go_trace **ret)
{
	_cleanup_(go_trace_freep) struct go_trace *g = NULL;
	int r;

	if (!go_wire_version_known(version))
		return -EINVAL;
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	go_wire_init(&g->wire, version, &g->header);
	g->n_cpus = start->n_cpus;
	g->to_realtime = (int64_t)(start->realtime - start->monotonic);
	g->ended = g->wire.now = start->monotonic;
	g->first = true;
	r = list_threads(g, start);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(g);
	return 0;
}

void go_trace_free(struct go_trace *g)
{
	if (!g)
		return;
	go_wire_deinit(&g->wire);
	go_threads_deinit(g);
	bytes_deinit(&g->outside.b);
	bytes_deinit(&g->header);
	vec_deinit(&g->stacks);
	vec_deinit(&g->tasks);
	hash_deinit(&g->stack_index);
	free(g);
}

/* Each generation tells the state of all anew; it must be the one that the reader has. */
static void tell(struct go_trace *g, uint64_t t, struct go_thread *th)
{
	if (!th->tid || !th->status)
		return;
	if (th->cpu >= 0)
		GO_EVENT(g, &th->stream, th->tid, t, GO_PROC_STATUS, th->cpu + 1ull,
			 g->cpus.data[th->cpu].status);
	go_say_status(g, t, th, th->status, th->status == GO_RUNNING || th->status == GO_SYSCALL);
}

static void begin(struct go_trace *g, uint64_t began, struct bytes *out)
{
	uint64_t t;

	if (g->header.n)
		bytes_add(out, g->header.data, g->header.n);
	out->bad |= g->header.bad;
	bytes_clear(&g->header);
	go_stacks_clear(g);
	memset(g->now, 0, sizeof(g->now));
	g->said_cpus = false;
	go_wire_begin(&g->wire, began, began + (uint64_t)g->to_realtime, out);
	t = g->wire.began;
	GO_EVENT(g, &g->outside, GO_OUTSIDE, t, GO_PROC_STATUS, 0, GO_P_RUNNING);
	for (uint32_t i = 0; i < g->cpus.n; i++) {
		struct go_cpu *c = &g->cpus.data[i];

		c->sequence = 0;
		if (c->known && !c->owner)
			GO_EVENT(g, &g->outside, GO_OUTSIDE, t, GO_PROC_STATUS, i + 1ull, GO_P_IDLE);
	}
	for (uint32_t i = 0; i < g->n_threads; i++)
		tell(g, t, go_thread_at(g, i));
}

static void declare_silent(struct go_trace *g, uint64_t t)
{
	for (uint32_t i = 0; i < g->n_threads; i++) {
		struct go_thread *th = go_thread_at(g, i);

		if (th->tid && !th->gone && !th->dead)
			go_declare(g, t, th, GO_WAITING, 0);
	}
}

static void end(struct go_trace *g)
{
	for (uint32_t i = 0; i < g->n_threads; i++) {
		struct go_thread *th = go_thread_at(g, i);

		if (!th->tid)
			continue;
		go_thread_write_name(g, th);
		go_wire_flush(&g->wire, &th->stream, th->tid);
		bytes_deinit(&th->stream.b); /* what many threads once needed is not kept */
		if (th->dead || (th->gone && g->wire.now - th->declared_at > GO_GONE_NS))
			go_thread_release(g, th);
	}
	go_wire_flush(&g->wire, &g->outside, GO_OUTSIDE);
	go_wire_end(&g->wire);
	g->generation = NULL;
	g->first = false;
}

/* A log message needs a goroutine: one that is there just for them, outside. */
static void log_open(struct go_trace *g, uint64_t t)
{
	GO_EVENT(g, &g->outside, GO_OUTSIDE, t, GO_CREATE, GO_OUTSIDE, go_wire_say(&g->wire, NAME_OUTSIDE), 0);
	GO_EVENT(g, &g->outside, GO_OUTSIDE, t, GO_START, GO_OUTSIDE, 1);
}

static void log_close(struct go_trace *g, uint64_t t)
{
	go_wire_event(&g->wire, &g->outside, GO_OUTSIDE, t, GO_DESTROY, 0, NULL);
}

static void log_text(struct go_trace *g, uint64_t t, const char *text)
{
	GO_EVENT(g, &g->outside, GO_OUTSIDE, t, GO_USER_LOG, 0, go_wire_string(&g->wire, NAME_OUTSIDE),
		 go_wire_string(&g->wire, text), 0);
}

static void log_number(struct go_trace *g, uint64_t t, const char *prefix, uint64_t n, const char *what)
{
	char text[160];

	if (!n)
		return;
	snprintf(text, sizeof(text), "%s%s: %llu", prefix, what, (unsigned long long)n);
	log_text(g, t, text);
}

static void log_generation(struct go_trace *g, uint64_t t, uint64_t n_lost)
{
	uint64_t n = n_lost;

	for (int i = 0; i < GO_N_REPAIRS; i++) {
		n += g->now[i];
		g->repairs[i] += g->now[i];
	}
	if (!n)
		return;
	log_open(g, t);
	log_number(g, t, "", n_lost, "events were lost");
	for (int i = 0; i < GO_N_REPAIRS; i++)
		log_number(g, t, "", g->now[i], texts[i]);
	log_close(g, t);
	memset(g->now, 0, sizeof(g->now));
}

int go_trace_generation(struct go_trace *g, const struct trace_generation *generation, struct bytes *out)
{
	uint64_t ended = generation->ended;

	begin(g, generation->began, out);
	g->generation = generation;
	g->n_lost += generation->n_lost;
	for (uint32_t i = 0; i < generation->n && !g->bad && !out->bad; i++)
		go_switch_event(g, &generation->events[i]);
	if (g->first)
		declare_silent(g, ended);
	log_generation(g, ended, generation->n_lost);
	g->ended = ended > g->wire.now ? ended : g->wire.now;
	end(g);
	return g->bad || out->bad ? -ENOMEM : 0;
}

int go_trace_end(struct go_trace *g, const char *note, struct bytes *out)
{
	uint64_t t = g->ended;
	char text[160];

	begin(g, t, out);
	if (g->first)
		declare_silent(g, t);
	log_open(g, t);
	if (note)
		log_text(g, t, note);
	snprintf(text, sizeof(text), "in all: %llu events, %llu lost", (unsigned long long)g->n_events,
		 (unsigned long long)g->n_lost);
	log_text(g, t, text);
	for (int i = 0; i < GO_N_REPAIRS; i++)
		log_number(g, t, "in all: ", g->repairs[i], texts[i]);
	log_close(g, t);
	go_wire_event(&g->wire, &g->outside, GO_OUTSIDE, t, GO_PROC_STOP, 0, NULL); /* the trace ends here */
	end(g);
	return g->bad || out->bad ? -ENOMEM : 0;
}
