/* SPDX-License-Identifier: Apache-2.0 */

/* Both ends of the conversation about functions, and answers that are kept by their numbers. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "symbolizer/answers.h"
#include "symbolizer/told.h"

struct ends {
	struct told child;
	struct functions serve;
	unsigned n_told, n_sent;
};

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct ends));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

/* Tells serve of a function that `seed` decides about, and looks at what serve makes of it. */
static void tell(struct ends *x, uint32_t seed, uint32_t max)
{
	static char bytes[SYMBOLIZER_MAX_PATH];
	struct symbolizer_frame f = { .index = 3, .line = 7, .start_line = seed, .shown = 9 };
	uint16_t n[3] = { (uint16_t)(seed % max % SYMBOLIZER_MAX_NAME), (uint16_t)(seed / 7 % max % SYMBOLIZER_MAX_NAME),
			  (uint16_t)(seed / 3 % max) };
	const struct function *told;
	const char *text;

	memset(bytes, 'a' + (int)(seed % 26), sizeof(bytes));
	f.n_name = n[0];
	f.n_system_name = n[1];
	f.n_file = n[2];
	told_frame(&x->child, &f, bytes, bytes, bytes);
	assert_true(f.index == 3 && f.line == 7 && f.shown == 9);
	if (!f.told) {
		x->n_sent++;
		assert_true(f.start_line == seed && f.n_name == n[0] && f.n_system_name == n[1] && f.n_file == n[2]);
		if (n[0] + n[1] + n[2])
			assert_int_equal(f.function,
					 functions_add(&x->serve,
						       &(struct function){ .start_line = seed, .n_name = n[0],
									   .n_system_name = n[1], .n_file = n[2] },
						       bytes, bytes, bytes));
		return;
	}
	x->n_told++;
	assert_true(f.told == 1 && !f.start_line && !f.n_name && !f.n_system_name && !f.n_file);
	told = functions_get(&x->serve, f.function, &text);
	assert_non_null(told);
	assert_true(told->start_line == seed && told->n_name == n[0] && told->n_system_name == n[1] && told->n_file == n[2]);
	assert_memory_equal(text, bytes, n[0]);
	assert_memory_equal(text + n[0], bytes, n[1]);
	assert_memory_equal(text + n[0] + n[1], bytes, n[2]);
}

static void tell_many(struct ends *x, uint32_t n, uint32_t n_functions, uint32_t max)
{
	uint64_t random = 1;

	for (uint32_t i = 0; i < n; i++) {
		random = random * 6364136223846793005ull + 1442695040888963407ull;
		tell(x, (uint32_t)(random >> 33) % n_functions, max);
	}
	assert_int_equal(x->child.functions.first, x->serve.first);
	assert_int_equal(x->child.functions.end, x->serve.end);
}

static void test_few_functions_are_told_once(void **state)
{
	struct ends *x = *state;

	tell_many(x, 20000, 20, 100);
	assert_int_equal(x->serve.end, 19); /* the one without text is sent as it is, each time */
	assert_true(x->n_told > 18000);
}

static void test_ends_agree_when_functions_are_too_many(void **state)
{
	struct ends *x = *state;

	tell_many(x, 400000, 3 * FUNCTIONS_SLOTS, 50);
	assert_int_equal(x->serve.end - x->serve.first, FUNCTIONS_SLOTS);
	assert_true(x->n_told && x->n_sent > FUNCTIONS_SLOTS);
}

static void test_ends_agree_when_text_is_too_much(void **state)
{
	struct ends *x = *state;

	tell_many(x, 30000, 9000, SYMBOLIZER_MAX_PATH + 1);
	assert_true(x->serve.first && x->serve.end - x->serve.first < FUNCTIONS_SLOTS);
	assert_true(x->n_told);
}

static void test_numbers_wrap_around(void **state)
{
	struct ends *x = *state;

	x->child.functions.first = x->child.functions.end = x->serve.first = x->serve.end = UINT32_MAX - 100;
	tell_many(x, 5000, 300, 100);
	assert_true(x->serve.end < 1000 && x->n_told > 4000);
}

static void test_a_number_that_was_never_told_is_nobody(void **state)
{
	struct ends *x = *state;
	const char *text;

	assert_null(functions_get(&x->serve, 0, &text));
	tell(x, 5, 100);
	assert_non_null(functions_get(&x->serve, 0, &text));
	assert_null(functions_get(&x->serve, 1, &text));
	assert_null(functions_get(&x->serve, UINT32_MAX, &text));
	assert_null(functions_get(&x->serve, FUNCTIONS_SLOTS, &text));
}

static void test_answers_are_kept(void **state)
{
	struct answers *a = calloc(1, sizeof(*a));
	const struct symbolizer_frame frames[4] = { { .line = 1, .told = 1, .function = 2 },
						   { .line = 2, .told = 1, .function = UINT32_MAX },
						   { .shown = 9 } };
	struct answer_key k = { 1, 2, 3 };
	const struct answer *found;
	unsigned n_kept = 0;

	assert_non_null(a);
	assert_null(answers_get(a, k));
	answers_put(a, k, frames, 3);
	answers_put(a, (struct answer_key){ 1, 3, 3 }, frames, 0);
	found = answers_get(a, k);
	assert_true(found && found->n == 3 && found->has_functions && found->oldest == UINT32_MAX);
	assert_memory_equal(found->frames, frames, 3 * sizeof(*frames));
	found = answers_get(a, (struct answer_key){ 1, 3, 3 });
	assert_true(found && !found->n && !found->has_functions);
	answers_put(a, k, frames, 1);
	assert_int_equal(answers_get(a, k)->n, 1);
	for (uint64_t i = 0; i < ANSWERS_MAX / 4; i++)
		answers_put(a, (struct answer_key){ 2, i, 3 }, frames, 3);
	for (uint64_t i = 0; i < ANSWERS_MAX / 4; i++)
		n_kept += answers_get(a, (struct answer_key){ 2, i, 3 }) != NULL;
	assert_int_equal(n_kept, ANSWERS_MAX / 4);
	for (uint64_t i = 0; i < 4 * ANSWERS_MAX; i++) {
		answers_put(a, (struct answer_key){ 3, i, 3 }, frames, i % 4);
		assert_true(a->size <= ANSWERS_MAX_BYTES && a->all.n <= ANSWERS_MAX);
		assert_int_equal(answers_get(a, (struct answer_key){ 3, i, 3 })->n, i % 4);
	}
	answers_deinit(a);
	free(a);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_few_functions_are_told_once),
		TEST(test_ends_agree_when_functions_are_too_many),
		TEST(test_ends_agree_when_text_is_too_much),
		TEST(test_numbers_wrap_around),
		TEST(test_a_number_that_was_never_told_is_nobody),
		cmocka_unit_test(test_answers_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
