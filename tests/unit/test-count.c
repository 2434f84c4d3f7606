/* SPDX-License-Identifier: Apache-2.0 */

/* The one way out of the kernel: pp_add, and the tables of stacks and counts. */

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/walk_world.h"

static void event_with(struct world *w, uint64_t ip, int64_t a, int64_t b, uint32_t kernel)
{
	struct pp_event e = {
		.collector = PP_CPU, .v = { a, b }, .max_frames = 255, .kernel = kernel
	};

	native.pid_tgid = 0; /* slot 0 of the fake hash */
	native.registers.ip = ip;
	native.registers.sp = STACK;
	lay_out(w);
	assert_non_null(pp_target());
	pp_add(NULL, pp_target(), &e);
}

static void event(struct world *w, uint64_t ip)
{
	event_with(w, ip, 1, 10, 0);
}

static unsigned n_filled(const struct world *w, unsigned half)
{
	unsigned n = 0;

	for (unsigned i = 0; i < N_COUNTS; i++)
		n += (w->counts[half * N_COUNTS + i].tag & PP_FILLED) != 0;
	return n;
}

static const struct pp_count *only(const struct world *w)
{
	assert_int_equal(n_filled(w, 0) + n_filled(w, 1), 1);
	for (unsigned i = 0; i < 2 * N_COUNTS; i++)
		if (w->counts[i].tag & PP_FILLED)
			return &w->counts[i];
	return NULL;
}

static uint64_t statistic(const struct world *w, enum pp_statistic which)
{
	return w->state.control.statistics[which];
}

static void simple_code(struct world *w)
{
	CODE(w, 0, OUTERMOST);
}

static void test_equal_events_add_up_in_one_row(void **state)
{
	struct world *w = *state;
	const struct pp_count *c;
	const struct pp_stack *s;

	simple_code(w);
	for (int i = 0; i < 5; i++)
		event_with(w, TEXT + 5, 1, -7, 0);
	c = only(w);
	assert_int_equal(c->target, 9);
	assert_int_equal(c->collector, PP_CPU);
	assert_int_equal(c->v[0], 5);
	assert_int_equal(c->v[1], -35);
	assert_string_equal((const char *)c->name, "worker");
	s = &w->stacks[c->stack - 1];
	assert_int_equal(s->meta >> 40 & 0xffff, 1);
	assert_int_equal(w->words[0].w[s->meta & 0xff], frame(TEXT + 5));
	assert_int_equal(w->state.control.n_stacks[0], 1);
	assert_int_equal(w->state.control.n_words[0], 1);
	assert_int_equal(w->process->n_events, 5);
	assert_int_equal(w->scratch[0].taken, 0);
}

static void test_threads_and_stacks_have_rows_of_their_own(void **state)
{
	struct world *w = *state;

	simple_code(w);
	event(w, TEXT + 5);
	event(w, TEXT + 6);
	memcpy(native.task.comm, "worker\0X", 8); /* what stands behind the NUL counts as well */
	event(w, TEXT + 5);
	memcpy(native.task.comm, "0123456789abcde", 16);
	event(w, TEXT + 5);
	assert_int_equal(n_filled(w, 0), 4);
	assert_int_equal(w->state.control.n_stacks[0], 2);
	assert_int_equal(w->state.control.n_counts[0], 4);
}

static void test_all_of_an_event_goes_to_one_half(void **state)
{
	struct world *w = *state;
	const struct pp_count *c;

	simple_code(w);
	w->state.control.epoch = 7;
	event(w, TEXT + 5);
	c = only(w);
	assert_true(c >= w->counts + N_COUNTS);
	assert_true(c->stack - 1 >= N_STACKS);
	assert_true((w->stacks[c->stack - 1].meta & 0xffffffff) >= 1u << PP_POOL_BITS);
	assert_int_equal(w->state.control.n_stacks[1], 1);
	assert_int_equal(w->state.control.n_stacks[0], 0);
}

