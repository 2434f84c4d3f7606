/* SPDX-License-Identifier: Apache-2.0 */

/* Paths of .dwo files, out of a stranger's words. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/broker/dwo_file.h"

/* NULL: there is none. */
static void expect(const struct broker_dwo *q, enum broker_dwo_place place, const char *beside, const char *path)
{
	char to[BROKER_MAX_PATH];

	assert_int_equal(dwo_file_path(q, place, beside, to), path != NULL);
	if (path)
		assert_string_equal(to, path);
}

static void test_where_the_compiler_said(void **state)
{
	expect(&(struct broker_dwo){ .name = "a.dwo", .directory = "/build" }, BROKER_DWO_AS_TOLD, "", "/build/a.dwo");
	expect(&(struct broker_dwo){ .name = "d/../a.dwo", .directory = "/build/x" }, BROKER_DWO_AS_TOLD, "/usr",
	       "/build/x/d/../a.dwo");
	expect(&(struct broker_dwo){ .name = "/build/a.dwo", .directory = "" }, BROKER_DWO_AS_TOLD, "", "/build/a.dwo");
	expect(&(struct broker_dwo){ .name = "/build/a.dwo", .directory = "/other" }, BROKER_DWO_AS_TOLD, "",
	       "/build/a.dwo");
	expect(&(struct broker_dwo){ .name = "a.o", .directory = "/build" }, BROKER_DWO_AS_TOLD, "", "/build/a.o");
	expect(&(struct broker_dwo){ .name = "a.dwo", .directory = "" }, BROKER_DWO_AS_TOLD, "/usr/bin", NULL);
	expect(&(struct broker_dwo){ .name = "a.dwo", .directory = "build" }, BROKER_DWO_AS_TOLD, "/usr/bin", NULL);
}

static void test_beside_the_file(void **state)
{
	struct broker_dwo q = { .name = "obj/a.dwo", .directory = "/build" };

	expect(&q, BROKER_DWO_BESIDE, "/usr/bin", "/usr/bin/obj/a.dwo");
	expect(&q, BROKER_DWO_LAST_PART, "/usr/bin", "/usr/bin/a.dwo");
	expect(&q, BROKER_DWO_BESIDE, "", NULL);
	expect(&q, BROKER_DWO_LAST_PART, "", NULL);
	strcpy(q.name, "/build/obj/a.dwo");
	expect(&q, BROKER_DWO_BESIDE, "/usr/bin", NULL);
	expect(&q, BROKER_DWO_LAST_PART, "/usr/bin", "/usr/bin/a.dwo");
}

static void test_what_is_no_dwo(void **state)
{
	static const char *const names[] = { "",	  "/etc/shadow", "a.dwo/",	".dwo",	   "/x/.dwo", "a.dwp",
					     "a.dwo/..", "a.DWO",	 "a.dwo\n", "dwo", "a.dwo/../b", "/x/.o", "o" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct broker_dwo q = { .directory = "/build" };

		strcpy(q.name, names[i]);
		for (int place = 0; place < BROKER_N_DWO_PLACES; place++)
			expect(&q, place, "/usr/bin", NULL);
	}
}

static void test_what_does_not_end(void **state)
{
	struct broker_dwo q = { .directory = "/build" };

	memset(q.name, 'x', sizeof(q.name));
	expect(&q, BROKER_DWO_AS_TOLD, "/usr/bin", NULL);
	memcpy(q.name + sizeof(q.name) - 5, ".dwo", 5);
	assert_true(dwo_file_path(&q, BROKER_DWO_AS_TOLD, "/", (char[BROKER_MAX_PATH]){ 0 }));
	memset(q.directory, '/', sizeof(q.directory));
	expect(&q, BROKER_DWO_AS_TOLD, "/usr/bin", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_where_the_compiler_said),
		cmocka_unit_test(test_beside_the_file),
		cmocka_unit_test(test_what_is_no_dwo),
		cmocka_unit_test(test_what_does_not_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
