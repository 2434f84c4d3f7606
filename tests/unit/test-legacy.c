/* SPDX-License-Identifier: Apache-2.0 */

/* Frame lines of debug=1: the texts are what Go's text/tabwriter writes for the same cells. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/serve/legacy.h"
#include "daemon/serve/profile.h"

struct world {
	struct capture *c;
	struct naming n;
	struct bytes out;
	uint64_t words[8];
	uint32_t n_words;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	*state = w;
	return w ? capture_new(profile_find("heap"), &w->c) : -1;
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

static void line(struct world *w, const char *name, const char *file, uint32_t number)
{
	struct naming_function f = { name, name, file, 1 };
	struct naming_line l = { (uint32_t)w->n.functions.n, number };

	assert_int_equal(vec_push(&w->n.functions, f), 0);
	assert_int_equal(vec_push(&w->n.lines, l), 0);
}

/* The next frame, of the last n_lines lines. */
static void frame(struct world *w, uint64_t address, uint64_t offset, uint32_t n_lines)
{
	uint64_t word = 1000 + w->n_words;
	struct naming_location l = { .address = address,
				     .entry = address - offset,
				     .first_line = (uint32_t)w->n.lines.n - n_lines,
				     .n_lines = n_lines };

	w->words[w->n_words++] = word;
	if (w->n.mappings.n)
		l.mapping = 1;
	assert_int_equal(hash_put(&w->n.word_index, hash_u64(HASH_SEED, word), (uint32_t)w->n.words.n), 0);
	assert_int_equal(vec_push(&w->n.words, word), 0);
	assert_int_equal(vec_push(&w->n.locations, l), 0);
}

static void call(struct world *w, uint64_t address, const char *name, uint64_t offset, const char *file,
		 uint32_t number)
{
	line(w, name, file, number);
	frame(w, address, offset, 1);
}

static const char *text(struct world *w)
{
	uint32_t stack = capture_stack(w->c, w->words, w->n_words);

	assert_int_not_equal(stack, HASH_NONE);
	legacy_frames(w->c, &w->n, w->c->stacks.data[stack], &w->out);
	return bytes_text(&w->out);
}

static void test_one_frame(void **state)
{
	struct world *w = *state;

	call(w, 0x401000, "main", 0x10, "/src/a.c", 3);
	assert_string_equal(text(w), "#\t0x401000\tmain+0x10\t/src/a.c:3\n");
}

static void test_columns_are_as_wide_as_the_widest(void **state)
{
	struct world *w = *state;

	call(w, 0x401000, "abc", 1, "/a.c", 1);
	call(w, 0x7f1234567890, "abcd", 0x12, "/b.c", 22);
	assert_string_equal(text(w), "#\t0x401000\tabc+0x1\t\t/a.c:1\n"
				     "#\t0x7f1234567890\tabcd+0x12\t/b.c:22\n");
}

static void test_names_of_many_widths(void **state)
{
	struct world *w = *state;

	call(w, 0x1234, "a", 0, "x", 0);
	call(w, 0x12345, "abcdefghijkl", 0x123, "y", 0);
	call(w, 0x123456, "ab", 1, "z", 0);
	assert_string_equal(text(w), "#\t0x1234\t\ta+0x0\t\t\tx:0\n"
				     "#\t0x12345\t\tabcdefghijkl+0x123\ty:0\n"
				     "#\t0x123456\tab+0x1\t\t\tz:0\n");
}

static void test_width_is_in_characters(void **state)
{
	struct world *w = *state;

	call(w, 0x1000, "gr\xc3\xb6\xc3\x9f" "e", 1, "f", 1);
	call(w, 0x1000, "abcdefgh", 1, "f", 1);
	assert_string_equal(text(w), "#\t0x1000\tgr\xc3\xb6\xc3\x9f" "e+0x1\tf:1\n"
				     "#\t0x1000\tabcdefgh+0x1\tf:1\n");
}

static void test_inlined_calls_have_lines_of_their_own(void **state)
{
	struct world *w = *state;

	line(w, "inner", "/i.h", 7);
	line(w, "outer", "/o.c", 9);
	frame(w, 0x2000, 0x20, 2);
	assert_string_equal(text(w), "#\t0x2000\tinner+0x20\t/i.h:7\n"
				     "#\t0x2000\touter+0x20\t/o.c:9\n");
}

static void test_without_a_file_the_module_stands_there(void **state)
{
	struct world *w = *state;
	struct naming_mapping m = { .start = 4096, .limit = 8192, .file = "/lib/libx.so", .build_id = "" };

	assert_int_equal(vec_push(&w->n.mappings, m), 0);
	call(w, 0x3000, "f", 4, "", 0);
	assert_string_equal(text(w), "#\t0x3000\tf+0x4\t/lib/libx.so:0\n");
}

static void test_an_unknown_frame_keeps_its_columns(void **state)
{
	struct world *w = *state;
	unsigned tabs = 0;

	w->words[w->n_words++] = 77; /* nobody has named it */
	text(w);
	for (size_t i = 0; i < w->out.n; i++)
		tabs += w->out.data[i] == '\t';
	assert_int_equal(tabs, 3);
}

static void test_long_names_are_cut(void **state)
{
	struct world *w = *state;
	char name[70000];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	call(w, 0x1000, name, 1, name, 1);
	call(w, 0x1000, "short", 1, "f", 1);
	text(w);
	assert_true(w->out.n < 8 * LEGACY_MAX_NAME);
	assert_non_null(strstr(bytes_text(&w->out), "short+0x1\t"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_one_frame),
		TEST(test_columns_are_as_wide_as_the_widest),
		TEST(test_names_of_many_widths),
		TEST(test_width_is_in_characters),
		TEST(test_inlined_calls_have_lines_of_their_own),
		TEST(test_without_a_file_the_module_stands_there),
		TEST(test_an_unknown_frame_keeps_its_columns),
		TEST(test_long_names_are_cut),
	};

	return cmocka_run_group_tests_name("legacy", tests, NULL, NULL);
}
