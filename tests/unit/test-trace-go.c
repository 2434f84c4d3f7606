/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/serve/trace/go_model.h"
#include "trace_check.h"
#include "trace_world.h"

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

struct making {
	struct go_trace *g;
	struct bytes out;
	uint64_t n_generations, n_events, n_lost, ended;
};

static int make_generation(void *context, const struct trace_generation *generation)
{
	struct making *m = context;

	m->n_generations++;
	m->n_events += generation->n;
	m->n_lost += generation->n_lost;
	m->ended = generation->ended;
	return go_trace_generation(m->g, generation, &m->out);
}

/* The caller frees out and g. */
static void make(struct trace_world *w, unsigned version, const struct trace_harm *harm, uint64_t ns,
		 struct making *m)
{
	*m = (struct making){ 0 };
	assert_int_equal(go_trace_new(&w->start, version, &m->g), 0);
	assert_int_equal(trace_world_play(w, harm, ns, make_generation, m), 0);
	assert_int_equal(go_trace_end(m->g, NULL, &m->out), 0);
}

static void unmake(struct making *m)
{
	go_trace_free(m->g);
	bytes_deinit(&m->out);
}

static uint64_t all_repairs(const struct go_trace *g)
{
	uint64_t n = 0;

	for (int i = 0; i < GO_N_REPAIRS; i++)
		n += go_trace_repairs(g, i);
	return n;
}

static void check(const struct making *m, struct trace_check *c)
{
	if (!trace_check(m->out.data, m->out.n, c))
		fail_msg("%s", c->error);
	assert_int_equal(c->n_ties, 0);
	assert_int_equal(c->n_retries, 0);
	assert_int_equal(c->n_generations, m->n_generations + 1);
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

		make(&recorded, versions[i % 4], &(struct trace_harm){ .calls = i >= 4 }, 100000000, &m);
		check(&m, &c);
		print_message("1.%u%s: %zu events, %zu bytes, %zu trace events, %.2f bytes each, %zu repairs\n",
			      c.version, i >= 4 ? " with calls" : "", (size_t)m.n_events, m.out.n, (size_t)c.n_events,
			      (double)m.out.n / (double)c.n_events, (size_t)all_repairs(m.g));
		for (int k = 0; k < GO_N_REPAIRS; k++)
			if (go_trace_repairs(m.g, k))
				print_message("  %s: %zu\n", go_repair_text(k), (size_t)go_trace_repairs(m.g, k));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_22), cmocka_unit_test(test_golden_23),
		cmocka_unit_test(test_golden_25), cmocka_unit_test(test_golden_26),
		cmocka_unit_test(test_versions),  cmocka_unit_test(test_recorded),
		cmocka_unit_test(test_harmed),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
