/* SPDX-License-Identifier: Apache-2.0 */

/* From counts and live objects to a profile and to the text with runtime.MemStats. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/heap_world.h"

#define STACK_HASH(word) ((word) * 7)

/* Samples as the kernel counts them, at a stack of one frame. */
static void counted(struct world *w, uint64_t word, uint64_t item, int64_t n, int64_t bytes)
{
	const uint64_t name[2] = { STACK_HASH(word), item };
	uint32_t row = totals_row(&w->c.kept, IMAGE, PP_HEAP, &word, 1, (const char *)name);

	assert_int_not_equal(row, HASH_NONE);
	w->c.kept.rows.data[row].v[0] += n;
	w->c.kept.rows.data[row].v[1] += bytes;
}

static void allocated(struct world *w, uint64_t word, int64_t n, int64_t size)
{
	counted(w, word, pp_size_class((uint64_t)size), n, n * size);
}

static struct pp_live *put(struct world *w, uint64_t slot, struct pp_live v)
{
	uint64_t at = w->next_pointer++ * 1237 % ((uint64_t)PP_LIVE_WAYS << PP_LIVE_BUCKET_BITS);

	w->c.heap.keys[at / PP_LIVE_WAYS].key[at % PP_LIVE_WAYS] = PP_LIVE_KEY(0x1000 + at * 16, slot);
	w->c.heap.live[at] = v;
	return &w->c.heap.live[at];
}

static struct pp_live *hold(struct world *w, uint64_t word, uint64_t size)
{
	return put(w, SLOT, (struct pp_live){ .born = 100, .size = size, .stack = STACK_HASH(word),
					      .target = IMAGE });
}

static struct heap_reading get(struct world *w, struct heap_question q)
{
	struct heap_reading r = { 0 };

	assert_int_equal(heap_read(&w->c, w->t, &q, &r), 0);
	return r;
}

static const struct capture_sample *only(struct world *w)
{
	assert_int_equal(w->capture->samples.n, 1);
	return &w->capture->samples.data[0];
}

static void assert_values(const struct capture_sample *s, double a, double b, double c, double d)
{
	const double wanted[4] = { a, b, c, d };

	for (int i = 0; i < 4; i++)
		assert_true(fabs((double)s->values[i] - wanted[i]) <= 1 + fabs(wanted[i]) * 1e-9);
}

static bool says(const struct world *w, const char *text)
{
	for (size_t i = 0; i < w->capture->comments.n; i++)
		if (strstr(w->capture->comments.data[i], text))
			return true;
	return false;
}

static void capture(struct world *w, struct heap_question q)
{
	struct heap_reading r = get(w, q);

	assert_int_equal(heap_capture(&w->c, w->t, &q, NULL, &r, w->capture), 0);
	heap_reading_deinit(&r);
}

static void test_scale(void **state)
{
	assert_true(fabs(heap_scale(PP_HEAP_RATE, 0) - 1.5819767) < 1e-6);
	assert_true(fabs(heap_scale(1, 0) / PP_HEAP_RATE - 1) < 1e-5);
	assert_true(fabs(heap_scale(1e12, 0) - 1) < 1e-9);
	assert_true(heap_scale(0, 0) == 0);
}

static void test_estimates_are_scaled_by_size(void **state)
{
	struct world *w = *state;
	double scale = heap_scale(3000, 0);

	allocated(w, 1, 10, 3000);
	hold(w, 1, 3000);
	hold(w, 1, 3000);
	capture(w, (struct heap_question){ 0 });
	assert_values(only(w), 10 * scale, 30000 * scale, 2 * scale, 6000 * scale);
	assert_int_equal(w->capture->labels.data[0].number, 3000);
}

static void test_raw_for_clients_that_scale(void **state)
{
	struct world *w = *state;

	allocated(w, 1, 10, 3000);
	hold(w, 1, 3000);
	capture(w, (struct heap_question){ .raw = true });
	assert_values(only(w), 10, 30000, 1, 3000);
}

