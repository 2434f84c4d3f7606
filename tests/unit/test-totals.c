/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/event.h"
#include "daemon/serve/totals.h"

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct totals));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	totals_deinit(*state);
	free(*state);
	return 0;
}

static const char main_thread[TOTALS_NAME] = "main", worker[TOTALS_NAME] = "worker";
static const uint64_t words[] = { 1, 2, 3, 4, 5 };

static void test_equal_keys_are_one_row(void **state)
{
	struct totals *t = *state;
	uint32_t row = totals_row(t, 1, PP_CPU, words, 5, main_thread);

	assert_int_equal(totals_row(t, 1, PP_CPU, words, 5, main_thread), row);
	assert_int_equal(t->rows.n, 1);
}

static void test_rows_differ_by_each_part_of_the_key(void **state)
{
	struct totals *t = *state;
	char tail[TOTALS_NAME] = "main\0X"; /* the kernel has any bytes there */
	uint32_t rows[] = {
		totals_row(t, 1, PP_CPU, words, 5, main_thread),
		totals_row(t, 2, PP_CPU, words, 5, main_thread),
		totals_row(t, 1, PP_CPU + 1, words, 5, main_thread),
		totals_row(t, 1, PP_CPU, words, 4, main_thread),
		totals_row(t, 1, PP_CPU, words + 1, 4, main_thread),
		totals_row(t, 1, PP_CPU, words, 0, main_thread),
		totals_row(t, 1, PP_CPU, words, 5, worker),
		totals_row(t, 1, PP_CPU, words, 5, tail),
	};

	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(rows[i], i);
		assert_true(t->rows.data[i].v[0] == 0 && t->rows.data[i].v[1] == 0);
	}
	assert_int_equal(t->stacks.all.n, 4);
	assert_int_equal(t->names.n, 3);
}

static void test_rows_never_move(void **state)
{
	struct totals *t = *state;

	for (int round = 0; round < 2; round++)
		for (uint64_t i = 0; i < 50000; i++) {
			uint32_t row = totals_row(t, 1, PP_CPU, &i, 1, main_thread);

			assert_int_equal(row, i);
			t->rows.data[row].v[0]++;
		}
	for (uint64_t i = 0; i < 50000; i++)
		assert_int_equal(t->rows.data[i].v[0], 2);
}

static void test_snapshot_keeps_what_was(void **state)
{
	struct totals *t = *state;
	struct totals_before none, b;

	assert_int_equal(totals_snapshot(t, &none), 0);
	assert_int_equal(none.n, 0);
	assert_int_equal(totals_row(t, 1, PP_CPU, words, 5, worker), 0);
	t->rows.data[0].v[1] = 7;
	assert_int_equal(totals_snapshot(t, &b), 0);
	t->rows.data[0].v[1] = 9;
	totals_row(t, 1, PP_CPU, words, 4, worker);
	assert_int_equal(b.n, 1);
	assert_int_equal(b.v[0][1], 7);
	totals_before_deinit(&none);
	totals_before_deinit(&b);
	assert_null(b.v);
}

static void test_cleared_totals_begin_anew(void **state)
{
	struct totals *t = *state;

	totals_row(t, 1, PP_CPU, words, 5, main_thread);
	totals_clear(t);
	assert_int_equal(t->rows.n, 0);
	assert_int_equal(totals_row(t, 1, PP_CPU, words, 3, worker), 0);
}

static bool is_other(const struct totals *t, uint32_t row)
{
	uint32_t n;
	const uint64_t *w = stacks_words(&t->stacks, t->rows.data[row].stack, &n);

	return n == 1 && w[0] == PP_MARKER(PP_END_OTHER, 0);
}

/* Fills the words with stacks of 320. */
static void fill_words(struct totals *t)
{
	uint64_t w[PP_MAX_WORDS] = { 0 };

	for (uint32_t i = 0; i < TOTALS_MAX_WORDS / PP_MAX_WORDS; i++) {
		w[0] = i;
		assert_int_equal(totals_row(t, 1, PP_CPU, w, PP_MAX_WORDS, main_thread), i);
	}
	assert_int_equal(t->n_other, 0);
}

