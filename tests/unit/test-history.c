/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "daemon/serve/page/history.h"

static int setup(void **state)
{
	struct history *h = calloc(1, sizeof(*h));

	history_init(h);
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	history_deinit(*state);
	free(*state);
	return 0;
}

/* Its id, in a buffer that lasts. */
static const char *add(struct history *h, const char *name, const void *data, size_t n, int64_t now)
{
	static char ids[2048][17];
	static unsigned at;
	struct history_entry e = { .pid = 7, .time_ns = now };

	snprintf(e.name, sizeof(e.name), "%s", name);
	snprintf(e.comm, sizeof(e.comm), "a\xff\x01z");
	if (!history_add(h, &e, data, n, now))
		return NULL;
	at = (at + 1) % 2048;
	memcpy(ids[at], e.id, sizeof(e.id));
	return ids[at];
}

static bool has(struct history *h, const char *id, int64_t now)
{
	struct history_entry e;

	return history_find(h, id, now, &e, NULL);
}

static struct history_counts counts(struct history *h)
{
	struct history_counts c;

	history_count(h, &c);
	return c;
}

static void test_what_is_kept_is_given_back(void **state)
{
	_cleanup_(bytes_deinit) struct bytes data = BYTES_INIT;
	struct history *h = *state;
	const char *id = add(h, "", "abc", 3, 1);
	struct history_entry e;

	assert_int_equal(strlen(id), 16);
	assert_true(history_find(h, id, 2, &e, &data));
	assert_int_equal(data.n, 3);
	assert_memory_equal(data.data, "abc", 3);
	assert_string_equal(e.comm, "a??z");
	assert_null(e.data);
	assert_false(has(h, "0000000000000000", 2));
	assert_true(strcmp(id, add(h, "", "abc", 3, 1)) != 0);
}

static void test_it_goes_after_an_hour(void **state)
{
	struct history *h = *state;
	const char *first = add(h, "named", "a", 1, 1), *second = add(h, "", "b", 1, 1000);

	assert_int_equal(history_run(h, 1001), 1 + HISTORY_MAX_AGE_NS);
	assert_true(has(h, first, HISTORY_MAX_AGE_NS));
	assert_int_equal(history_run(h, 1 + HISTORY_MAX_AGE_NS), 1000 + HISTORY_MAX_AGE_NS);
	assert_false(has(h, first, 1 + HISTORY_MAX_AGE_NS));
	assert_true(has(h, second, 1 + HISTORY_MAX_AGE_NS));
	assert_int_equal(history_run(h, 1000 + HISTORY_MAX_AGE_NS), 0);
	assert_int_equal(counts(h).n, 0);
	assert_int_equal(counts(h).n_bytes, 0);
	assert_int_equal(counts(h).n_dropped, 0);
}

static void test_the_oldest_without_a_name_goes_first(void **state)
{
	struct history *h = *state;
	const char *named = add(h, "before", "a", 1, 1), *plain = add(h, "", "b", 1, 2);

	for (int i = 0; i < HISTORY_MAX - 2; i++)
		add(h, i == 0 ? "" : "x", "c", 1, 3);
	assert_int_equal(counts(h).n, HISTORY_MAX);
	add(h, "", "d", 1, 4);
	assert_int_equal(counts(h).n, HISTORY_MAX);
	assert_int_equal(counts(h).n_dropped, 1);
	assert_false(has(h, plain, 4));
	assert_true(has(h, named, 4));
	for (int i = 0; i < 3; i++) /* one without a name is left, then the last that came, then none */
		add(h, "y", "e", 1, 5);
	assert_int_equal(counts(h).n, HISTORY_MAX);
	assert_int_equal(counts(h).n_dropped, 4);
}

static void count_named(void *context, const struct history_entry *e)
{
	*(int *)context += *e->name != '\0';
}

static void test_bytes_are_bounded(void **state)
{
	const size_t third = HISTORY_MAX_BYTES / 3;
	struct history *h = *state;
	char *data = calloc(1, HISTORY_MAX_BYTES + 1);
	int named = 0;

	assert_non_null(data);
	add(h, "kept", data, third, 1);
	for (int i = 0; i < 10; i++) {
		add(h, "", data, third, 2 + i);
		assert_true(counts(h).n_bytes <= HISTORY_MAX_BYTES);
	}
	assert_int_equal(counts(h).n, 3);
	assert_int_equal(counts(h).n_dropped, 8);
	history_each(h, 20, count_named, &named);
	assert_int_equal(named, 1);
	assert_null(add(h, "", data, HISTORY_MAX_BYTES + 1, 21));
	assert_int_equal(counts(h).n, 3);
	assert_int_equal(counts(h).n_dropped, 9);
	assert_non_null(add(h, "", data, HISTORY_MAX_BYTES, 22));
	assert_int_equal(counts(h).n, 1);
	free(data);
}

static void test_names_are_cut_and_cleaned(void **state)
{
	struct history *h = *state;
	const char *id = add(h, "", "a", 1, 1);
	struct history_entry e;
	char longer[200];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_true(history_rename(h, id, 2, longer));
	assert_true(history_find(h, id, 2, &e, NULL));
	assert_int_equal(strlen(e.name), HISTORY_MAX_NAME);
	assert_true(history_rename(h, id, 2, "<b>\n\xc3\xa4\xff"));
	assert_true(history_find(h, id, 2, &e, NULL));
	assert_string_equal(e.name, "<b>?\xc3\xa4?");
	assert_true(history_rename(h, id, 2, ""));
	assert_false(history_rename(h, "x", 2, "y"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_kept_is_given_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_goes_after_an_hour, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_oldest_without_a_name_goes_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bytes_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_are_cut_and_cleaned, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
