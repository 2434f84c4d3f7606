/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/serve/trace/perfetto.h"
#include "perfetto_check.h"
#include "trace_world.h"

enum { SWITCH = 4, WAKING = 20, NEW = 235, RENAME = 236, EXIT = 238, ENTER = 329, LEAVE = 330 };

static struct trace_world recorded, small;

static int setup(void **state)
{
	int r = trace_world_read(&recorded, TRACE_FIXTURES "/recorded-trace.gz");

	return r < 0 ? r : trace_world_small(&small);
}

static int teardown(void **state)
{
	trace_world_free(&recorded);
	trace_world_free(&small);
	return 0;
}

struct making {
	struct perfetto *p;
	struct bytes out;
	uint64_t n_events, n_generations;
};

static int make_generation(void *context, const struct trace_generation *generation)
{
	struct making *m = context;

	m->n_generations++;
	m->n_events += generation->n;
	return perfetto_generation(m->p, generation, &m->out);
}

static void make(struct trace_world *w, const struct trace_harm *harm, uint64_t ns, const char *note,
		 struct making *m, struct perfetto_check *c)
{
	*m = (struct making){ 0 };
	assert_int_equal(perfetto_new(&w->start, &m->p), 0);
	assert_int_equal(trace_world_play(w, harm, ns, make_generation, m), 0);
	assert_int_equal(perfetto_end(m->p, note, &m->out), 0);
	if (!perfetto_check(m->out.data, m->out.n, c))
		fail_msg("%s", c->error);
	perfetto_free(m->p);
	bytes_deinit(&m->out);
}

static uint64_t count(const struct trace_world *w, uint8_t kind)
{
	uint64_t n = 0;

	for (size_t i = 0; i < w->events.n; i++)
		n += w->events.data[i].kind == kind;
	return n;
}

static void check_kinds(const struct trace_world *w, const struct perfetto_check *c)
{
	assert_int_equal(c->n_event[WAKING], count(w, TRACE_WAKING));
	assert_int_equal(c->n_event[NEW], count(w, TRACE_NEW));
	assert_int_equal(c->n_event[RENAME], count(w, TRACE_NAME));
	assert_int_equal(c->n_event[EXIT], count(w, TRACE_EXIT));
	assert_int_equal(c->n_event[ENTER], count(w, TRACE_ENTER));
	assert_int_equal(c->n_event[LEAVE], count(w, TRACE_LEAVE));
	assert_int_equal(c->n_samples, count(w, TRACE_SAMPLE));
	assert_int_equal(c->n_processes, 1);
}

/* Who leaves and who comes at the same time are one switch; 7 ins and 6 outs, one pair of them. */
static void test_small(void **state)
{
	struct perfetto_check c;
	struct making m;

	make(&small, &(struct trace_harm){ .calls = true }, 200000, "cut at 1 byte", &m, &c);
	check_kinds(&small, &c);
	assert_int_equal(c.n_event[SWITCH], count(&small, TRACE_IN) + count(&small, TRACE_OUT) - 1);
	assert_int_equal(c.n_from_idle, count(&small, TRACE_IN) - 1);
	assert_int_equal(c.n_to_idle, count(&small, TRACE_OUT) - 1);
	assert_int_equal(c.first, small.events.data[0].time + small.start.boottime - small.start.monotonic);
	assert_int_equal(c.n_threads, small.threads.n);
	assert_int_equal(c.n_stacks, 1);
	assert_int_equal(c.n_frames, 2);
	assert_int_equal(c.n_notes, 2);
	assert_string_equal(c.note, "in all: 21 events, 0 lost, 0 not understood, 0 of threads without a name");
}

static void test_recorded(void **state)
{
	for (int i = 0; i < 2; i++) { /* generations change nothing but what is said again */
		struct perfetto_check c;
		struct making m;

		make(&recorded, &(struct trace_harm){ .calls = true }, i ? 20000000 : 1000000000, NULL, &m, &c);
		check_kinds(&recorded, &c);
		assert_int_equal(m.n_events, recorded.events.n);
		assert_int_equal(c.n_from_idle + c.n_to_idle + 2 * (c.n_event[SWITCH] - c.n_from_idle - c.n_to_idle),
				 count(&recorded, TRACE_IN) + count(&recorded, TRACE_OUT));
		assert_int_equal(c.n_lost_bundles, 0);
	}
}

