/* SPDX-License-Identifier: Apache-2.0 */

/* No memory, at each allocation once: an error, never a broken trace, and nothing leaks (with the sanitizers). */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/serve/trace/go_model.h"
#include "daemon/serve/trace/perfetto.h"
#include "trace_world.h"

#define MAX_GENERATIONS 64
#define MAX_EVENTS 400

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static long until = -1; /* so many more succeed; -1: all */

static bool fails(void)
{
	if (until > 0)
		until--;
	return !until;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

static struct trace_generation generations[MAX_GENERATIONS];
static struct trace_event events[MAX_GENERATIONS][MAX_EVENTS];
static uint32_t n_generations;

static int keep(void *context, const struct trace_generation *g)
{
	assert_true(n_generations < MAX_GENERATIONS && g->n <= MAX_EVENTS);
	memcpy(events[n_generations], g->events, g->n * sizeof(*g->events));
	generations[n_generations] = *g;
	generations[n_generations].events = events[n_generations];
	n_generations++;
	return 0;
}

static int make_go(const struct trace_start *start, struct bytes *out)
{
	_cleanup_(go_trace_freep) struct go_trace *g = NULL;
	int r = go_trace_new(start, 26, &g);

	for (uint32_t i = 0; i < n_generations && !r; i++)
		r = go_trace_generation(g, &generations[i], out);
	return r ? r : go_trace_end(g, "note", out);
}

static int make_perfetto(const struct trace_start *start, struct bytes *out)
{
	_cleanup_(perfetto_freep) struct perfetto *p = NULL;
	int r = perfetto_new(start, &p);

	for (uint32_t i = 0; i < n_generations && !r; i++)
		r = perfetto_generation(p, &generations[i], out);
	return r ? r : perfetto_end(p, "note", out);
}

static void test_no_memory(void **state)
{
	int (*const formats[])(const struct trace_start *start, struct bytes *out) = { make_go, make_perfetto };
	struct trace_world w;

	assert_int_equal(trace_world_read(&w, TRACE_FIXTURES "/recorded-trace.gz"), 0);
	trace_world_play(&w, &(struct trace_harm){ .seed = 2, .lose = 5000, .calls = true, .n = MAX_EVENTS }, 4000000, keep,
			 NULL);
	for (size_t i = 0; i < 2; i++) {
		bool failed = true;

		for (long k = 1; failed; k++) {
			struct bytes out = BYTES_INIT;
			int r;

			until = k;
			r = formats[i](&w.start, &out);
			failed = !until;
			until = -1;
			assert_int_equal(r, failed ? -ENOMEM : 0);
			bytes_deinit(&out);
		}
	}
	trace_world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_no_memory) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
