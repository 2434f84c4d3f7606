/* SPDX-License-Identifier: Apache-2.0 */

/* The kernel's tables as files of memory, filled by hand: well, torn, and with nonsense. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/serve/pool.h"

#define N_STACKS 16u
#define N_COUNTS 32u
#define N_CHUNKS 1u
#define HALF_WORDS (1u << PP_POOL_BITS)

struct fixture {
	struct pool p;
	struct totals t, kept;
	int fds[PP_N_MAPS];
	unsigned n_stacks, n_words; /* used of the current half */
	unsigned n_counts;
};

static int file(size_t n)
{
	int fd = memfd_create("map", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)n), 0);
	return fd;
}

static int setup(void **state)
{
	const struct broker_maps sizes = { N_STACKS, N_COUNTS, N_CHUNKS, 4096 };
	struct fixture *x = calloc(1, sizeof(*x));

	if (!x)
		return -1;
	memset(x->fds, -1, sizeof(x->fds));
	x->fds[PP_MAP_STACK] = file(2 * N_STACKS * sizeof(struct pp_stack));
	x->fds[PP_MAP_WORD] = file(2 * HALF_WORDS * 8ul);
	x->fds[PP_MAP_COUNT] = file(2 * N_COUNTS * sizeof(struct pp_count));
	x->fds[PP_MAP_STATE] = file(sizeof(struct pp_state));
	*state = x;
	return pool_init(&x->p, &sizes, x->fds);
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	pool_deinit(&x->p);
	totals_deinit(&x->t);
	totals_deinit(&x->kept);
	for (int i = 0; i < PP_N_MAPS; i++)
		close_fd(&x->fds[i]);
	free(x);
	return 0;
}

static unsigned half(const struct fixture *x)
{
	return x->p.control->epoch & 1;
}

/* A stack of n words; its row + 1. */
static uint32_t stack(struct fixture *x, const uint64_t *words, unsigned n)
{
	unsigned row = half(x) * N_STACKS + x->n_stacks++;
	uint64_t at = half(x) * HALF_WORDS + x->n_words;

	memcpy(x->p.words + at, words, n * 8);
	x->n_words += n;
	x->p.stacks[row].hash = 1;
	x->p.stacks[row].meta = PP_READY | (uint64_t)n << 40 | at;
	return row + 1;
}

static struct pp_count *count(struct fixture *x, uint32_t stack_row, const char *name, int64_t a,
			      int64_t b)
{
	struct pp_count *c = &x->p.counts[half(x) * N_COUNTS + x->n_counts++];

	*c = (struct pp_count){ .tag = PP_CLAIMED | PP_FILLED,
				.target = 3,
				.collector = PP_CPU,
				.stack = stack_row,
				.v = { a, b } };
	memcpy(c->name, name, strlen(name));
	return c;
}

static const uint64_t frames[] = { PP_FRAME(1, 100), PP_FRAME(1, 200), PP_FRAME(2, 300) };

static const struct total *row(struct fixture *x, unsigned i)
{
	assert_true(i < x->t.rows.n);
	return &x->t.rows.data[i];
}

static void check_words(struct fixture *x, unsigned i, const uint64_t *words, uint32_t n)
{
	uint32_t got;
	const uint64_t *w = stacks_words(&x->t.stacks, row(x, i)->stack, &got);

	assert_int_equal(got, n);
	assert_memory_equal(w, words, n * 8);
}

static void check_marker(struct fixture *x, unsigned i, unsigned end)
{
	const uint64_t marker = PP_MARKER(end, 0);

	check_words(x, i, &marker, 1);
}

static void test_counts_arrive_with_stack_and_name(void **state)
{
	struct fixture *x = *state;

	count(x, stack(x, frames, 3), "worker", 2, 20);
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(x->t.rows.n, 1);
	assert_int_equal(row(x, 0)->target, 3);
	assert_int_equal(row(x, 0)->collector, PP_CPU);
	assert_int_equal(row(x, 0)->v[0], 2);
	assert_int_equal(row(x, 0)->v[1], 20);
	assert_string_equal(x->t.names.data[row(x, 0)->name].text, "worker");
	check_words(x, 0, frames, 3);
	assert_int_equal(x->p.n_bad, 0);
}

