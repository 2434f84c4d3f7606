/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* trace_check_state.h - between trace_check.c, which reads the file, and trace_check_state.c, which knows what an event
 * needs and does. */

#include "base/cursor.h"
#include "base/hash.h"
#include "base/vec.h"
#include "trace_check.h"

#define NONE UINT64_MAX

struct map { /* numbers to numbers */
	struct map_item {
		uint64_t key, value;
		bool used;
	} *items;
	size_t n, n_slots;
};

uint64_t *map_get(const struct map *m, uint64_t key);
void map_put(struct map *m, uint64_t key, uint64_t value);
void map_clear(struct map *m);
void map_deinit(struct map *m);

struct string {
	const char *text;
	uint64_t len;
};

struct stack {
	const uint8_t *frames;
	uint32_t n;
};

struct batch {
	uint64_t time;
	struct cursor c;
};

struct m {
	uint64_t id, p, g; /* bound */
	VEC(struct batch) batches;
	size_t at;
	bool begun;
	uint64_t time, last;
	struct trace_check_event e; /* the next */
};

struct region {
	uint64_t task, name;
};

struct g {
	uint64_t status; /* 0: there is none */
	uint64_t sequence, m, generation; /* generation: that last told of it */
	VEC(struct region) regions;
};

struct p {
	uint64_t status, sequence, m, generation;
};

struct reader {
	struct trace_check *ret;
	const uint8_t *begin;
	struct cursor c;
	uint64_t generation, n_batches;
	uint32_t clocks;
	bool ended;
	uint64_t now;
	VEC(struct string) strings;
	VEC(struct stack) stacks;
	VEC(uint64_t) sample_stacks;
	VEC(struct m) ms;
	VEC(struct g) gs;
	VEC(struct p) ps;
	VEC(uint64_t) tasks;
	VEC(uint32_t) heap; /* Ms by the time of their next event */
	struct map m_index, g_index, p_index, pcs;
};

int fail(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Takes m->e: 1; 0: not now, another M may go first; -1: never. */
int advance(struct reader *r, struct m *m);
