/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "daemon/serve/query.h"

static struct query parsed(const char *raw)
{
	struct query q;

	assert_int_equal(query_parse(raw, &q), 0);
	return q;
}

static void check_value(const char *raw, const char *key, const char *value)
{
	_cleanup_(query_deinit) struct query q = parsed(raw);
	const char *got = query_get(&q, key);

	if (!value) {
		assert_null(got);
		return;
	}
	assert_non_null(got);
	assert_string_equal(got, value);
}

static void test_first_value_wins(void **state)
{
	check_value("a=1&a=2", "a", "1");
	check_value("b=0&a=1&a=2", "a", "1");
}

static void test_empty_first_value_is_absent(void **state)
{
	check_value("a=&a=2", "a", NULL);
	check_value("a&a=2", "a", NULL);
	check_value("a=", "a", NULL);
	check_value("", "a", NULL);
	check_value("&&&", "a", NULL);
}

static void test_values_are_decoded(void **state)
{
	check_value("a=1+2", "a", "1 2");
	check_value("a=%2B5", "a", "+5");
	check_value("%61=%20%c3%A9", "a", " \xc3\xa9");
	check_value("a=b=c", "a", "b=c");
	check_value("=x", "", "x");
}

static void test_bad_pairs_are_dropped_alone(void **state)
{
	check_value("a=1;b=2&c=3", "a", NULL);
	check_value("a=1;b=2&c=3", "c", "3");
	check_value("a=%zz&a=2", "a", "2");
	check_value("a=%4", "a", NULL);
	check_value("a=%", "a", NULL);
	check_value("%zz=1&b=2", "b", "2");
	check_value("a;=1&a=2", "a", "2");
}

static void test_nul_does_not_end_a_value(void **state)
{
	check_value("seconds=1%00", "seconds", "1\xef\xbf\xbd");
	check_value("seconds%00=1", "seconds", NULL);
}

static void test_pairs_are_bounded(void **state)
{
	_cleanup_(bytes_deinit) struct bytes raw = BYTES_INIT;
	_cleanup_(query_deinit) struct query q = { 0 };

	for (int i = 0; i < 1000; i++)
		bytes_printf(&raw, "%sk%d=%d", i ? "&" : "", i, i);
	q = parsed(bytes_text(&raw));
	assert_int_equal(q.n, QUERY_MAX);
	assert_string_equal(query_get(&q, "k63"), "63");
	assert_null(query_get(&q, "k64"));
}

static void test_int_is_all_of_the_text(void **state)
{
	static const char *const none[] = { "",
					    " 5",
					    "5 ",
					    "1.5",
					    "1s",
					    "0x1",
					    "1_0",
					    "+",
					    "-",
					    "--5",
					    "+-5",
					    "abc",
					    "\xef\xbf\xbd",
					    "9223372036854775808",
					    "-9223372036854775809",
					    "99999999999999999999" };
	static const struct {
		const char *text;
		int64_t v;
	} good[] = { { "0", 0 },
		     { "007", 7 },
		     { "+5", 5 },
		     { "-5", -5 },
		     { "-0", 0 },
		     { "9223372036854775807", INT64_MAX },
		     { "-9223372036854775808", INT64_MIN },
		     { "000000000000000000000000000000005", 5 } };
	int64_t v = 42;

	for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++)
		assert_false(query_int(none[i], &v));
	assert_int_equal(v, 42);
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_true(query_int(good[i].text, &v));
		assert_true(v == good[i].v);
	}
}

static int64_t number(const char *raw)
{
	_cleanup_(query_deinit) struct query q = parsed(raw);

	return query_number(&q, "debug");
}

static void test_number_is_atoi(void **state)
{
	assert_int_equal(number("debug=1"), 1);
	assert_int_equal(number("debug=-1"), -1);
	assert_int_equal(number("debug=x1"), 0);
	assert_int_equal(number("debug="), 0);
	assert_int_equal(number("gc=1"), 0);
	assert_int_equal(number("debug=1&debug=2"), 1);
	/* Go ignores Atoi's error and uses the value that came with it. */
	assert_true(number("debug=99999999999999999999") == INT64_MAX);
	assert_true(number("debug=-99999999999999999999x") == INT64_MIN);
	assert_int_equal(number("debug=9223372036854775808x"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_value_wins),
		cmocka_unit_test(test_empty_first_value_is_absent),
		cmocka_unit_test(test_values_are_decoded),
		cmocka_unit_test(test_bad_pairs_are_dropped_alone),
		cmocka_unit_test(test_nul_does_not_end_a_value),
		cmocka_unit_test(test_pairs_are_bounded),
		cmocka_unit_test(test_int_is_all_of_the_text),
		cmocka_unit_test(test_number_is_atoi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