static void test_folding_again_adds_only_what_is_new(void **state)
{
	struct fixture *x = *state;
	struct pp_count *c = count(x, stack(x, frames, 3), "worker", 2, 20);

	for (int i = 0; i < 5; i++) {
		pool_fold(&x->p, &x->t, &x->kept);
		assert_int_equal(row(x, 0)->v[0], 2 + i);
		c->v[0]++;
	}
	assert_int_equal(row(x, 0)->v[1], 20);
	assert_int_equal(x->t.rows.n, 1);
}

static void test_row_stored_twice_is_added_up(void **state)
{
	struct fixture *x = *state;

	/* two CPUs met at the same stack, or at the same count */
	count(x, stack(x, frames, 3), "worker", 2, 20);
	count(x, stack(x, frames, 3), "worker", 3, 30);
	count(x, 1, "worker", 4, 40);
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(x->t.rows.n, 1);
	assert_int_equal(row(x, 0)->v[1], 90);
}

static void test_row_that_is_being_written_waits(void **state)
{
	struct fixture *x = *state;
	struct pp_count *c = count(x, stack(x, frames, 3), "worker", 2, 20);

	c->tag = PP_CLAIMED;
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(x->t.rows.n, 0);
	c->tag |= PP_FILLED;
	c->v[0] = c->v[1] = 0; /* filled, not yet added to */
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(x->t.rows.n, 0);
	c->v[0] = 1; /* half of an addition */
	pool_fold(&x->p, &x->t, &x->kept);
	c->v[1] = 10;
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(row(x, 0)->v[0], 1);
	assert_int_equal(row(x, 0)->v[1], 10);
}

static void test_other_half_is_not_folded(void **state)
{
	struct fixture *x = *state;

	x->p.control->epoch = 1;
	count(x, stack(x, frames, 3), "worker", 2, 20);
	x->p.control->epoch = 2;
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(x->t.rows.n, 0);
	x->p.control->epoch = 3;
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(x->t.rows.n, 1);
}

static void flip(struct fixture *x)
{
	pool_flip(&x->p, &x->t, &x->kept);
	x->n_stacks = x->n_words = x->n_counts = 0;
}

static void test_flips_lose_nothing_and_count_nothing_twice(void **state)
{
	struct fixture *x = *state;

	for (int i = 0; i < 5; i++) {
		struct pp_count *c = count(x, stack(x, frames, 3), "worker", 2, 20);

		pool_fold(&x->p, &x->t, &x->kept);
		c->v[0] += 5; /* since the last fold */
		x->p.control->n_words[half(x)] = 3;
		x->p.control->n_counts[half(x)] = x->p.control->n_stacks[half(x)] = 1;
		flip(x);
		assert_int_equal(x->p.control->n_words[!half(x)], 0);
		assert_int_equal(x->p.control->n_counts[!half(x)], 0);
		assert_int_equal(x->p.control->n_stacks[!half(x)], 0);
	}
	assert_int_equal(x->t.rows.n, 1);
	assert_int_equal(row(x, 0)->v[0], 35);
	assert_int_equal(row(x, 0)->v[1], 100);
	assert_int_equal(x->p.n_flips, 5);
	for (unsigned i = 0; i < 2 * N_COUNTS; i++)
		assert_int_equal(x->p.counts[i].tag, 0);
	for (unsigned i = 0; i < 2 * N_STACKS; i++)
		assert_int_equal(x->p.stacks[i].hash, 0);
}

static void test_flip_touches_only_the_old_half(void **state)
{
	struct fixture *x = *state;

	count(x, stack(x, frames, 3), "a", 1, 1);
	x->p.counts[N_COUNTS].tag = PP_CLAIMED | PP_FILLED; /* a program that was faster than we */
	x->p.counts[N_COUNTS].collector = PP_CPU;
	x->p.counts[N_COUNTS].v[0] = 7;
	x->p.counts[N_COUNTS].stack = PP_NO_STACK(PP_END_EXEC);
	pool_flip(&x->p, &x->t, &x->kept);
	assert_int_equal(x->p.counts[N_COUNTS].v[0], 7);
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(x->t.rows.n, 2);
	check_marker(x, 1, PP_END_EXEC);
}

