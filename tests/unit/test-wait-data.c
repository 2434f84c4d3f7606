/* SPDX-License-Identifier: Apache-2.0 */

/* Where locks can have names: files laid out by hand, and a target that maps some. */

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/serve/core.h"

#define SPAN 0x10000 /* of a file here: its data is the second half, less a page */

static struct wait_file file(uint64_t start, bool main)
{
	return (struct wait_file){ .start = start,
				   .end = start + SPAN,
				   .data = start + SPAN / 2,
				   .data_end = start + SPAN - 0x1000,
				   .main = main };
}

static void test_no_files_no_ranges(void **state)
{
	struct wait_file text = { .start = 0x1000, .end = 0x2000 };
	uint64_t ranges[PP_WAIT_RANGES][2];
	uint32_t left_out = 7;

	assert_int_equal(wait_ranges(NULL, 0, ranges, &left_out), 0);
	assert_int_equal(left_out, 0);
	assert_int_equal(wait_ranges(&text, 1, ranges, &left_out), 0);
}

static void test_files_that_touch_are_one_range(void **state)
{
	struct wait_file files[] = { file(0x720000, false), file(0x500000, true),
				     file(0x710000, false), file(0x700000, false),
				     file(0x731000, false) };
	uint64_t ranges[PP_WAIT_RANGES][2];
	uint32_t left_out;

	files[2].data = files[2].data_end =
		0; /* a file without data joins its neighbours as well */
	assert_int_equal(wait_ranges(files, 5, ranges, &left_out), 3);
	assert_int_equal(left_out, 0);
	assert_int_equal(ranges[0][0], 0x508000);
	assert_int_equal(ranges[0][1], 0x50f000);
	assert_int_equal(ranges[1][0], 0x708000);
	assert_int_equal(ranges[1][1], 0x72f000);
	assert_int_equal(ranges[2][0], 0x739000);
	assert_int_equal(ranges[2][1], 0x740000);
}

static void test_executable_and_the_largest_stay(void **state)
{
	struct wait_file files[PP_WAIT_RANGES + 3];
	uint64_t ranges[PP_WAIT_RANGES][2];
	uint32_t left_out, n = PP_WAIT_RANGES + 3;

	for (uint32_t i = 0; i < n; i++) {
		files[i] = file(0x100000 * (i + 1ull), i == 0);
		files[i].data_end = files[i].data + 0x10 * (i + 1ull);
	}
	assert_int_equal(wait_ranges(files, n, ranges, &left_out), PP_WAIT_RANGES);
	assert_int_equal(left_out, 3);
	assert_int_equal(ranges[0][0], 0x108000);
	for (uint32_t i = 1; i < PP_WAIT_RANGES; i++)
		assert_int_equal(ranges[i][0], 0x100000ull * (n - i + 1) + 0x8000);
}

/* A target of the executable (1) at 0x400000, not moved, and a library (2). */
struct world {
	struct core c;
	struct pp_wait_state states[PP_MAX_PROCESSES];
	struct target *t;
};

static struct object *add_object(struct core *c, uint16_t type, uint64_t vaddr)
{
	struct broker_file f = { .ino = c->objects.all.n + 1 };
	struct object *x = objects_get(&c->objects, SYMBOLIZER_FILE, &f, -1, "/x");

	assert_non_null(x);
	x->info.type = type;
	x->info.n_segments = 2;
	x->info.segments[0] =
		(struct symbolizer_segment){ vaddr, 0, 0x1000, 0x1000, PF_R | PF_X, 0 };
	x->info.segments[1] = (struct symbolizer_segment){ vaddr + 0x2e00, 0x1e00,	0x100,
							   0x1000,	   PF_R | PF_W, 0 };
	return x;
}

static void map(struct world *w, uint64_t start, uint32_t object)
{
	struct target_mapping m = { .start = start, .end = start + 0x1000, .object = object };

	assert_int_equal(vec_push(&w->t->mappings, m), 0);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->c.waits.states = w->states;
	w->c.waits.mapped = true;
	w->t = &w->c.targets[0];
	assert_int_equal(vec_push(&w->t->images, 5), 0);
	w->t->main_object = add_object(&w->c, ET_EXEC, 0x400000)->id;
	add_object(&w->c, ET_DYN, 0);
	map(w, 0x400000, 1);
	map(w, 0x7f0000000000, 2);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	vec_deinit(&w->t->mappings);
	vec_deinit(&w->t->images);
	vec_deinit(&w->t->wait_data.parts);
	objects_deinit(&w->c.objects);
	free(w);
	return 0;
}

