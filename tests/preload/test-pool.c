/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "preload/pool.h"

static void *page(uintptr_t i)
{
	return (void *)(0x7f0000000000 + i * 4096);
}

static void test_what_comes_back_is_large_enough(void **state)
{
	for (size_t usable = 0; usable < 3 * POOL_LARGEST; usable++) {
		bool kept = pool_give(page(1), usable);

		assert_int_equal(kept, usable >= POOL_STEP && usable < POOL_LARGEST + POOL_STEP);
		for (size_t n = usable + 1; n < usable + 40; n++)
			assert_null(pool_take(n));
		if (kept)
			assert_ptr_equal(pool_take(usable / POOL_STEP * POOL_STEP), page(1));
	}
}

static void test_each_size_finds_its_class(void **state)
{
	for (size_t n = 1; n <= POOL_LARGEST; n++) {
		assert_true(pool_round(n) >= n && pool_round(n) < n + POOL_STEP);
		assert_true(pool_give(page(2), pool_round(n) + 8));
		assert_ptr_equal(pool_take(n), page(2));
	}
	assert_int_equal(pool_round(POOL_LARGEST + 1), POOL_LARGEST + 1);
	assert_int_equal(pool_round(SIZE_MAX), SIZE_MAX);
	assert_null(pool_take(SIZE_MAX));
}

static void test_full(void **state)
{
	for (uintptr_t i = 0; i < POOL_WAYS; i++)
		assert_true(pool_give(page(i + 1), 64));
	assert_false(pool_give(page(9), 64));
	assert_true(pool_give(page(9), 80));
	for (uintptr_t i = 0; i < POOL_WAYS; i++)
		assert_non_null(pool_take(64));
	assert_null(pool_take(64));
	assert_ptr_equal(pool_take(80), page(9));
}

static void test_only_the_start_of_a_page(void **state)
{
	assert_false(pool_give((char *)page(1) + 16, 64));
	assert_null(pool_take(64));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_comes_back_is_large_enough),
		cmocka_unit_test(test_each_size_finds_its_class),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_only_the_start_of_a_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