static void test_losses_are_said(void **state)
{
	struct perfetto_check c;
	struct making m;
	char want[200];

	make(&recorded, &(struct trace_harm){ .seed = 3, .lose = 100000, .calls = true }, 100000000, NULL, &m, &c);
	assert_true(c.n_lost_bundles > 0);
	assert_int_equal(c.n_notes, 2);
	snprintf(want, sizeof(want), "in all: %zu events, %zu lost, 0 not understood, 0 of threads without a name",
		 (size_t)m.n_events, recorded.events.n - (size_t)m.n_events);
	assert_string_equal(c.note, want);
}

static void test_what_the_program_says(void **state)
{
	static const struct trace_note notes[] = { { 7, 0, "request", "" }, { 7, 0, "part\n\xff", "" }, { 0, 0, "", "a message" } };
	struct trace_event e[8];
	uint64_t t = small.start.monotonic;
	struct perfetto_check c;
	struct making m = { 0 };

	for (uint32_t i = 0; i < 8; i++)
		e[i] = (struct trace_event){ .time = t + 10 + i, .tid = 101, .call = -1 };
	for (uint32_t i = 0; i < 5; i++) {
		e[i].kind = (uint8_t)(TRACE_TASK_BEGIN + i);
		e[i].other = i == 4 ? 3 : i < 2 ? 1 : 2;
	}
	e[5].kind = TRACE_LOG; /* without a note */
	e[6].kind = TRACE_LOG;
	e[6].other = 4;
	e[7].kind = TRACE_IN;
	assert_int_equal(perfetto_new(&small.start, &m.p), 0);
	for (int i = 0; i < 2; i++) {
		struct trace_generation g = { .events = e, .n = 8, .began = t, .ended = t + 20, .frames = trace_world_frames,
					      .context = &small, .notes = notes, .n_notes = 3 };

		assert_int_equal(perfetto_generation(m.p, &g, &m.out), 0);
	}
	assert_int_equal(perfetto_end(m.p, NULL, &m.out), 0);
	if (!perfetto_check(m.out.data, m.out.n, &c))
		fail_msg("%s", c.error);
	assert_int_equal(c.n_notes, 2 * 5 + 1);
	assert_string_equal(c.note, "in all: 16 events, 0 lost, 4 not understood, 0 of threads without a name");
	perfetto_free(m.p);
	bytes_deinit(&m.out);
}

/* More threads than names are kept for: their events are there all the same. */
static void test_threads_past_the_bound(void **state)
{
	struct perfetto_check c;
	struct trace_world w;
	struct making m;

	assert_int_equal(trace_world_small(&w), 0);
	w.events.n = 0;
	for (uint32_t i = 0; i < PERFETTO_MAX_THREADS + 100; i++)
		trace_world_add(&w, (struct trace_event){ .time = 2000000000 + i, .tid = 1000 + i, .kind = TRACE_IN });
	make(&w, &(struct trace_harm){ 0 }, 1000000000, NULL, &m, &c);
	assert_int_equal(c.n_event[SWITCH], PERFETTO_MAX_THREADS + 100);
	assert_int_equal(c.n_threads, PERFETTO_MAX_THREADS);
	assert_non_null(strstr(c.note, "0 lost, 0 not understood, 104 of threads without a name"));
	trace_world_free(&w);
}

/* A tid that ends and comes back is another thread of that number; names of the dead are forgotten when they are many. */
static void test_threads_come_and_go(void **state)
{
	struct perfetto_check c;
	struct trace_world w;
	struct making m;

	assert_int_equal(trace_world_small(&w), 0);
	w.events.n = 0;
	for (uint32_t i = 0; i < 3 * PERFETTO_MAX_THREADS; i++) {
		struct trace_event e = { .time = 2000000000 + 2 * i, .tid = 1000 + i, .other = 101, .kind = TRACE_NEW,
					 .name = "short" };

		trace_world_add(&w, e);
		e.kind = TRACE_EXIT;
		e.time++;
		trace_world_add(&w, e);
	}
	make(&w, &(struct trace_harm){ 0 }, 10000, NULL, &m, &c);
	assert_int_equal(c.n_event[NEW], 3 * PERFETTO_MAX_THREADS);
	assert_non_null(strstr(c.note, "0 of threads without a name"));
	trace_world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_recorded),
		cmocka_unit_test(test_losses_are_said),
		cmocka_unit_test(test_what_the_program_says),
		cmocka_unit_test(test_threads_past_the_bound),
		cmocka_unit_test(test_threads_come_and_go),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
