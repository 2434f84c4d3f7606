/* SPDX-License-Identifier: Apache-2.0 */

/* Where --remote leads, and what is asked there. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/broker/remote.h"

static void test_places(void **state)
{
	static const struct {
		const char *url, *host, *port, *base;
	} claims[] = {
		{ "http://localhost:6060", "localhost", "6060", "/debug/pprof/" },
		{ "http://:6060", "localhost", "6060", "/debug/pprof/" },
		{ "http://a.example", "a.example", "80", "/debug/pprof/" },
		{ "http://[::1]:1/", "::1", "1", "/debug/pprof/" },
		{ "http://[::1]", "::1", "80", "/debug/pprof/" },
		{ "http://h:1/pid/7", "h", "1", "/pid/7/debug/pprof/" },
		{ "http://h:1/pid/7/debug/pprof", "h", "1", "/pid/7/debug/pprof/" },
		{ "http://h:1/debug/pprof/", "h", "1", "/debug/pprof/" },
	};
	struct remote_place p;

	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		assert_int_equal(remote_parse(claims[i].url, &p), 0);
		assert_string_equal(p.host, claims[i].host);
		assert_string_equal(p.port, claims[i].port);
		assert_string_equal(p.base, claims[i].base);
		assert_string_equal(p.socket, "");
	}
	assert_int_equal(remote_parse("unix:/run/x", &p), 0);
	assert_string_equal(p.socket, "/run/x");
	assert_string_equal(p.base, "/debug/pprof/");
}

static void test_no_places(void **state)
{
	static const char *const urls[] = {
		"", "localhost:6060", "https://h", "unix:", "http://h:x", "http://h:", "http://h:123456789", "http://[::1",
		"http://[::1]x", "http://h/debug/pprof/heap", "http://h/?a", "http://h/a b", "http://h\r\nX: y", "http://u@h",
	};
	struct remote_place p;
	char text[1024] = "unix:";

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
		assert_true(remote_parse(urls[i], &p) < 0);
	memset(text + 5, 'x', sizeof(text) - 6);
	text[sizeof(text) - 1] = '\0';
	assert_true(remote_parse(text, &p) < 0);
	memcpy(text, "http://", 7);
	assert_true(remote_parse(text, &p) < 0);
	text[8] = '/';
	assert_true(remote_parse(text, &p) < 0);
}

static void test_what_is_asked(void **state)
{
	static const struct {
		struct options o;
		bool terminal;
		const char *target;
	} claims[] = {
		{ { .profile = "heap" }, false, "/b/heap" },
		{ { .profile = "heap" }, true, "/b/heap?format=top" },
		{ { .profile = "heap", .debug = 1 }, true, "/b/heap?debug=1" },
		{ { .profile = "heap", .seconds = 3, .seconds_given = true }, false, "/b/heap?seconds=3" },
		{ { .profile = "profile", .seconds = 3600 }, false, "/b/profile?seconds=10" },
		{ { .profile = "goroutine" }, true, "/b/goroutine?format=dump" },
		{ { .profile = "a/b \303\251..", .format = FORMAT_FOLDED }, false, "/b/a%2Fb%20%C3%A9%2E%2E?format=folded" },
	};
	char text[256];

	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		remote_target(&claims[i].o, "/b/", claims[i].terminal, text, sizeof(text));
		assert_string_equal(text, claims[i].target);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_no_places),
		cmocka_unit_test(test_what_is_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
