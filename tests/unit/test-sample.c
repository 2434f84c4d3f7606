/* SPDX-License-Identifier: Apache-2.0 */

/* Which objects are sampled (bpf/sample.bpf.h), and the classes that their sizes are counted in. */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PP_NATIVE "tests/unit/bpf_native.h"
#include "bpf/sample.bpf.h"

#define STRATA (1u << 20)
#define STEP (UINT32_MAX / STRATA)

static void test_log2_of_a_fraction(void **state)
{
	double mean = 0, wanted = 0;

	for (uint64_t f = 0; f < 1ull << 32; f += 4093) {
		double exact = log2(1 + (double)f / 0x1p32);
		double ours = (double)pp_log2_fraction(f) / 0x1p32;

		assert_true(fabs(exact - ours) < 0.00101);
		mean += ours;
		wanted += exact;
	}
	assert_true(fabs(mean / wanted - 1) < 1e-5);
	assert_int_equal(pp_log2_fraction(0), 0);
}

static void test_draws_have_the_mean(void **state)
{
	const uint64_t rates[] = { 64, 4096, PP_HEAP_RATE, 1u << 30 };

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		double sum = 0;

		for (uint32_t k = 0; k < STRATA; k++)
			sum += (double)pp_exponential(k * STEP + STEP / 2, rates[i]);
		assert_true(fabs(sum / STRATA / (double)rates[i] - 1) < (rates[i] < 1000 ? 0.02 : 0.001));
	}
}

static void test_draws_have_the_distribution(void **state)
{
	const double at[] = { 0.01, 0.1, 0.5, 1, 2, 5, 8 };
	unsigned above[7] = { 0 };

	for (uint32_t k = 0; k < STRATA; k++) {
		double x = (double)pp_exponential(k * STEP + STEP / 2, PP_HEAP_RATE) / PP_HEAP_RATE;

		for (int i = 0; i < 7; i++)
			above[i] += x > at[i];
	}
	for (int i = 0; i < 7; i++)
		assert_true(fabs((double)above[i] / STRATA - exp(-at[i])) < 0.001);
}

static void test_draws_are_never_zero_and_fall(void **state)
{
	uint64_t last = UINT64_MAX;

	assert_int_equal(pp_exponential(UINT32_MAX, 64), 1);
	assert_true(pp_exponential(UINT32_MAX, PP_HEAP_RATE) >= 1);
	assert_true((double)pp_exponential(0, PP_HEAP_RATE) < 25.0 * PP_HEAP_RATE);
	for (uint32_t r = 0; r < UINT32_MAX - 100000; r += 99991) {
		uint64_t draw = pp_exponential(r, PP_HEAP_RATE);

		assert_true(draw >= 1 && draw <= last);
		last = draw;
	}
}

static uint32_t random32(void)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (uint32_t)(x >> 16);
}

/* Objects of sizes small and large in one stream: each is taken with 1 - exp(-size / rate), and its weight
 * makes the sum right. */
static void test_objects_of_a_mixed_stream(void **state)
{
	const uint64_t sizes[] = { 16, 3000, 100000, PP_HEAP_RATE, 3 * PP_HEAP_RATE };
	uint64_t n[5] = { 0 }, taken[5] = { 0 };
	int64_t left = (int64_t)pp_exponential(random32(), PP_HEAP_RATE);

	for (int i = 0; i < 2000000; i++) {
		unsigned k = random32() % 100, which = k < 50 ? 0 : k < 90 ? 1 : k < 96 ? 2 : k < 98 ? 3 : 4;

		n[which]++;
		left -= (int64_t)sizes[which];
		if (left > 0)
			continue;
		taken[which]++;
		left = (int64_t)pp_exponential(random32(), PP_HEAP_RATE);
	}
	for (int i = 0; i < 5; i++) {
		double p = -expm1(-(double)sizes[i] / PP_HEAP_RATE), expected = (double)n[i] * p;

		assert_true(fabs((double)taken[i] - expected) < 4 * sqrt(expected * (1 - p)) + 1);
	}
}

static void test_log2(void **state)
{
	assert_int_equal(pp_log2(0), 0);
	for (uint32_t i = 0; i < 64; i++) {
		assert_int_equal(pp_log2(1ull << i), i);
		assert_int_equal(pp_log2((1ull << i) + ((1ull << i) - 1)), i);
	}
}

/* As user space reads a class: the least size that is in it. */
static uint64_t least_of(uint32_t class)
{
	return (uint64_t)(class & 31) << (class >> 5 & 63);
}

static void test_size_classes(void **state)
{
	uint32_t last = 0;

	for (uint64_t s = 0; s < 32; s++)
		assert_int_equal(least_of(pp_size_class(s)), s);
	for (uint64_t s = 1; s < 1ull << 20; s++) {
		uint32_t class = pp_size_class(s);

		assert_true(class >= last);
		assert_true(least_of(class) <= s && (s - least_of(class)) * 16 <= s);
		assert_int_equal(pp_size_class(least_of(class)), class);
		last = class;
	}
	for (uint32_t i = 20; i < 64; i++) {
		uint64_t s = (1ull << i) | (1ull << (i - 3)) | 5;

		assert_true(least_of(pp_size_class(s)) <= s);
		assert_true(s - least_of(pp_size_class(s)) <= s / 16);
		assert_true(pp_size_class(s) < 2048);
	}
	assert_int_equal(least_of(pp_size_class(UINT64_MAX)), 31ull << 59);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_log2_of_a_fraction),
		cmocka_unit_test(test_draws_have_the_mean),
		cmocka_unit_test(test_draws_have_the_distribution),
		cmocka_unit_test(test_draws_are_never_zero_and_fall),
		cmocka_unit_test(test_objects_of_a_mixed_stream),
		cmocka_unit_test(test_log2),
		cmocka_unit_test(test_size_classes),
	};

	return cmocka_run_group_tests_name("sample", tests, NULL, NULL);
}
