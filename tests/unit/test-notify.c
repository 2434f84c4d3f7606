/* SPDX-License-Identifier: Apache-2.0 */

/* What systemd hands on, and hears: a socket of ours stands for systemd's. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "daemon/broker/notify.h"

struct fixture {
	struct notify n;
	int systemd; /* where it listens */
	char dir[64], path[100], heard[200];
};

static const char *const variables[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
					 "LISTEN_PID",	  "LISTEN_FDS",	   "LISTEN_FDNAMES" };

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (!x)
		return -1;
	*state = x;
	x->n = (struct notify)NOTIFY_NONE;
	snprintf(x->dir, sizeof(x->dir), "/tmp/pprofd-test-XXXXXX");
	if (!mkdtemp(x->dir))
		return -1;
	snprintf(x->path, sizeof(x->path), "%s/s", x->dir);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", x->path);
	x->systemd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++)
		unsetenv(variables[i]);
	return bind(x->systemd, (struct sockaddr *)&a, sizeof(a));
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	notify_deinit(&x->n);
	close_fd(&x->systemd);
	unlink(x->path);
	rmdir(x->dir);
	free(x);
	return 0;
}

static const char *hear(struct fixture *x)
{
	ssize_t n = recv(x->systemd, x->heard, sizeof(x->heard) - 1, 0);

	x->heard[n > 0 ? n : 0] = '\0';
	return x->heard;
}

static void set_number(const char *name, long v)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", v);
	setenv(name, text, 1);
}

static void test_nobody_wants_to_know(void **state)
{
	struct fixture *x = *state;

	setenv("WATCHDOG_USEC", "30000000", 1);
	assert_int_equal(notify_init(&x->n), 0);
	assert_int_equal(x->n.fd, -1);
	assert_int_equal(x->n.n_sockets, 0);
	assert_int_equal(x->n.watchdog_ms, 0);
	notify_say(&x->n, "READY=1");
	assert_string_equal(hear(x), "");
}

static void test_what_is_said_arrives_whole(void **state)
{
	struct fixture *x = *state;

	setenv("NOTIFY_SOCKET", x->path, 1);
	assert_int_equal(notify_init(&x->n), 0);
	notify_say(&x->n, "READY=1\nSTATUS=all is well");
	assert_string_equal(hear(x), "READY=1\nSTATUS=all is well");
	notify_say(&x->n, "WATCHDOG=1");
	assert_string_equal(hear(x), "WATCHDOG=1");
}

static void test_socket_in_no_file_system(void **state)
{
	struct fixture *x = *state;
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int n = snprintf(a.sun_path, sizeof(a.sun_path), "@pprofd-test-%d", (int)getpid());

	setenv("NOTIFY_SOCKET", a.sun_path, 1);
	a.sun_path[0] = '\0';
	close_fd(&x->systemd);
	x->systemd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(x->systemd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n)), 0);
	assert_int_equal(notify_init(&x->n), 0);
	notify_say(&x->n, "READY=1");
	assert_string_equal(hear(x), "READY=1");
}

static void test_addresses_that_are_none(void **state)
{
	struct fixture *x = *state;
	static const char *const bad[] = { "", "/", "@", "relative", "vsock:2:1234" };
	char lengthy[200];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		setenv("NOTIFY_SOCKET", bad[i], 1);
		assert_int_equal(notify_init(&x->n), 0);
		assert_int_equal(x->n.fd, -1);
	}
	memset(lengthy, 'x', sizeof(lengthy));
	lengthy[0] = '/';
	lengthy[sizeof(lengthy) - 1] = '\0';
	setenv("NOTIFY_SOCKET", lengthy, 1);
	assert_int_equal(notify_init(&x->n), 0);
	assert_int_equal(x->n.fd, -1);
}

/* systemd may be gone, or a container's manager. */
static void test_nobody_listens_any_more(void **state)
{
	struct fixture *x = *state;

	setenv("NOTIFY_SOCKET", x->path, 1);
	assert_int_equal(notify_init(&x->n), 0);
	close_fd(&x->systemd);
	notify_say(&x->n, "WATCHDOG=1");
	unlink(x->path);
	notify_say(&x->n, "WATCHDOG=1");
}

