/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/serve/capture.h"
#include "daemon/serve/profile.h"

static int setup(void **state)
{
	struct capture *c = NULL;

	if (capture_new(profile_find("profile"), &c) < 0)
		return -1;
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	capture_free(*state);
	return 0;
}

static uint32_t string(struct capture *c, const char *s)
{
	return capture_string(c, s, strlen(s));
}

static void add(struct capture *c, uint32_t stack, uint32_t labels, int64_t a, int64_t b)
{
	struct capture_sample s = { stack, labels, { a, b } };

	assert_int_equal(capture_add(c, s), 0);
}

static void test_equal_strings_are_one(void **state)
{
	struct capture *c = *state;
	uint32_t abc = string(c, "abc"), ab = string(c, "ab");

	assert_int_not_equal(abc, ab);
	assert_int_equal(string(c, "abc"), abc);
	assert_int_equal(capture_string(c, "abcdef", 2), ab);
	assert_string_equal(c->strings.data[ab], "ab");
}

static void test_string_0_is_empty(void **state)
{
	struct capture *c = *state;

	assert_int_equal(c->strings.n, 1);
	assert_string_equal(c->strings.data[0], "");
	assert_int_equal(capture_string(c, NULL, 0), 0);
	assert_int_equal(capture_string(c, "\0abc", 4), 0);
	assert_int_equal(c->strings.n, 1);
}

static void test_string_ends_at_its_first_nul(void **state)
{
	struct capture *c = *state;

	assert_int_equal(capture_string(c, "comm\0\0\0garbage", 14), string(c, "comm"));
}

static void test_many_strings_stay_apart(void **state)
{
	struct capture *c = *state;
	char text[32];

	for (int round = 0; round < 2; round++)
		for (uint32_t i = 0; i < 100000; i++) {
			int n = snprintf(text, sizeof(text), "string %u", i);

			assert_int_equal(capture_string(c, text, (size_t)n), i + 1);
		}
	assert_string_equal(c->strings.data[77778], "string 77777");
}

static void test_equal_stacks_are_one(void **state)
{
	struct capture *c = *state;
	const uint64_t words[] = { 1, 2, 3, 4 };
	uint32_t four = capture_stack(c, words, 4), three = capture_stack(c, words, 3);

	assert_int_not_equal(four, three);
	assert_int_equal(capture_stack(c, words, 4), four);
	assert_int_equal(capture_stack(c, words, 3), three);
	assert_int_not_equal(capture_stack(c, words + 1, 3), three);
	assert_int_equal(c->stacks.n, 3);
	assert_int_equal(c->words.n, 4 + 3 + 3);
	assert_memory_equal(c->words.data + c->stacks.data[four].first, words, sizeof(words));
}

static void test_stack_without_frames_is_a_stack(void **state)
{
	struct capture *c = *state;
	uint32_t none = capture_stack(c, NULL, 0);

	assert_int_equal(none, 0);
	assert_int_equal(capture_stack(c, NULL, 0), none);
	assert_int_equal(c->stacks.data[none].n, 0);
}

static void test_label_sets_do_not_depend_on_order(void **state)
{
	struct capture *c = *state;
	uint32_t z = string(c, "z"), a = string(c, "a"), v = string(c, "v");
	const struct capture_label one[] = { { z, v, 0 }, { a, v, 0 } };
	const struct capture_label two[] = { { a, v, 0 }, { z, v, 0 } };
	uint32_t set = capture_label_set(c, one, 2);

	assert_int_equal(set, 1);
	assert_int_equal(capture_label_set(c, two, 2), set);
	assert_int_not_equal(capture_label_set(c, two, 1), set);
	assert_int_equal(c->labels.data[0].key, a); /* sorted by text: "a" was interned later */
	assert_int_equal(c->labels.data[1].key, z);
}

static void test_labels_that_say_nothing_are_dropped(void **state)
{
	struct capture *c = *state;
	uint32_t key = string(c, "key"), v = string(c, "v");
	const struct capture_label empty = { key, 0, 0 }, nameless = { 0, v, 0 };
	const struct capture_label some[] = { empty, { key, v, 0 }, nameless };

	assert_int_equal(capture_label_set(c, NULL, 0), 0);
	assert_int_equal(capture_label_set(c, &empty, 1), 0);
	assert_int_equal(capture_label_set(c, &nameless, 1), 0);
	assert_int_equal(capture_label_set(c, some, 3), 1);
	assert_int_equal(c->label_sets.data[0].n, 1);
	assert_int_equal(c->labels.data[0].value, v);
}

static void test_numbers_tell_label_sets_apart(void **state)
{
	struct capture *c = *state;
	uint32_t key = string(c, "bytes");
	uint32_t sets[2000];

	for (int round = 0; round < 2; round++)
		for (int64_t i = 0; i < 2000; i++) {
			struct capture_label l = { key, 0, i - 1000 };
			uint32_t set = capture_label_set(c, &l, 1);

			assert_true(round == 0 || sets[i] == set);
			sets[i] = set;
		}
	assert_int_equal(sets[1000], 0); /* no text, and the number 0 */
	assert_int_equal(c->label_sets.n, 1999);
}