static void test_in_use_is_left_out_where_it_is_not_watched(void **state)
{
	struct world *w = *state;
	struct heap_totals sum;
	struct heap_reading r;

	w->t->heap.level = HEAP_OFF;
	allocated(w, 1, 10, 3000);
	hold(w, 1, 3000);
	capture(w, (struct heap_question){ .raw = true });
	assert_values(only(w), 10, 30000, 0, 0);
	assert_true(says(w, "in use is not known"));
	r = get(w, (struct heap_question){ 0 });
	heap_sum(&w->c, w->t, &r, &sum);
	assert_int_equal(sum.live_space, 0);
	heap_reading_deinit(&r);
}

static void test_sizes_of_a_class_are_not_mixed_up(void **state)
{
	struct world *w = *state;

	counted(w, 1, pp_size_class(1 << 20), 2, (1 << 20) + (1 << 20) + 8192);
	allocated(w, 1, 3, 100);
	hold(w, 1, 1 << 20);
	hold(w, 1, (1 << 20) + 8192);
	hold(w, 1, 100);
	capture(w, (struct heap_question){ 0 });
	assert_int_equal(w->capture->samples.n, 2);
	for (int i = 0; i < 2; i++) {
		const struct capture_sample *s = &w->capture->samples.data[i];
		bool large = s->values[2] < 100;
		double scale = large ? heap_scale((1 << 20) + 4096, 0) : heap_scale(100, 0);

		if (large)
			assert_true(fabs((double)s->values[3] - 2 * scale * ((1 << 20) + 4096)) < 1000);
		else
			assert_values(s, 3 * scale, 300 * scale, scale, 100 * scale);
	}
}

static void test_what_is_not_ours(void **state)
{
	struct world *w = *state;
	struct heap_reading r;
	struct pp_live other_image = { 100, 64, 0, STACK_HASH(1), IMAGE + 1, 0 };
	struct pp_live other_slot = { 100, 64, 0, STACK_HASH(1), IMAGE, 0 };

	allocated(w, 1, 5, 64);
	put(w, SLOT, other_image);
	put(w, SLOT + 1, other_slot);
	hold(w, 1, 64)->born = 0; /* just being written */
	hold(w, 1, 64);
	hold(w, 2, 64); /* of a stack that is in no row */
	r = get(w, (struct heap_question){ 0 });
	assert_int_equal(r.n, 1);
	assert_int_equal(r.rows[0].live, 1);
	assert_int_equal(r.lost, 1);
	assert_true(llabs(r.lost_bytes - PP_HEAP_RATE) < 100);
	heap_reading_deinit(&r);
	capture(w, (struct heap_question){ 0 });
	assert_true(says(w, "lost: in use is a lower bound: 0 live samples found no room, 0 calls, 1 without a row"));
}

static void test_age_and_epoch(void **state)
{
	struct world *w = *state;
	uint64_t now = (uint64_t)monotonic_ns();
	struct heap_reading r;

	allocated(w, 1, 3, 64);
	hold(w, 1, 64)->born = now - 5 * NS_PER_S;
	hold(w, 1, 64)->born = now - 50 * NS_PER_S;
	hold(w, 1, 64)->born = now;
	r = get(w, (struct heap_question){ .min_age_ns = 4 * NS_PER_S });
	assert_int_equal(r.rows[0].live, 2);
	heap_reading_deinit(&r);
	w->t->heap.epoch_ns = (int64_t)now - 10 * NS_PER_S; /* frees before went unseen */
	r = get(w, (struct heap_question){ .min_age_ns = 4 * NS_PER_S });
	assert_int_equal(r.rows[0].live, 1);
	heap_reading_deinit(&r);
}

static void test_weighed_by_the_process(void **state)
{
	struct world *w = *state;
	struct pp_live v = { 100, 3000, 70001, STACK_HASH(1), IMAGE, 0 };

	w->t->heap.source = HEAP_TOLD;
	counted(w, 1, pp_size_class(3000) | PP_SIZE_WEIGHED, 2 * ((70001ll << 16) / 3000), 2 * 70001);
	put(w, SLOT, v);
	capture(w, (struct heap_question){ 0 });
	assert_values(only(w), 46, 140002, 23, 70001);
	assert_true(says(w, "otel_memory"));
}

