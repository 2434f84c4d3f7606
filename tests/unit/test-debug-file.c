/* SPDX-License-Identifier: Apache-2.0 */

/* Which paths come of what a stranger's file says: fixed prefixes, and nothing that leads out of them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/broker/debug_file.h"

#define DIRECTORY "/opt/app/bin"
#define CACHE "/var/cache/debuginfod_client"

static struct broker_debug question(const char *name, uint32_t n_id)
{
	struct broker_debug q = { .n_id = n_id };

	for (uint32_t i = 0; i < n_id && i < BROKER_MAX_BUILD_ID; i++)
		q.id[i] = (uint8_t)(0xa0 + i);
	strncpy(q.name, name, sizeof(q.name) - 1);
	return q;
}

static void expect(const struct broker_debug *q, enum broker_place place, const char *directory, const char *path)
{
	char to[BROKER_MAX_PATH];

	assert_int_equal(debug_file_path(q, place, directory, CACHE, to), path != NULL);
	if (path)
		assert_string_equal(to, path);
}

static void test_places(void **state)
{
	struct broker_debug q = question("app.debug", 4), alt = question("../../.dwz/x86_64/app.debug", 4);

	expect(&q, BROKER_PLACE_BUILD_ID, DIRECTORY, "/usr/lib/debug/.build-id/a0/a1a2a3.debug");
	expect(&q, BROKER_PLACE_BESIDE, DIRECTORY, "/opt/app/bin/app.debug");
	expect(&q, BROKER_PLACE_BELOW, DIRECTORY, "/opt/app/bin/.debug/app.debug");
	expect(&q, BROKER_PLACE_GLOBAL, DIRECTORY, "/usr/lib/debug/opt/app/bin/app.debug");
	expect(&q, BROKER_PLACE_HOST_GLOBAL, DIRECTORY, "/usr/lib/debug/opt/app/bin/app.debug");
	expect(&q, BROKER_PLACE_DWZ, DIRECTORY, NULL);
	expect(&q, BROKER_PLACE_CACHE, DIRECTORY, CACHE "/a0a1a2a3/debuginfo");
	expect(&alt, BROKER_PLACE_DWZ, "", "/usr/lib/debug/.dwz/x86_64/app.debug");
	expect(&alt, BROKER_PLACE_BESIDE, DIRECTORY, NULL);
	expect(&q, BROKER_PLACE_FETCHED, DIRECTORY, CACHE "/a0a1a2a3/debuginfo");
	expect(&q, BROKER_N_PLACES, DIRECTORY, NULL);
}

static void test_names_that_lead_elsewhere(void **state)
{
	static const char *const names[] = { "", ".", "..", "/etc/shadow", "../x", "a/b", "a/", "/" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct broker_debug q = question(names[i], 0);

		expect(&q, BROKER_PLACE_BESIDE, DIRECTORY, NULL);
		expect(&q, BROKER_PLACE_HOST_BELOW, DIRECTORY, NULL);
		expect(&q, BROKER_PLACE_GLOBAL, DIRECTORY, NULL);
		expect(&q, BROKER_PLACE_DWZ, DIRECTORY, NULL);
	}
}

static void test_dwz_names_that_lead_elsewhere(void **state)
{
	static const char *const names[] = {
		"/.dwz/", "/.dwz/..", "/.dwz/../x", "/.dwz/a/../../b", "/.dwz//a", "/.dwz/a/", "/.dwz/./a",
		"/.dwz/1/2/3/4/5/6/7/8/9", "/usr/lib/debug/.dwz",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct broker_debug q = question(names[i], 0);

		expect(&q, BROKER_PLACE_DWZ, DIRECTORY, NULL);
		expect(&q, BROKER_PLACE_HOST_DWZ, DIRECTORY, NULL);
	}
}

static void test_a_name_without_an_end(void **state)
{
	struct broker_debug q = question("", 4);

	memset(q.name, 'x', sizeof(q.name));
	for (int place = 0; place < BROKER_N_PLACES; place++)
		expect(&q, (enum broker_place)place, DIRECTORY, NULL);
}

static void test_lengths_of_build_ids(void **state)
{
	static const uint32_t bad[] = { 0, 1, BROKER_MAX_BUILD_ID + 1, UINT32_MAX };
	struct broker_debug longest = question("", BROKER_MAX_BUILD_ID);
	char to[BROKER_MAX_PATH];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct broker_debug q = question("", bad[i]);

		expect(&q, BROKER_PLACE_BUILD_ID, DIRECTORY, NULL);
		expect(&q, BROKER_PLACE_CACHE, DIRECTORY, NULL);
	}
	assert_true(debug_file_path(&longest, BROKER_PLACE_BUILD_ID, DIRECTORY, CACHE, to));
	assert_false(debug_file_path(&longest, BROKER_PLACE_CACHE, DIRECTORY, "", to));
}

/* The kernel tells them; but a mapping that is gone, or not reachable, has none that is in order. */
static void test_directories(void **state)
{
	static const char *const bad[] = { "", "opt/app", "/opt/../etc", "(unreachable)/x", "/a//b", "/a/" };
	struct broker_debug q = question("app.debug", 0);
	char long_one[BROKER_MAX_PATH];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect(&q, BROKER_PLACE_BESIDE, bad[i], NULL);
	expect(&q, BROKER_PLACE_GLOBAL, "/", "/usr/lib/debug///app.debug");
	memset(long_one, 'x', sizeof(long_one));
	for (size_t i = 0; i < sizeof(long_one); i += 200)
		long_one[i] = '/';
	long_one[sizeof(long_one) - 1] = '\0';
	expect(&q, BROKER_PLACE_BELOW, long_one, NULL);
}

static void test_cache(void **state)
{
	char to[BROKER_MAX_PATH];

	setenv("HOME", "/root", 1);
	unsetenv("XDG_CACHE_HOME");
	unsetenv("DEBUGINFOD_CACHE_PATH");
	debug_file_cache(to);
	assert_string_equal(to, "/root/.cache/debuginfod_client");
	setenv("XDG_CACHE_HOME", "/c", 1);
	debug_file_cache(to);
	assert_string_equal(to, "/c/debuginfod_client");
	setenv("DEBUGINFOD_CACHE_PATH", "/d", 1);
	debug_file_cache(to);
	assert_string_equal(to, "/d");
	setenv("DEBUGINFOD_CACHE_PATH", "relative", 1);
	setenv("XDG_CACHE_HOME", "", 1);
	unsetenv("HOME");
	debug_file_cache(to);
	assert_string_equal(to, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_names_that_lead_elsewhere),
		cmocka_unit_test(test_dwz_names_that_lead_elsewhere),
		cmocka_unit_test(test_a_name_without_an_end),
		cmocka_unit_test(test_lengths_of_build_ids),
		cmocka_unit_test(test_directories),
		cmocka_unit_test(test_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
