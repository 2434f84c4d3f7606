/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "bpf/event.h"
#include "daemon/serve/profile.h"
#include "daemon/serve/text.h"

#define HEAD "      flat  flat%   sum%        cum   cum%\n"

struct world {
	struct capture *c;
	struct naming *n, naming;
	struct bytes out;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w || capture_new(profile_find("profile"), &w->c) < 0)
		return -1;
	w->n = &w->naming;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	capture_free(w->c);
	naming_free(w->n);
	bytes_deinit(&w->out);
	free(w);
	return 0;
}

static uint32_t function(struct world *w, const char *name, const char *file, uint32_t start)
{
	struct naming_function f = { name, name, file, start };

	assert_int_equal(vec_push(&w->n->functions, f), 0);
	return (uint32_t)w->n->functions.n - 1;
}

/* As namer.c fills it. */
static void add_location(struct naming *n, uint64_t word, struct naming_location l)
{
	uint64_t h = hash_u64(HASH_SEED, word);

	assert_int_equal(hash_put(&n->word_index, h, (uint32_t)n->words.n), 0);
	assert_int_equal(vec_push(&n->words, word), 0);
	assert_int_equal(vec_push(&n->locations, l), 0);
}

/* A location of one function, or of two with the first one inlined into the second. */
static void location(struct world *w, uint64_t word, uint32_t inner, uint32_t outer)
{
	struct naming_location l = { word, 0, 0, (uint32_t)w->n->lines.n, inner == outer ? 1 : 2, NULL };

	assert_int_equal(vec_push(&w->n->lines, ((struct naming_line){ inner, 1 })), 0);
	if (inner != outer)
		assert_int_equal(vec_push(&w->n->lines, ((struct naming_line){ outer, 2 })), 0);
	add_location(w->n, word, l);
}

static void simple(struct world *w, uint64_t word, const char *name)
{
	uint32_t f = function(w, name, "", 0);

	location(w, word, f, f);
}

static void mapping(struct world *w, const char *file, const char *build_id)
{
	struct naming_mapping m = { .start = 4096, .limit = 8192 };

	m.file = file;
	m.build_id = build_id;
	assert_int_equal(vec_push(&w->n->mappings, m), 0);
}

/* Words: leaf first, ended by 0. */
static void sample(struct world *w, const uint64_t *words, uint32_t labels, int64_t a, int64_t b)
{
	struct capture_sample s = { 0, labels, { a, b } };
	uint32_t n = 0;

	while (words[n])
		n++;
	s.stack = capture_stack(w->c, words, n);
	assert_int_equal(capture_add(w->c, s), 0);
}

static uint32_t label(struct world *w, const char *key, const char *value)
{
	struct capture_label l = { capture_string(w->c, key, strlen(key)),
				   capture_string(w->c, value, strlen(value)), 0 };

	return capture_label_set(w->c, &l, 1);
}

static const char *top(struct world *w)
{
	assert_int_equal(text_top(w->c, w->n, &w->out), 0);
	return bytes_text(&w->out);
}

static const char *folded(struct world *w)
{
	assert_int_equal(text_folded(w->c, w->n, &w->out), 0);
	return bytes_text(&w->out);
}

#define STACK(...) ((const uint64_t[]){ __VA_ARGS__, 0 })

static void test_top_of_nothing(void **state)
{
	struct world *w = *state;

	assert_string_equal(top(w), "Type: cpu\n"
				    "Showing nodes accounting for 0, 0% of 0 total\n" HEAD);
}