/* After less before: what was freed is negative, what stayed is not there. */
static void test_difference(void **state)
{
	struct world *w = *state;
	struct heap_question q = { 0 };
	double scale = heap_scale(3000, 0);
	struct heap_reading before, after;
	struct pp_live *freed;

	allocated(w, 1, 10, 3000);
	allocated(w, 2, 10, 3000);
	freed = hold(w, 1, 3000);
	hold(w, 2, 3000);
	before = get(w, q);
	freed->born = 0;
	allocated(w, 4, 1, 3000);
	hold(w, 4, 3000);
	after = get(w, q);
	assert_int_equal(heap_capture(&w->c, w->t, &q, &before, &after, w->capture), 0);
	assert_int_equal(w->capture->samples.n, 2);
	assert_values(&w->capture->samples.data[0], 0, 0, -scale, -3000 * scale);
	assert_values(&w->capture->samples.data[1], scale, 3000 * scale, scale, 3000 * scale);
	heap_reading_deinit(&before);
	heap_reading_deinit(&after);
}

static void test_peak(void **state)
{
	struct world *w = *state;
	double scale = heap_scale(3000, 0);
	struct pp_live *freed;

	allocated(w, 1, 10, 3000);
	freed = hold(w, 1, 3000);
	heap_peak(&w->c, w->t);
	freed->born = 0;
	allocated(w, 2, 1, 3000); /* a row that is younger than the peak */
	capture(w, (struct heap_question){ .peak = true });
	assert_int_equal(w->capture->samples.n, 2);
	assert_values(&w->capture->samples.data[0], 10 * scale, 30000 * scale, scale, 3000 * scale);
	assert_values(&w->capture->samples.data[1], scale, 3000 * scale, 0, 0);
}

static void test_unseen(void **state)
{
	struct world *w = *state;

	w->t->heap.unseen = 123456;
	capture(w, (struct heap_question){ .unseen = true });
	assert_values(only(w), 0, 0, 0, 123456);
	assert_true(says(w, "(123456 bytes of anonymous memory were resident"));
}

static void test_comments_of_what_is_missing(void **state)
{
	struct world *w = *state;
	struct pp_heap *state_of = &w->c.heap.states[SLOT];

	w->t->heap.level = HEAP_OFF;
	w->t->heap.covered_ns = 1500000000;
	w->t->heap.n_changes = 4;
	state_of->n_unknown = 7;
	state_of->n_live_full = 8;
	state_of->n_pending_full = 9;
	on_cpu(w, 0)->n_hits = 640;
	capture(w, (struct heap_question){ 0 });
	assert_true(says(w, "probes were on for 1.5 s in all"));
	assert_true(says(w, "changed 4 times"));
	assert_true(says(w, "of 7 samples the pointer cannot be known"));
	assert_true(says(w, "8 live samples found no room, 9 calls"));
	assert_true(says(w, "cost: 640 probe hits of some 1.00 us"));
	assert_false(says(w, "no call of these functions was seen"));
	on_cpu(w, 0)->n_hits = 0;
	capture(w, (struct heap_question){ 0 });
	assert_false(says(w, "no call of these functions was seen")); /* nobody looked */
	w->t->heap.level = HEAP_ALL;
	on_cpu(w, 1)->n_hits = PP_HEAP_BATCH - 1; /* fewer than a CPU tells the others */
	capture(w, (struct heap_question){ 0 });
	assert_true(says(w, "cost: 63 probe hits"));
	assert_false(says(w, "no call of these functions was seen"));
	on_cpu(w, 1)->n_hits = 0;
	capture(w, (struct heap_question){ 0 });
	assert_true(says(w, "no call of these functions was seen"));
}