/* Filled until the kernel takes no more: we wait, but not for ever. */
static void test_systemd_that_does_not_read(void **state)
{
	struct fixture *x = *state;
	struct timeval moment = { .tv_usec = 1000 };

	setenv("NOTIFY_SOCKET", x->path, 1);
	assert_int_equal(notify_init(&x->n), 0);
	assert_int_equal(setsockopt(x->n.fd, SOL_SOCKET, SO_SNDTIMEO, &moment, sizeof(moment)), 0);
	for (int i = 0; i < 1000; i++)
		notify_say(&x->n, "WATCHDOG=1");
	assert_string_equal(hear(x), "WATCHDOG=1");
}

static void test_watchdog(void **state)
{
	struct fixture *x = *state;
	static const struct { const char *usec; long pid; uint32_t ms; } cases[] = {
		{ "30000000", 0, 30000 }, { "30000000", 1, 30000 }, { "30000000", -1, 0 },
		{ "999", 0, 0 },	  { "0", 0, 0 },	    { "-5", 0, 0 },
		{ "x", 0, 0 },		  { "10s", 0, 0 },	    { "99999999999999999999999", 0, 0 },
		{ "2147483647000", 0, 2147483647 },		    { "2147483648000", 0, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		setenv("NOTIFY_SOCKET", x->path, 1);
		setenv("WATCHDOG_USEC", cases[i].usec, 1);
		unsetenv("WATCHDOG_PID");
		if (cases[i].pid) /* ours, or another's */
			set_number("WATCHDOG_PID", cases[i].pid > 0 ? getpid() : getppid());
		assert_int_equal(notify_init(&x->n), 0);
		assert_int_equal(x->n.watchdog_ms, cases[i].ms);
		notify_deinit(&x->n);
	}
}

/* In a child, whose descriptors from 3 on are sockets: */
static int with_sockets(int n, const char *count, bool ours)
{
	struct notify got = NOTIFY_NONE;
	pid_t pid = fork();
	int status, r;

	if (pid == 0) {
		for (int i = 0; i < n; i++)
			if (dup2(STDERR_FILENO, NOTIFY_FIRST_FD + i) < 0)
				_exit(100);
		set_number("LISTEN_PID", ours ? getpid() : getppid());
		setenv("LISTEN_FDS", count, 1);
		setenv("LISTEN_FDNAMES", "a:b", 1);
		r = notify_init(&got);
		for (int i = 0; i < (int)got.n_sockets; i++)
			if (fcntl(NOTIFY_FIRST_FD + i, F_GETFD) != FD_CLOEXEC)
				_exit(101);
		for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++)
			if (getenv(variables[i]))
				_exit(102);
		_exit(r < 0 ? 99 : (int)got.n_sockets);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_sockets_are_ours_and_stay_with_us(void **state)
{
	assert_int_equal(with_sockets(2, "2", true), 2);
	assert_int_equal(with_sockets(NOTIFY_MAX_SOCKETS, "16", true), 16);
}

static void test_sockets_of_another_process(void **state)
{
	assert_int_equal(with_sockets(2, "2", false), 0);
}

static void test_numbers_of_sockets_that_are_none(void **state)
{
	assert_int_equal(with_sockets(1, "0", true), 0);
	assert_int_equal(with_sockets(1, "-1", true), 0);
	assert_int_equal(with_sockets(1, "", true), 0);
	assert_int_equal(with_sockets(1, "one", true), 0);
	assert_int_equal(with_sockets(1, "17", true), 99);
	assert_int_equal(with_sockets(1, "4294967297", true), 99);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nobody_wants_to_know),
		TEST(test_what_is_said_arrives_whole),
		TEST(test_socket_in_no_file_system),
		TEST(test_addresses_that_are_none),
		TEST(test_nobody_listens_any_more),
		TEST(test_systemd_that_does_not_read),
		TEST(test_watchdog),
		TEST(test_sockets_are_ours_and_stay_with_us),
		TEST(test_sockets_of_another_process),
		TEST(test_numbers_of_sockets_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