/* Lines as go tool pprof prints them for the same profile, but for places and comments. */
static void test_top_is_pprofs_table(void **state)
{
	struct world *w = *state;
	uint32_t busy = function(w, "busy", "/src/a.c", 12);

	w->c->time_ns = 1700000000000000000;
	w->c->duration_ns = 10000123456;
	mapping(w, "/usr/bin/server", "abcd01");
	mapping(w, "/lib/libc.so.6", "ef");
	simple(w, 1, "main");
	location(w, 2, busy, busy);
	simple(w, 3, "idle");
	sample(w, STACK(2, 1), 0, 200, 2000000000);
	sample(w, STACK(3, 1), 0, 1, 10000000);
	sample(w, STACK(1), 0, 100, 1000000000);
	assert_string_equal(top(w),
			    "File: server\n"
			    "Build ID: abcd01\n"
			    "Type: cpu\n"
			    "Time: 2023-11-14 22:13:20 UTC\n"
			    "Duration: 10s, Total samples = 3.01s (30.10%)\n"
			    "Showing nodes accounting for 3.01s, 100% of 3.01s total\n" HEAD
			    "        2s 66.45% 66.45%         2s 66.45%  busy  /src/a.c:12\n"
			    "        1s 33.22% 99.67%      3.01s   100%  main\n"
			    "     0.01s  0.33%   100%      0.01s  0.33%  idle\n");
}

static void test_comments_come_first(void **state)
{
	const char want[] = "# 3 samples lost\n# two?lines\nType: cpu\n";
	struct world *w = *state;

	assert_int_equal(capture_comment(w->c, "3 samples lost"), 0);
	assert_int_equal(capture_comment(w->c, "two\nlines"), 0);
	assert_memory_equal(top(w), want, strlen(want));
}

static void test_recursion_counts_once(void **state)
{
	struct world *w = *state;

	simple(w, 1, "main");
	simple(w, 2, "recurse");
	simple(w, 3, "recurse");
	sample(w, STACK(2, 3, 2, 2, 1), 0, 1, 40);
	sample(w, STACK(2, 1), 0, 1, 60);
	assert_non_null(strstr(top(w), HEAD "     100ns   100%   100%      100ns   100%  recurse\n"
					    "         0     0%   100%      100ns   100%  main\n"));
}

static void test_inlined_calls_have_rows(void **state)
{
	struct world *w = *state;
	uint32_t in = function(w, "in", "", 0), out = function(w, "out", "", 0);
	uint32_t both = function(w, "both", "", 0);

	location(w, 1, in, out);
	location(w, 2, both, out);
	location(w, 3, both, both);
	sample(w, STACK(1), 0, 1, 70);
	sample(w, STACK(2), 0, 1, 20);
	sample(w, STACK(3), 0, 1, 10);
	assert_non_null(strstr(top(w), HEAD
			       "      70ns 70.00% 70.00%       70ns 70.00%  in (inline)\n"
			       "      30ns 30.00%   100%       30ns 30.00%  both (partial-inline)\n"
			       "         0     0%   100%       90ns 90.00%  out\n"));
}

static void test_functions_of_one_name_are_one(void **state)
{
	struct world *w = *state;
	uint32_t a = function(w, "init", "/a.c", 1), b = function(w, "init", "/b.c", 9);
	uint32_t c = function(w, "once", "/c.c", 0), d = function(w, "once", "/c.c", 0);

	location(w, 1, a, a);
	location(w, 2, b, b);
	location(w, 3, c, c);
	location(w, 4, d, d);
	sample(w, STACK(1), 0, 1, 10);
	sample(w, STACK(2), 0, 1, 10);
	sample(w, STACK(3), 0, 1, 10);
	sample(w, STACK(4), 0, 1, 5);
	assert_non_null(strstr(top(w), "  init  /a.c:1 (and others)\n"));
	assert_non_null(strstr(bytes_text(&w->out), "  once  /c.c\n"));
}

static void test_rows_are_sorted_by_flat_then_name(void **state)
{
	struct world *w = *state;
	const char *names[] = { "d", "B", "c", "a" };

	for (uint64_t i = 0; i < 4; i++) {
		simple(w, i + 1, names[i]);
		sample(w, STACK(i + 1), 0, 1, i == 0 ? 50 : 10);
	}
	assert_non_null(strstr(top(w), HEAD "      50ns 62.50% 62.50%       50ns 62.50%  d\n"
					    "      10ns 12.50% 75.00%       10ns 12.50%  B\n"
					    "      10ns 12.50% 87.50%       10ns 12.50%  a\n"
					    "      10ns 12.50%   100%       10ns 12.50%  c\n"));
}