static void test_new_stacks_past_the_limit_are_merged_and_counted(void **state)
{
	struct totals *t = *state;
	uint64_t w[PP_MAX_WORDS] = { UINT64_MAX };
	uint32_t other;

	fill_words(t);
	other = totals_row(t, 1, PP_CPU, w, PP_MAX_WORDS, main_thread);
	assert_true(is_other(t, other));
	w[0]--;
	assert_int_equal(totals_row(t, 1, PP_CPU, w, PP_MAX_WORDS, main_thread), other);
	assert_int_not_equal(totals_row(t, 2, PP_CPU, w, PP_MAX_WORDS, main_thread), other);
	assert_int_equal(t->n_other, 3);
}

static void test_known_stacks_past_the_limit_keep_their_rows(void **state)
{
	struct totals *t = *state;
	uint64_t w[PP_MAX_WORDS] = { 77 };

	fill_words(t);
	assert_int_equal(totals_row(t, 1, PP_CPU, w, PP_MAX_WORDS, main_thread), 77);
	assert_int_equal(t->n_other, 0);
}

/* A target may name its threads without end. */
static void test_rows_and_names_are_bounded(void **state)
{
	struct totals *t = *state;
	char name[TOTALS_NAME] = "";
	uint32_t row = 0;

	for (uint32_t i = 0; i < TOTALS_MAX_ROWS + 1000; i++) {
		memcpy(name, &i, sizeof(i));
		row = totals_row(t, 1, PP_CPU, words, 5, name);
	}
	assert_true(is_other(t, row));
	assert_int_equal(t->rows.n, TOTALS_MAX_ROWS + 1);
	assert_true(t->names.n <= TOTALS_MAX_ROWS + 1);
	assert_int_equal(t->n_other, 1000);
}

static uint32_t lock_row(struct totals *t, uint32_t collector, uint64_t stack, uint64_t lock)
{
	const uint64_t name[2] = { stack, lock };

	return totals_row(t, 1, collector, &stack, 1, (const char *)name);
}

static void test_too_many_locks_have_no_rows_of_their_own(void **state)
{
	struct totals *t = *state;
	uint32_t early = lock_row(t, PP_WAIT, 1, 1), plain, heap;

	for (uint64_t i = 2; t->rows.n < TOTALS_LOCK_ROWS; i++)
		lock_row(t, PP_RELEASE, 1, i);
	assert_int_equal(t->n_plain, 0);
	plain = lock_row(t, PP_WAIT, 1, 0);
	assert_int_equal(lock_row(t, PP_WAIT, 1, 77), plain);
	assert_int_equal(t->n_plain, 1);
	assert_int_equal(lock_row(t, PP_WAIT, 1, 1), early);
	assert_int_not_equal(lock_row(t, PP_WAIT, 2, 77), plain); /* another stack has its own */
	heap = lock_row(t, PP_HEAP, 1, 77);
	assert_int_not_equal(lock_row(t, PP_HEAP, 1, 78), heap);
	assert_int_equal(t->n_plain, 2);
}

static uint32_t item_row(struct totals *t, uint32_t collector, uint32_t item, const uint64_t *of, uint32_t n,
			 uint64_t hash, uint64_t lock)
{
	const uint64_t name[2] = { hash, lock };

	return totals_item_row(t, 1, collector, item, of, n, (const char *)name);
}

static void test_items_have_rows_of_their_own(void **state)
{
	struct totals *t = *state;
	uint32_t last = (1u << 26) - 1, row = item_row(t, PP_WAIT, 202, words, 5, 7, 0);

	assert_int_not_equal(item_row(t, PP_WAIT, 0, words, 5, 7, 0), row);
	assert_int_not_equal(item_row(t, PP_WAIT, 202 | 1 << 24, words, 5, 7, 0), row);
	assert_int_not_equal(item_row(t, PP_RELEASE, 202, words, 5, 7, 0), row);
	assert_int_not_equal(item_row(t, PP_WAIT, 202, words, 5, 7, 0x1000), row);
	assert_int_equal(item_row(t, PP_WAIT, 202, words, 5, 7, 0), row);
	assert_int_equal(t->rows.n, 5);
	assert_int_equal(t->rows.data[row].item, 202);
	assert_int_equal(t->rows.data[2].item, 202 | 1 << 24);
	row = item_row(t, PP_WAIT, last, words, 5, 7, 0);
	assert_int_equal(t->rows.data[row].item, last);
	assert_int_equal(t->rows.data[row].collector, PP_WAIT);
	assert_int_equal(item_row(t, PP_WAIT, last, words, 5, 7, 0), row);
	assert_int_equal(totals_row(t, 1, PP_WAIT, words, 5, t->names.data[0].text), 1); /* item 0 */
}

