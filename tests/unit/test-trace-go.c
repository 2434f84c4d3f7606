/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "go_making.h"

static struct trace_world recorded, small;

static int setup(void **state)
{
	int r = trace_world_read(&recorded, TRACE_FIXTURES "/recorded-trace.gz");

	if (r < 0)
		print_error("recorded-trace.gz: %s\n", strerror(-r));
	return r < 0 ? r : trace_world_small(&small);
}

static int teardown(void **state)
{
	trace_world_free(&recorded);
	trace_world_free(&small);
	return 0;
}

/* The synthetic schedule is what it was when `go tool trace` took it. */
static void golden(unsigned version)
{
	_cleanup_(bytes_deinit) struct bytes want = BYTES_INIT;
	struct trace_check c = { 0 };
	struct making m;
	char path[256], part[4096];
	size_t n;
	FILE *f;

	make(&small, version, &(struct trace_harm){ .calls = true }, 200000, &m);
	check(&m, &c);
	assert_int_equal(all_repairs(m.g), 0);
	snprintf(path, sizeof(path), TRACE_FIXTURES "/small-%u.trace", version);
	if (getenv("TRACE_GOLDEN_WRITE")) {
		f = fopen(path, "we");
		assert_non_null(f);
		assert_int_equal(fwrite(m.out.data, 1, m.out.n, f), m.out.n);
		fclose(f);
	}
	f = fopen(path, "re");
	assert_non_null(f);
	while ((n = fread(part, 1, sizeof(part), f)) > 0)
		bytes_add(&want, part, n);
	fclose(f);
	assert_int_equal(want.n, m.out.n);
	assert_memory_equal(want.data, m.out.data, want.n);
	unmake(&m);
}

static void test_golden_22(void **state)
{
	golden(22);
}

static void test_golden_23(void **state)
{
	golden(23);
}

static void test_golden_25(void **state)
{
	golden(25);
}

static void test_golden_26(void **state)
{
	golden(26);
}

static void test_versions(void **state)
{
	static const unsigned wrong[] = { 0, 21, 24, 27, 122 };
	struct go_trace *g = NULL;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		assert_int_equal(go_trace_new(&small.start, wrong[i], &g), -EINVAL);
	assert_null(g);
}

/* A real recording, of which nothing was lost. */
static void test_recorded(void **state)
{
	static const unsigned versions[] = { 22, 23, 25, 26 };

	for (size_t i = 0; i < 8; i++) {
		struct trace_check c = { 0 };
		struct making m;

		make(&recorded, versions[i % 4], &(struct trace_harm){ .calls = i >= 4 }, 1000000000, &m);
		check(&m, &c);
		assert_int_equal(go_trace_repairs(m.g, GO_LOST_WAKING), 48); /* the recorder's own losses */
		assert_int_equal(go_trace_repairs(m.g, GO_LOST_LEAVE), i >= 4 ? 22 : 0);
		assert_int_equal(all_repairs(m.g), i >= 4 ? 71 : 49);
		assert_true(c.n_events > m.n_events * 3 / 2);
		assert_true(m.out.n < c.n_events * 7); /* 5.2 or 6.1; more in short generations */
		unmake(&m);
	}
}

/* Whatever is lost, doubled, late or skewed: a reader takes it. */
static void test_harmed(void **state)
{
	static const unsigned versions[] = { 22, 23, 25, 26 };
	static const uint32_t lose[] = { 1000, 10000, 50000, 200000, 500000 }, skew[] = { 0, 0, 20000, 3000000 };

	for (uint64_t seed = 0; seed < 200; seed++) {
		struct trace_harm h = { .seed = seed, .lose = lose[seed % 5], .skew_ns = skew[seed / 5 % 4],
					.twice = seed % 3 ? 0 : 20000, .late = seed % 7 ? 0 : 5000, .calls = seed & 1 };
		struct trace_check c = { 0 };
		struct making m;

		if (seed >= 20) {
			h.n = 4000;
			h.first = (uint32_t)(seed * 131 % (recorded.events.n - h.n));
		}
		make(&recorded, versions[seed / 2 % 4], &h, seed & 8 ? 10000000 : 100000000, &m);
		if (!trace_check(m.out.data, m.out.n, &c))
			fail_msg("seed %d: %s", (int)seed, c.error);
		check(&m, &c);
		assert_true(all_repairs(m.g) > 0);
		assert_true(c.n_type[GO_USER_LOG] > 0);
		unmake(&m);
	}
}

/* How long each thread is on a CPU, by the events and by the trace. */
struct ran {
	uint64_t tid[64], since[64], ns[64];
	uint32_t n;
};

static uint32_t ran_of(struct ran *r, uint64_t tid)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (r->tid[i] == tid)
			return i;
	assert_true(r->n < 64);
	r->tid[r->n] = tid;
	return r->n++;
}

static void ran_step(struct ran *r, uint64_t tid, bool comes, uint64_t time)
{
	uint32_t i = ran_of(r, tid);

	if (comes) {
		r->since[i] = time;
	} else if (r->since[i]) {
		r->ns[i] += time - r->since[i];
		r->since[i] = 0;
	}
}

static void watch_running(void *context, const struct trace_check_event *e)
{
	if (e->type == GO_START && e->args[0] != GO_OUTSIDE)
		ran_step(context, e->args[0], true, e->time);
	if (e->type == GO_PROC_STOP && e->m != GO_OUTSIDE)
		ran_step(context, e->m, false, e->time);
}

static void test_threads_run_as_long_as_recorded(void **state)
{
	struct ran truth = { 0 }, found = { 0 };
	struct trace_check c = { .event = watch_running, .context = &found };
	struct making m;
	int n_apart = 0;

	make(&recorded, 23, &(struct trace_harm){ .calls = true }, 100000000, &m);
	check(&m, &c);
	for (size_t i = 0; i < recorded.events.n; i++) {
		const struct trace_event *e = &recorded.events.data[i];

		if (e->kind == TRACE_IN || e->kind == TRACE_OUT || e->kind == TRACE_EXIT)
			ran_step(&truth, e->tid, e->kind == TRACE_IN, e->time);
	}
	assert_true(truth.n > 20);
	for (uint32_t i = 0; i < truth.n; i++) {
		uint64_t ns = found.ns[ran_of(&found, truth.tid[i])];
		uint64_t apart = ns > truth.ns[i] ? ns - truth.ns[i] : truth.ns[i] - ns;

		n_apart += apart > truth.ns[i] / 1000 + 100; /* steps at the same time are told 1 ns apart */
	}
	/* one switch and one creation are missing in the recording itself; what their threads do next tells that they run */
	assert_int_equal(go_trace_repairs(m.g, GO_LOST_IN), 1);
	assert_int_equal(go_trace_repairs(m.g, GO_LOST_NEW), 1);
	assert_int_equal(n_apart, 2);
	unmake(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_22), cmocka_unit_test(test_golden_23),
		cmocka_unit_test(test_golden_25), cmocka_unit_test(test_golden_26),
		cmocka_unit_test(test_versions),  cmocka_unit_test(test_recorded),
		cmocka_unit_test(test_harmed),	  cmocka_unit_test(test_threads_run_as_long_as_recorded),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
