/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "daemon/broker/listen.h"

#define MAX 8

struct fixture {
	struct listener l[MAX];
	size_t n;
	char error[LISTEN_MAX_TEXT];
	char dir[64], path[100], address[110];
};

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	if (!x)
		return -1;
	snprintf(x->dir, sizeof(x->dir), "/tmp/pprofd-test-XXXXXX");
	*state = x;
	if (!mkdtemp(x->dir))
		return -1;
	snprintf(x->path, sizeof(x->path), "%s/s", x->dir);
	snprintf(x->address, sizeof(x->address), "unix:%s", x->path);
	return 0;
}

static void close_all(struct fixture *x)
{
	for (size_t i = 0; i < x->n; i++)
		close_fd(&x->l[i].fd);
	x->n = 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	close_all(x);
	unlink(x->path);
	rmdir(x->dir);
	free(x);
	return 0;
}

static int bind_to(struct fixture *x, const char *address, bool insecure)
{
	memset(x->error, 'x', sizeof(x->error));
	x->error[0] = '\0';
	return listen_bind(address, insecure, x->l, MAX, &x->n, x->error);
}

static unsigned port(const struct listener *l)
{
	struct sockaddr_storage a;
	socklen_t n = sizeof(a);

	assert_int_equal(getsockname(l->fd, (struct sockaddr *)&a, &n), 0);
	return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port :
					       ((struct sockaddr_in *)&a)->sin_port);
}

static void test_numeric_address_is_bound_and_shown(void **state)
{
	struct fixture *x = *state;
	char wanted[64];

	assert_int_equal(bind_to(x, "127.0.0.1:0", false), LISTEN_BOUND);
	assert_int_equal(x->n, 1);
	snprintf(wanted, sizeof(wanted), "http://127.0.0.1:%u", port(&x->l[0]));
	assert_string_equal(x->l[0].shown, wanted);
	assert_false(x->l[0].assumed_loopback);
	assert_int_equal(fcntl(x->l[0].fd, F_GETFD), FD_CLOEXEC);
}

static void test_every_address_of_a_name_is_bound_on_one_port(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(bind_to(x, "localhost:0", false), LISTEN_BOUND);
	assert_true(x->n >= 1);
	for (size_t i = 0; i < x->n; i++) {
		assert_int_equal(port(&x->l[i]), port(&x->l[0]));
		assert_false(x->l[i].assumed_loopback);
	}
}

static void test_empty_host_is_loopback(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(bind_to(x, ":0", false), LISTEN_BOUND);
	for (size_t i = 0; i < x->n; i++) {
		assert_true(x->l[i].assumed_loopback);
		assert_true(strstr(x->l[i].shown, "//127.") || strstr(x->l[i].shown, "//[::1]"));
	}
}

static void test_empty_host_is_every_address_when_that_is_wanted(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(bind_to(x, ":0", true), LISTEN_BOUND);
	assert_false(x->l[0].assumed_loopback);
	assert_true(strstr(x->l[0].shown, "//0.0.0.0:") || strstr(x->l[0].shown, "//[::]:"));
}

static void test_other_than_loopback_is_refused(void **state)
{
	static const char *const addresses[] = { "0.0.0.0:0", "128.0.0.1:0", "[::]:0", "1.2.3.4:80",
						 "[::ffff:127.0.0.1]:0" };
	struct fixture *x = *state;

	for (int i = 0; i < 5; i++) {
		assert_int_equal(bind_to(x, addresses[i], false), LISTEN_INSECURE);
		assert_int_equal(x->n, 0);
		assert_non_null(strstr(x->error, "--insecure"));
	}
}

static void test_all_of_127_is_loopback(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(bind_to(x, "127.1.2.3:0", false), LISTEN_BOUND);
}