static void test_kernel_frames_stand_above_the_users(void **state)
{
	struct world *w = *state;
	const struct pp_count *c;
	const u64 *words;

	simple_code(w);
	native.kernel_stack[0] = 0xffffffff81000010;
	native.kernel_stack[1] = 0xffffffff81000020;
	native.n_kernel_stack = 2;
	event_with(w, TEXT + 5, 1, 1, 1);
	c = only(w);
	words = w->words[0].w + (w->stacks[c->stack - 1].meta & 0xffff);
	assert_int_equal(w->stacks[c->stack - 1].meta >> 40 & 0xffff, 3);
	assert_int_equal(words[0], 0xffffffff81000010);
	assert_int_equal(words[1], 0xffffffff81000020);
	assert_int_equal(words[2], frame(TEXT + 5));
	native.n_kernel_stack = -14; /* refused: the user's frames all the same */
	event_with(w, TEXT + 5, 1, 1, 1);
	assert_int_equal(n_filled(w, 0), 2);
}

static void test_longest_stack_of_all_fits(void **state)
{
	struct world *w = *state;
	const struct pp_count *c;

	recursion(w, 300);
	native.n_kernel_stack = 80; /* the helper cuts it at 64 */
	event_with(w, TEXT + 5, 1, 1, 1);
	c = only(w);
	assert_int_equal(w->stacks[c->stack - 1].meta >> 40 & 0xffff, PP_MAX_WORDS);
	assert_int_equal(w->words[0].w[PP_MAX_WORDS - 1], PP_MARKER(PP_END_TRUNCATED, 1));
}

static void test_others_are_no_target(void **state)
{
	struct world *w = *state;

	assert_non_null(pp_target());
	native.task.start_boottime = 78; /* the number is used again */
	assert_null(pp_target());
	native.task.start_boottime = 77;
	w->process->target = 0;
	assert_null(pp_target());
	native.pid_tgid = 1000ull << 32;
	assert_null(pp_target());
}

static void test_new_program_is_counted_without_a_stack_and_noted_once(void **state)
{
	struct pp_notice n;
	struct world *w = *state;

	simple_code(w);
	native.task.self_exec_id = 6;
	event(w, TEXT + 5);
	event(w, TEXT + 6);
	assert_int_equal(only(w)->stack, PP_NO_STACK(PP_END_EXEC));
	assert_int_equal(only(w)->v[0], 2);
	assert_int_equal(native.n_notices, 1);
	memcpy(&n, &native.notices[0], sizeof(n));
	assert_int_equal(n.type, PP_NOTICE_EXEC);
	assert_int_equal(n.target, 9);
	assert_int_equal(n.value, 6);
	w->process->noted = 0; /* serve has looked */
	event(w, TEXT + 5);
	assert_int_equal(native.n_notices, 2);
}

static void test_changed_mappings_are_noted_and_counted(void **state)
{
	struct pp_notice n;
	struct world *w = *state;

	simple_code(w);
	w->mm.exec_vm = 101;
	event(w, TEXT + 5);
	event(w, TEXT + 5);
	assert_int_equal(w->process->n_stale, 2);
	assert_int_equal(native.n_notices, 1);
	memcpy(&n, &native.notices[0], sizeof(n));
	assert_int_equal(n.type, PP_NOTICE_MAPPINGS);
	assert_int_equal(n.value, 101);
}

static void test_unknown_mapping_is_noted(void **state)
{
	struct world *w = *state;

	event(w, 0x12345);
	assert_int_equal(native.n_notices, 1);
	assert_int_equal(w->process->n_stale, 0);
}

static void test_notice_that_finds_no_room_is_counted(void **state)
{
	struct world *w = *state;

	native.max_notices = 1;
	event(w, 0x12345);
	w->process->noted = 0;
	event(w, 0x12345);
	assert_int_equal(statistic(w, PP_STAT_NOTICE_LOST), 1);
}

static void test_taken_scratch_is_left_alone(void **state)
{
	struct world *w = *state;

	simple_code(w);
	for (unsigned i = 0; i < PP_N_SCRATCH; i++)
		w->scratch[i].taken = 1;
	event(w, TEXT + 5);
	assert_int_equal(statistic(w, PP_STAT_SPILLED), 1);
	assert_int_equal(w->spill[0].taken, 0);
	assert_int_equal(n_filled(w, 0), 1);
	for (unsigned i = 0; i < PP_N_SPILL; i++)
		w->spill[i].taken = 1;
	event(w, TEXT + 5);
	assert_int_equal(statistic(w, PP_STAT_NO_SCRATCH), 1);
	assert_int_equal(n_filled(w, 0), 2); /* counted, without a stack */
}

static struct pp_words stack_words(uint64_t hash, uint32_t n, uint64_t first)
{
	struct pp_words s = { .hash = hash, .n = n };

