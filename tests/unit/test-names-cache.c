/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/serve/names_cache.h"

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct names_cache));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	names_cache_deinit(*state);
	free(*state);
	return 0;
}

static void line(struct names_cache *c, const char *name, const char *system_name, const char *file,
		 uint32_t number)
{
	struct symbolizer_frame f = { .line = number,
				      .start_line = 3,
				      .n_name = (uint16_t)strlen(name),
				      .n_system_name = (uint16_t)strlen(system_name),
				      .n_file = (uint16_t)strlen(file) };

	assert_int_equal(names_cache_add_line(c, &f, name, system_name, file), 0);
}

static bool text_is(const struct names_cache *c, struct cached_text t, const char *wanted)
{
	return t.n == strlen(wanted) && !memcmp(c->text.data + t.first, wanted, t.n);
}

static void test_address_is_known_once_it_is_told(void **state)
{
	struct names_cache *c = *state;
	const struct cached_address *a;
	const struct cached_function *f;

	assert_null(names_cache_find(c, 5));
	line(c, "inlined", "_Z7inlinedv", "a.c", 10);
	line(c, "outer", "outer", "a.c", 20);
	assert_int_equal(names_cache_add_address(c, (struct cached_address){ 5, 0, 0, 2 }), 0);
	a = names_cache_find(c, 5);
	assert_non_null(a);
	assert_int_equal(a->n_lines, 2);
	assert_int_equal(c->lines.data[a->first_line].line, 10);
	f = &c->functions.data[c->lines.data[a->first_line].function];
	assert_true(text_is(c, f->name, "inlined") && text_is(c, f->system_name, "_Z7inlinedv"));
	assert_true(text_is(c, f->file, "a.c"));
	assert_int_equal(f->start_line, 3);
	assert_null(names_cache_find(c, 6));
}

static void test_first_answer_for_an_address_stays(void **state)
{
	struct names_cache *c = *state;

	names_cache_add_address(c, (struct cached_address){ 5, 1, 0, 0 });
	names_cache_add_address(c, (struct cached_address){ 5, 2, 0, 0 });
	assert_int_equal(names_cache_find(c, 5)->shown, 1);
	assert_int_equal(c->addresses.n, 1);
}

static void test_equal_texts_and_functions_are_stored_once(void **state)
{
	struct names_cache *c = *state;

	for (uint32_t i = 0; i < 1000; i++)
		line(c, "f", "_Z1fv", "a.c", i);
	line(c, "f", "_Z1fi", "a.c", 1);
	assert_int_equal(c->lines.n, 1001);
	assert_int_equal(c->functions.n, 2);
	assert_int_equal(c->texts.n, 4);
	assert_int_equal(c->text.n, 1 + 5 + 5 + 3);
}

static void test_empty_texts_are_texts(void **state)
{
	struct names_cache *c = *state;

	line(c, "", "", "", 0);
	line(c, "f", "", "", 0);
	assert_true(text_is(c, c->functions.data[0].name, ""));
	assert_true(text_is(c, c->functions.data[1].file, ""));
}

static void test_many_addresses_stay_apart(void **state)
{
	struct names_cache *c = *state;

	for (uint64_t i = 0; i < 50000; i++)
		names_cache_add_address(c, (struct cached_address){ i << 40 | 7, i, 0, 0 });
	for (uint64_t i = 0; i < 50000; i++)
		assert_int_equal(names_cache_find(c, i << 40 | 7)->shown, i);
}

static void test_full_cache_is_emptied_and_that_is_counted(void **state)
{
	struct names_cache *c = *state;

	line(c, "f", "f", "a.c", 1);
	names_cache_bound(c);
	assert_int_equal(c->lines.n, 1);
	for (uint64_t i = 0; i < NAMES_CACHE_MAX; i++)
		names_cache_add_address(c, (struct cached_address){ i, i, 0, 0 });
	names_cache_bound(c);
	assert_int_equal(c->n_emptied, 1);
	assert_int_equal(c->addresses.n, 0);
	assert_int_equal(c->lines.n, 0);
	assert_null(names_cache_find(c, 1));
	line(c, "f", "f", "a.c", 1);
	assert_int_equal(c->lines.n, 1);
}

static void test_text_is_bounded_too(void **state)
{
	struct names_cache *c = *state;
	char name[1025];

	for (unsigned i = 0; i < 65 << 10; i++) {
		snprintf(name, sizeof(name), "%01023u", i);
		line(c, name, "", "", 1);
	}
	names_cache_bound(c);
	assert_int_equal(c->n_emptied, 1);
	assert_int_equal(c->text.n, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_address_is_known_once_it_is_told),
		TEST(test_first_answer_for_an_address_stays),
		TEST(test_equal_texts_and_functions_are_stored_once),
		TEST(test_empty_texts_are_texts),
		TEST(test_many_addresses_stay_apart),
		TEST(test_full_cache_is_emptied_and_that_is_counted),
		TEST(test_text_is_bounded_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