static void test_comments_of_frees_that_went_unseen(void **state)
{
	struct world *w = *state;

	w->t->heap.level = HEAP_ALLOCS;
	capture(w, (struct heap_question){ 0 });
	assert_true(says(w, "frees are too many"));
	w->c.heap.mode = BROKER_HEAP_ALLOCS;
	capture(w, (struct heap_question){ 0 });
	assert_true(says(w, "--heap=allocs"));
	w->c.heap.mode = BROKER_HEAP_INUSE;
	w->t->heap.level = HEAP_ALL;
	w->t->heap.n_gaps = 1;
	w->t->heap.epoch_ns = monotonic_ns() - 3 * NS_PER_S;
	capture(w, (struct heap_question){ 0 });
	assert_true(says(w, "objects allocated since 3 s; frees of older ones went unseen"));
}

static void test_calls_of_the_allocator_itself_are_not_samples(void **state)
{
	struct world *w = *state;
	struct heap_function f = { .object = 5,
				   .probe = { .function = ALLOCATOR_CALLOC, .start = 0x1000, .size = 0x100 } };

	assert_int_equal(vec_push(&w->t->heap.functions, f), 0);
	allocated(w, PP_FRAME(5ull, 0x10ff), 3, 64); /* calloc has called malloc */
	allocated(w, PP_FRAME(5ull, 0x1100), 4, 64);
	allocated(w, PP_FRAME(6ull, 0x1010), 5, 64);
	capture(w, (struct heap_question){ .raw = true });
	assert_int_equal(w->capture->samples.n, 2);
	assert_int_equal(w->capture->samples.data[0].values[0], 4);
	assert_int_equal(w->capture->samples.data[1].values[0], 5);
}

static void test_sums(void **state)
{
	struct world *w = *state;
	struct heap_totals sums;
	struct heap_reading r;

	allocated(w, 1, 10, 1 << 20);
	hold(w, 1, 1 << 20);
	on_cpu(w, 0)->n_allocs = 70;
	on_cpu(w, 1)->n_allocs = 30;
	on_cpu(w, 0)->n_bytes = 5000;
	on_cpu(w, 1)->n_bytes = 1u << 30;
	w->c.heap.cpus[SLOT + 1].n_allocs = 1000; /* another's */
	r = get(w, (struct heap_question){ 0 });
	heap_sum(&w->c, w->t, &r, &sums);
	assert_int_equal(sums.alloc_objects, 100);
	assert_int_equal(sums.alloc_space, 5000 + (1u << 30));
	assert_int_equal(sums.live_objects, 1);
	assert_true(fabs((double)sums.live_space - heap_scale(1 << 20, 0) * (1 << 20)) < 2);
	assert_true(sums.tables > 0);
	heap_reading_deinit(&r);
}

static void test_text(void **state)
{
	struct world *w = *state;
	const struct heap_totals sums = { 100, 9000, 40, 4000, 77 };
	struct naming n = { 0 };
	struct bytes out = { 0 };
	const char *text;

	allocated(w, 1, 10, 3000);
	allocated(w, 2, 4, 3000);
	hold(w, 2, 3000);
	capture(w, (struct heap_question){ .raw = true });
	assert_int_equal(heap_text(&w->c, w->t, &sums, w->capture, &n, &out), 0);
	text = bytes_text(&out);
	assert_ptr_equal(strstr(text, "heap profile: 1: 3000 [14: 42000] @ heap/1048576\n"), text);
	assert_true(strstr(text, "\n0: 0 [10: 30000] @ ") < strstr(text, "\n1: 3000 [4: 12000] @ "));
	assert_non_null(strstr(text, "\n\n# runtime.MemStats\n# Alloc = 4000\n# TotalAlloc = 9000\n# Sys = "));
	assert_non_null(strstr(text, "\n# Mallocs = 100\n# Frees = 60\n# HeapAlloc = 4000\n"));
	assert_non_null(strstr(text, "\n# HeapObjects = 40\n# Stack = "));
	assert_non_null(strstr(text, "\n# BuckHashSys = 77\n"));
	assert_non_null(strstr(text, "\n# DebugGC = false\n# MaxRSS = "));
	bytes_deinit(&out);
}

