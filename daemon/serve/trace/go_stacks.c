/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "daemon/serve/trace/call.h"
#include "daemon/serve/trace/go_state.h"

/* Enough for every walk; the writer cuts by itself and says so. */
#define MAX_FRAMES (GO_MAX_FRAMES + 1)

static bool stack_equal(uint32_t item, const void *key, const void *context)
{
	const struct go_trace *g = context;
	const struct go_stack *a = &g->stacks.data[item], *b = key;

	return a->id == b->id && a->call == b->call;
}

static uint32_t write_stack(struct go_trace *g, uint32_t id, int16_t call)
{
	const struct trace_frame *frames = NULL;
	struct trace_frame all[MAX_FRAMES];
	uint32_t n = id ? g->generation->frames(g->generation->context, id, &frames) : 0, k = 0, to;
	char words[64] = "syscall:";

	if (call >= 0) {
		call_name(call, words + strlen(words), sizeof(words) - strlen(words));
		if (!n)
			return go_wire_say(&g->wire, words);
		all[k++] = go_wire_words(words);
	}
	if (!n)
		return 0;
	for (uint32_t i = 0; i < n && k < MAX_FRAMES; i++)
		all[k++] = frames[i];
	to = go_wire_stack_id(&g->wire);
	go_wire_stack(&g->wire, to, all, k);
	return to;
}

uint32_t go_stack(struct go_trace *g, uint32_t id, int16_t call)
{
	struct go_stack s = { id, call, 0 };
	uint64_t hash = hash_u64(HASH_SEED, (uint64_t)id << 16 | (uint16_t)call);
	uint32_t at;

	if (!g->generation || !g->generation->frames)
		id = s.id = 0;
	if (!id && call < 0)
		return 0;
	at = hash_get(&g->stack_index, hash, stack_equal, &s, g);
	if (at != HASH_NONE)
		return g->stacks.data[at].in_file;
	s.in_file = write_stack(g, id, call);
	if (vec_push(&g->stacks, s) < 0 ||
	    hash_put(&g->stack_index, hash, (uint32_t)g->stacks.n - 1) < 0)
		g->bad = true;
	return s.in_file;
}

void go_stacks_clear(struct go_trace *g)
{
	g->stacks.n = 0;
	hash_clear(&g->stack_index);
}
