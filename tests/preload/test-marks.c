/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "preload/marks.h"

static void *page(uintptr_t i)
{
	return (void *)(0x7f0000000000 + i * 4096);
}

static void test_added_is_there_until_removed(void **state)
{
	assert_false(marks_maybe(page(1)));
	assert_false(marks_remove(page(1)));
	assert_int_equal(marks_add(page(1)), MARKS_ADDED);
	assert_true(marks_maybe(page(1)));
	assert_int_equal(marks_add(page(1)), MARKS_REPLACED);
	assert_false(marks_remove((char *)page(1) + 16));
	assert_true(marks_remove(page(1)));
	assert_false(marks_maybe(page(1)));
	assert_false(marks_remove(page(1)));
}

static void test_null_is_never_there(void **state)
{
	assert_false(marks_remove(NULL));
}

static void test_forms(void **state)
{
	assert_true(marks_form(page(3)));
	assert_true(marks_form((char *)page(3) + 16));
	assert_false(marks_form((char *)page(3) + 32));
	assert_false(marks_form((char *)page(3) + 2048));
}

/* More than the filter can count (255 to a byte): it must still never say no to a member. */
static void test_half_a_million_and_none_forgotten(void **state)
{
	static bool added[500000];
	size_t n = 0;

	for (uintptr_t i = 0; i < 500000; i++) {
		added[i] = marks_add(page(i * 3)) == MARKS_ADDED;
		n += added[i];
	}
	print_message("# %zu of %zu slots\n", n, MARKS_SLOTS);
	assert_in_range(n, MARKS_SLOTS * 9 / 10, MARKS_SLOTS + MARKS_WINDOW);
	for (uintptr_t i = 0; i < 500000; i++) {
		if (added[i])
			assert_true(marks_maybe(page(i * 3)));
		assert_int_equal(marks_remove(page(i * 3)), added[i]);
	}
}

static void test_64k_objects_fit(void **state)
{
	uint64_t at = 12345;
	int full = 0;

	for (int i = 0; i < 65536; i++)
		full += marks_add(page(at += 1 + i % 97)) == MARKS_FULL;
	assert_true(full < 65);
	at = 12345;
	for (int i = 0; i < 65536; i++)
		marks_remove(page(at += 1 + i % 97));
}

static void *worker(void *argument)
{
	uintptr_t self = (uintptr_t)argument;

	for (int round = 0; round < 300; round++) {
		for (uintptr_t i = 0; i < 500; i++)
			assert_int_equal(marks_add(page((i * 8 + self) * 11)), MARKS_ADDED);
		for (uintptr_t i = 0; i < 500; i++) {
			assert_true(marks_maybe(page((i * 8 + self) * 11)));
			assert_true(marks_remove(page((i * 8 + self) * 11)));
		}
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[8];

	for (uintptr_t i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, worker, (void *)i);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_added_is_there_until_removed),
		cmocka_unit_test(test_null_is_never_there),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_64k_objects_fit),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_half_a_million_and_none_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
