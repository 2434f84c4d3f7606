/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/serve/frame.h"

static void test_frame_of_a_file_keeps_object_and_address(void **state)
{
	static const uint32_t objects[] = { 1, 2, 12345, PP_MAX_OBJECT - 1 };
	static const uint64_t addresses[] = { 0, 1, 0x401000, (1ull << PP_ADDRESS_BITS) - 1 };

	for (int i = 0; i < 4; i++)
		for (int k = 0; k < 4; k++) {
			uint64_t word = PP_FRAME(objects[i], addresses[k]);

			assert_int_equal(frame_kind(word), FRAME_FILE);
			assert_int_equal(frame_object(word), objects[i]);
			assert_true(frame_address(word) == addresses[k]);
		}
}

static void test_address_too_large_leaves_the_object_alone(void **state)
{
	uint64_t word = PP_FRAME(7, UINT64_MAX);

	assert_int_equal(frame_object(word), 7);
	assert_true(frame_address(word) == (1ull << PP_ADDRESS_BITS) - 1);
}

static void test_raw_frame_keeps_its_pc(void **state)
{
	uint64_t word = PP_RAW(0x7fff12345678ull);

	assert_int_equal(frame_kind(word), FRAME_RAW);
	assert_true(frame_pc(word) == 0x7fff12345678ull);
	assert_int_equal(frame_kind(PP_RAW(UINT64_MAX)), FRAME_RAW);
	assert_true(frame_pc(PP_RAW(UINT64_MAX)) == (1ull << 56) - 1);
}

static void test_kernel_address_stands_for_itself(void **state)
{
	assert_int_equal(frame_kind(0xffffffff81000000), FRAME_KERNEL);
	assert_int_equal(frame_kind(0xff00000000000000), FRAME_KERNEL);
}

static void test_marker_keeps_reason_and_object(void **state)
{
	for (unsigned end = 0; end < PP_N_ENDS; end++) {
		uint64_t word = PP_MARKER(end, PP_MAX_OBJECT - 1);

		assert_int_equal(frame_kind(word), FRAME_MARKER);
		assert_int_equal(frame_end(word), end);
		assert_int_equal(frame_marker_object(word), PP_MAX_OBJECT - 1);
	}
}

static void test_every_end_has_a_text_of_its_own(void **state)
{
	for (unsigned a = 0; a < PP_N_ENDS; a++) {
		assert_true(strlen(frame_end_text(a)) > 0);
		assert_string_not_equal(frame_end_text(a), "broken");
		for (unsigned b = 0; b < a; b++) /* there are two ways to be complete */
			if (b != PP_END_OUTERMOST || a != PP_END_ZERO)
				assert_string_not_equal(frame_end_text(a), frame_end_text(b));
	}
}

static void test_unknown_end_is_broken(void **state)
{
	assert_string_equal(frame_end_text(PP_N_ENDS), "broken");
	assert_string_equal(frame_end_text(UINT32_MAX), "broken");
}

static void test_only_truncation_counts_as_truncated(void **state)
{
	for (unsigned end = 0; end < 300; end++)
		assert_int_equal(frame_end_truncated(end), end == PP_END_TRUNCATED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame_of_a_file_keeps_object_and_address),
		cmocka_unit_test(test_address_too_large_leaves_the_object_alone),
		cmocka_unit_test(test_raw_frame_keeps_its_pc),
		cmocka_unit_test(test_kernel_address_stands_for_itself),
		cmocka_unit_test(test_marker_keeps_reason_and_object),
		cmocka_unit_test(test_every_end_has_a_text_of_its_own),
		cmocka_unit_test(test_unknown_end_is_broken),
		cmocka_unit_test(test_only_truncation_counts_as_truncated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
