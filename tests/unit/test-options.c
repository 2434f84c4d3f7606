/* SPDX-License-Identifier: Apache-2.0 */

/* Command lines, each in a process of its own: bad ones end it. */

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

#include "daemon/broker/options.h"

#define MAX_ARGS 300

struct fixture {
	struct options *o; /* shared with the child */
	int out;	   /* what it said, both streams */
	int status;
	char said[8192];
	unsigned n_lines;
};

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	if (!x)
		return -1;
	x->o = mmap(NULL, sizeof(*x->o), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	x->out = memfd_create("out", MFD_CLOEXEC);
	*state = x;
	return x->o == MAP_FAILED || x->out < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	munmap(x->o, sizeof(*x->o));
	close(x->out);
	free(x);
	return 0;
}

static void listen_to(struct fixture *x)
{
	ssize_t n = pread(x->out, x->said, sizeof(x->said) - 1, 0);

	x->said[n > 0 ? n : 0] = '\0';
	x->n_lines = 0;
	for (const char *p = x->said; (p = strchr(p, '\n')); p++)
		x->n_lines++;
}

/* The arguments live on in the parent, so pointers in the result hold. */
static void run(struct fixture *x, const char *const *argv)
{
	int argc = 0;
	pid_t pid;

	while (argv[argc])
		argc++;
	assert_int_equal(ftruncate(x->out, 0), 0);
	lseek(x->out, 0, SEEK_SET);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		dup2(x->out, STDOUT_FILENO);
		dup2(x->out, STDERR_FILENO);
		options_parse(argc, (char **)argv, x->o);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &x->status, 0), pid);
	listen_to(x);
}

#define RUN(x, ...) run(x, (const char *[]){ "/usr/bin/pprofd", ##__VA_ARGS__, NULL })

static void good(struct fixture *x)
{
	assert_true(WIFEXITED(x->status));
	assert_int_equal(WEXITSTATUS(x->status), 0);
	assert_string_equal(x->said, "");
}

/* One line, from pprofd, that says this. */
static void bad(struct fixture *x, const char *why)
{
	assert_true(WIFEXITED(x->status));
	assert_int_equal(WEXITSTATUS(x->status), EXIT_BAD_USAGE);
	assert_int_equal(x->n_lines, 1);
	assert_true(!strncmp(x->said, "pprofd", 6));
	if (!strstr(x->said, why))
		print_message("said: %s", x->said);
	assert_non_null(strstr(x->said, why));
}

static void test_one_pid_is_enough(void **state)
{
	struct fixture *x = *state;

	RUN(x, "--pid", "123");
	good(x);
	assert_int_equal(x->o->n_pids, 1);
	assert_int_equal(x->o->pids[0], 123);
	assert_int_equal(x->o->hz, 100);
	assert_int_equal(x->o->n_listeners, 1);
	assert_string_equal(x->o->listeners[0], "localhost:6060");
	assert_false(x->o->insecure || x->o->record);
	assert_null(x->o->btf);
}

static void test_everything_that_serving_knows(void **state)
{
	struct fixture *x = *state;

	RUN(x, "-p", "1", "--pid=4194304", "-l", ":6060", "--listen=unix:/x", "--hz", "999",
	    "--insecure", "--btf", "/b", "--allow-host", "a", "--allow-host", "*");
	good(x);
	assert_int_equal(x->o->n_pids, 2);
	assert_int_equal(x->o->pids[1], 4194304);
	assert_int_equal(x->o->n_listeners, 2);
	assert_string_equal(x->o->listeners[1], "unix:/x");
	assert_int_equal(x->o->hz, 999);
	assert_true(x->o->insecure);
	assert_string_equal(x->o->btf, "/b");
	assert_int_equal(x->o->n_hosts, 2);
	assert_string_equal(x->o->hosts[1], "*");
}

static void test_doors(void **state)
{
	static const char *const wrong[] = { "", "path", "paths,", ",paths", "paths cmdline", "all" };
	struct fixture *x = *state;

	RUN(x, "--pid", "1");
	good(x);
	assert_int_equal(x->o->max_rate, 1000);
	assert_true(x->o->audit && !x->o->redact && !x->o->web_config);
	RUN(x, "--pid", "1", "--web.config.file", "w.yml", "--max-rate", "0", "--audit=off", "--redact", "paths,cmdline");
	good(x);
	assert_string_equal(x->o->web_config, "w.yml");
	assert_int_equal(x->o->max_rate, 0);
	assert_false(x->o->audit);
	assert_int_equal(x->o->redact, BROKER_REDACT_CMDLINE | BROKER_REDACT_PATHS);
	RUN(x, "--pid", "1", "--redact", "paths", "--max-rate=7");
	assert_int_equal(x->o->redact, BROKER_REDACT_PATHS);
	assert_int_equal(x->o->max_rate, 7);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		RUN(x, "--pid", "1", "--redact", wrong[i]);
		bad(x, "cmdline, paths or cmdline,paths is wanted");
	}
	RUN(x, "--pid", "1", "--audit", "yes");
	bad(x, "on or off is wanted");
	RUN(x, "--pid", "1", "--max-rate", "-1");
	bad(x, "--max-rate -1: a number from 0 to 1000000");
}

