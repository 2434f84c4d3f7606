/* SPDX-License-Identifier: Apache-2.0 */

/* How many waits are looked at: the coin is unbiased, the account bounds what is taken. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PP_NATIVE_CLOCK
#define PP_NATIVE "tests/unit/bpf_native.h"
#include "bpf/compat.bpf.h"

static uint64_t clock_ns;
static uint32_t next_random;
static uint64_t random_state; /* 0: next_random, as it is */

static uint64_t bpf_ktime_get_ns(void)
{
	return clock_ns;
}

static uint32_t bpf_get_prandom_u32(void)
{
	if (!random_state)
		return next_random;
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32);
}

#include "bpf/pace.bpf.h"

#define MS 1000000ull
#define SECOND 1000000000ull
#define PERCENT ((1u << 20) / 100)

static int setup(void **state)
{
	(void)state;
	clock_ns = 1000 * SECOND;
	random_state = 0;
	next_random = 0;
	return 0;
}

static uint32_t flip_at(uint32_t shift, uint32_t number)
{
	struct pp_wait_cpu c = { .shift = shift };

	next_random = number;
	return pp_wait_coin(&c);
}

/* Of 2^32 numbers exactly 2^(32 - shift) give the weight 2^shift. */
static void test_coin_is_worth_one(void **state)
{
	(void)state;
	assert_int_equal(flip_at(0, 0), 1);
	assert_int_equal(flip_at(0, 1), 1);
	assert_int_equal(flip_at(0, UINT32_MAX), 1);
	for (uint32_t shift = 1; shift <= PP_WAIT_MAX_SHIFT; shift++) {
		uint32_t n = 1u << (32 - shift);

		assert_int_equal(flip_at(shift, 0), 1u << shift);
		assert_int_equal(flip_at(shift, n - 1), 1u << shift);
		assert_int_equal(flip_at(shift, n), 0);
		assert_int_equal(flip_at(shift, UINT32_MAX), 0);
	}
}

static void test_what_is_looked_at_is_paid(void **state)
{
	struct pp_wait_cpu c = { .account = 100 };

	(void)state;
	clock_ns += 700;
	pp_wait_pay(&c, clock_ns - 700);
	pp_wait_pay(&c, clock_ns - 50);
	assert_int_equal(c.account, 100 - 750);
	assert_int_equal(c.spent, 750);
	assert_int_equal(c.longest, 700);
}

static struct pp_wait_cpu adjusted(struct pp_wait_cpu c, uint64_t share, uint64_t floor)
{
	struct pp_wait_state s = { .share = share, .floor = floor };

	pp_wait_adjust(&c, &s, clock_ns);
	return c;
}

static void test_account_begins_at_half(void **state)
{
	struct pp_wait_cpu c = adjusted((struct pp_wait_cpu){ 0 }, 0, PERCENT);

	(void)state;
	assert_int_equal(c.account, PP_ACCOUNT_NS / 2);
	assert_int_equal(c.looked, clock_ns);
	assert_int_equal(c.shift, 0);
}

static void test_account_grows_with_both_times(void **state)
{
	const struct pp_wait_cpu c = { .looked = clock_ns - 100 * MS, .changed = clock_ns, .ran = 40 * MS };
	struct pp_wait_cpu after = adjusted(c, 2 * PERCENT, 0);

	(void)state;
	assert_in_range(after.account, 800000 - 1000, 800000); /* of 40 ms */
	assert_int_equal(after.ran, 0);
	assert_int_equal(after.looked, clock_ns);
	after = adjusted(c, 0, PERCENT);
	assert_in_range(after.account, MS - 1000, MS); /* of 100 ms */
	after = adjusted(c, 2 * PERCENT, PERCENT);
	assert_in_range(after.account, 1800000 - 2000, 1800000);
	after = adjusted(after, 2 * PERCENT, PERCENT); /* the same time counts once */
	assert_in_range(after.account, 1800000 - 2000, 1800000);
}

static void test_account_is_bounded_on_both_sides(void **state)
{
	struct pp_wait_cpu c = { .looked = clock_ns - 100 * SECOND, .changed = clock_ns };

	(void)state;
	assert_int_equal(adjusted(c, PERCENT, 90 * PERCENT).account, PP_ACCOUNT_NS);
	c = (struct pp_wait_cpu){ .looked = clock_ns, .changed = clock_ns, .account = -SECOND };
	assert_int_equal(adjusted(c, PERCENT, PERCENT).account, -10 * PP_ACCOUNT_NS);
	c = (struct pp_wait_cpu){ .looked = 1, .changed = clock_ns, .ran = 1ull << 40 }; /* no overflow without a limit */
	assert_int_equal(adjusted(c, UINT32_MAX, UINT32_MAX).account, PP_ACCOUNT_NS);
}

