/* SPDX-License-Identifier: Apache-2.0 */

/* block?debug=1 and mutex?debug=1, byte for byte. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/serve/contention.h"
#include "daemon/serve/profile.h"

struct world {
	struct capture *c;
	struct naming n;
	struct bytes out;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	*state = w;
	return w ? capture_new(profile_find("block"), &w->c) : -1;
}

static int teardown(void **state)
{
	struct world *w = *state;

	capture_free(w->c);
	naming_free(&w->n);
	bytes_deinit(&w->out);
	free(w);
	return 0;
}

/* The frame word is the address as shown; "inner" is inlined into "name" unless NULL. */
static void named(struct world *w, uint64_t address, uint64_t entry, const char *name, const char *inner)
{
	struct naming_location l = { .address = address, .entry = entry,
				     .first_line = (uint32_t)w->n.lines.n, .n_lines = inner ? 2 : 1 };
	const char *names[] = { inner, name };

	for (int i = inner ? 0 : 1; i < 2; i++) {
		struct naming_function f = { names[i], names[i], "/src/a.c", 1 };
		struct naming_line line = { (uint32_t)w->n.functions.n, 10 + (uint32_t)i };

		assert_int_equal(vec_push(&w->n.functions, f), 0);
		assert_int_equal(vec_push(&w->n.lines, line), 0);
	}
	assert_int_equal(hash_put(&w->n.word_index, hash_u64(HASH_SEED, address), (uint32_t)w->n.words.n), 0);
	assert_int_equal(vec_push(&w->n.words, address), 0);
	assert_int_equal(vec_push(&w->n.locations, l), 0);
}

static void sample(struct world *w, int64_t n, int64_t ns, const uint64_t *words, uint32_t n_words)
{
	struct capture_sample s = { .stack = capture_stack(w->c, words, n_words), .values = { n, ns } };

	assert_int_equal(capture_add(w->c, s), 0);
}

static const char *text(struct world *w)
{
	assert_int_equal(contention_text(w->c, &w->n, &w->out), 0);
	return bytes_text(&w->out);
}

static const uint64_t lock_then_main[] = { 0x401010, 0x402020 }, lock_alone[] = { 0x401010 };

static void two_functions(struct world *w)
{
	named(w, 0x401010, 0x401000, "lock", NULL);
	named(w, 0x402020, 0x402000, "main", NULL);
}

static void test_headers_alone(void **state)
{
	struct world *w = *state;

	assert_string_equal(text(w), "--- contention:\ncycles/second=1000000000\n");
	bytes_deinit(&w->out);
	w->c->profile = profile_find("mutex");
	assert_string_equal(text(w), "--- mutex:\ncycles/second=1000000000\nsampling period=1\n");
}

static void test_delay_comes_before_the_number(void **state)
{
	struct world *w = *state;

	two_functions(w);
	sample(w, 3, 12345678901, lock_then_main, 2);
	assert_string_equal(text(w), "--- contention:\n"
				     "cycles/second=1000000000\n"
				     "12345678901 3 @ 0x401011 0x402021\n"
				     "#\t0x401010\tlock+0x10\t/src/a.c:11\n"
				     "#\t0x402020\tmain+0x20\t/src/a.c:11\n"
				     "\n");
}

static void test_largest_delay_first(void **state)
{
	struct world *w = *state;

	two_functions(w);
	w->c->profile = profile_find("mutex");
	sample(w, 100, 5, lock_alone, 1);
	sample(w, 1, 5000000000, lock_then_main, 2);
	sample(w, 50, 4294967297, lock_then_main + 1, 1); /* over 32 bits */
	assert_string_equal(text(w), "--- mutex:\n"
				     "cycles/second=1000000000\n"
				     "sampling period=1\n"
				     "5000000000 1 @ 0x401011 0x402021\n"
				     "#\t0x401010\tlock+0x10\t/src/a.c:11\n"
				     "#\t0x402020\tmain+0x20\t/src/a.c:11\n"
				     "\n"
				     "4294967297 50 @ 0x402021\n"
				     "#\t0x402020\tmain+0x20\t/src/a.c:11\n"
				     "\n"
				     "5 100 @ 0x401011\n"
				     "#\t0x401010\tlock+0x10\t/src/a.c:11\n"
				     "\n");
	assert_int_equal(w->c->samples.data[0].values[1], 5); /* the capture's own order stays */
}

/* One number for a frame: clients find the inlined calls by themselves. */
static void test_inlined_calls_have_lines_and_no_numbers(void **state)
{
	struct world *w = *state;

	named(w, 0x401010, 0x401000, "outer", "inner");
	sample(w, 1, 7, lock_alone, 1);
	assert_string_equal(text(w), "--- contention:\n"
				     "cycles/second=1000000000\n"
				     "7 1 @ 0x401011\n"
				     "#\t0x401010\tinner+0x10\t/src/a.c:10\n"
				     "#\t0x401010\touter+0x10\t/src/a.c:11\n"
				     "\n");
}

static void test_stack_without_frames(void **state)
{
	struct world *w = *state;

	sample(w, 1, 7, NULL, 0);
	assert_string_equal(text(w), "--- contention:\ncycles/second=1000000000\n7 1 @\n\n");
}

static void test_comments_come_last_and_are_comments(void **state)
{
	struct world *w = *state;

	two_functions(w);
	sample(w, 1, 7, lock_alone, 1);
	assert_int_equal(capture_comment(w->c, "lost: %d waits", 3), 0);
	assert_string_equal(text(w), "--- contention:\n"
				     "cycles/second=1000000000\n"
				     "7 1 @ 0x401011\n"
				     "#\t0x401010\tlock+0x10\t/src/a.c:11\n"
				     "\n"
				     "# pprofd: lost: 3 waits\n");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_headers_alone),
		TEST(test_delay_comes_before_the_number),
		TEST(test_largest_delay_first),
		TEST(test_inlined_calls_have_lines_and_no_numbers),
		TEST(test_stack_without_frames),
		TEST(test_comments_come_last_and_are_comments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