static void test_addresses_that_are_none(void **state)
{
	static const char *const bad[] = {
		"",
		"6060",
		"localhost",
		"localhost:",
		":",
		"[::1]",
		"[::1]:",
		"::1:6060",
		"[]:x",
		"localhost:x",
		"localhost:-1",
		"localhost:+1",
		"localhost: 1",
		"localhost:65536",
		"localhost:99999",
		"localhost:123456",
		"localhost:0x50",
		"localhost:80:80",
		"[::1:80",
		"::1]:80",
		"[:80",
		"unix:",
		"http://localhost:6060",
		"localhost:6060/",
	};
	struct fixture *x = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(bind_to(x, bad[i], false), LISTEN_BAD_ADDRESS);
		assert_int_equal(x->n, 0);
		assert_true(strlen(x->error) > 0 && !strchr(x->error, '\n'));
	}
}

static void test_names_too_long_are_none(void **state)
{
	struct fixture *x = *state;
	char text[1000];

	memset(text, 'a', sizeof(text));
	memcpy(text + 990, ":80", 4);
	assert_int_equal(bind_to(x, text, false), LISTEN_BAD_ADDRESS);
	memcpy(text, "unix:/", 6);
	assert_int_equal(bind_to(x, text, false), LISTEN_BAD_ADDRESS);
	text[5 + 108] = '\0';
	assert_int_equal(bind_to(x, text, false), LISTEN_BAD_ADDRESS);
	assert_non_null(strstr(x->error, "107"));
}

static void test_port_in_use_is_said(void **state)
{
	struct fixture *x = *state;
	char address[64];

	assert_int_equal(bind_to(x, "127.0.0.1:0", false), LISTEN_BOUND);
	snprintf(address, sizeof(address), "127.0.0.1:%u", port(&x->l[0]));
	assert_int_equal(bind_to(x, address, false), -EADDRINUSE);
	assert_int_equal(x->n, 1);
	assert_non_null(strstr(x->error, "in use"));
}

static void test_addresses_past_the_limit_are_refused(void **state)
{
	struct fixture *x = *state;

	while (x->n < MAX)
		assert_int_equal(bind_to(x, "127.0.0.1:0", false), LISTEN_BOUND);
	assert_int_equal(bind_to(x, "127.0.0.1:0", false), LISTEN_BAD_ADDRESS);
	assert_int_equal(x->n, MAX);
}

