/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "preload/sampling.h"

static void test_weights_are_those_of_libm(void **state)
{
	const uint64_t rates[] = { 1, 2, 100, 4096, 524288, 10000019, 1ull << 32, RATE_MAX };
	double worst = 0;

	for (size_t r = 0; r < sizeof(rates) / sizeof(*rates); r++) {
		for (double f = 1; f < 0x1p63; f *= 1.037) {
			uint64_t n = (uint64_t)f;
			double real = (double)n / -expm1(-(double)n / (double)rates[r]);
			double off = fabs((double)sampling_weight(n, rates[r]) - real);

			assert_true(off <= 1 || off < real * 1e-4);
			if (off > 1)
				worst = fmax(worst, off / real);
		}
	}
	print_message("# worst relative error %g\n", worst);
	assert_true(worst < 2e-5);
}

static void test_weight_of_the_largest_is_their_size(void **state)
{
	assert_int_equal(sampling_weight(SIZE_MAX, 1), SIZE_MAX);
	assert_int_equal(sampling_weight((uint64_t)1 << 40, 524288), (uint64_t)1 << 40);
}

static void test_draws_are_exponential(void **state)
{
	enum { N = 2000000 };
	const uint64_t rate = 524288;
	uint64_t random = 42;
	double sum = 0, squares = 0;
	int below[4] = { 0 };

	for (int i = 0; i < N; i++) {
		double x = (double)sampling_draw(random_next(&random), rate) / (double)rate;

		sum += x;
		squares += x * x;
		for (int k = 0; k < 4; k++)
			below[k] += x < 0.01 * pow(10, k);
	}
	assert_true(fabs(sum / N - 1) < 5 / sqrt(N));
	assert_true(fabs(squares / N - 2) < 5 * sqrt(20.0 / N));
	for (int k = 0; k < 4; k++) {
		double p = -expm1(-0.01 * pow(10, k));

		assert_true(fabs(below[k] / (double)N - p) <= 5 * sqrt(p * (1 - p) / N) + 1e-6);
	}
}

static void test_extreme_draws(void **state)
{
	assert_int_equal(sampling_draw(UINT64_MAX, 524288), 0);
	assert_in_range(sampling_draw(0, RATE_MAX), 44ull << 40, 45ull << 40);
	assert_in_range(sampling_draw(1ull << 63, 1 << 20), 726816, 726818); /* ln 2 */
}

static void test_rate_from_text(void **state)
{
	assert_int_equal(sampling_rate("4096"), 4096);
	assert_int_equal(sampling_rate("1099511627776"), RATE_MAX);
	const char *bad[] = {
		NULL, "", "0", "-1", "4k", " 1", "1099511627777", "99999999999999999999"
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(sampling_rate(bad[i]), RATE_DEFAULT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_weights_are_those_of_libm),
		cmocka_unit_test(test_weight_of_the_largest_is_their_size),
		cmocka_unit_test(test_draws_are_exponential),
		cmocka_unit_test(test_extreme_draws),
		cmocka_unit_test(test_rate_from_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