static void test_deltas_may_be_negative(void **state)
{
	struct world *w = *state;

	simple(w, 1, "grew");
	simple(w, 2, "shrank");
	simple(w, 3, "stayed");
	sample(w, STACK(1), 0, 1, 3000);
	sample(w, STACK(2), 0, -1, -7000);
	sample(w, STACK(3), 0, 1, 0);
	assert_non_null(strstr(top(w), "accounting for -4us, 40.00% of 10us total\n" HEAD
				       "      -7us 70.00% 70.00%       -7us 70.00%  shrank\n"
				       "       3us 30.00% 40.00%        3us 30.00%  grew\n"));
	assert_null(strstr(bytes_text(&w->out), "stayed"));
}

static const struct profile allocs = {
	.name = "allocs",
	.n_values = 3,
	.values = { { "alloc_objects", "count" },
		    { "alloc_space", "bytes" },
		    { "locks", "locks" } },
	.period_type = { "space", "bytes" },
	.default_type = "alloc_space",
};

static void test_default_type_is_shown(void **state)
{
	struct world *w = *state;

	w->c->profile = &allocs;
	simple(w, 1, "f");
	sample(w, STACK(1), 0, 7, 3 << 19);
	assert_non_null(strstr(top(w), "Type: alloc_space\n"));
	assert_non_null(
		strstr(bytes_text(&w->out), "    1.50MB   100%   100%     1.50MB   100%  f\n"));
}

/* From `go tool pprof -top` of google/pprof's measurement.go, one function a profile. */
static void test_units_are_pprofs(void **state)
{
	static const struct {
		const char *unit;
		int64_t value;
		const char *want;
	} cases[] = {
		{ "count", 1234567, "   1234567 " },
		{ "nanoseconds", 999, "     999ns " },
		{ "nanoseconds", 1500, "    1.50us " },
		{ "nanoseconds", 10000000, "      10ms " },
		{ "nanoseconds", 3600000000000, "      1hrs " },
		{ "bytes", 1023, "     1023B " },
		{ "bytes", 1024, "       1kB " },
		{ "bytes", 5ll << 40, "       5TB " },
		{ "locks", 12, "   12locks " },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct profile p = { .n_values = 1, .values = { { "x", cases[i].unit } } };
		struct world *w;

		assert_int_equal(setup(state), 0);
		w = *state;
		w->c->profile = &p;
		simple(w, 1, "f");
		sample(w, STACK(1), 0, cases[i].value, 0);
		assert_memory_equal(strstr(top(w), HEAD) + strlen(HEAD), cases[i].want, 11);
		teardown(state);
	}
}

static void test_hostile_names_stay_on_their_line(void **state)
{
	struct world *w = *state;
	uint32_t f = function(w, "a\nb\x1b[2J\xff;c", "/x\ny.c", 3);

	mapping(w, "/tmp/\x1b[1m", "");
	location(w, 1, f, f);
	sample(w, STACK(1), label(w, "thread", "t\n;1"), 1, 10);
	assert_non_null(strstr(top(w), "  a?b?[2J?;c  /x?y.c:3\n"));
	assert_non_null(strstr(bytes_text(&w->out), "File: ?[1m\n"));
	bytes_deinit(&w->out);
	assert_string_equal(folded(w), "t?:1;a?b?[2J?:c 1\n");
}

static void test_folded_of_nothing(void **state)
{
	struct world *w = *state;

	assert_string_equal(folded(w), "");
}