static void test_unix_socket_is_open_to_every_user(void **state)
{
	struct fixture *x = *state;
	mode_t mask = umask(077);
	struct stat st;

	assert_int_equal(bind_to(x, x->address, false), LISTEN_BOUND);
	assert_string_equal(x->l[0].shown, x->address);
	assert_int_equal(stat(x->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0666);
	assert_int_equal(umask(mask), 077); /* as it was */
}

static void test_unix_socket_that_is_served_is_not_taken(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(bind_to(x, x->address, false), LISTEN_BOUND);
	assert_int_equal(bind_to(x, x->address, false), -EADDRINUSE);
	assert_int_equal(x->n, 1);
}

static void test_unix_socket_that_is_left_over_is_taken(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(bind_to(x, x->address, false), LISTEN_BOUND);
	close_all(x);
	assert_int_equal(bind_to(x, x->address, false), LISTEN_BOUND);
}

static void test_file_that_is_no_socket_is_left_alone(void **state)
{
	struct fixture *x = *state;
	FILE *f = fopen(x->path, "we");
	struct stat st;

	assert_non_null(f);
	fclose(f);
	assert_int_equal(bind_to(x, x->address, false), -EEXIST);
	assert_int_equal(stat(x->path, &st), 0);
	unlink(x->path);
	assert_int_equal(symlink("/etc/passwd", x->path), 0);
	assert_int_equal(bind_to(x, x->address, false), -EEXIST);
}

static void test_unix_socket_in_no_directory(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(bind_to(x, "unix:/does/not/exist", false), -ENOENT);
	assert_non_null(strstr(x->error, "/does/not/exist"));
	assert_int_equal(x->n, 0);
}

/* A socket as systemd would hand it on. */
static int made(int family, int type, const char *host, bool listens)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (host) {
		inet_pton(AF_INET, host, &a.sin_addr);
		assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	}
	if (listens)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static int adopt(struct fixture *x, int fd, bool insecure)
{
	return listen_adopt(fd, insecure, x->l, MAX, &x->n, x->error);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void test_socket_that_is_given_is_taken_and_shown(void **state)
{
	struct fixture *x = *state;
	int fd = made(AF_INET, SOCK_STREAM, "127.0.0.1", true);

	assert_int_equal(adopt(x, fd, false), LISTEN_BOUND);
	assert_int_equal(x->n, 1);
	assert_int_equal(x->l[0].fd, fd);
	assert_true(x->l[0].adopted);
	assert_memory_equal(x->l[0].shown, "http://127.0.0.1:", 17);
}

static void test_unix_socket_that_is_given_keeps_its_name(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(bind_to(x, x->address, false), LISTEN_BOUND);
	assert_false(x->l[0].adopted);
	assert_int_equal(adopt(x, dup(x->l[0].fd), false), LISTEN_BOUND);
	assert_string_equal(x->l[1].shown, x->address);
	assert_true(x->l[1].adopted);
}

static void test_given_sockets_obey_the_rule_of_loopback(void **state)
{
	struct fixture *x = *state;
	int fd = made(AF_INET, SOCK_STREAM, "0.0.0.0", true);

	assert_int_equal(adopt(x, fd, false), LISTEN_INSECURE);
	assert_non_null(strstr(x->error, "--insecure"));
	assert_false(is_open(fd));
	assert_int_equal(x->n, 0);
	assert_int_equal(adopt(x, made(AF_INET, SOCK_STREAM, "0.0.0.0", true), true), LISTEN_BOUND);
}

static void test_descriptors_that_are_no_listeners(void **state)
{
	struct fixture *x = *state;
	int file = open("/dev/null", O_RDONLY | O_CLOEXEC), fd = made(AF_INET, SOCK_STREAM, "127.0.0.1", false);

	assert_int_equal(adopt(x, file, false), -ENOTSOCK);
	assert_false(is_open(file));
	assert_int_equal(adopt(x, fd, false), -EINVAL);
	assert_false(is_open(fd));
	assert_int_equal(adopt(x, made(AF_INET, SOCK_DGRAM, "127.0.0.1", false), false), -EINVAL);
	assert_int_equal(adopt(x, made(AF_UNIX, SOCK_DGRAM, NULL, false), false), -EINVAL);
	assert_int_equal(adopt(x, -1, false), -EBADF);
	assert_int_equal(x->n, 0);
}

static void test_more_sockets_than_there_is_room_for(void **state)
{
	struct fixture *x = *state;

	for (int i = 0; i < MAX; i++)
		assert_int_equal(adopt(x, made(AF_INET, SOCK_STREAM, "127.0.0.1", true), false), LISTEN_BOUND);
	assert_int_equal(adopt(x, made(AF_INET, SOCK_STREAM, "127.0.0.1", true), false), -E2BIG);
	assert_int_equal(x->n, MAX);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_numeric_address_is_bound_and_shown),
		TEST(test_every_address_of_a_name_is_bound_on_one_port),
		TEST(test_empty_host_is_loopback),
		TEST(test_empty_host_is_every_address_when_that_is_wanted),
		TEST(test_other_than_loopback_is_refused),
		TEST(test_all_of_127_is_loopback),
		TEST(test_addresses_that_are_none),
		TEST(test_names_too_long_are_none),
		TEST(test_port_in_use_is_said),
		TEST(test_addresses_past_the_limit_are_refused),
		TEST(test_unix_socket_is_open_to_every_user),
		TEST(test_unix_socket_that_is_served_is_not_taken),
		TEST(test_unix_socket_that_is_left_over_is_taken),
		TEST(test_file_that_is_no_socket_is_left_alone),
		TEST(test_unix_socket_in_no_directory),
		TEST(test_socket_that_is_given_is_taken_and_shown),
		TEST(test_unix_socket_that_is_given_keeps_its_name),
		TEST(test_given_sockets_obey_the_rule_of_loopback),
		TEST(test_descriptors_that_are_no_listeners),
		TEST(test_more_sockets_than_there_is_room_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