static void test_merge_adds_up_equal_samples(void **state)
{
	struct capture *c = *state;
	uint64_t words[] = { 7, 8 };
	uint32_t x = capture_stack(c, words, 1), y = capture_stack(c, words, 2);
	struct capture_label l = { string(c, "thread"), string(c, "main"), 0 };
	uint32_t set = capture_label_set(c, &l, 1);

	add(c, y, 0, 1, 10);
	add(c, x, 0, 2, 20);
	add(c, y, set, 4, 40);
	add(c, y, 0, 8, 80);
	add(c, x, 0, 16, 160);
	assert_int_equal(capture_merge(c), 0);
	assert_int_equal(c->samples.n, 3);
	/* in the order in which they first came */
	assert_int_equal(c->samples.data[0].stack, y);
	assert_int_equal(c->samples.data[0].labels, 0);
	assert_int_equal(c->samples.data[0].values[0], 9);
	assert_int_equal(c->samples.data[0].values[1], 90);
	assert_int_equal(c->samples.data[1].values[1], 180);
	assert_int_equal(c->samples.data[2].labels, set);
	assert_int_equal(c->samples.data[2].values[0], 4);
}

static void test_merge_drops_what_is_0_in_the_end(void **state)
{
	struct capture *c = *state;
	uint64_t words[] = { 7, 8, 9 };
	uint32_t x = capture_stack(c, words, 1), y = capture_stack(c, words, 2);
	uint32_t z = capture_stack(c, words, 3);

	add(c, x, 0, 0, 0);
	add(c, y, 0, 5, 3);
	add(c, z, 0, 0, -1);
	add(c, y, 0, -5, -3);
	assert_int_equal(capture_merge(c), 0);
	assert_int_equal(c->samples.n, 1);
	assert_int_equal(c->samples.data[0].stack, z);
	assert_int_equal(c->samples.data[0].values[1], -1);
	assert_int_equal(capture_merge(c), 0);
	assert_int_equal(c->samples.n, 1);
}

static void test_merge_of_nothing(void **state)
{
	struct capture *c = *state;

	assert_int_equal(capture_merge(c), 0);
	assert_int_equal(c->samples.n, 0);
}

static void test_sums_stop_at_the_end_of_their_range(void **state)
{
	struct capture *c = *state;
	uint32_t x = capture_stack(c, NULL, 0);

	add(c, x, 0, INT64_MAX, INT64_MIN);
	add(c, x, 0, 1, -1);
	assert_int_equal(capture_merge(c), 0);
	assert_true(c->samples.data[0].values[0] == INT64_MAX);
	assert_true(c->samples.data[0].values[1] == INT64_MIN);
}

static void test_merge_of_many_loses_nothing(void **state)
{
	struct capture *c = *state;
	int64_t sum = 0;

	for (uint64_t i = 0; i < 300000; i++) {
		uint64_t words[] = { i % 70000, 1, 2 };

		add(c, capture_stack(c, words, 3), 0, 1, (int64_t)i);
	}
	assert_int_equal(capture_merge(c), 0);
	assert_int_equal(c->samples.n, 70000);
	for (size_t i = 0; i < c->samples.n; i++)
		sum += c->samples.data[i].values[1];
	assert_true(sum == 300000ll * 299999 / 2);
}

static void test_comment_is_one_clean_line(void **state)
{
	struct capture *c = *state;

	assert_int_equal(capture_comment(c, "%d lost in %s", 3, "a\nb\x1b[31m\xff"), 0);
	assert_int_equal(capture_comment(c, "%s", ""), 0);
	assert_int_equal(c->comments.n, 2);
	assert_string_equal(c->comments.data[0], "3 lost in a?b?[31m?");
	assert_string_equal(c->comments.data[1], "");
}

static void test_comment_never_looks_like_parcas(void **state)
{
	struct capture *c = *state;

	assert_int_equal(capture_comment(c, "%s: no table", "executableInfo=0x3;0;0"), 0);
	assert_string_equal(c->comments.data[0], "note: executableInfo=0x3;0;0: no table");
}

static void test_free_takes_nothing(void **state)
{
	(void)state;
	capture_free(NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_equal_strings_are_one),
		TEST(test_string_0_is_empty),
		TEST(test_string_ends_at_its_first_nul),
		TEST(test_many_strings_stay_apart),
		TEST(test_equal_stacks_are_one),
		TEST(test_stack_without_frames_is_a_stack),
		TEST(test_label_sets_do_not_depend_on_order),
		TEST(test_labels_that_say_nothing_are_dropped),
		TEST(test_numbers_tell_label_sets_apart),
		TEST(test_merge_adds_up_equal_samples),
		TEST(test_merge_drops_what_is_0_in_the_end),
		TEST(test_merge_of_nothing),
		TEST(test_sums_stop_at_the_end_of_their_range),
		TEST(test_merge_of_many_loses_nothing),
		TEST(test_comment_is_one_clean_line),
		TEST(test_comment_never_looks_like_parcas),
		TEST(test_free_takes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