/* Equal columns would make a client take it for a profile of two. */
static void test_text_of_equal_columns(void **state)
{
	struct world *w = *state;
	const struct heap_totals sums = { 0 };
	struct naming n = { 0 };
	struct bytes out = { 0 };

	allocated(w, 1, 1, 3000);
	hold(w, 1, 3000);
	capture(w, (struct heap_question){ .raw = true });
	assert_int_equal(heap_text(&w->c, w->t, &sums, w->capture, &n, &out), 0);
	assert_ptr_equal(strstr(bytes_text(&out), "heap profile: 1: 3000 [1: 3001] @ heap/1048576\n"),
			 bytes_text(&out));
	bytes_deinit(&out);
}

/* A stack's held objects are believed while its frees show in their bytes. */
static void test_held_objects_that_may_be_gone(void **state)
{
	static const struct {
		unsigned freed, changed;
		bool believed;
	} rows[] = { { 0, 0, true }, { 0, 40, true }, { 1, 0, false }, { 1, 10, true }, { 2, 3, false },
		     { 3, 150, true }, { 10, 100, false }, { 100, 4000, true }, { 100, 1000, false } };
	struct world *w = *state;
	const struct heap_question q = { 0 };

	w->t->heap.level = HEAP_OFF;
	w->t->heap.n_windows = 1;
	w->t->heap.epoch_ns = monotonic_ns() - 102 * NS_PER_S;
	w->t->heap.windows_ns = 2 * NS_PER_S;
	w->c.heap.keys[0].key[0] = PP_LIVE_KEY(0x1000ull, SLOT);
	w->c.heap.live[0] = (struct pp_live){ .born = (uint64_t)(monotonic_ns() - 20 * NS_PER_S),
					      .size = 1 << 20, .stack = 77, .target = IMAGE,
					      .print = PP_PRINT_SEEN };
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct heap_reading r;

		w->c.heap.turns[PP_TURN_ROW(SLOT, 77ull, 0)] =
			(struct pp_turn){ 77, rows[i].freed, rows[i].changed };
		assert_int_equal(heap_read(&w->c, w->t, &q, &r), 0);
		assert_int_equal(r.unsure > 0, !rows[i].believed);
		assert_int_equal(r.lost, rows[i].believed); /* it has no row here */
		heap_reading_deinit(&r);
	}
	w->c.heap.live[0].print = PP_PRINT_TAKEN; /* not found the same yet */
	w->c.heap.turns[PP_TURN_ROW(SLOT, 77ull, 0)] = (struct pp_turn){ 0 };
	for (int i = 0; i < 2; i++) {
		struct heap_reading r;

		assert_int_equal(heap_read(&w->c, w->t, &q, &r), 0);
		assert_true(r.lost == 0 && r.unsure <= 0);
		heap_reading_deinit(&r);
		w->c.heap.live[0].print = PP_PRINT_SEEN; /* too young */
		w->c.heap.live[0].born = (uint64_t)(monotonic_ns() - 5 * NS_PER_S);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scale),
		TEST(test_held_objects_that_may_be_gone),
		TEST(test_estimates_are_scaled_by_size),
		TEST(test_raw_for_clients_that_scale),
		TEST(test_sizes_of_a_class_are_not_mixed_up),
		TEST(test_what_is_not_ours),
		TEST(test_age_and_epoch),
		TEST(test_weighed_by_the_process),
		TEST(test_difference),
		TEST(test_in_use_is_left_out_where_it_is_not_watched),
		TEST(test_peak),
		TEST(test_unseen),
		TEST(test_comments_of_what_is_missing),
		TEST(test_comments_of_frees_that_went_unseen),
		TEST(test_calls_of_the_allocator_itself_are_not_samples),
		TEST(test_sums),
		TEST(test_text),
		TEST(test_text_of_equal_columns),
	};

	return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
