/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as the events of a recording: whatever they claim, a reader takes the trace in either format. */

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/vec.h"
#include "daemon/serve/trace/go_model.h"
#include "daemon/serve/trace/perfetto.h"
#include "perfetto_check.h"
#include "trace_check.h"

#define MAX_EVENTS 4096
#define TIDS 12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static uint32_t frames(void *context, uint32_t id, const struct trace_frame **ret)
{
	static struct trace_frame many[300];

	for (uint32_t i = 0; i < 300 && !many[299].function; i++)
		many[i] = (struct trace_frame){ 0x1000 + i / 2, i % 7 ? "function" : "other", i % 5 ? "file.c" : "", i / 3,
						i % 3 == 0 };
	*ret = id == 15 ? many : many + id;
	return id == 15 ? 300 : id & 7;
}

/* Few threads and CPUs, so that they meet; now and then a number that cannot be. */
static uint32_t tid_of(uint8_t byte)
{
	return byte == 255 ? GO_OUTSIDE : byte == 254 ? UINT32_MAX : byte % TIDS;
}

static struct trace_event read_event(struct cursor *c, uint64_t *now)
{
	uint8_t kind = cursor_u8(c), where = cursor_u8(c), what = cursor_u8(c);
	struct trace_event e = { .kind = kind % 11, .cpu = where == 255 ? 9000 : where % 5, .why = what % 16,
				 .flags = what >> 4, .stack = where >> 4 };
	int8_t step = (int8_t)cursor_u8(c);

	*now += (uint64_t)(int64_t)(step * (kind >= 128 ? 100000 : 7));
	e.time = *now;
	e.tid = tid_of(cursor_u8(c));
	e.other = tid_of(cursor_u8(c));
	e.call = (int16_t)((int16_t)cursor_u8(c) - 1);
	memset(e.name, cursor_u8(c), where % 16);
	return e;
}

static void go(struct trace_start *start, unsigned version, struct trace_generation *g, size_t n)
{
	_cleanup_(go_trace_freep) struct go_trace *t = NULL;
	_cleanup_(bytes_deinit) struct bytes out = BYTES_INIT;
	struct trace_check c = { 0 };

	if (go_trace_new(start, version, &t) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (go_trace_generation(t, &g[i], &out) < 0)
			return;
	if (go_trace_end(t, "note", &out) < 0)
		return;
	if (!trace_check(out.data, out.n, &c)) {
		fprintf(stderr, "%s\n", c.error);
		abort();
	}
	assert(!c.n_ties && !c.n_retries && c.n_generations == n + 1);
}

static void perfetto(struct trace_start *start, struct trace_generation *g, size_t n)
{
	_cleanup_(perfetto_freep) struct perfetto *t = NULL;
	_cleanup_(bytes_deinit) struct bytes out = BYTES_INIT;
	struct perfetto_check c;

	if (perfetto_new(start, &t) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (perfetto_generation(t, &g[i], &out) < 0)
			return;
	if (perfetto_end(t, "note", &out) < 0)
		return;
	if (!perfetto_check(out.data, out.n, &c)) {
		fprintf(stderr, "%s\n", c.error);
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const unsigned versions[] = { 22, 23, 25, 26 };
	struct trace_thread threads[] = { { 1, "main", false }, { 2, "in a call", true }, { 3, "", false },
					  { 0, "nobody", false }, { 1, "twice", true } };
	struct trace_start start = { 1, "program", 4, 1ull << 40, 1ull << 60, 1ull << 41, threads, 5 };
	struct trace_event *events = calloc(MAX_EVENTS, sizeof(*events));
	VEC(struct trace_generation) g = { 0 };
	struct cursor c = cursor_over(data, n);
	uint64_t now = 1ull << 40, began = now, ended;
	uint8_t head = cursor_u8(&c);
	uint32_t at = 0, first = 0;

	while (events && at < MAX_EVENTS && cursor_left(&c)) {
		bool cut = *c.p % 16 == 15;

		events[at++] = read_event(&c, &now);
		if (!cut && cursor_left(&c) && at < MAX_EVENTS)
			continue;
		ended = now > began ? now : began; /* these are the recorder's own, unlike the events' times */
		vec_push(&g, ((struct trace_generation){ events + first, at - first, began, ended, head >> 4, frames, NULL, NULL, 0 }));
		first = at;
		began = ended;
	}
	go(&start, versions[head % 4], g.data, g.n);
	perfetto(&start, g.data, g.n);
	vec_deinit(&g);
	free(events);
	return 0;
}
