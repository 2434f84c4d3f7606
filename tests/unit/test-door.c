/* SPDX-License-Identifier: Apache-2.0 */

/* Passwords, rates, redaction, the audit's line. */

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/door/audit.h"
#include "daemon/serve/door/password.h"
#include "daemon/serve/door/rate.h"
#include "daemon/serve/door/redact.h"

#define SECRET "$2b$04$a3H0C7fM1Gx3b1d.7xjSKezRDHY3s4EdcgyPOvQOcj.OB2/DcdjyS"
#define OTHER "$2b$04$TT9WvhNcxeF0Dcpydjvg7ehigbBBtHvkR5vGquVTbF.KdzWQpuYsi"
#define PROM_SECRET "Basic cHJvbTpzZWNyZXQ="

static const struct password_user users[] = { { "prom", SECRET }, { "other", OTHER } };

static struct passwords *passwords(void)
{
	struct passwords *p;

	assert_int_equal(passwords_new(&p), 0);
	return p;
}

static enum password_verdict check(struct passwords *p, const char *authorization)
{
	char user[PASSWORD_MAX_USER];

	return password_check(p, users, 2, authorization, user);
}

static void test_passwords(void **state)
{
	static const struct {
		const char *authorization;
		enum password_verdict verdict;
	} claims[] = {
		{ PROM_SECRET, PASSWORD_OK },
		{ "basic   cHJvbTpzZWNyZXQ ", PASSWORD_OK }, /* no padding */
		{ "Basic b3RoZXI6b3RoZXI=", PASSWORD_OK },
		{ "Basic cHJvbTpvdGhlcg==", PASSWORD_WRONG },	 /* prom:other */
		{ "Basic b3RoZXI6c2VjcmV0", PASSWORD_WRONG },	 /* other:secret */
		{ "Basic bm9ib2R5OnNlY3JldA==", PASSWORD_WRONG }, /* nobody:secret */
		{ "Basic bm9ib2R5Om90aGVy", PASSWORD_WRONG },	 /* nobody:other */
		{ "Basic cHJvbTpzZWNyZXQAeA==", PASSWORD_WRONG }, /* prom:secret\0x */
		{ "Basic cHJvbTpzZWNyZXQA", PASSWORD_WRONG },	 /* prom:secret\0 */
		{ "Basic cHJvbTo=", PASSWORD_WRONG },		 /* prom: */
		{ "Basic OnNlY3JldA==", PASSWORD_WRONG },	 /* :secret */
		{ "Basic cHJvbQ==", PASSWORD_WRONG },		 /* prom */
		{ "Basic cHJvbTpzZWNyZXQ=x", PASSWORD_WRONG },
		{ "Basic cHJvb!pzZWNyZXQ=", PASSWORD_WRONG },
		{ "Basic c", PASSWORD_WRONG },
		{ "Basic ", PASSWORD_WRONG },
		{ "Basic", PASSWORD_WRONG },
		{ "Bearer cHJvbTpzZWNyZXQ=", PASSWORD_WRONG },
		{ "", PASSWORD_WRONG },
		{ NULL, PASSWORD_WRONG },
	};
	struct passwords *p = passwords();

	for (int again = 0; again < 2; again++)
		for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++)
			if (check(p, claims[i].authorization) != claims[i].verdict)
				fail_msg("%s", claims[i].authorization);
	passwords_free(p);
}

static void test_who_it_is(void **state)
{
	struct passwords *p = passwords();
	char user[PASSWORD_MAX_USER], large[4096] = "Basic ";

	assert_int_equal(password_check(p, users, 2, PROM_SECRET, user), PASSWORD_OK);
	assert_string_equal(user, "prom");
	assert_int_equal(password_check(p, users, 2, "Basic eDp5", user), PASSWORD_WRONG);
	assert_string_equal(user, "x");
	assert_int_equal(password_check(p, users, 0, PROM_SECRET, user), PASSWORD_WRONG);
	memset(large + 6, 'A', sizeof(large) - 7);
	assert_int_equal(password_check(p, users, 2, large, user), PASSWORD_WRONG);
	assert_string_equal(user, "");
	passwords_free(p);
}

