/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "daemon/serve/index.h"

#define HEAD                                                                                       \
	"<html>\n<head>\n<title>/debug/pprof/</title>\n<style>\n.profile-name{\n"                  \
	"\tdisplay:inline-block;\n\twidth:6rem;\n}\n</style>\n</head>\n<body>\n/debug/pprof/\n"    \
	"<br>\n<p>Set debug=1 as a query parameter to export in legacy text format</p>\n<br>\n"    \
	"Types of profiles available:\n<table>\n"                                                  \
	"<thead><td>Count</td><td>Profile</td></thead>\n"
#define MIDDLE "<br>\n<p>\nProfile Descriptions:\n<ul>\n"
/* the one line that Go does not have */
#define PAGE "<a href=\"../../\">flame graphs and history</a>\n"
#define TAIL "</ul>\n</p>\n</body>\n</html>"

static uint64_t count(void *context, const struct profile *p)
{
	return p->collector ? *(uint64_t *)context : 0;
}

static void test_page_is_gos(void **state)
{
	static const struct profile table[] = {
		{ .name = "profile", .help = "CPU & more" },
		{ .name = "goroutine", .collector = 1, .help = "threads" },
		{ .name = "a<b' c", .help = "odd" },
	};
	_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;
	uint64_t n = 12;

	index_page_of(&b, table, 3, count, &n);
	assert_string_equal(bytes_text(&b), HEAD
			    "<tr><td>0</td><td><a href='a%3Cb%27%20c?debug=1'>a&lt;b&#39; "
			    "c</a></td></tr>\n"
			    "<tr><td>12</td><td><a "
			    "href='goroutine?debug=1'>goroutine</a></td></tr>\n"
			    "<tr><td>0</td><td><a href='profile?debug=1'>profile</a></td></tr>\n"
			    "</table>\n"
			    "<a href=\"goroutine?debug=2\">full goroutine stack dump</a>\n" PAGE MIDDLE
			    "<li><div class=profile-name>a&lt;b&#39; c: </div> odd</li>\n"
			    "<li><div class=profile-name>goroutine: </div> threads</li>\n"
			    "<li><div class=profile-name>profile: </div> CPU &amp; "
			    "more</li>\n" TAIL);
}

static void test_no_dump_link_without_its_row(void **state)
{
	static const struct profile table[] = { { .name = "goroutines", .help = "no" } };
	_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;
	uint64_t n = 0;

	index_page_of(&b, table, 1, count, &n);
	assert_null(strstr(bytes_text(&b), "full goroutine stack dump"));
	assert_non_null(strstr(bytes_text(&b), "</table>\n" PAGE MIDDLE));
}

static void test_page_has_every_row_of_the_table(void **state)
{
	_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;
	_cleanup_(bytes_deinit) struct bytes row = BYTES_INIT;
	uint64_t n = 3;
	const char *last = "";

	index_page(&b, count, &n);
	assert_true(n_profiles > 0);
	for (size_t i = 0; i < n_profiles; i++) {
		const char *at;

		bytes_clear(&row);
		bytes_printf(&row, "<a href='%s?debug=1'>%s</a>", profiles[i].name,
			     profiles[i].name);
		at = strstr(bytes_text(&b), bytes_text(&row));
		assert_non_null(at);
		/* The table is sorted, so the page's order is the table's. */
		assert_true(!*last || at > last);
		last = at;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_page_is_gos),
		cmocka_unit_test(test_no_dump_link_without_its_row),
		cmocka_unit_test(test_page_has_every_row_of_the_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