static void test_what_counts_for_as_long_as_a_target_lives_is_kept(void **state)
{
	struct fixture *x = *state;
	struct pp_count *c = count(x, stack(x, frames, 3), "a", 1, 1);

	c->collector = PP_HEAP;
	pool_fold(&x->p, &x->t, &x->kept);
	totals_clear(&x->t);
	pool_forget_rows(&x->p);
	c->v[0] += 4;
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(x->t.rows.n, 0);
	assert_int_equal(x->kept.rows.n, 1);
	assert_int_equal(x->kept.rows.data[0].v[0], 5);
}

static void test_cleared_totals_get_new_rows_for_what_comes(void **state)
{
	struct fixture *x = *state;
	struct pp_count *c = count(x, stack(x, frames, 3), "a", 1, 1);

	pool_fold(&x->p, &x->t, &x->kept);
	totals_clear(&x->t);
	pool_forget_rows(&x->p);
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(x->t.rows.n, 0);
	c->v[0] += 4;
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(row(x, 0)->v[0], 4);
}

static void test_return_addresses_of_the_kernel_are_moved_into_the_call(void **state)
{
	static const uint64_t words[] = { 0xffffffff81000010, 0xffffffff81000020, PP_FRAME(1, 100),
					  PP_RAW(50), PP_MARKER(PP_END_GAP, 1) };
	uint64_t wanted[5];
	struct fixture *x = *state;

	memcpy(wanted, words, sizeof(words));
	wanted[1]--; /* the innermost is where it was interrupted */
	count(x, stack(x, words, 5), "a", 1, 1);
	pool_fold(&x->p, &x->t, &x->kept);
	check_words(x, 0, wanted, 5);
}

static void test_counts_without_a_stack_say_why(void **state)
{
	struct fixture *x = *state;

	count(x, PP_NO_STACK(PP_END_EXEC), "a", 1, 1);
	count(x, PP_NO_STACK(PP_END_NO_SCRATCH), "a", 1, 1);
	pool_fold(&x->p, &x->t, &x->kept);
	check_marker(x, 0, PP_END_EXEC);
	check_marker(x, 1, PP_END_NO_SCRATCH);
	assert_int_equal(x->p.n_bad, 0);
}

static void test_stack_of_the_largest_size(void **state)
{
	uint64_t words[PP_MAX_WORDS];
	struct fixture *x = *state;

	for (unsigned i = 0; i < PP_MAX_WORDS; i++)
		words[i] = PP_FRAME(1, i);
	count(x, stack(x, words, PP_MAX_WORDS), "a", 1, 1);
	pool_fold(&x->p, &x->t, &x->kept);
	check_words(x, 0, words, PP_MAX_WORDS);
}

/* What no program of ours writes: kept as events, without a stack, and counted. */
static void test_rows_that_make_no_sense_are_counted(void **state)
{
	static const uint64_t metas[] = {
		0,					/* not ready */
		3ull << 40,				/* not ready, though it has words */
		PP_READY,				/* no words */
		PP_READY | (PP_MAX_WORDS + 1ull) << 40, /* too many */
		PP_READY | 0xffffull << 40,
		PP_READY | 3ull << 40 | (HALF_WORDS - 2), /* over the end of the half */
		PP_READY | 3ull << 40 | HALF_WORDS,	  /* in the other half */
		PP_READY | 3ull << 40 | 0xffffffffff,
	};
	static const uint32_t rows[] = { 0,	     N_STACKS + 1, 2 * N_STACKS, 2 * N_STACKS + 1,
					 0x7fffffff, 0xfffffeff };
	struct fixture *x = *state;
	unsigned n_metas = sizeof(metas) / sizeof(metas[0]),
		 n_rows = sizeof(rows) / sizeof(rows[0]);

	for (unsigned i = 0; i < n_metas; i++) {
		x->p.stacks[i].meta = metas[i];
		count(x, i + 1, "a", 1, 1);
	}
	for (unsigned i = 0; i < n_rows; i++)
		count(x, rows[i], "a", 1, 1);
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(x->p.n_bad, n_metas + n_rows);
	assert_int_equal(x->t.rows.n, 1);
	check_marker(x, 0, PP_END_TABLE_FULL);
	assert_int_equal(row(x, 0)->v[0], n_metas + n_rows);
}