/* What was looked at is remembered, right or wrong; a new hash is looked at anew. */
static void test_remembered(void **state)
{
	const struct password_user changed[] = { { "prom", OTHER } };
	struct passwords *p = passwords();
	char user[PASSWORD_MAX_USER];

	for (int i = 0; i < 5; i++)
		assert_int_equal(check(p, PROM_SECRET), PASSWORD_OK);
	assert_int_equal(passwords_n_checked(p), 1);
	for (int i = 0; i < 5; i++)
		assert_int_equal(check(p, "Basic bm9ib2R5OnNlY3JldA=="), PASSWORD_WRONG);
	assert_int_equal(passwords_n_checked(p), 2);
	assert_int_equal(password_check(p, changed, 1, PROM_SECRET, user), PASSWORD_WRONG);
	assert_int_equal(password_check(p, changed, 1, "Basic cHJvbTpvdGhlcg==", user), PASSWORD_OK);
	assert_int_equal(check(p, PROM_SECRET), PASSWORD_OK);
	passwords_free(p);
}

/* A name that was looked at while nobody had it becomes somebody's, with the hash that stood in for it. */
static void test_new_user(void **state)
{
	const struct password_user before[] = { { "a", SECRET } }, after[] = { { "prom", SECRET } };
	struct passwords *p = passwords();
	char user[PASSWORD_MAX_USER];

	assert_int_equal(password_check(p, before, 1, PROM_SECRET, user), PASSWORD_WRONG);
	assert_int_equal(password_check(p, after, 1, PROM_SECRET, user), PASSWORD_OK);
	passwords_free(p);
}

static void *ask(void *p)
{
	return (void *)(intptr_t)check(p, PROM_SECRET);
}

static void test_many_at_once_are_one_check(void **state)
{
	struct passwords *p = passwords();
	pthread_t threads[200];
	void *verdict;

	for (size_t i = 0; i < 200; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask, p), 0);
	for (size_t i = 0; i < 200; i++) {
		pthread_join(threads[i], &verdict);
		assert_int_equal((intptr_t)verdict, PASSWORD_OK);
	}
	assert_int_equal(passwords_n_checked(p), 1);
	passwords_free(p);
}

struct guess {
	struct passwords *p;
	unsigned i;
	enum password_verdict verdict;
};

static void *guess(void *context)
{
	struct guess *g = context;
	char text[64];

	snprintf(text, sizeof(text), "Basic cHJvbTp%c%c%cA", 'A' + (int)(g->i / 26 % 26), 'a' + (int)(g->i % 26),
		 'a' + (int)(g->i / 676));
	g->verdict = check(g->p, text);
	return NULL;
}

/* However many different ones come, each gets its word: no, or later. */
static void test_many_guesses(void **state)
{
	struct passwords *p = passwords();
	static struct guess guesses[300];
	pthread_t threads[300];

	for (unsigned i = 0; i < 300; i++) {
		guesses[i] = (struct guess){ p, i, PASSWORD_OK };
		assert_int_equal(pthread_create(&threads[i], NULL, guess, &guesses[i]), 0);
	}
	for (unsigned i = 0; i < 300; i++) {
		pthread_join(threads[i], NULL);
		assert_int_not_equal(guesses[i].verdict, PASSWORD_OK);
	}
	assert_int_equal(check(p, PROM_SECRET), PASSWORD_OK);
	passwords_free(p);
}

static void test_rate(void **state)
{
	struct rates *r;
	int64_t wait, now = 1000 * NS_PER_S;
	unsigned n = 0;

	assert_int_equal(rates_new(100, &r), 0);
	while (rates_take(r, 7, now, &wait))
		n++;
	assert_int_equal(n, 100); /* a second's worth at once */
	assert_int_equal(wait, NS_PER_S / 100);
	assert_true(rates_take(r, 8, now, &wait)); /* others do not mind */
	assert_false(rates_take(r, 7, now + NS_PER_S / 100 - 1, &wait));
	assert_int_equal(wait, 1);
	assert_true(rates_take(r, 7, now + NS_PER_S / 100, &wait));
	assert_false(rates_take(r, 7, now + NS_PER_S / 100, &wait));
	for (n = 0; rates_take(r, 7, now + 100 * NS_PER_S, &wait);)
		n++;
	assert_int_equal(n, 100);
	rates_free(r);
	assert_int_equal(rates_new(1, &r), 0);
	for (n = 0; rates_take(r, 7, now, &wait);)
		n++;
	assert_int_equal(n, 10);
	rates_free(r);
}

