/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/serve/trace/feed.h"
#include "daemon/serve/trace/record.h"

#define N_STACKS 4
#define EPOCH 6

struct fixture {
	struct pp_stack stacks[2 * N_STACKS];
	uint64_t words[2 << PP_POOL_BITS];
	struct pp_control control;
	struct pool pool;
	struct feed feed;
};

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	if (!x)
		return -1;
	x->control.epoch = EPOCH;
	x->pool = (struct pool){ .n_stacks = N_STACKS, .n_pool_chunks = 1, .stacks = x->stacks, .words = x->words,
				 .control = &x->control };
	*state = x;
	return feed_open(&x->feed, &x->pool, 1000, 7);
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	feed_close(&x->feed);
	free(x);
	return 0;
}

/* A stack of one word in a row of the epoch's half. */
static uint32_t put_stack(struct fixture *x, uint64_t epoch, uint32_t row, uint64_t word)
{
	uint32_t half = epoch & 1, at = half * (1 << PP_POOL_BITS) + row;

	row += half * N_STACKS;
	x->words[at] = word;
	x->stacks[row] = (struct pp_stack){ .hash = 1, .meta = PP_READY | 1ull << 40 | at };
	return row + 1;
}

static void put(struct fixture *x, uint64_t time, uint32_t tid, uint32_t stack, uint32_t epoch)
{
	struct pp_trace_record r = { .time = time, .tid = tid, .stack = stack, .epoch = epoch, .kind = PP_TRACE_IN };

	feed_add(&x->feed, &x->pool, x->control.epoch, &r, PP_TRACE_SHORT);
}

static uint64_t word_of(const struct feed_piece *p, const struct feed_event *e)
{
	assert_true(e->stack && e->stack <= p->stacks->stacks.n);
	return p->stacks->words.data[p->stacks->stacks.data[e->stack - 1].first];
}

static void test_a_piece_is_sorted_and_the_rest_begins_the_next(void **state)
{
	static const uint64_t times[] = { 1500, 1200, 1900, 1200, 2500, 1100, 2000 };
	struct fixture *x = *state;
	struct feed_piece *p;

	for (uint32_t i = 0; i < 7; i++)
		put(x, times[i], i, 0, 0);
	assert_int_equal(feed_cut(&x->feed, 2000, 7, &p), 0);
	assert_int_equal(p->events.n, 5);
	assert_true(p->began == 1000 && p->ended == 2000 && x->feed.began == 2000);
	for (uint32_t i = 1; i < 5; i++)
		assert_true(p->events.data[i - 1].time <= p->events.data[i].time);
	assert_true(p->events.data[1].tid == 1 && p->events.data[2].tid == 3); /* equal times: as they came */
	feed_piece_free(p);
	assert_int_equal(feed_cut(&x->feed, 3000, 7, &p), 0);
	assert_true(p->events.n == 2 && p->events.data[0].tid == 6 && p->events.data[1].tid == 4);
	feed_piece_free(p);
}

static void test_what_comes_late_is_at_the_beginning(void **state)
{
	struct fixture *x = *state;
	struct feed_piece *p;

	put(x, 10, 1, 0, 0);
	assert_int_equal(feed_cut(&x->feed, 2000, 7, &p), 0);
	assert_true(p->events.n == 1 && p->events.data[0].time == 1000);
	feed_piece_free(p);
}

static void test_stacks_go_with_their_events(void **state)
{
	struct fixture *x = *state;
	uint32_t a = put_stack(x, EPOCH, 0, 0xa), b = put_stack(x, EPOCH, 1, 0xb);
	struct feed_piece *p;

	put(x, 1100, 1, a, EPOCH);
	put(x, 1200, 2, b, EPOCH);
	put(x, 1300, 3, a, EPOCH);
	put(x, 2100, 4, b, EPOCH);
	put(x, 1400, 5, PP_NO_STACK(PP_END_EXEC), EPOCH);
	assert_int_equal(feed_cut(&x->feed, 2000, 7, &p), 0);
	assert_true(word_of(p, &p->events.data[0]) == 0xa && word_of(p, &p->events.data[1]) == 0xb);
	assert_int_equal(p->events.data[0].stack, p->events.data[2].stack);
	assert_true(word_of(p, &p->events.data[3]) == PP_MARKER(PP_END_EXEC, 0));
	assert_int_equal(p->n_no_stack, 0);
	feed_piece_free(p);
	assert_int_equal(feed_cut(&x->feed, 3000, 7, &p), 0);
	assert_true(p->events.n == 1 && p->stacks->stacks.n == 1 && word_of(p, &p->events.data[0]) == 0xb);
	feed_piece_free(p);
}

static void test_a_row_means_another_stack_in_another_epoch(void **state)
{
	struct fixture *x = *state;
	uint32_t row = put_stack(x, EPOCH, 0, 0xa);
	struct feed_piece *p;

	put(x, 1100, 1, row, EPOCH);
	feed_forget_rows(&x->feed);
	x->control.epoch = EPOCH + 2;
	put_stack(x, EPOCH + 2, 0, 0xc);
	put(x, 1200, 2, row, EPOCH + 2);
	put(x, 1300, 3, row, EPOCH); /* it is gone */
	put(x, 1400, 4, row, EPOCH + 4);
	put(x, 1500, 5, 2 * N_STACKS + 1, EPOCH + 2);
	put(x, 1600, 6, row + 1, EPOCH + 2); /* not written */
	assert_int_equal(feed_cut(&x->feed, 2000, 7, &p), 0);
	assert_true(word_of(p, &p->events.data[0]) == 0xa && word_of(p, &p->events.data[1]) == 0xc);
	for (uint32_t i = 2; i < 6; i++)
		assert_int_equal(p->events.data[i].stack, 0);
	assert_int_equal(p->n_no_stack, 4);
	feed_piece_free(p);
}

