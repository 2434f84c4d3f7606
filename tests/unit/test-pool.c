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
	struct pp_wait_bucket *keys;
	struct pp_wait *waits;
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
	x->fds[PP_MAP_LABELS] = file(PP_MAX_PROCESSES * sizeof(struct pp_labels));
	x->keys = calloc(1u << PP_WAIT_BUCKET_BITS, sizeof(*x->keys));
	x->waits = calloc(POOL_N_WAITS, sizeof(*x->waits));
	if (!x->keys || !x->waits)
		return -1;
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
	free(x->keys);
	free(x->waits);
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

/* A wait in a slot of the open ones, of a stack of this half. */
static struct pp_wait *wait_at(struct fixture *x, uint32_t slot, uint32_t row, uint64_t hash)
{
	struct pp_wait *w = &x->waits[slot];

	x->p.wait_keys = x->keys;
	x->p.waits = x->waits;
	x->keys[slot / PP_WAIT_WAYS].key[slot % PP_WAIT_WAYS] = 1ull << 32 | (slot + 1);
	*w = (struct pp_wait){ .began = 1000, .stack = hash, .epoch = x->p.control->epoch, .row = row,
			       .item = 202, .target = 3, .weight = 1, .slot = 5, .tid = slot + 1 };
	return w;
}

static const struct total *kept_row(struct fixture *x, uint32_t i)
{
	assert_true(i < x->kept.rows.n);
	return &x->kept.rows.data[i];
}

static void check_kept_words(struct fixture *x, uint32_t i, const uint64_t *words, uint32_t n)
{
	uint32_t got;
	const uint64_t *w = stacks_words(&x->kept.stacks, kept_row(x, i)->stack, &got);

	assert_int_equal(got, n);
	assert_memory_equal(w, words, n * 8);
}

static void check_kept_marker(struct fixture *x, uint32_t i, unsigned end)
{
	const uint64_t marker = PP_MARKER(end, 0);

	check_kept_words(x, i, &marker, 1);
}

static void test_open_waits_are_read_as_they_are(void **state)
{
	struct fixture *x = *state;
	struct pp_wait *w = wait_at(x, POOL_N_WAITS - 1, 1, 7), got;

	assert_false(pool_wait(&x->p, 0, &got));
	assert_true(pool_wait(&x->p, POOL_N_WAITS - 1, &got));
	assert_memory_equal(&got, w, sizeof(got));
	w->began = 0; /* it is just being written */
	assert_false(pool_wait(&x->p, POOL_N_WAITS - 1, &got));
	w->began = 1000;
	x->keys[POOL_N_WAITS / PP_WAIT_WAYS - 1].key[PP_WAIT_WAYS - 1] = 0; /* it has gone */
	assert_false(pool_wait(&x->p, POOL_N_WAITS - 1, &got));
}

static void test_waits_of_no_process_are_refused(void **state)
{
	struct fixture *x = *state;
	struct pp_wait *w = wait_at(x, 17, 1, 7), got;

	w->slot = PP_MAX_PROCESSES - 1;
	assert_true(pool_wait(&x->p, 17, &got));
	w->slot = PP_MAX_PROCESSES;
	assert_false(pool_wait(&x->p, 17, &got));
	w->slot = UINT32_MAX;
	assert_false(pool_wait(&x->p, 17, &got));
}

static void test_open_wait_has_the_row_that_counts_it(void **state)
{
	struct fixture *x = *state;
	struct pp_wait *w = wait_at(x, 17, stack(x, frames, 3), 7);
	struct pp_count *c = count(x, w->row, "", 1, 50);
	const uint64_t name[2] = { 7, 0x1000 };
	uint32_t i;

	w->named = 0x1000;
	i = pool_wait_row(&x->p, &x->kept, w);
	assert_int_equal(kept_row(x, i)->target, 3);
	assert_int_equal(kept_row(x, i)->collector, PP_WAIT);
	assert_int_equal(kept_row(x, i)->item, 202);
	assert_memory_equal(x->kept.names.data[kept_row(x, i)->name].text, name, sizeof(name));
	check_kept_words(x, i, frames, 3);
	c->collector = PP_WAIT; /* it ends */
	c->item = 202;
	memcpy(c->name, name, sizeof(name));
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(x->kept.rows.n, 1);
	assert_int_equal(kept_row(x, i)->v[1], 50);
	assert_int_equal(x->p.n_bad, 0);
}

static void test_wait_without_a_stack_says_why(void **state)
{
	struct fixture *x = *state;
	struct pp_wait *w = wait_at(x, 17, PP_NO_STACK(PP_END_EXEC), PP_NO_STACK(PP_END_EXEC));

	check_kept_marker(x, pool_wait_row(&x->p, &x->kept, w), PP_END_EXEC);
	x->p.control->epoch += 3;
	check_kept_marker(x, pool_wait_row(&x->p, &x->kept, w), PP_END_EXEC);
	assert_int_equal(x->p.n_bad, 0);
}

