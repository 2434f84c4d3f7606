/* SPDX-License-Identifier: Apache-2.0 */

/* What windows have left in the live table (broker/held.h): looked at, found the same, or gone. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PP_NATIVE "tests/unit/bpf_native.h"
#include "bpf/live.bpf.h"

#include "daemon/broker/held.h"

#define N_BUCKETS (1u << PP_LIVE_BUCKET_BITS)
#define N_SLOTS ((uint32_t)PP_LIVE_WAYS << PP_LIVE_BUCKET_BITS)
#define SLOT 5u
#define AT 0x10000ull
#define S 1000000000ull

static struct pp_live_bucket *keys;
static struct pp_live *live;
static struct pp_turn turns[PP_MAX_PROCESSES * PP_N_TURNS];
static struct pp_heap heaps[PP_MAX_PROCESSES], *const heap = &heaps[SLOT];
static char memory[8192];
static uint64_t now;

static int setup(void **state)
{
	native = (struct native){ 0 };
	now = 100 * S;
	config.seed = 12345;
	memset(heaps, 0, sizeof(heaps));
	memset(turns, 0, sizeof(turns));
	for (unsigned i = 0; i < sizeof(memory); i++)
		memory[i] = (char)(i * 7);
	keys = calloc(N_BUCKETS, sizeof(*keys));
	live = calloc(N_SLOTS, sizeof(*live));
	NATIVE_MAP(pp_live_key, keys, N_BUCKETS);
	NATIVE_MAP(pp_live, live, N_SLOTS);
	NATIVE_MAP(pp_turn, turns, PP_MAX_PROCESSES * PP_N_TURNS);
	native_region(AT, memory, sizeof(memory));
	return keys && live ? 0 : -1;
}

static int teardown(void **state)
{
	free(keys);
	free(live);
	return 0;
}

static bool ended;

static int read_ends(void *context, uint64_t pointer, uint64_t size, void *to, unsigned n)
{
	int r = bpf_probe_read_user(to, n, (void *)pointer) ||
		bpf_probe_read_user((char *)to + n, n, (void *)(pointer + size - n));

	return ended ? -3 : r ? -14 : 0;
}

static void look(uint64_t ns)
{
	const struct held h = { heaps, keys, live, turns, 77777 };

	now += ns;
	held_look(&h, SLOT, now, read_ends, NULL);
}

static void put(uint64_t pointer, uint64_t size)
{
	struct pp_live v = { .born = now, .size = size, .stack = 77, .target = 9,
			     .print = PP_PRINT_NONE };

	assert_int_equal(pp_live_put(PP_LIVE_KEY(pointer, SLOT), &v), 0);
}

static uint32_t print_of(uint64_t pointer) /* 0: it is not there */
{
	int at = pp_live_find(PP_LIVE_KEY(pointer, SLOT));

	return at ? live[at - 1].print : 0;
}

static bool is_seen(uint64_t pointer)
{
	return (print_of(pointer) & PP_PRINT_SEEN) == PP_PRINT_SEEN;
}

static const struct pp_turn *turn(void)
{
	return &turns[PP_TURN_ROW(SLOT, 77ull, 0)];
}

static void test_what_stays_the_same_is_held(void **state)
{
	put(AT, 1000);
	look(S / 100);
	assert_true(print_of(AT) & PP_PRINT_TAKEN);
	assert_false(is_seen(AT));
	assert_int_equal(heap->n_held, 1);
	look(S);
	assert_true(is_seen(AT));
	look(3600 * S);
	assert_true(is_seen(AT));
	assert_int_equal(heap->n_held, 1);
	assert_int_equal(heap->n_changed, 0);
}

static void test_what_changes_at_an_end_leaves(void **state)
{
	static const unsigned at[] = { 0, 31, 968, 999 };

	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		put(AT, 1000);
		look(S / 100);
		memory[at[i]]++;
		look(S);
		assert_int_equal(print_of(AT), 0);
		assert_int_equal(heap->n_held, 0);
	}
	assert_int_equal(turn()->stack, 0); /* it had not been found the same before */
	put(AT, 1000);
	look(S / 100);
	look(S);
	memory[500]++; /* what its owner does in between is not seen */
	look(10 * S);
	assert_true(is_seen(AT));
	memory[0]++;
	look(100 * S);
	assert_int_equal(print_of(AT), 0);
	assert_int_equal(turn()->stack, 77);
	assert_int_equal(turn()->n_changed, 1);
}

static void test_what_cannot_be_read_leaves(void **state)
{
	put(AT + sizeof(memory) - 100, 1000);
	put(AT - 4096, 10);
	put(AT + 10, 0);
	look(S / 100);
	assert_int_equal(heap->n_held, 0);
	assert_int_equal(heap->n_changed, 3);
}

