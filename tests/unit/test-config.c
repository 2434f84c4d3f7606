/* SPDX-License-Identifier: Apache-2.0 */

/* Configuration files: what is YAML in them, and what they mean. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/broker/config.h"
#include "daemon/broker/options.h"

static char error[CONFIG_MAX_TEXT];

static struct config parse(const char *text)
{
	struct config c = { 0 };

	assert_int_equal(config_parse(text, strlen(text), &c, error), 0);
	return c;
}

static void expect(const struct config *c, size_t i, const char *key, const char *value, unsigned line)
{
	assert_true(i < c->n);
	assert_string_equal(c->items[i].key, key);
	if (value)
		assert_string_equal(c->items[i].value, value);
	else
		assert_null(c->items[i].value);
	assert_int_equal(c->items[i].line, line);
}

static void test_scalars_and_lists_are_items(void **state)
{
	struct config c = parse("# a comment\nhz: 200\nlisten:\n  - :6060\n  - 'unix:/a b'\npid: [1, 2]\nbtf:\nkeep-dir: ~\ntrack: \"\"\n");

	(void)state;
	assert_int_equal(c.n, 8);
	expect(&c, 0, "hz", "200", 2);
	expect(&c, 1, "listen", ":6060", 4);
	expect(&c, 2, "listen", "unix:/a b", 5);
	expect(&c, 3, "pid", "1", 6);
	expect(&c, 4, "pid", "2", 6);
	expect(&c, 5, "btf", NULL, 7);
	expect(&c, 6, "keep-dir", NULL, 8);
	expect(&c, 7, "track", "", 9);
	config_deinit(&c);
}

static void test_an_empty_file_has_no_options(void **state)
{
	static const char *const texts[] = { "", "\n", "# nothing\n", "---\n", "{}\n", "---\n...\n" };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct config c = parse(texts[i]);

		assert_int_equal(c.n, 0);
		config_deinit(&c);
	}
}

static void test_a_list_of_mappings_keeps_its_order(void **state)
{
	struct config c = parse("- pid: 1\n  hz: 3\n- pid: 2\n");

	(void)state;
	assert_int_equal(c.n, 3);
	expect(&c, 0, "pid", "1", 1);
	expect(&c, 1, "hz", "3", 2);
	expect(&c, 2, "pid", "2", 3);
	config_deinit(&c);
}

static void test_what_is_refused_says_its_line(void **state)
{
	static const struct {
		const char *text, *said;
	} bad[] = {
		{ "hz: &a 1\n", "1: anchors" },
		{ "a: 1\nhz: *a\n", "2: anchors" },
		{ "a: &a [x]\nb: &b [*a, *a]\n", "1: anchors" },
		{ "hz: !!int 1\n", "1: tags" },
		{ "!x {hz: 1}\n", "1: tags" },
		{ "%TAG ! tag:x,2000:\n---\nhz: 1\n", "1: tags" },
		{ "hz: {a: 1}\n", "1: a value" },
		{ "pid: [1, [2]]\n", "1: a list" },
		{ "pid: [{a: 1}]\n", "1: a list" },
		{ "pid: []\n", "1: an empty list" },
		{ "[a]: 1\n", "1: a key" },
		{ "? {a: 1}\n: 1\n", "1: a key" },
		{ "~: 1\n", "1: a key" },
		{ "a: 1\na: 2\n", "2: the key is there" },
		{ "a\n", "1: lines like" },
		{ "- a\n", "1: lines like" },
		{ "- - a: 1\n", "1: lines like" },
		{ "a: 1\n---\nb: 2\n", "2: one document" },
		{ "a: \"x\\ny\"\n", "1: a control" },
		{ "a: \"\\0\"\n", "1: a control" },
		{ "a: \"1\n", ": " },
		{ "a: [1\n", ": " },
		{ "\ta: 1\n", "1: " },
		{ "a: \x01\n", ": " },
		{ "a: \xff\xfe\n", ": " },
	};
	struct config c = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(config_parse(bad[i].text, strlen(bad[i].text), &c, error), -EBADMSG);
		if (!strstr(error, bad[i].said))
			fail_msg("%s: %s", bad[i].text, error);
		assert_null(strchr(error, '\n'));
		assert_null(c.items);
	}
}

static void test_size_is_bounded(void **state)
{
	char *text = malloc(CONFIG_MAX_BYTES + 1);
	struct config c = { 0 };
	size_t n = 0;

	(void)state;
	assert_non_null(text);
	memset(text, '#', CONFIG_MAX_BYTES + 1);
	assert_int_equal(config_parse(text, CONFIG_MAX_BYTES + 1, &c, error), -EFBIG);
	assert_int_equal(config_parse(text, CONFIG_MAX_BYTES, &c, error), 0);
	config_deinit(&c);
	memset(text, '[', CONFIG_MAX_BYTES);
	assert_int_equal(config_parse(text, CONFIG_MAX_BYTES, &c, error), -EBADMSG);
	memcpy(text, "a: [", 4);
	for (n = 4; n < 4 + 2 * (CONFIG_MAX_ITEMS + 1); n += 2)
		memcpy(text + n, "1,", 2);
	memcpy(text + n, "]\n", 2);
	assert_int_equal(config_parse(text, n + 2, &c, error), -EBADMSG);
	assert_non_null(strstr(error, "too many"));
	free(text);
}

/* The whole program's view: a file, and a command line. */
struct run {
	struct options *o; /* shared with the child, as what it points to is not */
	char said[4096];
	int status;
};

struct shared {
	struct options o;
	char listeners[4][64];
};

