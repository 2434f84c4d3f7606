/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "daemon/serve/trace/go_state.h"

#define FIRST_SLOTS 256

static uint32_t home(const struct go_trace *g, uint32_t tid)
{
	return (uint32_t)(hash_u64(HASH_SEED, tid) >> 32) & (g->n_slots - 1);
}

static uint32_t slot_of(const struct go_trace *g, uint32_t tid)
{
	uint32_t i = home(g, tid);

	while (g->by_tid[i] && g->by_tid[i]->tid != tid)
		i = (i + 1) & (g->n_slots - 1);
	return i;
}

struct go_thread *go_thread_find(struct go_trace *g, uint32_t tid)
{
	return g->n_slots ? g->by_tid[slot_of(g, tid)] : NULL;
}

static int grow(struct go_trace *g)
{
	uint32_t n = g->n_slots ? g->n_slots * 2 : FIRST_SLOTS, had = g->n_slots;
	_cleanup_(freep) struct go_thread **old = g->by_tid;
	struct go_thread **slots = calloc(n, sizeof(*slots));

	if (!slots) {
		TAKE_PTR(old);
		return -ENOMEM;
	}
	g->by_tid = slots;
	g->n_slots = n;
	for (uint32_t i = 0; i < had; i++)
		if (old[i])
			slots[slot_of(g, old[i]->tid)] = old[i];
	return 0;
}

struct go_thread *go_thread_at(struct go_trace *g, uint32_t i)
{
	return &g->blocks[i / GO_BLOCK_THREADS][i % GO_BLOCK_THREADS];
}

/* A place for a thread: one that was left, or a new one. */
static struct go_thread *place(struct go_trace *g)
{
	struct go_thread **block = &g->blocks[g->n_threads / GO_BLOCK_THREADS % (GO_MAX_THREADS / GO_BLOCK_THREADS)];
	struct go_thread *th;

	if (g->places.n)
		return g->places.data[--g->places.n];
	if (g->n_threads == GO_MAX_THREADS) {
		go_repair(g, GO_TOO_MANY);
		return NULL;
	}
	if (!*block)
		*block = calloc(GO_BLOCK_THREADS, sizeof(**block));
	if (!*block || vec_reserve(&g->places, g->n_threads + 1) < 0) { /* so that each can be left */
		g->bad = true;
		return NULL;
	}
	th = go_thread_at(g, g->n_threads);
	th->index = g->n_threads++;
	return th;
}

struct go_thread *go_thread_get(struct go_trace *g, uint32_t tid)
{
	struct go_thread *th = go_thread_find(g, tid);

	if (th)
		return th;
	if ((g->n_by_tid + 1) * 2 > g->n_slots && grow(g) < 0) {
		g->bad = true;
		return NULL;
	}
	th = place(g);
	if (!th)
		return NULL;
	*th = (struct go_thread){ .tid = tid, .index = th->index, .call = -1, .cpu = -1 };
	g->by_tid[slot_of(g, tid)] = th;
	g->n_by_tid++;
	return th;
}

/* Those behind it move up, so that a search never meets a hole. */
static void unlink_tid(struct go_trace *g, uint32_t tid)
{
	uint32_t hole = slot_of(g, tid), mask = g->n_slots - 1;

	g->by_tid[hole] = NULL;
	g->n_by_tid--;
	for (uint32_t i = (hole + 1) & mask; g->by_tid[i]; i = (i + 1) & mask)
		if (((i - home(g, g->by_tid[i]->tid)) & mask) >= ((i - hole) & mask)) {
			g->by_tid[hole] = g->by_tid[i];
			g->by_tid[i] = NULL;
			hole = i;
		}
}

void go_thread_release(struct go_trace *g, struct go_thread *th)
{
	go_thread_write_name(g, th);
	go_wire_flush(&g->wire, &th->stream, th->tid);
	bytes_deinit(&th->stream.b);
	go_regions_forget(th);
	unlink_tid(g, th->tid);
	th->tid = 0;
	vec_push(&g->places, th); /* has room */
}

void go_thread_name(struct go_thread *th, const char name[16])
{
	char text[sizeof(th->name)];

	if (!name[0])
		return;
	utf8_copy(text, sizeof(text), name, strnlen(name, 16));
	th->renamed = th->declared_in && strcmp(text, th->name);
	strcpy(th->name, text);
}

uint32_t go_thread_name_stack(struct go_trace *g, struct go_thread *th)
{
	if (!th->name_stack)
		th->name_stack = go_wire_stack_id(&g->wire);
	return th->name_stack;
}

void go_thread_write_name(struct go_trace *g, struct go_thread *th)
{
	struct trace_frame frame = go_wire_words(th->name[0] ? th->name : "thread");

	if (th->name_stack)
		go_wire_stack(&g->wire, th->name_stack, &frame, 1);
	th->name_stack = 0;
}

void go_threads_deinit(struct go_trace *g)
{
	for (uint32_t i = 0; i < g->n_threads; i++) {
		bytes_deinit(&go_thread_at(g, i)->stream.b);
		go_regions_forget(go_thread_at(g, i));
	}
	for (size_t i = 0; i < GO_MAX_THREADS / GO_BLOCK_THREADS; i++)
		free(g->blocks[i]);
	vec_deinit(&g->places);
	vec_deinit(&g->cpus);
	free(g->by_tid);
}

struct go_cpu *go_cpu_get(struct go_trace *g, uint32_t cpu)
{
	struct go_cpu none = { .status = GO_P_IDLE };

	if (cpu >= GO_MAX_CPUS)
		return NULL;
	while (g->cpus.n <= cpu)
		if (vec_push(&g->cpus, none) < 0) {
			g->bad = true;
			return NULL;
		}
	return &g->cpus.data[cpu];
}