static void test_data_with_its_bss_is_watched(void **state)
{
	struct world *w = *state;

	wait_data_follow(&w->c, w->t);
	assert_int_equal(w->states[0].n_ranges, 2);
	assert_int_equal(w->states[0].ranges[0][0], 0x402e00);
	assert_int_equal(w->states[0].ranges[0][1], 0x403e00);
	assert_int_equal(w->t->wait_data.n_files, 2);
	assert_int_equal(w->t->wait_data.n_left_out, 0);
	assert_false(wait_data_watched(&w->states[0], 0x402dff));
	assert_true(wait_data_watched(&w->states[0], 0x403dff));
	assert_false(wait_data_watched(&w->states[0], 0x403e00));
	assert_true(wait_data_watched(&w->states[0], 0x7f0000002e00));
}

static void test_address_is_one_of_its_file(void **state)
{
	struct world *w = *state;

	wait_data_follow(&w->c, w->t);
	assert_int_equal(wait_data_word(w->t, 5, 0x403000), PP_FRAME(1, 0x403000));
	assert_int_equal(wait_data_word(w->t, 5, 0x7f0000002e08), PP_FRAME(2, 0x2e08));
	assert_int_equal(wait_data_word(w->t, 5, 0x7f0000001000), 0);
	assert_int_equal(wait_data_word(w->t, 6, 0x403000), 0);
}

static void test_another_image_has_other_files(void **state)
{
	struct world *w = *state;

	wait_data_follow(&w->c, w->t);
	assert_int_equal(vec_push(&w->t->images, 6), 0);
	w->t->mappings.n = 0;
	w->t->main_object = add_object(&w->c, ET_EXEC, 0x400000)->id;
	map(w, 0x400000, 3);
	wait_data_follow(&w->c, w->t);
	assert_int_equal(w->states[0].n_ranges, 1);
	assert_int_equal(wait_data_word(w->t, 5, 0x403000), PP_FRAME(1, 0x403000));
	assert_int_equal(wait_data_word(w->t, 6, 0x403000), PP_FRAME(3, 0x403000));
}

static void test_address_of_two_files_in_turn_has_no_name(void **state)
{
	struct world *w = *state;

	wait_data_follow(&w->c, w->t);
	w->t->mappings.n = 1;
	add_object(&w->c, ET_DYN, 0);
	map(w, 0x7f0000000000, 3);
	wait_data_follow(&w->c, w->t);
	assert_int_equal(wait_data_word(w->t, 5, 0x7f0000002e00), 0);
	assert_int_equal(wait_data_word(w->t, 5, 0x403000), PP_FRAME(1, 0x403000));
	objects_forget(&w->c.objects, objects_find(&w->c.objects, 2));
	wait_data_follow(&w->c, w->t);
	assert_int_equal(wait_data_word(w->t, 5, 0x7f0000002e00), PP_FRAME(3, 0x2e00));
}

static void test_files_that_lie_are_left_alone(void **state)
{
	struct world *w = *state;
	struct symbolizer_segment *s = w->c.objects.all.data[1]->info.segments;

	s[1].memsz = UINT64_MAX;
	wait_data_follow(&w->c, w->t);
	assert_int_equal(w->states[0].n_ranges, 1);
	s[1].memsz = 0x1000;
	s[1].vaddr = UINT64_MAX - 0x10;
	wait_data_follow(&w->c, w->t);
	assert_int_equal(w->states[0].n_ranges, 1);
}

static void test_what_was_mapped_is_bounded(void **state)
{
	struct world *w = *state;

	for (uint64_t i = 0; i < WAIT_MAX_PARTS + 10; i++) {
		w->t->mappings.n = 1;
		map(w, 0x7f0000000000 + i * SPAN, 2);
		wait_data_follow(&w->c, w->t);
	}
	assert_int_equal(w->t->wait_data.parts.n, WAIT_MAX_PARTS);
	assert_int_equal(w->t->wait_data.n_forgotten, 11);
	assert_int_equal(wait_data_word(w->t, 5, 0x7f0000002e00), 0);
	assert_int_equal(wait_data_word(w->t, 5, 0x403000), PP_FRAME(1, 0x403000));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_files_no_ranges),
		cmocka_unit_test(test_files_that_touch_are_one_range),
		cmocka_unit_test(test_executable_and_the_largest_stay),
		TEST(test_data_with_its_bss_is_watched),
		TEST(test_address_is_one_of_its_file),
		TEST(test_another_image_has_other_files),
		TEST(test_address_of_two_files_in_turn_has_no_name),
		TEST(test_files_that_lie_are_left_alone),
		TEST(test_what_was_mapped_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