	for (uint32_t i = 0; i < n; i++)
		s.w[i] = first + i;
	return s;
}

static void test_stacks_of_equal_hash_are_told_apart(void **state)
{
	struct world *w = *state;
	struct pp_words a = stack_words(5, 10, 100), b = stack_words(5, 10, 101);
	struct pp_words c = stack_words(5, 9, 100);
	int row = pp_stack_put(&a);

	assert_int_not_equal(row, 0);
	assert_int_not_equal(pp_stack_put(&b), row);
	assert_int_not_equal(pp_stack_put(&c), row);
	assert_int_not_equal(pp_stack_put(&c), pp_stack_put(&b));
	assert_int_equal(pp_stack_put(&a), row);
	assert_int_equal(w->state.control.n_stacks[0], 3);
}

static void test_hash_of_0_is_no_free_row(void **state)
{
	struct world *w = *state;
	struct pp_words a = stack_words(0, 3, 100);
	int row = pp_stack_put(&a);

	assert_int_not_equal(row, 0);
	assert_int_equal(pp_stack_put(&a), row);
	assert_int_equal(w->state.control.n_stacks[0], 1);
}

static void test_row_that_is_being_written_is_not_waited_for(void **state)
{
	struct world *w = *state;
	struct pp_words a = stack_words(5, 10, 100);
	int row = pp_stack_put(&a);

	w->stacks[row - 1].meta &= ~PP_READY;
	assert_int_not_equal(pp_stack_put(&a), row);
	assert_int_equal(statistic(w, PP_STAT_DUPLICATE), 1);
}

static void test_full_stack_table_gives_no_row(void **state)
{
	struct world *w = *state;
	unsigned n_put = 0, n_full = 0;

	for (unsigned i = 0; i < 2 * N_STACKS; i++) {
		struct pp_words a = stack_words(i * 0x9e3779b97f4a7c15ull + 1, 2, i);

		*(pp_stack_put(&a) ? &n_put : &n_full) += 1;
	}
	assert_true(n_put <= N_STACKS && n_put > N_STACKS * 3 / 4);
	assert_int_equal(statistic(w, PP_STAT_STACK_FULL), n_full);
	simple_code(w);
	for (unsigned i = 0; i < N_STACKS; i++)
		w->stacks[i].hash = 1;
	event(w, TEXT + 5);
	assert_int_equal(only(w)->stack, PP_NO_STACK(PP_END_TABLE_FULL));
}

static void test_stacks_never_cross_a_chunk(void **state)
{
	struct world *w = *state;
	struct pp_words a = stack_words(1, 320, 1000), b = stack_words(2, 320, 5000);
	uint64_t meta;
	int row;

	config.n_pool_chunks = 2;
	native.maps[4].n = 2;
	w->state.control.n_words[0] = (1 << PP_POOL_BITS) - 100;
	row = pp_stack_put(&a);
	assert_int_not_equal(row, 0);
	meta = w->stacks[row - 1].meta;
	assert_int_equal(meta & 0xffffffff, (1 << PP_POOL_BITS) - 100 + 320);
	assert_memory_equal(w->words[1].w + 220, a.w, 320 * 8);
	row = pp_stack_put(&b);
	assert_memory_equal(w->words[1].w + 540, b.w, 320 * 8);
}

static void test_words_that_find_no_room_leave_the_row_free(void **state)
{
	struct world *w = *state;
	struct pp_words a = stack_words(1, 320, 1000);

	w->state.control.n_words[0] = (1 << PP_POOL_BITS) - 319;
	assert_int_equal(pp_stack_put(&a), 0);
	assert_int_equal(statistic(w, PP_STAT_STACK_FULL), 1);
	for (unsigned i = 0; i < N_STACKS; i++)
		assert_int_equal(w->stacks[i].hash, 0);
	w->state.control.n_words[0] = 0;
	assert_int_not_equal(pp_stack_put(&a), 0);
}

static void test_full_count_table_loses_the_event_and_says_so(void **state)
{
	struct pp_key k = { .target = 1, .collector = 1, .v = { 1, 1 } };
	struct world *w = *state;
	unsigned n_lost = 0;

	for (uint32_t i = 0; i < 2 * N_COUNTS; i++) {
		k.stack = i;
		n_lost += (unsigned)pp_count_add(&k);
	}
	assert_int_equal(statistic(w, PP_STAT_LOST_COUNT), n_lost);
	assert_int_equal(n_filled(w, 0) + n_lost, 2 * N_COUNTS);
	assert_true(n_filled(w, 0) > N_COUNTS * 3 / 4);
	assert_int_equal(n_filled(w, 1), 0);
}