static void test_everything_that_recording_knows(void **state)
{
	struct fixture *x = *state;

	RUN(x, "record", "profile", "--pid", "5");
	good(x);
	assert_true(x->o->record);
	assert_string_equal(x->o->profile, "profile");
	assert_int_equal(x->o->seconds, OPTIONS_MAX_SECONDS);
	assert_false(x->o->seconds_given);
	assert_int_equal(x->o->format, FORMAT_AUTO);
	assert_int_equal(x->o->n_listeners, 0);
	RUN(x, "record", "--seconds", "3600", "-o", "f", "--pid", "5", "--hz=1", "heap", "--format",
	    "folded");
	good(x);
	assert_string_equal(x->o->profile, "heap");
	assert_string_equal(x->o->output, "f");
	assert_int_equal(x->o->seconds, 3600);
	assert_int_equal(x->o->hz, 1);
	assert_int_equal(x->o->format, FORMAT_FOLDED);
	RUN(x, "record", "goroutine", "--pid", "5", "--format=dump");
	assert_true(x->o->now);
	assert_int_equal(x->o->format, FORMAT_DUMP);
	RUN(x, "record", "goroutine", "--pid", "5", "--seconds=3");
	assert_false(x->o->now);
	RUN(x, "record", "profile", "--pid", "5", "--format=top");
	assert_false(x->o->now);
	assert_int_equal(x->o->format, FORMAT_TOP);
	RUN(x, "record", "profile", "--pid", "5", "--format=pprof");
	assert_int_equal(x->o->format, FORMAT_PPROF);
}

static void test_numbers_out_of_range_are_one_line_and_status_2(void **state)
{
	static const char *const numbers[] = { "",
					       "0",
					       "-1",
					       "-0",
					       "x",
					       "5x",
					       "0x5",
					       "1.5",
					       "1e9",
					       "4194305",
					       "18446744073709551617",
					       "99999999999" };
	struct fixture *x = *state;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		RUN(x, "--pid", numbers[i]);
		bad(x, "a number from 1 to 4194304 is wanted");
		RUN(x, "--pid", "1", "--hz", numbers[i]);
		bad(x, "--hz");
		RUN(x, "record", "profile", "--pid", "1", "--seconds", numbers[i]);
		bad(x, "from 1 to 3600");
	}
	RUN(x, "--pid", "1", "--hz", "1001");
	bad(x, "from 1 to 1000");
}

static void test_what_is_missing_is_said(void **state)
{
	struct fixture *x = *state;

	RUN(x);
	bad(x, "--pid");
	RUN(x, "record", "profile");
	bad(x, "--pid");
	RUN(x, "record", "--pid", "1");
	bad(x, "which profile");
	RUN(x, "--pid");
	bad(x, "requires an argument");
}

static void test_what_is_not_understood_is_said(void **state)
{
	struct fixture *x = *state;

	RUN(x, "--pid", "1", "--frobnicate");
	bad(x, "--frobnicate");
	RUN(x, "--pid", "1", "-z");
	bad(x, "'z'");
	RUN(x, "--pid", "1", "profile");
	bad(x, "profile: not understood");
	RUN(x, "--pid", "1", "--");
	bad(x, "which command");
	RUN(x, "--pid", "1", "--seconds", "1"); /* recording's */
	bad(x, "--seconds");
	RUN(x, "record", "profile", "--pid", "1", "--listen", ":1"); /* serving's */
	bad(x, "--listen");
	RUN(x, "record", "profile", "--pid", "1", "--format", "xml");
	bad(x, "xml");
	RUN(x, "record", "profile", "heap", "--pid", "1");
	bad(x, "one profile");
	RUN(x, "record", "profile", "--pid", "1", "--pid", "2");
	bad(x, "one process");
}

static void test_servers(void **state)
{
	static const char *const wrong[] = { "", "http://", "http:///x", "ftp://a", "file:///etc", "a:80", "http://a b",
					     "http://a?x", "http://a#x", "http://me@a", "http://\xc3\xa4" };
	struct fixture *x = *state;

	RUN(x, "--pid", "1", "--debuginfod", strdupa("http://a:80//"), strdupa("--debuginfod=https://[::1]/b/"),
	    "--debuginfod-cache", "/c");
	good(x);
	assert_int_equal(x->o->n_debuginfod, 2);
	assert_string_equal(x->o->debuginfod_cache, "/c");
	RUN(x, "record", "profile", "--pid", "1", "--debuginfod", "http://a");
	good(x);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		RUN(x, "--pid", "1", "--debuginfod", wrong[i]);
		bad(x, "http://HOST[:PORT] or https://HOST[:PORT] is wanted");
	}
}

static void many(struct fixture *x, const char *option, const char *value, unsigned n)
{
	const char *argv[MAX_ARGS] = { "pprofd", "--pid", "1" };
	unsigned k = 3;

	assert_true(3 + 2 * n < MAX_ARGS);
	for (unsigned i = 0; i < n; i++) {
		argv[k++] = option;
		argv[k++] = value;
	}
	run(x, argv);
}