static struct run run(const char *text, const char *const *more)
{
	static char path[] = "/tmp/pprofd-config-XXXXXX";
	static struct shared *shared;
	const char *argv[16] = { "pprofd", "--config", path };
	int fd, out = memfd_create("out", 0), argc = 3;
	struct run x = { 0 };
	pid_t pid;

	if (!shared)
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset(shared, 0, sizeof(*shared));
	memcpy(path + strlen(path) - 6, "XXXXXX", 6);
	fd = mkstemp(path);
	assert_true(fd >= 0 && out >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	while (*more)
		argv[argc++] = *more++;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		dup2(out, STDOUT_FILENO);
		dup2(out, STDERR_FILENO);
		options_parse(argc, (char **)argv, &shared->o);
		for (unsigned i = 0; i < shared->o.n_listeners && i < 4; i++)
			snprintf(shared->listeners[i], 64, "%s", shared->o.listeners[i]);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &x.status, 0), pid);
	x.status = WEXITSTATUS(x.status);
	assert_true(pread(out, x.said, sizeof(x.said) - 1, 0) >= 0);
	close(out);
	close(fd);
	unlink(path);
	x.o = &shared->o;
	return x;
}

#define RUN(text, ...) run(text, (const char *const[]){ __VA_ARGS__ __VA_OPT__(,) NULL })

static void test_options_of_the_file(void **state)
{
	struct run x = RUN("pid: [5, 6]\nhz: 250\nlisten: [localhost:1, localhost:2]\ninsecure: true\nheap: allocs\ntrack: fd\n");

	(void)state;
	assert_int_equal(x.status, 0);
	assert_int_equal(x.o->n_pids, 2);
	assert_int_equal(x.o->pids[1], 6);
	assert_int_equal(x.o->hz, 250);
	assert_int_equal(x.o->n_listeners, 2);
	assert_true(x.o->insecure);
	assert_int_equal(x.o->heap, BROKER_HEAP_ALLOCS);
	assert_true(x.o->n_tracks > 1);
}

static void test_the_command_line_adds_and_goes_before(void **state)
{
	struct run x = RUN("pid: 5\nhz: 250\nlisten: localhost:1\ninsecure: no\n", "--hz", "300", "--pid=6", "-l", "localhost:2");

	(void)state;
	assert_int_equal(x.status, 0);
	assert_int_equal(x.o->hz, 300);
	assert_int_equal(x.o->n_pids, 2);
	assert_int_equal(x.o->n_listeners, 2);
	assert_false(x.o->insecure);
}

static void test_errors_say_file_and_line(void **state)
{
	static const struct {
		const char *text, *said;
	} bad[] = {
		{ "pid: 1\nhz: 0\n", ":2: --hz 0: a number from 1 to 1000" },
		{ "pid: 1\nhz: yes\n", ":2: --hz yes" },
		{ "hertz: 1\n", ":1: hertz: there is no such option" },
		{ "config: /etc/passwd\n", ":1: config: there is no such option" },
		{ "check: true\n", ":1: check: there is no such option" },
		{ "help: true\n", ":1: help: there is no such option" },
		{ "seconds: 3\n", ":1: seconds: there is no such option" },
		{ "pid:\n", ":1: pid: a value is wanted" },
		{ "insecure: 1\n", ":1: insecure: true or false" },
		{ "track: a=b\n", ":1: --track a=b" },
		{ "pid: &a 1\n", ":1: anchors" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		for (int check = 0; check < 2; check++) {
			struct run x = check ? RUN(bad[i].text, "--check-config") : RUN(bad[i].text, "--pid", "1");

			assert_int_equal(x.status, check ? 1 : EXIT_BAD_USAGE);
			if (!strstr(x.said, bad[i].said) || strchr(x.said, '\n') != x.said + strlen(x.said) - 1)
				fail_msg("%s: %s", bad[i].text, x.said);
		}
	}
}

static void test_check_config_says_what_it_means(void **state)
{
	struct run x = RUN("hz: 100\nlisten: ['a:1', 'b:2']\ninsecure: false\n", "--check-config");

	(void)state;
	assert_int_equal(x.status, 0);
	assert_string_equal(x.said, "--hz=100\n--listen=a:1\n--listen=b:2\n");
	x = RUN("insecure: on\n", "--check-config");
	assert_string_equal(x.said, "--insecure\n");
}

static void test_a_second_file_is_refused(void **state)
{
	struct run x = RUN("pid: 1\n", "--config", "none", "--config", "none");

	(void)state;
	assert_int_equal(x.status, EXIT_BAD_USAGE);
	x = RUN("hz: 0\n", "--help");
	assert_int_equal(x.status, 0); /* whatever the file says */
	x = RUN("", "--pid", "1", "--conf", "none");
	assert_int_equal(x.status, EXIT_BAD_USAGE);
}

static void test_a_file_that_is_not_there(void **state)
{
	struct config c = { 0 };

	(void)state;
	assert_int_equal(config_read("/nonexistent/pprofd.conf", &c, error), -ENOENT);
	assert_int_equal(config_read("/", &c, error), -EISDIR);
	assert_int_equal(config_read("/dev/zero", &c, error), -EFBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scalars_and_lists_are_items),
		cmocka_unit_test(test_an_empty_file_has_no_options),
		cmocka_unit_test(test_a_list_of_mappings_keeps_its_order),
		cmocka_unit_test(test_what_is_refused_says_its_line),
		cmocka_unit_test(test_size_is_bounded),
		cmocka_unit_test(test_options_of_the_file),
		cmocka_unit_test(test_the_command_line_adds_and_goes_before),
		cmocka_unit_test(test_errors_say_file_and_line),
		cmocka_unit_test(test_check_config_says_what_it_means),
		cmocka_unit_test(test_a_second_file_is_refused),
		cmocka_unit_test(test_a_file_that_is_not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
