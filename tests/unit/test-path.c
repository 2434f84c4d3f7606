/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "daemon/serve/path.h"

struct claim {
	const char *target, *text;
};

static void expect(const struct claim *c, int verdict)
{
	_cleanup_(path_deinit) struct path p = { 0 };
	int r = path_parse(c->target, &p);

	if (r != verdict)
		fail_msg("%s: verdict %d", c->target, r);
	if (r == PATH_OK)
		assert_string_equal(p.text, c->text);
	if (r == PATH_REDIRECT)
		assert_string_equal(p.location, c->text);
}

#define EXPECT_ALL(claims, verdict)                                                                \
	for (size_t i = 0; i < sizeof(claims) / sizeof(*claims); i++)                              \
	expect(&(claims)[i], verdict)

static void test_clean_paths_are_decoded(void **state)
{
	static const struct claim claims[] = {
		{ "/", "/" },
		{ "/debug/pprof/", "/debug/pprof/" },
		{ "/debug/pprof/%68eap?debug=1", "/debug/pprof/heap" },
		{ "/debug/pprof/heap/", "/debug/pprof/heap/" },
		{ "/debug/pprof/a%2Fb%20c", "/debug/pprof/a/b c" },
		{ "/%64ebug/%70prof/x", "/debug/pprof/x" },
		{ "/pid/12/debug/pprof/heap", "/pid/12/debug/pprof/heap" },
		{ "/pid/%31%32/debug/pprof/", "/pid/12/debug/pprof/" },
		{ "/t/a%20b/debug/pprof/a%2Fb", "/t/a b/debug/pprof/a/b" },
		{ "/t/a%2Fb/debug/pprof/heap", "/t/a%2Fb/debug/pprof/heap" },
		{ "/a.b/..c/...", "/a.b/..c/..." },
		{ "/\xc3\xa9", "/\xc3\xa9" },
	};

	EXPECT_ALL(claims, PATH_OK);
}

/* A proxy that denies /debug/pprof by name must not be fooled. */
static void test_encoded_slash_is_no_separator(void **state)
{
	static const struct claim claims[] = {
		{ "/debug%2Fpprof/heap", "/debug%2Fpprof/heap" },
		{ "/debug%2fpprof%2fheap", "/debug%2Fpprof%2Fheap" },
		{ "/pid%2F1/debug/pprof/", "/pid%2F1/debug/pprof/" },
		{ "/pid/1%2F2/debug/pprof/", "/pid/1%2F2/debug/pprof/" },
		{ "/pid/x/debug/pprof/a%2Fb", "/pid/x/debug/pprof/a%2Fb" },
	};

	EXPECT_ALL(claims, PATH_OK);
}

static void test_encoded_dots_are_names(void **state)
{
	static const struct claim claims[] = {
		{ "/debug/pprof/%2e%2e/x", "/debug/pprof/../x" },
		{ "/%2e", "/." },
	};

	EXPECT_ALL(claims, PATH_OK);
}

static void test_nul_does_not_end_a_name(void **state)
{
	static const struct claim claims[] = {
		{ "/debug/pprof/profile%00", "/debug/pprof/profile\xef\xbf\xbd" },
		{ "/%00", "/\xef\xbf\xbd" },
	};

	EXPECT_ALL(claims, PATH_OK);
}

static void test_unclean_paths_are_redirected(void **state)
{
	static const struct claim claims[] = {
		{ "//", "/" },
		{ "/debug/pprof//heap", "/debug/pprof/heap" },
		{ "/debug/pprof/../pprof/cmdline?a=b", "/debug/pprof/cmdline?a=b" },
		{ "/debug/pprof/./", "/debug/pprof/" },
		{ "/a/..", "/" },
		{ "/../../a/", "/a/" },
		{ "/a/b/../", "/a/" },
		{ "/a//b?x=//..", "/a/b?x=//.." },
		{ "/a//%20b", "/a/%20b" },
		{ "/a//b?", "/a/b" },
	};

	EXPECT_ALL(claims, PATH_REDIRECT);
}