static uint32_t known_stack_of(const struct totals *t, uint64_t hash)
{
	uint32_t i = totals_known(t, hash);

	return i == HASH_NONE ? HASH_NONE : t->rows.data[i].stack;
}

static void test_waits_are_known_by_the_hash_of_their_stack(void **state)
{
	struct totals *t = *state;
	uint32_t row;

	assert_int_equal(totals_known(t, 7), HASH_NONE);
	row = item_row(t, PP_WAIT, 202, words, 5, 7, 0);
	item_row(t, PP_WAIT, 202, words, 4, 9, 0x1000);
	item_row(t, PP_RELEASE, 202, words, 3, 11, 0);
	item_row(t, PP_HEAP, 0, words, 2, 13, 0);
	assert_int_equal(totals_known(t, 7), row);
	assert_int_equal(known_stack_of(t, 9), stacks_find(&t->stacks, words, 4));
	assert_int_equal(totals_known(t, 0x1000), HASH_NONE);
	assert_int_equal(totals_known(t, 11), HASH_NONE); /* a waiter's, and the stack is another's */
	assert_int_equal(totals_known(t, 13), HASH_NONE);
	item_row(t, PP_WAIT, 0, words, 5, 7, 0x2000);
	assert_int_equal(totals_known(t, 7), row); /* the first stays */
}

static void test_many_waits_are_known(void **state)
{
	struct totals *t = *state;

	for (uint64_t i = 1; i <= 5000; i++)
		item_row(t, PP_WAIT, (uint32_t)i, &i, 1, i * 0x9e3779b97f4a7c15ull | 1, i & 1);
	for (uint64_t i = 1; i <= 5000; i++)
		assert_int_equal(totals_known(t, i * 0x9e3779b97f4a7c15ull | 1), i - 1);
}

static void test_cleared_totals_know_no_waits(void **state)
{
	struct totals *t = *state;

	item_row(t, PP_WAIT, 202, words, 5, 7, 0);
	totals_clear(t);
	assert_int_equal(totals_known(t, 7), HASH_NONE);
	assert_int_equal(item_row(t, PP_WAIT, 202, words, 5, 7, 0), 0);
	assert_int_equal(totals_known(t, 7), 0);
}

static bool is_two(void *context, uint32_t image)
{
	++*(int *)context;
	return image == 2;
}

static void test_rows_of_the_gone_are_dropped(void **state)
{
	struct totals *t = *state;
	char hash[TOTALS_NAME] = "\7";
	const uint64_t labels[] = { 9 };
	uint32_t map[6], n;
	int asked = 0;

	totals_row(t, 1, PP_GROWTH, words, 5, main_thread);
	totals_row(t, 2, PP_GROWTH, words, 4, worker);
	totals_row(t, 1, PP_WAIT, words, 3, hash);
	totals_labelled_row(t, 2, PP_GROWTH, 0, words, 4, worker, labels, 1);
	totals_row(t, 2, PP_WAIT, words + 1, 3, hash);
	totals_row(t, 3, PP_HEAP, words, 2, main_thread);
	for (uint32_t i = 0; i < 6; i++)
		t->rows.data[i].v[0] = i;
	assert_int_equal(totals_known(t, 7), 2);
	assert_int_equal(totals_keep(t, is_two, &asked, map), 0);
	assert_memory_equal(map, ((uint32_t[6]){ HASH_NONE, 0, HASH_NONE, 1, 2, HASH_NONE }), sizeof(map));
	assert_int_equal(t->rows.n, 3);
	assert_int_equal(t->rows.data[2].v[0], 4);
	assert_int_equal(totals_known(t, 7), 2);
	assert_memory_equal(stacks_words(&t->stacks, t->rows.data[2].stack, &n), words + 1, 24);
	assert_int_equal(t->names.n, 3);
	assert_int_equal(totals_row(t, 2, PP_GROWTH, words, 4, worker), 0);
	assert_int_equal(totals_labelled_row(t, 2, PP_GROWTH, 0, words, 4, worker, labels, 1), 1);
	assert_int_equal(t->label_sets.all.n, 1);
	assert_int_equal(totals_row(t, 1, PP_GROWTH, words, 5, main_thread), 3);
}