static void test_more_than_there_is_room_for_is_said(void **state)
{
	struct fixture *x = *state;

	many(x, "--pid", "7", BROKER_MAX_TARGETS - 1);
	good(x);
	assert_int_equal(x->o->n_pids, BROKER_MAX_TARGETS);
	many(x, "--pid", "7", BROKER_MAX_TARGETS);
	bad(x, "more than 128");
	many(x, "--listen", ":1", OPTIONS_MAX_LISTENERS);
	good(x);
	many(x, "--listen", ":1", OPTIONS_MAX_LISTENERS + 1);
	bad(x, "more than 16");
	many(x, "--debuginfod", "http://a", FETCH_MAX_URLS);
	good(x);
	many(x, "--debuginfod", "http://a", FETCH_MAX_URLS + 1);
	bad(x, "more than 8");
	many(x, "--allow-host", "h", OPTIONS_MAX_HOSTS);
	good(x);
	many(x, "--allow-host", "h", OPTIONS_MAX_HOSTS + 1);
	bad(x, "too many");
}

static void test_host_name_longer_than_dns_allows_is_said(void **state)
{
	char name[255];
	struct fixture *x = *state;

	memset(name, 'a', sizeof(name));
	name[254] = '\0';
	RUN(x, "--pid", "1", "--allow-host", name);
	bad(x, "too long");
	name[253] = '\0';
	RUN(x, "--pid", "1", "--allow-host", name);
	good(x);
}

static void test_help_and_version_are_no_errors(void **state)
{
	struct fixture *x = *state;

	RUN(x, "--help");
	assert_int_equal(x->status, 0);
	assert_non_null(strstr(x->said, "--listen"));
	assert_non_null(strstr(x->said, "record profile"));
	RUN(x, "record", "--help");
	assert_int_equal(x->status, 0);
	assert_non_null(strstr(x->said, "--seconds"));
	assert_null(strstr(x->said, "--listen"));
	RUN(x, "--version");
	assert_int_equal(x->status, 0);
	assert_true(!strncmp(x->said, "pprofd ", 7));
	assert_int_equal(x->n_lines, 1);
}

static void test_nothing_at_all_is_survived(void **state)
{
	struct fixture *x = *state;

	run(x, (const char *[]){ "", NULL });
	bad(x, "--pid");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static void test_what_is_tracked(void **state)
{
	static const char *const refused[] = { "nosuch", "a=b", "=b,c", "a=,c", "a=b,", "a=b:x,c", "a=b,c:ret", "a=b,c:fd",
					       "a=b:arg 4,c", "a=b:arg 0,c", "a=b:arg  1,c", "a=b:,c", "a=b,c,d" };
	struct fixture *x = *state;

	RUN(x, "--pid", "1", "--track", "my things=new_one,delete_one", "--track", "x=a:arg 2,b:arg3", "--track", "y=c:fd,d");
	good(x);
	assert_int_equal(x->o->n_tracks, 6);
	assert_string_equal(x->o->tracks[0].name, "my things");
	assert_string_equal(x->o->tracks[0].function, "new_one");
	assert_int_equal(x->o->tracks[0].kind, PP_CUSTOM_RESULT);
	assert_string_equal(x->o->tracks[1].function, "delete_one");
	assert_int_equal(x->o->tracks[1].kind, PP_CUSTOM_REMOVE);
	assert_int_equal(x->o->tracks[1].argument, 1);
	assert_int_equal(x->o->tracks[2].kind, PP_CUSTOM_ADD);
	assert_int_equal(x->o->tracks[2].argument, 2);
	assert_int_equal(x->o->tracks[3].argument, 3);
	assert_int_equal(x->o->tracks[4].kind, PP_CUSTOM_DESCRIPTOR);
	RUN(x, "--pid", "1", "--track", "fd", "--track=thread", "--track", "mmap");
	good(x);
	assert_true(x->o->n_tracks > 20);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		RUN(x, "--pid", "1", "--track", refused[i]);
		bad(x, "--track");
	}
}

static void test_the_text_of_a_record(void **state)
{
	struct fixture *x = *state;

	RUN(x, "record", "my things", "--pid", "1", "--debug", "2");
	good(x);
	assert_int_equal(x->o->debug, 2);
	RUN(x, "record", "heap", "--pid", "1", "--debug", "3");
	bad(x, "--debug");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_pid_is_enough),
		TEST(test_everything_that_serving_knows),
		TEST(test_doors),
		TEST(test_everything_that_recording_knows),
		TEST(test_numbers_out_of_range_are_one_line_and_status_2),
		TEST(test_what_is_missing_is_said),
		TEST(test_what_is_not_understood_is_said),
		TEST(test_servers),
		TEST(test_more_than_there_is_room_for_is_said),
		TEST(test_host_name_longer_than_dns_allows_is_said),
		TEST(test_help_and_version_are_no_errors),
		TEST(test_nothing_at_all_is_survived),
		TEST(test_what_is_tracked),
		TEST(test_the_text_of_a_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