static void test_numbers_at_the_end_of_their_range(void **state)
{
	struct fixture *x = *state;
	struct pp_count *c = count(x, stack(x, frames, 3), "a", INT64_MAX, INT64_MIN);

	pool_fold(&x->p, &x->t, &x->kept);
	c->v[0] = INT64_MIN;
	c->v[1] = INT64_MAX;
	pool_fold(&x->p, &x->t, &x->kept);
	assert_true(row(x, 0)->v[0] == INT64_MIN && row(x, 0)->v[1] == INT64_MAX);
}

static void test_names_without_an_end_are_kept(void **state)
{
	struct fixture *x = *state;
	struct pp_count *c = count(x, stack(x, frames, 3), "", 1, 1);

	memset(c->name, 0xff, sizeof(c->name));
	pool_fold(&x->p, &x->t, &x->kept);
	assert_memory_equal(x->t.names.data[row(x, 0)->name].text, c->name, TOTALS_NAME);
}

static void test_pool_is_used_from_a_quarter_on(void **state)
{
	struct fixture *x = *state;

	assert_false(pool_used(&x->p));
	x->p.control->n_counts[0] = N_COUNTS / 4;
	x->p.control->n_words[0] = HALF_WORDS / 4;
	assert_false(pool_used(&x->p));
	x->p.control->n_counts[0]++;
	assert_true(pool_used(&x->p));
	x->p.control->n_counts[0] = 0;
	x->p.control->n_words[0]++;
	assert_true(pool_used(&x->p));
	x->p.control->epoch = 1;
	assert_false(pool_used(&x->p));
}

static void test_statistics_are_read(void **state)
{
	struct fixture *x = *state;

	x->p.control->statistics[PP_STAT_LOST_COUNT] = 7;
	assert_int_equal(pool_statistic(&x->p, PP_STAT_LOST_COUNT), 7);
}

static void test_half_made_pool_is_taken_down(void **state)
{
	const struct broker_maps sizes = { N_STACKS, N_COUNTS, N_CHUNKS, 4096 };
	struct fixture *x = *state;

	for (int i = 0; i < PP_N_MAPS; i++) {
		int fds[PP_N_MAPS];
		struct pool p;

		memcpy(fds, x->fds, sizeof(fds));
		fds[i] = -1;
		if (x->fds[i] >= 0)
			assert_true(pool_init(&p, &sizes, fds) < 0);
		else
			assert_int_equal(pool_init(&p, &sizes, fds), 0);
		pool_deinit(&p);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_counts_arrive_with_stack_and_name),
		TEST(test_folding_again_adds_only_what_is_new),
		TEST(test_row_stored_twice_is_added_up),
		TEST(test_row_that_is_being_written_waits),
		TEST(test_other_half_is_not_folded),
		TEST(test_flips_lose_nothing_and_count_nothing_twice),
		TEST(test_flip_touches_only_the_old_half),
		TEST(test_what_counts_for_as_long_as_a_target_lives_is_kept),
		TEST(test_cleared_totals_get_new_rows_for_what_comes),
		TEST(test_return_addresses_of_the_kernel_are_moved_into_the_call),
		TEST(test_counts_without_a_stack_say_why),
		TEST(test_stack_of_the_largest_size),
		TEST(test_rows_that_make_no_sense_are_counted),
		TEST(test_numbers_at_the_end_of_their_range),
		TEST(test_names_without_an_end_are_kept),
		TEST(test_pool_is_used_from_a_quarter_on),
		TEST(test_statistics_are_read),
		TEST(test_half_made_pool_is_taken_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
