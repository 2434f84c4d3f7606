/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/trace/go_state.h"

#define NO_TASK UINT64_MAX /* the reader's; 0 is that of the whole program */

void go_regions_forget(struct go_thread *th)
{
	free(th->regions);
	th->regions = NULL;
	th->n_regions = th->n_deeper = 0;
}

#define PUT(g, t, th, event, ...) GO_EVENT((g), &(th)->stream, (th)->tid, (t), (event), __VA_ARGS__)

static uint32_t find_task(const struct go_trace *g, uint64_t task)
{
	uint32_t i = 0;

	while (i < g->tasks.n && g->tasks.data[i] != task)
		i++;
	return i;
}

static void task_begin(struct go_trace *g, const struct trace_note *n, uint64_t t,
		       struct go_thread *th, uint32_t stack)
{
	if (!n->task || n->task == NO_TASK || find_task(g, n->task) < g->tasks.n) {
		go_repair(g, GO_TASK_TWICE);
		return;
	}
	if (g->tasks.n == GO_MAX_TASKS || vec_push(&g->tasks, n->task) < 0) {
		go_repair(g, GO_SAID_TOO_MUCH);
		return;
	}
	PUT(g, t, th, GO_TASK_BEGIN, n->task, n->parent == NO_TASK ? 0 : n->parent,
	    go_wire_string(&g->wire, n->name), stack);
}

/* One that began before the trace may end. */
static void task_end(struct go_trace *g, const struct trace_note *n, uint64_t t,
		     struct go_thread *th, uint32_t stack)
{
	uint32_t i = find_task(g, n->task);

	if (!n->task || n->task == NO_TASK)
		return;
	if (i < g->tasks.n)
		g->tasks.data[i] = g->tasks.data[--g->tasks.n];
	PUT(g, t, th, GO_TASK_END, n->task, stack);
}

static void region_begin(struct go_trace *g, const struct trace_note *n, uint64_t t,
			 struct go_thread *th, uint32_t stack)
{
	struct go_region *to;

	if (!th->regions)
		th->regions = calloc(GO_MAX_REGIONS, sizeof(*th->regions));
	if (!th->regions)
		g->bad = true;
	if (!th->regions || th->n_deeper || th->n_regions == GO_MAX_REGIONS) {
		th->n_deeper++;
		go_repair(g, GO_SAID_TOO_MUCH);
		return;
	}
	to = &th->regions[th->n_regions++];
	to->task = n->task;
	utf8_copy(to->name, sizeof(to->name), n->name, strnlen(n->name, sizeof(to->name)));
	PUT(g, t, th, GO_REGION_BEGIN, to->task, go_wire_string(&g->wire, to->name), stack);
}

static void put_region_end(struct go_trace *g, uint64_t t, struct go_thread *th, uint64_t task,
			   const char *name, uint32_t stack)
{
	PUT(g, t, th, GO_REGION_END, task, go_wire_string(&g->wire, name), stack);
}

static void region_end(struct go_trace *g, const struct trace_note *n, uint64_t t,
		       struct go_thread *th, uint32_t stack)
{
	uint32_t at = th->n_regions;
	char name[GO_REGION_NAME];

	if (th->n_deeper) {
		th->n_deeper--;
		return;
	}
	utf8_copy(name, sizeof(name), n->name, strnlen(n->name, sizeof(name)));
	while (at &&
	       (th->regions[at - 1].task != n->task || strcmp(th->regions[at - 1].name, name) != 0))
		at--;
	if (!at && th->n_regions) {
		go_repair(g, GO_REGION_END_ALONE);
		return;
	}
	while (th->n_regions > at) {
		const struct go_region *inner = &th->regions[--th->n_regions];

		go_repair(g, GO_REGION_OPEN);
		put_region_end(g, t, th, inner->task, inner->name, 0);
	}
	th->n_regions -= at != 0; /* else it began before the trace */
	put_region_end(g, t, th, n->task, name, stack);
}

void go_say(struct go_trace *g, const struct trace_event *e, uint64_t t)
{
	const struct trace_generation *in = g->generation;
	const struct trace_note *n =
		e->other && e->other <= in->n_notes ? &in->notes[e->other - 1] : NULL;
	struct go_thread *th = n ? go_running(g, t, e->tid, e->cpu) : NULL;
	uint32_t stack;

	if (!th) {
		go_repair(g, n ? GO_AFTER_END : GO_UNKNOWN);
		return;
	}
	stack = go_stack(g, e->stack, -1);
	if (e->kind == TRACE_TASK_BEGIN)
		task_begin(g, n, t, th, stack);
	else if (e->kind == TRACE_TASK_END)
		task_end(g, n, t, th, stack);
	else if (e->kind == TRACE_REGION_BEGIN)
		region_begin(g, n, t, th, stack);
	else if (e->kind == TRACE_REGION_END)
		region_end(g, n, t, th, stack);
	else
		PUT(g, t, th, GO_USER_LOG, n->task, go_wire_string(&g->wire, n->name),
		    go_wire_string(&g->wire, n->message), stack);
}
