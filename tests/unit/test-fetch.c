/* SPDX-License-Identifier: Apache-2.0 */

/* What pprofd-fetch makes of a question that is not in order. What it does on the network is tests/live/debuginfod.py's. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/fetch/fetch.h"

static int try(uint32_t n_id, uint32_t n_urls, uint32_t n_text, const char *text)
{
	struct fetch_question q = { .max_size = 1, .seconds = 1, .n_id = n_id, .n_urls = n_urls, .n_text = n_text };
	struct fetch *f = NULL;
	int r = fetch_open(&q, text, &f);

	fetch_free(f);
	return r;
}

static void test_questions(void **state)
{
	static const char one[] = "http://127.0.0.1:1", two[] = "http://127.0.0.1\0https://[::1]:2";
	static const char *const wrong[] = { "", "ftp://127.0.0.1", "file:///etc/passwd", "127.0.0.1", "http://",
					     "http://127.0.0.1:99999" };
	static char longest[FETCH_MAX_URL + 2];

	assert_int_equal(try(20, 1, sizeof(one), one), 0);
	assert_int_equal(try(20, 2, sizeof(two), two), 0);
	assert_int_equal(try(1, 1, sizeof(one), one), -EBADMSG);
	assert_int_equal(try(FETCH_MAX_ID + 1, 1, sizeof(one), one), -EBADMSG);
	assert_int_equal(try(20, 0, 0, one), -EBADMSG);
	assert_int_equal(try(20, 2, sizeof(one), one), -EBADMSG);
	assert_int_equal(try(20, 1, sizeof(two), two), -EBADMSG);
	assert_int_equal(try(20, 1, sizeof(one) - 1, one), -EBADMSG); /* no NUL */
	assert_int_equal(try(20, FETCH_MAX_URLS + 1, sizeof(one), one), -EBADMSG);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(try(20, 1, (uint32_t)strlen(wrong[i]) + 1, wrong[i]), -EBADMSG);
	memset(longest, 'a', FETCH_MAX_URL + 1);
	assert_int_equal(try(20, 1, sizeof(longest), longest), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_questions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