static void test_flip_keeps_the_stacks_of_open_waits(void **state)
{
	static const uint64_t others[] = { PP_FRAME(3, 100), PP_FRAME(3, 200) };
	struct fixture *x = *state;
	struct pp_wait *w = wait_at(x, 17, stack(x, frames, 3), 7);
	const uint64_t name[2] = { 7, 0 };
	struct pp_count *c;
	uint32_t i;

	for (int k = 0; k < 3; k++) { /* the half is written anew, by others */
		flip(x);
		stack(x, others, 2);
	}
	assert_true(x->waits[17].row == w->row && x->waits[17].epoch == 0);
	i = pool_wait_row(&x->p, &x->kept, w);
	check_kept_words(x, i, frames, 3);
	c = count(x, PP_NO_STACK(PP_END_BY_HASH), "", 2, 90);
	c->collector = PP_WAIT;
	c->item = 202;
	memcpy(c->name, name, sizeof(name));
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(x->kept.rows.n, 1);
	assert_int_equal(kept_row(x, i)->v[0], 2);
	assert_int_equal(kept_row(x, i)->v[1], 90);
	assert_int_equal(x->p.n_bad, 0);
}

static void test_flip_keeps_nothing_of_other_epochs(void **state)
{
	struct fixture *x = *state;
	struct pp_wait *w = wait_at(x, 17, stack(x, frames, 3), 7);

	w->epoch = 2; /* the row is one of this half, but of another time */
	flip(x);
	assert_int_equal(x->kept.rows.n, 0);
}

/* The stack of one process's wait serves another item, lock and process with the same one. */
static void test_rows_by_hash_find_their_stacks(void **state)
{
	struct fixture *x = *state;
	const uint64_t name[2] = { 7, 0x2000 }, unknown[2] = { 8, 0 };
	struct pp_count *c;

	pool_wait_row(&x->p, &x->kept, wait_at(x, 17, stack(x, frames, 3), 7));
	c = count(x, PP_NO_STACK(PP_END_BY_HASH), "", 1, 10);
	c->collector = PP_WAIT;
	memcpy(c->name, name, sizeof(name));
	c = count(x, PP_NO_STACK(PP_END_BY_HASH), "", 1, 20);
	c->collector = PP_WAIT;
	memcpy(c->name, unknown, sizeof(unknown));
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(x->kept.rows.n, 3);
	check_kept_words(x, 1, frames, 3);
	assert_int_equal(kept_row(x, 1)->v[1], 10);
	check_kept_marker(x, 2, PP_END_TABLE_FULL);
	assert_int_equal(kept_row(x, 2)->v[1], 20); /* counted all the same */
	assert_int_equal(x->p.n_bad, 1);
}

/* A wait that begins before a flip and ends while it is under way is counted by hash in the new half, and
 * has no record any more: its stack is still in the old half. */
static void test_waits_that_end_during_a_flip_have_their_stacks(void **state)
{
	struct fixture *x = *state;
	const uint64_t name[2] = { 0x123456789abcdef1, 0 };
	uint32_t row = stack(x, frames, 3);
	struct pp_count *c = &x->p.counts[N_COUNTS];

	x->p.stacks[row - 1].hash = 0;
	row = (uint32_t)(name[0] & (N_STACKS - 1));
	x->p.stacks[row] = x->p.stacks[0];
	x->p.stacks[row].hash = name[0];
	*c = (struct pp_count){ .tag = PP_CLAIMED | PP_FILLED, .target = 3, .collector = PP_WAIT,
				.stack = PP_NO_STACK(PP_END_BY_HASH), .v = { 1, 10 } };
	memcpy(c->name, name, sizeof(name));
	flip(x);
	pool_fold(&x->p, &x->t, &x->kept);
	assert_int_equal(x->kept.rows.n, 1);
	check_kept_words(x, 0, frames, 3);
	assert_int_equal(x->p.n_bad, 0);
}

static void test_waits_with_nonsense_in_them_are_counted(void **state)
{
	static const uint32_t rows[] = { 0,	     N_STACKS + 1, 2 * N_STACKS, 2 * N_STACKS + 1,
					 0x7fffffff, 0xfffffeff };
	struct fixture *x = *state;
	struct pp_wait *w = wait_at(x, 17, 0, 7);
	unsigned n = sizeof(rows) / sizeof(rows[0]);

	for (unsigned i = 0; i < n; i++) {
		w->row = rows[i];
		check_kept_marker(x, pool_wait_row(&x->p, &x->kept, w), PP_END_TABLE_FULL);
	}
	assert_int_equal(x->p.n_bad, n);
	w->row = stack(x, frames, 3);
	w->stack = 9;
	w->epoch = UINT64_MAX; /* neither this one nor one that is over */
	check_kept_marker(x, pool_wait_row(&x->p, &x->kept, w), PP_END_TABLE_FULL);
	assert_int_equal(x->p.n_bad, n + 1);
	w->epoch = x->p.control->epoch;
	for (unsigned i = 0; i < n; i++) {
		w->row = rows[i];
		flip(x); /* nothing to keep, nothing to read past */
		w->epoch = x->p.control->epoch;
	}
	assert_int_equal(x->kept.rows.n, 2);
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
		TEST(test_open_waits_are_read_as_they_are),
		TEST(test_waits_of_no_process_are_refused),
		TEST(test_open_wait_has_the_row_that_counts_it),
		TEST(test_wait_without_a_stack_says_why),
		TEST(test_flip_keeps_the_stacks_of_open_waits),
		TEST(test_flip_keeps_nothing_of_other_epochs),
		TEST(test_rows_by_hash_find_their_stacks),
		TEST(test_waits_that_end_during_a_flip_have_their_stacks),
		TEST(test_waits_with_nonsense_in_them_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