/* A million clients: no more memory, none is turned away at its first request. */
static void test_rate_of_many(void **state)
{
	struct rates *r;
	int64_t wait;

	assert_int_equal(rates_new(1, &r), 0);
	for (uint64_t i = 0; i < 1000000; i++)
		if (!rates_take(r, i * 0x9e3779b97f4a7c15ull, NS_PER_S + (int64_t)i, &wait))
			fail_msg("client %u", (unsigned)i);
	rates_free(r);
}

static void redacts(char *(*f)(char *), const char *text, const char *to)
{
	char copy[256];

	snprintf(copy, sizeof(copy), "%s", text);
	assert_string_equal(f(copy), to);
}

static void test_paths(void **state)
{
	static const struct {
		const char *path, *is;
	} paths[] = { { "/usr/lib/libc.so.6", "libc.so.6" }, { "a.c", "a.c" }, { "../x/a.c", "a.c" }, { "", "" }, { "/", "/" },
		      { "///", "///" }, { "/a/b/", "b" }, { "[vdso]", "[vdso]" }, { "/memfd:x y (deleted)", "memfd:x y (deleted)" } },
	  words[] = {
		  { "main", "main" },
		  { "operator/", "operator/" },
		  { "a::operator/(b const&)", "a::operator/(b const&)" },
		  { "LazyCompile:*go /srv/app/x.js:3:7", "LazyCompile:*go x.js:3:7" },
		  { "JS:~ file:///srv/app/x.mjs:1:1", "JS:~ x.mjs:1:1" },
		  { "f()::{lambda at /home/u/a.cc:3:1}", "f()::{lambda at a.cc:3:1}" },
		  { "f(../x/y.c) and ./z/w", "f(y.c) and w" },
		  { "JS:^f C:\\Users\\u\\x.js:1", "JS:^f x.js:1" },
		  { "a / b", "a / b" },
		  { "github.com/x.(*T).f", "github.com/x.(*T).f" },
		  { "", "" },
		  { "/", "/" },
	  };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		redacts(redact_path, paths[i].path, paths[i].is);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		redacts(redact_words, words[i].path, words[i].is);
}

static void test_cmdline(void **state)
{
	static const char line[] = "/usr/bin/x\0--password\0y";
	struct bytes b = BYTES_INIT;

	bytes_add(&b, line, sizeof(line));
	redact_cmdline(&b);
	assert_int_equal(b.n, 1);
	assert_memory_equal(b.data, "x", 1);
	bytes_deinit(&b);
	redact_cmdline(&b);
	assert_int_equal(b.n, 0);
	bytes_deinit(&b);
}

static void test_audit_line(void **state)
{
	struct audit_entry e = { .client = "::1", .user = "a\"b\n", .target = "/x?\\\x1b\xc3\xa4", .pid = 7, .status = 200,
				 .took_ns = 12345678, .n_bytes = 9 };
	struct bytes b = BYTES_INIT;
	char large[2000];

	audit_line(&b, &e);
	assert_string_equal(bytes_text(&b), "audit: client=\"::1\" user=\"a\\\"b\\x0a\" pid=7 path=\"/x?\\\\\\x1b\\xc3\\xa4\" "
					    "status=200 ms=12 bytes=9");
	bytes_clear(&b);
	memset(large, '\n', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	e = (struct audit_entry){ .client = "uid 0", .user = "", .target = large };
	audit_line(&b, &e);
	assert_true(b.n < 1300);
	assert_non_null(strstr(bytes_text(&b), "\\x0a...\" status=gone ms=0 bytes=0"));
	bytes_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_passwords),
		cmocka_unit_test(test_who_it_is),
		cmocka_unit_test(test_remembered),
		cmocka_unit_test(test_new_user),
		cmocka_unit_test(test_many_at_once_are_one_check),
		cmocka_unit_test(test_many_guesses),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_rate_of_many),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_cmdline),
		cmocka_unit_test(test_audit_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