static void test_a_size_that_was_told_stays_and_is_no_part_of_the_key(void **state)
{
	struct totals *t = *state;
	uint32_t map[2];
	int asked = 0;

	assert_int_equal(totals_row(t, 2, PP_HEAP, words, 5, main_thread), 0);
	t->names.data[t->rows.data[0].name].size = 883;
	assert_int_equal(totals_row(t, 2, PP_HEAP, words, 5, main_thread), 0);
	assert_int_equal(totals_row(t, 1, PP_HEAP, words, 5, main_thread), 1);
	assert_int_equal(t->names.n, 1);
	assert_int_equal(totals_keep(t, is_two, &asked, map), 0);
	assert_int_equal(t->names.data[t->rows.data[0].name].size, 883);
	assert_int_equal(totals_row(t, 2, PP_HEAP, words, 5, main_thread), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* Rows are found by what they are of: key k has the stack { k }, thread k % 3, and a set of labels of its own if it is odd. */
#define N_KEYS 600
#define N_WINDOWS 5

static uint32_t row_of_key(struct totals *t, uint64_t k)
{
	static const char names[3][TOTALS_NAME] = { "a", "b", "c" };
	uint64_t labels[2] = { k, 7 };

	return totals_labelled_row(t, 1, PP_CPU, 0, &k, 1, names[k % 3], labels, k % 2 ? 2 : 0);
}

static void test_windows_see_the_same_when_idle_rows_go(void **state)
{
	static int64_t truth[N_KEYS], began[N_WINDOWS][N_KEYS];
	struct totals_before windows[N_WINDOWS] = { 0 };
	struct totals_before *all;
	struct totals *t = *state;
	uint64_t random = 1;
	uint32_t row;

	t->n_other = 3;
	for (unsigned round = 0; round < 4000; round++) {
		unsigned w = round / 100 % N_WINDOWS, base = round / 200 * 25;
		uint64_t k;

		random = random * 6364136223846793005ull + 1442695040888963407ull;
		k = (base + (random >> 33) % 60) % N_KEYS; /* what runs changes */
		row = row_of_key(t, k);
		t->rows.data[row].v[0]++;
		truth[k]++;
		if (round % 100)
			continue;
		totals_before_deinit(&windows[w]); /* the oldest ends, another begins */
		all = NULL;
		for (unsigned i = 0; i < N_WINDOWS; i++) {
			if (i == w || !windows[i].v)
				continue;
			windows[i].next = all;
			all = &windows[i];
		}
		assert_int_equal(totals_drop_idle(t, all), 0);
		assert_int_equal(totals_snapshot(t, &windows[w]), 0);
		memcpy(began[w], truth, sizeof(truth));
		for (unsigned i = 0; i < N_WINDOWS; i++)
			for (k = 0; k < N_KEYS && windows[i].v; k++) {
				size_t n = t->rows.n;
				int64_t was;

				if (truth[k] == began[i][k])
					continue;
				row = row_of_key(t, k);
				assert_int_equal(t->rows.n, n); /* none has gone that is not idle */
				was = row < windows[i].n ? windows[i].v[row][0] : 0;
				assert_int_equal(t->rows.data[row].v[0] - was, truth[k] - began[i][k]);
			}
	}
	assert_int_equal(t->n_other, 3);
	assert_true(t->rows.n < 200 && t->label_sets.all.n < 150); /* of 600, and 300 */
	for (unsigned i = 0; i < N_WINDOWS; i++)
		totals_before_deinit(&windows[i]);
	assert_int_equal(totals_drop_idle(t, NULL), 0);
	assert_int_equal(t->rows.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_equal_keys_are_one_row),
		TEST(test_rows_differ_by_each_part_of_the_key),
		TEST(test_items_have_rows_of_their_own),
		TEST(test_waits_are_known_by_the_hash_of_their_stack),
		TEST(test_many_waits_are_known),
		TEST(test_cleared_totals_know_no_waits),
		TEST(test_rows_never_move),
		TEST(test_snapshot_keeps_what_was),
		TEST(test_cleared_totals_begin_anew),
		TEST(test_new_stacks_past_the_limit_are_merged_and_counted),
		TEST(test_known_stacks_past_the_limit_keep_their_rows),
		TEST(test_rows_and_names_are_bounded),
		TEST(test_rows_of_the_gone_are_dropped),
		TEST(test_windows_see_the_same_when_idle_rows_go),
		TEST(test_a_size_that_was_told_stays_and_is_no_part_of_the_key),
		TEST(test_too_many_locks_have_no_rows_of_their_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