static void test_weight_follows_the_account(void **state)
{
	struct pp_wait_cpu c = { .looked = clock_ns, .changed = clock_ns - PP_ADJUST_NS, .shift = 3,
				 .account = -PP_FALL_NS - 1 };

	(void)state;
	assert_int_equal(adjusted(c, 0, 0).shift, 3); /* not yet */
	c.changed--;
	assert_int_equal(adjusted(c, 0, 0).shift, 4);
	assert_int_equal(adjusted(c, 0, 0).changed, clock_ns);
	c.account = -PP_FALL_NS; /* chance */
	assert_int_equal(adjusted(c, 0, 0).shift, 3);
	c.account = -2 * PP_FALL_NS;
	c.account_then = -2 * PP_FALL_NS; /* it does not fall any more */
	assert_int_equal(adjusted(c, 0, 0).shift, 3);
	c.account_then = 0;
	c.account = 0;
	assert_int_equal(adjusted(c, 0, 0).shift, 3);
	c.account = -2 * PP_FALL_NS;
	c.shift = PP_WAIT_MAX_SHIFT;
	assert_int_equal(adjusted(c, 0, 0).shift, PP_WAIT_MAX_SHIFT);
	c.account = PP_ACCOUNT_NS / 2 + 1;
	c.shift = 3;
	assert_int_equal(adjusted(c, 0, 0).shift, 3); /* down more slowly than up */
	c.changed = clock_ns - 10 * PP_ADJUST_NS - 1;
	assert_int_equal(adjusted(c, 0, 0).shift, 2);
	c.shift = 0;
	assert_int_equal(adjusted(c, 0, 0).shift, 0);
}

struct run {
	struct pp_wait_cpu c;
	struct pp_wait_state s;
	uint64_t n, cost, every; /* waits so far; ns: one that is looked at costs, between two */
	double weights, variance;
};

static void run_for(struct run *r, uint64_t ns)
{
	for (uint64_t end = clock_ns + ns; clock_ns < end; clock_ns += r->every) {
		uint32_t weight;
		uint64_t now = clock_ns;

		r->c.ran += r->every;
		weight = pp_wait_coin(&r->c);
		r->n++;
		r->variance += (double)(1u << r->c.shift) - 1;
		r->weights += weight;
		if (!weight) {
			if (!(r->n % PP_LOOK_EVERY)) /* as pp_wait_out does */
				pp_wait_adjust(&r->c, &r->s, now);
			continue;
		}
		pp_wait_adjust(&r->c, &r->s, now);
		clock_ns += r->cost;
		pp_wait_pay(&r->c, now);
	}
}

static double square(double x)
{
	return x * x;
}

/* A million waits a second, of which each takes 2 us to look at: as much as there is to a process with two
 * CPUs. The account is of one per cent, and of the burst that it may hold. */
static void test_account_bounds_what_is_taken(void **state)
{
	struct run r = { .s = { .floor = PERCENT }, .cost = 2000, .every = 1000 };
	uint64_t began = clock_ns;

	(void)state;
	random_state = 88172645463325252ull;
	run_for(&r, 5 * SECOND);
	assert_true(r.c.spent <= PP_ACCOUNT_NS + (clock_ns - began) / 100 + 10 * MS);
	assert_true(r.c.spent >= (clock_ns - began) / 1600); /* and is used: an eighth of it, for so many */
	assert_true(r.c.shift >= 8 && r.c.shift <= 13);
	assert_true(square(r.weights - (double)r.n) < 25 * r.variance);
}

static void test_share_is_of_what_the_process_runs(void **state)
{
	struct run r = { .s = { .share = 2 * PERCENT }, .cost = 2000, .every = 1000 };

	(void)state;
	random_state = 362436069;
	run_for(&r, 5 * SECOND);
	assert_true(r.c.spent <= PP_ACCOUNT_NS + (r.n * r.every) / 50 + 10 * MS);
	assert_true(r.c.spent >= (r.n * r.every) / 100);
	assert_true(square(r.weights - (double)r.n) < 25 * r.variance);
}

static void test_few_waits_are_all_looked_at(void **state)
{
	struct run r = { .s = { .floor = PERCENT }, .cost = 2000, .every = MS };

	(void)state;
	random_state = 88172645463325252ull;
	run_for(&r, 20 * SECOND);
	assert_int_equal(r.c.shift, 0);
	assert_true(r.weights == (double)r.n);
}

static void test_after_a_burst_all_are_looked_at_again(void **state)
{
	struct run r = { .s = { .floor = PERCENT }, .cost = 2000, .every = 500 };

	(void)state;
	random_state = 88172645463325252ull;
	run_for(&r, SECOND);
	assert_true(r.c.shift >= 5);
	r.every = MS;
	run_for(&r, 20 * SECOND);
	assert_int_equal(r.c.shift, 0);
	assert_true(square(r.weights - (double)r.n) < 25 * r.variance);
}

static void test_no_limit_is_none(void **state)
{
	struct run r = { .s = { .share = UINT32_MAX, .floor = UINT32_MAX }, .cost = 5000, .every = 100 };

	(void)state;
	random_state = 88172645463325252ull;
	run_for(&r, SECOND);
	assert_int_equal(r.c.shift, 0);
	assert_true(r.weights == (double)r.n);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_coin_is_worth_one),
		TEST(test_what_is_looked_at_is_paid),
		TEST(test_account_begins_at_half),
		TEST(test_account_grows_with_both_times),
		TEST(test_account_is_bounded_on_both_sides),
		TEST(test_weight_follows_the_account),
		TEST(test_account_bounds_what_is_taken),
		TEST(test_share_is_of_what_the_process_runs),
		TEST(test_few_waits_are_all_looked_at),
		TEST(test_after_a_burst_all_are_looked_at_again),
		TEST(test_no_limit_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