static void test_tree_gets_its_slash(void **state)
{
	static const struct claim claims[] = {
		{ "/debug/pprof", "/debug/pprof/" },
		{ "/debug/pprof?x=1&y", "/debug/pprof/?x=1&y" },
		{ "/%64ebug/pprof", "/debug/pprof/" },
		{ "/debug//pprof", "/debug/pprof/" },
		{ "/pid/12/debug/pprof", "/pid/12/debug/pprof/" },
		{ "/t/a%0d%0ab/debug/pprof", "/t/a%0d%0ab/debug/pprof/" }, /* no header of its own */
	};
	static const struct claim others[] = {
		{ "/debug", "/debug" },
		{ "/debug/pproff", "/debug/pproff" },
		{ "/pid/12", "/pid/12" },
		{ "/pid/x/debug/pprof", "/pid/x/debug/pprof" },
		{ "/x/debug/pprof", "/x/debug/pprof" },
	};

	EXPECT_ALL(claims, PATH_REDIRECT);
	EXPECT_ALL(others, PATH_OK);
}

static void test_location_never_leaves_the_server(void **state)
{
	static const struct claim claims[] = {
		{ "//evil.example", "/evil.example" },	    { "///evil.example/..//x", "/x" },
		{ "//\\evil.example", "/%5Cevil.example" }, { "/x//\"<>", "/x/%22%3C%3E" },
		{ "/x//?\xc3\xa9\"", "/x/?%c3%a9\"" },
	};

	EXPECT_ALL(claims, PATH_REDIRECT);
}

static void test_malformed_targets(void **state)
{
	static const struct claim claims[] = {
		{ "", NULL },		{ "*", NULL },	      { "debug/pprof/", NULL },
		{ "/%", NULL },		{ "/%4", NULL },      { "/%zz", NULL },
		{ "/a b", NULL },	{ "/a\tb", NULL },    { "/a?\x01", NULL },
		{ "/a\x7f", NULL },	{ "ftp://h/", NULL }, { "localhost:80", NULL },
		{ "//x/%4g/..", NULL },
	};

	EXPECT_ALL(claims, PATH_MALFORMED);
}

static void test_query_may_hold_what_it_likes(void **state)
{
	_cleanup_(path_deinit) struct path p = { 0 };

	assert_int_equal(path_parse("/debug/pprof/heap?a=%zz&b=?/..;", &p), PATH_OK);
	assert_string_equal(p.text, "/debug/pprof/heap");
	assert_string_equal(p.raw_query, "a=%zz&b=?/..;");
	assert_null(p.authority);
}

static void test_absolute_targets_name_their_host(void **state)
{
	static const struct {
		const char *target, *authority, *text, *query;
	} claims[] = {
		{ "http://h:1/debug/pprof/heap?x", "h:1", "/debug/pprof/heap", "x" },
		{ "HTTPS://[::1]/", "[::1]", "/", "" },
		{ "http://h", "h", "/", "" },
		{ "http://h?a/b", "h", "/", "a/b" },
		{ "http://u@h/x", "u@h", "/x", "" },
		{ "http:///x", "", "/x", "" },
	};

	for (size_t i = 0; i < sizeof(claims) / sizeof(*claims); i++) {
		_cleanup_(path_deinit) struct path p = { 0 };

		assert_int_equal(path_parse(claims[i].target, &p), PATH_OK);
		assert_string_equal(p.authority, claims[i].authority);
		assert_string_equal(p.text, claims[i].text);
		assert_string_equal(p.raw_query, claims[i].query);
	}
}

static void test_redirect_body_is_escaped(void **state)
{
	_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;

	path_redirect_body(&b, "/debug/pprof/?a=\"<'>&");
	assert_string_equal(bytes_text(&b), "<a href=\"/debug/pprof/?a=&#34;&lt;&#39;&gt;&amp;\">"
					    "Temporary Redirect</a>.\n\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean_paths_are_decoded),
		cmocka_unit_test(test_encoded_slash_is_no_separator),
		cmocka_unit_test(test_encoded_dots_are_names),
		cmocka_unit_test(test_nul_does_not_end_a_name),
		cmocka_unit_test(test_unclean_paths_are_redirected),
		cmocka_unit_test(test_tree_gets_its_slash),
		cmocka_unit_test(test_location_never_leaves_the_server),
		cmocka_unit_test(test_malformed_targets),
		cmocka_unit_test(test_query_may_hold_what_it_likes),
		cmocka_unit_test(test_absolute_targets_name_their_host),
		cmocka_unit_test(test_redirect_body_is_escaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
