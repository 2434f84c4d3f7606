/* SPDX-License-Identifier: Apache-2.0 */

/* The file of --web.config.file, and those it names, as they come and change. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/broker/web.h"

#define HASH "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
#define TLS "tls_server_config: {cert_file: c, key_file: k}\n"
#define USERS "basic_auth_users: {a: " HASH "}\n"

static char dir[64], config[96], error[WEB_MAX_TEXT];
static struct web w;

/* By a rename, so that two that follow at once differ in their inodes. */
static void write_file(const char *name, const char *text)
{
	char path[128], new[136];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	snprintf(new, sizeof(new), "%s.new", path);
	f = fopen(new, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(new, path), 0);
}

static int begin(void **state)
{
	strcpy(dir, "/tmp/pprofd-web-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(config, sizeof(config), "%s/web.yml", dir);
	w = (struct web)WEB_NONE;
	write_file("c", "cert");
	write_file("k", "key");
	write_file("web.yml", TLS USERS);
	return 0;
}

static int end(void **state)
{
	static const char *const names[] = { "web.yml", "c", "k", "k2", "fifo" };
	char path[128];

	web_close(&w);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	return rmdir(dir);
}

static void test_what_serve_gets(void **state)
{
	static const char *const texts[] = { "a", "cert", "key" };
	static struct record r;
	struct broker_web got;
	char text[256];

	assert_int_equal(web_open(&w, config, error), 0);
	assert_int_equal(web_record(&w, 0, &r), 0);
	assert_int_equal(r.n, sizeof(got));
	memcpy(&got, r.data, sizeof(got));
	assert_int_equal(got.generation, 1);
	assert_int_equal(got.has, 1 << BROKER_PEM_CERT | 1 << BROKER_PEM_KEY);
	assert_true(got.tls && got.n_users == 1 && !got.n_sans && !got.n_headers);
	assert_int_equal(r.n_fds, 3);
	for (int i = 0; i < 3; i++) {
		ssize_t n = pread(r.fds[i], text, sizeof(text) - 1, 0);

		assert_true(n > 0);
		text[n] = '\0';
		assert_string_equal(text, texts[i]);
		assert_int_equal(write(r.fds[i], "x", 1), -1);
	}
	record_close_fds(&r);
	assert_int_equal(web_record(&w, 1, &r), 0);
	assert_int_equal(r.n + r.n_fds, 0);
}

static void test_changes(void **state)
{
	assert_int_equal(web_open(&w, config, error), 0);
	assert_int_equal(web_look(&w, false, error), 0);
	write_file("k", "another");
	assert_int_equal(web_look(&w, false, error), 1);
	assert_int_equal(web_look(&w, false, error), 0);
	assert_int_equal(w.generation, 2);
	assert_int_equal(web_look(&w, true, error), 1);
	write_file("web.yml", TLS);
	assert_int_equal(web_look(&w, false, error), 1);
	assert_int_equal(w.file.n_users, 0);
	assert_int_equal(w.generation, 4);
}

/* Told once; what was there holds. */
static void test_no_good(void **state)
{
	char path[128];

	assert_int_equal(web_open(&w, config, error), 0);
	w.open_listeners = true;
	write_file("web.yml", USERS "x: 1\n");
	assert_int_equal(web_look(&w, false, error), -EINVAL);
	assert_non_null(strstr(error, "web.yml:2: unknown key"));
	assert_int_equal(web_look(&w, false, error), 0);
	write_file("web.yml", USERS);
	assert_int_equal(web_look(&w, false, error), -EINVAL);
	assert_non_null(strstr(error, "TLS can be switched"));
	assert_int_equal(web_look(&w, false, error), 0);
	write_file("web.yml", TLS);
	assert_int_equal(web_look(&w, false, error), -EINVAL);
	assert_non_null(strstr(error, "no authentication is left"));
	write_file("web.yml", "tls_server_config: {cert_file: c, key_file: k2}\n" USERS);
	assert_int_equal(web_look(&w, false, error), -ENOENT);
	assert_non_null(strstr(error, "web.yml:1: k2: No such file"));
	assert_int_equal(web_look(&w, false, error), 0);
	assert_int_equal(w.generation, 1);
	assert_true(w.file.tls && w.file.n_users == 1);
	write_file("k2", "it is there now");
	assert_int_equal(web_look(&w, false, error), 1);
	snprintf(path, sizeof(path), "%s", config);
	unlink(path);
	assert_int_equal(web_look(&w, false, error), -ENOENT);
	assert_int_equal(web_look(&w, false, error), 0);
	write_file("web.yml", TLS USERS);
	assert_int_equal(web_look(&w, false, error), 1);
}

static void test_no_files(void **state)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(web_open(&w, path, error), -EINVAL); /* and does not wait */
	assert_int_equal(web_open(&w, dir, error), -EINVAL);
	write_file("web.yml", "tls_server_config: {cert_file: c, key_file: fifo}\n");
	assert_int_equal(web_open(&w, config, error), -EINVAL);
	assert_non_null(strstr(error, "web.yml:1: fifo: "));
}

static void test_none(void **state)
{
	assert_int_equal(web_look(&w, true, error), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_serve_gets, begin, end),
		cmocka_unit_test_setup_teardown(test_changes, begin, end),
		cmocka_unit_test_setup_teardown(test_no_good, begin, end),
		cmocka_unit_test_setup_teardown(test_no_files, begin, end),
		cmocka_unit_test_setup_teardown(test_none, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