static void test_filling_is_noted_once_an_epoch(void **state)
{
	struct pp_key k = { .target = 1, .collector = 1, .v = { 1, 1 } };
	struct world *w = *state;
	struct pp_notice n;

	for (uint32_t i = 0; i < N_COUNTS * 3 / 4; i++) {
		k.stack = i;
		pp_count_add(&k);
	}
	assert_int_equal(native.n_notices, 0);
	for (uint32_t i = N_COUNTS; i < N_COUNTS + 8; i++) {
		k.stack = i;
		pp_count_add(&k);
	}
	assert_int_equal(native.n_notices, 1);
	memcpy(&n, &native.notices[0], sizeof(n));
	assert_int_equal(n.type, PP_NOTICE_FILLING);
	assert_int_equal(n.value, 0);
	k.epoch = 1;
	k.half = 1;
	w->state.control.n_counts[1] = N_COUNTS;
	pp_count_add(&k);
	assert_int_equal(native.n_notices, 2);
}

#define N_ADDS 20000u

static void *add_many(void *arg)
{
	uint64_t x = (uint64_t)(uintptr_t)arg;

	for (uint32_t i = 0; i < N_ADDS; i++) {
		struct pp_key k = { .target = 1, .collector = 1, .v = { 1, 2 } };
		struct pp_words a;

		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		a = stack_words(x % 29 + 1, (uint32_t)(x % 29 + 1), x % 29);
		k.stack = (uint32_t)pp_stack_put(&a);
		assert_true(k.stack && k.stack <= N_STACKS);
		assert_int_equal(pp_count_add(&k), 0);
	}
	return NULL;
}

/* Two CPUs at once: nothing is lost, no stack is torn. */
static void test_concurrent_programs_lose_nothing(void **state)
{
	struct world *w = *state;
	pthread_t other;
	int64_t sum[2] = { 0 };

	assert_int_equal(pthread_create(&other, NULL, add_many, (void *)88172645463325252ul), 0);
	add_many((void *)362436069ul);
	pthread_join(other, NULL);
	for (unsigned i = 0; i < N_COUNTS; i++) {
		const struct pp_count *c = &w->counts[i];
		const u64 *words;
		uint64_t meta;

		if (!(c->tag & PP_FILLED))
			continue;
		sum[0] += c->v[0];
		sum[1] += c->v[1];
		meta = w->stacks[c->stack - 1].meta;
		words = w->words[0].w + (meta & 0xffff);
		assert_true(meta & PP_READY);
		for (uint64_t k = 0; k < (meta >> 40 & 0xffff); k++)
			assert_int_equal(words[k], (meta >> 40 & 0xffff) - 1 + k);
	}
	assert_int_equal(sum[0], 2 * N_ADDS);
	assert_int_equal(sum[1], 4 * N_ADDS);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_equal_events_add_up_in_one_row),
		TEST(test_threads_and_stacks_have_rows_of_their_own),
		TEST(test_all_of_an_event_goes_to_one_half),
		TEST(test_kernel_frames_stand_above_the_users),
		TEST(test_longest_stack_of_all_fits),
		TEST(test_others_are_no_target),
		TEST(test_new_program_is_counted_without_a_stack_and_noted_once),
		TEST(test_changed_mappings_are_noted_and_counted),
		TEST(test_unknown_mapping_is_noted),
		TEST(test_notice_that_finds_no_room_is_counted),
		TEST(test_taken_scratch_is_left_alone),
		TEST(test_stacks_of_equal_hash_are_told_apart),
		TEST(test_hash_of_0_is_no_free_row),
		TEST(test_row_that_is_being_written_is_not_waited_for),
		TEST(test_full_stack_table_gives_no_row),
		TEST(test_stacks_never_cross_a_chunk),
		TEST(test_words_that_find_no_room_leave_the_row_free),
		TEST(test_full_count_table_loses_the_event_and_says_so),
		TEST(test_filling_is_noted_once_an_epoch),
		TEST(test_concurrent_programs_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