/* It ends while it is looked at: its last word tells of what it held. */
static void test_the_end_is_no_change(void **state)
{
	put(AT, 1000);
	look(S / 100);
	look(S);
	assert_true(is_seen(AT));
	ended = true;
	look(100 * S);
	ended = false;
	assert_true(is_seen(AT));
	assert_int_equal(heap->n_held, 1);
	assert_int_equal(heap->n_changed, 0);
}

static void test_zeros_tell_nothing(void **state)
{
	memset(memory, 0, 1000);
	put(AT, 1000);
	look(S / 100);
	assert_int_equal(print_of(AT), 0);
	assert_int_equal(heap->n_blank, 1);
	memory[998] = 1;
	put(AT, 1000);
	look(S / 100);
	assert_true(print_of(AT) & PP_PRINT_TAKEN);
}

/* Small ones: both ends are the same bytes. */
static void test_small_objects(void **state)
{
	put(AT + 1, 1);
	put(AT + 16, 20);
	look(S / 100);
	look(S);
	assert_true(is_seen(AT + 1) && is_seen(AT + 16));
	memory[16 + 18]++;
	memory[0]++; /* not the object's */
	memory[2]++;
	look(10 * S);
	assert_true(is_seen(AT + 1));
	assert_int_equal(print_of(AT + 16), 0);
}

/* The look that is due when a window has ended came too late. */
static void test_what_was_not_looked_at_in_time_leaves(void **state)
{
	put(AT, 1000);
	now += S;
	heap->window_ns = now;
	look(1);
	assert_int_equal(print_of(AT), 0);
}

static void test_while_the_window_is_open_it_is_too_early(void **state)
{
	heap->window_ns = now;
	heap->flags = PP_HEAP_FREES | PP_HEAP_WINDOW;
	put(AT, 1000);
	look(1000);
	assert_int_equal(print_of(AT), PP_PRINT_NONE);
	heap->flags = 0;
	look(1000);
	assert_true(print_of(AT) & PP_PRINT_TAKEN);
}

/* Another's objects, and those that levels keep, are not read. */
static void test_only_its_own(void **state)
{
	struct pp_live v = { .born = now, .size = 1000, .stack = 77, .target = 9 };

	assert_int_equal(pp_live_put(PP_LIVE_KEY(AT + 64, SLOT), &v), 0);
	v.print = PP_PRINT_NONE;
	assert_int_equal(pp_live_put(PP_LIVE_KEY(AT, SLOT + 1), &v), 0);
	look(S);
	assert_int_equal(native.n_reads, 0);
	assert_int_equal(heap->n_held, 0);
	assert_true(pp_live_find(PP_LIVE_KEY(AT, SLOT + 1)) && pp_live_find(PP_LIVE_KEY(AT + 64, SLOT)));
}

/* Four times while the age doubles. */
static void test_old_ones_are_read_less_often(void **state)
{
	unsigned before;

	put(AT, 1000);
	for (int i = 0; i < 1000; i++)
		look(S);
	before = native.n_reads;
	for (int i = 0; i < 1000; i++)
		look(S);
	assert_in_range(native.n_reads - before, 2 * 4, 2 * 5);
}

/* Allocated again, or seen freed: the old one has ended, and its stack is told. */
static void test_an_end_that_was_seen(void **state)
{
	struct pp_live was;

	put(AT, 1000);
	look(S / 100);
	put(AT, 1000);
	assert_int_equal(print_of(AT), PP_PRINT_NONE);
	assert_int_equal(turn()->stack, 0);
	look(S / 100);
	look(S);
	put(AT, 1000);
	assert_int_equal(turn()->n_freed, 1);
	look(S / 100);
	look(S);
	assert_int_equal(pp_live_take(PP_LIVE_KEY(AT, SLOT), &was), 1);
	assert_true((was.print & PP_PRINT_SEEN) == PP_PRINT_SEEN);
}

static void test_more_stacks_than_rows(void **state)
{
	unsigned lost = 0;

	for (uint64_t i = 1; i <= 2 * PP_N_TURNS; i++)
		lost += pp_turn_add(SLOT, i << 8 | 1, 0) != 0;
	assert_in_range(lost, PP_N_TURNS, PP_N_TURNS + 16);
	for (unsigned i = 0; i < PP_MAX_PROCESSES * PP_N_TURNS; i++)
		assert_true(turns[i].n_freed <= (i / PP_N_TURNS == SLOT));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_what_stays_the_same_is_held),
		TEST(test_what_changes_at_an_end_leaves),
		TEST(test_what_cannot_be_read_leaves),
		TEST(test_the_end_is_no_change),
		TEST(test_zeros_tell_nothing),
		TEST(test_small_objects),
		TEST(test_what_was_not_looked_at_in_time_leaves),
		TEST(test_while_the_window_is_open_it_is_too_early),
		TEST(test_only_its_own),
		TEST(test_old_ones_are_read_less_often),
		TEST(test_an_end_that_was_seen),
		TEST(test_more_stacks_than_rows),
	};

	return cmocka_run_group_tests_name("held", tests, NULL, NULL);
}