static void test_epochs_are_told_by_their_low_bits(void **state)
{
	struct fixture *x = *state;
	struct feed_piece *p;

	x->control.epoch = (5ull << 32) + 1;
	put(x, 1100, 1, put_stack(x, 1, 0, 0xa), 1);
	assert_int_equal(feed_cut(&x->feed, 2000, 7, &p), 0);
	assert_true(word_of(p, &p->events.data[0]) == 0xa);
	feed_piece_free(p);
}

static void test_losses_are_those_since_the_last_cut(void **state)
{
	struct fixture *x = *state;
	struct feed_piece *p;

	assert_int_equal(feed_cut(&x->feed, 2000, 10, &p), 0);
	assert_int_equal(p->n_lost, 3);
	feed_piece_free(p);
	assert_int_equal(feed_cut(&x->feed, 3000, 10, &p), 0);
	assert_int_equal(p->n_lost, 0);
	feed_piece_free(p);
}

static void test_names_are_cut_and_kept(void **state)
{
	struct fixture *x = *state;
	struct pp_trace_record r = { .time = 1500, .tid = 1, .kind = PP_TRACE_NAME };
	struct feed_piece *p;

	memset(r.name, 'x', sizeof(r.name));
	feed_add(&x->feed, &x->pool, EPOCH, &r, sizeof(r));
	r.kind = PP_TRACE_IN; /* has none */
	feed_add(&x->feed, &x->pool, EPOCH, &r, sizeof(r));
	r.kind = PP_TRACE_NAME;
	feed_add(&x->feed, &x->pool, EPOCH, &r, PP_TRACE_SHORT);
	assert_int_equal(feed_cut(&x->feed, 2000, 7, &p), 0);
	assert_int_equal(p->events.data[0].name, 1);
	assert_int_equal(strlen(p->names.data[0].text), 15);
	assert_true(!p->events.data[1].name && !p->events.data[2].name);
	feed_piece_free(p);
}

static void test_notes_go_with_their_events(void **state)
{
	struct fixture *x = *state;
	struct pp_trace_note n = { .r = { .time = 2500, .tid = 1, .item = 9, .kind = PP_TRACE_LOG }, .task = 7, .parent = 8 };
	struct feed_piece *p;

	memset(n.name, 'n', sizeof(n.name));
	strcpy(n.message, "said");
	feed_add(&x->feed, &x->pool, EPOCH, &n.r, sizeof(n));
	n.r.time = 1500;
	n.r.kind = PP_TRACE_TASK_BEGIN;
	feed_add(&x->feed, &x->pool, EPOCH, &n.r, PP_TRACE_NOTE_SHORT);
	feed_add(&x->feed, &x->pool, EPOCH, &n.r, PP_TRACE_SHORT); /* that is none */
	assert_int_equal(feed_cut(&x->feed, 2000, 7, &p), 0);
	assert_int_equal(p->events.n, 2);
	assert_int_equal(p->events.data[0].other, 2);
	assert_true(p->notes.data[1].task == 7 && p->notes.data[1].site == 9 && !p->notes.data[1].name);
	assert_int_equal(p->events.data[1].other, 0);
	feed_piece_free(p);
	assert_int_equal(feed_cut(&x->feed, 3000, 7, &p), 0);
	assert_int_equal(p->events.data[0].other, 1);
	assert_int_equal(strlen(p->texts.data[p->notes.data[0].name - 1].text), 63);
	assert_string_equal(p->texts.data[p->notes.data[0].message - 1].text, "said");
	feed_piece_free(p);
}

#define READ(file) ((file) << PP_WAIT_FILE_SHIFT) /* call 0 */

static void test_why(void **state)
{
	assert_int_equal(trace_why(202), TRACE_SYNC);
	assert_int_equal(trace_why(202 | 9 << PP_WAIT_OP_SHIFT), TRACE_SYNC);
	assert_int_equal(trace_why(READ(PP_FILE_SOCKET)), TRACE_NETWORK);
	assert_int_equal(trace_why(READ(PP_FILE_PIPE)), TRACE_PIPE);
	assert_int_equal(trace_why(READ(PP_FILE_EVENT)), TRACE_EVENTFD);
	assert_int_equal(trace_why(READ(PP_FILE_OTHER)), TRACE_SYSCALL);
	assert_int_equal(trace_why(READ(7)), TRACE_SYSCALL);
	assert_int_equal(trace_why(74 | PP_WAIT_KERNEL), TRACE_SYSCALL); /* fsync */
	assert_int_equal(trace_why(PP_WAIT_NO_CALL | PP_WAIT_KERNEL), TRACE_FAULT);
	assert_int_equal(trace_why(202 | PP_WAIT_PREEMPTED), TRACE_PREEMPTED);
	assert_int_equal(trace_why(24 | PP_WAIT_YIELDED), TRACE_YIELDED);
	assert_int_equal(trace_why(202 | PP_WAIT_YIELDED), TRACE_PREEMPTED); /* it was woken while it went to sleep */
	assert_int_equal(trace_why(202 | PP_WAIT_STOPPED), TRACE_STOPPED);
	assert_int_equal(trace_why(PP_WAIT_NO_CALL | PP_TRACE_DEAD), TRACE_DEAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_piece_is_sorted_and_the_rest_begins_the_next, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_comes_late_is_at_the_beginning, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stacks_go_with_their_events, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_row_means_another_stack_in_another_epoch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_epochs_are_told_by_their_low_bits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_losses_are_those_since_the_last_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_are_cut_and_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notes_go_with_their_events, setup, teardown),
		cmocka_unit_test(test_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
