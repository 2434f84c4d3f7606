/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"

/* A number of the environment, which is gone afterwards; 0: none, or none that we understand. */
static unsigned long long take_number(const char *name)
{
	const char *text = getenv(name);
	unsigned long long v = 0;
	char *end;

	if (text && *text >= '0' && *text <= '9') {
		errno = 0;
		v = strtoull(text, &end, 10);
		if (errno || *end)
			v = 0;
	}
	unsetenv(name);
	return v;
}

static void take_watchdog(struct notify *n)
{
	unsigned long long us = take_number("WATCHDOG_USEC"), pid = take_number("WATCHDOG_PID");

	if (us >= 1000 && us / 1000 <= INT32_MAX && (!pid || pid == (unsigned long long)getpid()))
		n->watchdog_ms = (uint32_t)(us / 1000);
}

static int take_sockets(struct notify *n)
{
	unsigned long long pid = take_number("LISTEN_PID"), sockets = take_number("LISTEN_FDS");

	unsetenv("LISTEN_FDNAMES");
	if (pid != (unsigned long long)getpid())
		return 0;
	if (sockets > NOTIFY_MAX_SOCKETS)
		return -E2BIG;
	n->n_sockets = (unsigned)sockets;
	for (unsigned i = 0; i < n->n_sockets; i++)
		if (fcntl(NOTIFY_FIRST_FD + (int)i, F_SETFD, FD_CLOEXEC) < 0)
			return -errno;
	return 0;
}

/* A path, or a name that is in no file system, which begins with '@'. */
static int take_address(struct notify *n)
{
	const struct timeval patience = { .tv_sec = 2 };
	const char *path = getenv("NOTIFY_SOCKET");
	size_t k = path ? strlen(path) : 0;

	if (k < 2 || k >= sizeof(n->to.sun_path) || (*path != '/' && *path != '@'))
		return 0;
	n->to = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(n->to.sun_path, path, k);
	n->n_to = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + k + (*path == '/'));
	if (*path == '@')
		n->to.sun_path[0] = '\0';
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (n->fd < 0)
		return -errno;
	setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return 0;
}

int notify_init(struct notify *ret)
{
	struct notify n = NOTIFY_NONE;
	int r;

	take_watchdog(&n);
	r = take_sockets(&n);
	if (r == 0)
		r = take_address(&n);
	unsetenv("NOTIFY_SOCKET");
	if (n.fd < 0)
		n.watchdog_ms = 0;
	*ret = n;
	return r;
}

void notify_deinit(struct notify *n)
{
	close_fd(&n->fd);
}

void notify_say(const struct notify *n, const char *lines)
{
	if (n->fd >= 0)
		(void)!sendto(n->fd, lines, strlen(lines), MSG_NOSIGNAL, (const struct sockaddr *)&n->to, n->n_to);
}