static void test_folded_is_outermost_first(void **state)
{
	struct world *w = *state;
	uint32_t in = function(w, "in", "", 0), out = function(w, "out", "", 0);

	simple(w, 1, "main");
	location(w, 2, in, out);
	simple(w, 3, "leaf");
	sample(w, STACK(3, 2, 1), label(w, "thread", "worker"), 4, 40);
	sample(w, STACK(2, 1), label(w, "tid", "77"), 9, 90);
	assert_string_equal(folded(w), "main;out;in 9\nworker;main;out;in;leaf 4\n");
}

static void test_folded_marks_the_kernel(void **state)
{
	struct world *w = *state;
	const uint64_t kernel = 0xffffffff81000123;

	simple(w, kernel, "do_syscall_64");
	simple(w, PP_FRAME(3, 0x10), "write");
	simple(w, PP_RAW(0x10), "[jit]");
	simple(w, PP_MARKER(PP_END_GAP, 3), "[broken]");
	sample(w, STACK(kernel, PP_FRAME(3, 0x10), PP_RAW(0x10), PP_MARKER(PP_END_GAP, 3)), 0, 1,
	       1);
	assert_string_equal(folded(w), "[broken];[jit];write;do_syscall_64_[k] 1\n");
}

static void test_folded_adds_up_equal_lines(void **state)
{
	struct world *w = *state;

	simple(w, 1, "main");
	simple(w, 2, "main"); /* another address of the same function */
	simple(w, 3, "f");
	sample(w, STACK(3, 1), 0, 1, 1);
	sample(w, STACK(3, 2), 0, 2, 2);
	sample(w, STACK(1), 0, 5, 5);
	sample(w, STACK(3), 0, 0, 5);
	assert_string_equal(folded(w), "main 5\nmain;f 3\n");
}

static void test_folded_loses_no_sample(void **state)
{
	struct world *w = *state;

	sample(w, STACK(0), 0, 3, 3);
	sample(w, STACK(0), label(w, "thread", "t"), 2, 2);
	sample(w, STACK(77), 0, 1, 1);
	assert_string_equal(folded(w), "[no stack] 3\nt;[no stack] 2\n[unnamed] 1\n");
}

static void test_profile_without_types_is_refused(void **state)
{
	struct world *w = *state;

	w->c->profile = profile_find("cmdline");
	assert_int_equal(text_top(w->c, w->n, &w->out), -EINVAL);
	assert_int_equal(text_folded(w->c, w->n, &w->out), -EINVAL);
	assert_null(w->out.data);
}

static void test_many_samples(void **state)
{
	struct world *w = *state;
	char names[2000][16];
	uint64_t words[101];

	words[100] = 0;
	for (uint32_t i = 0; i < 2000; i++) {
		snprintf(names[i], sizeof(names[i]), "f%u", i);
		simple(w, 1000 + i, names[i]);
	}
	for (uint64_t i = 0; i < 20000; i++) {
		for (uint64_t k = 0; k < 100; k++)
			words[k] = 1000 + (i * (k + 1) * 7919 + k) % 2000;
		sample(w, words, 0, 1, 1000000);
	}
	assert_non_null(strstr(top(w), "Showing nodes accounting for 20s, 100% of 20s total\n"));
	bytes_deinit(&w->out);
	assert_non_null(strstr(folded(w), ";f"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_top_of_nothing),
		TEST(test_top_is_pprofs_table),
		TEST(test_comments_come_first),
		TEST(test_recursion_counts_once),
		TEST(test_inlined_calls_have_rows),
		TEST(test_functions_of_one_name_are_one),
		TEST(test_rows_are_sorted_by_flat_then_name),
		TEST(test_deltas_may_be_negative),
		TEST(test_default_type_is_shown),
		cmocka_unit_test(test_units_are_pprofs),
		TEST(test_hostile_names_stay_on_their_line),
		TEST(test_folded_of_nothing),
		TEST(test_folded_is_outermost_first),
		TEST(test_folded_marks_the_kernel),
		TEST(test_folded_adds_up_equal_lines),
		TEST(test_folded_loses_no_sample),
		TEST(test_profile_without_types_is_refused),
		TEST(test_many_samples),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
