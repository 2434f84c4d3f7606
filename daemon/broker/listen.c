/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"

#define BACKLOG 1024 /* bursts of scrapers; the kernel's somaxconn holds */

static bool is_loopback(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

static int bind_one(const struct sockaddr *a, socklen_t n, struct listener *ret)
{
	_cleanup_(closep) int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		return -errno;
	if (a->sa_family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (a->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, a, n) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	ret->fd = TAKE_FD(fd);
	return 0;
}

/* A socket file that nobody listens on any more is taken over; one that is in use is not. */
static int remove_stale(const struct sockaddr_un *a)
{
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (lstat(a->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	if (connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0 || errno != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(a->sun_path) < 0 ? -errno : 0;
}

static int bind_unix(const char *path, struct listener *ret, char *error)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	mode_t mask;
	int r;

	if (!*path || strlen(path) >= sizeof(a.sun_path)) {
		snprintf(error, LISTEN_MAX_TEXT, "unix:%s: a path of 1 to %zu bytes is wanted", path,
			 sizeof(a.sun_path) - 1);
		return LISTEN_BAD_ADDRESS;
	}
	memcpy(a.sun_path, path, strlen(path));
	r = remove_stale(&a);
	if (r == 0) {
		mask = umask(0111); /* who connects is asked for its uid, not for file modes */
		r = bind_one((struct sockaddr *)&a, sizeof(a), ret);
		umask(mask);
	}
	if (r < 0)
		snprintf(error, LISTEN_MAX_TEXT, "unix:%s: %s", path, strerror(-r));
	else
		snprintf(ret->shown, sizeof(ret->shown), "unix:%s", path);
	return r;
}

static void show(struct listener *l)
{
	struct sockaddr_storage a;
	socklen_t n = sizeof(a);
	char host[INET6_ADDRSTRLEN] = "", port[8] = "";

	getsockname(l->fd, (struct sockaddr *)&a, &n);
	getnameinfo((struct sockaddr *)&a, n, host, sizeof(host), port, sizeof(port),
		    NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(l->shown, sizeof(l->shown), a.ss_family == AF_INET6 ? "http://[%s]:%s" : "http://%s:%s",
		 host, port);
}

/* "HOST:PORT" or "[ADDR]:PORT" apart; false when it is neither. */
static bool split(const char *address, char host[256], char port[8])
{
	const char *colon = strrchr(address, ':'), *start = address;
	size_t n;

	if (!colon || !colon[1] || strlen(colon + 1) > 5 ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1) || atoi(colon + 1) > 65535)
		return false;
	n = (size_t)(colon - address);
	if (*address == '[') {
		if (n < 2 || address[n - 1] != ']')
			return false;
		start++;
		n -= 2;
	} else if (memchr(address, ':', n)) {
		return false;
	}
	if (n > 255)
		return false;
	memcpy(host, start, n);
	host[n] = '\0';
	memcpy(port, colon + 1, strlen(colon + 1) + 1);
	return true;
}

/* A port of 0 is chosen by the first address; the others of the name follow it. */
static void set_port(struct sockaddr *a, const struct listener *first)
{
	struct sockaddr_storage chosen;
	socklen_t n = sizeof(chosen);

	if (getsockname(first->fd, (struct sockaddr *)&chosen, &n) < 0)
		return;
	/* the port stands at the same place in both families */
	((struct sockaddr_in *)a)->sin_port = ((struct sockaddr_in *)&chosen)->sin_port;
}

static int bind_all(const char *address, struct addrinfo *list, bool open, struct listener *to,
		    size_t max, size_t *n, char *error)
{
	size_t first = *n;
	int failed = 0;

	for (struct addrinfo *a = list; a && *n < max; a = a->ai_next) {
		struct listener *l = &to[*n];
		int r;

		if (!open && !is_loopback(a->ai_addr)) {
			snprintf(error, LISTEN_MAX_TEXT,
				 "%s is not loopback and there is no authentication: give --web.config.file "
				 "with users or client certificates, or --insecure to serve it all the same",
				 address);
			return LISTEN_INSECURE;
		}
		if (*n > first)
			set_port(a->ai_addr, &to[first]);
		*l = (struct listener){ .fd = -1 };
		r = bind_one(a->ai_addr, a->ai_addrlen, l);
		if (r == -EADDRNOTAVAIL || r == -EAFNOSUPPORT) { /* a host without IPv6 */
			failed = r;
			continue;
		}
		if (r < 0) {
			snprintf(error, LISTEN_MAX_TEXT, "%s: %s", address,
				 r == -EADDRINUSE ? "the port is in use" : strerror(-r));
			return r;
		}
		show(l);
		l->open = !is_loopback(a->ai_addr);
		++*n;
	}
	if (*n == first)
		snprintf(error, LISTEN_MAX_TEXT, "%s: %s", address, strerror(-failed));
	return *n > first ? LISTEN_BOUND : failed;
}

int listen_bind(const char *address, bool open, struct listener *to, size_t max, size_t *n,
		char *error)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	char host[256], port[8];
	size_t before = *n;
	bool local;
	int r;

	if (*n == max) {
		snprintf(error, LISTEN_MAX_TEXT, "%s: too many addresses", address);
		return LISTEN_BAD_ADDRESS;
	}
	if (!strncmp(address, "unix:", 5)) {
		to[*n] = (struct listener){ .fd = -1 };
		r = bind_unix(address + 5, &to[*n], error);
		*n += r == 0;
		return r;
	}
	if (!split(address, host, port)) {
		snprintf(error, LISTEN_MAX_TEXT,
			 "%s: an address is :PORT, HOST:PORT, [ADDRESS]:PORT or unix:PATH", address);
		return LISTEN_BAD_ADDRESS;
	}
	/* localhost is loopback (RFC 6761, 6.3), also where no file says so */
	local = *host ? !strcmp(host, "localhost") : !open;
	if (local)
		hints.ai_flags &= ~AI_PASSIVE;
	r = getaddrinfo(*host && !local ? host : NULL, port, &hints, &list);
	if (r) {
		snprintf(error, LISTEN_MAX_TEXT, "%s: %s", address, gai_strerror(r));
		return LISTEN_BAD_ADDRESS;
	}
	r = bind_all(address, list, open, to, max, n, error);
	freeaddrinfo(list);
	for (size_t i = before; i < *n && !*host && !open; i++)
		to[i].assumed_loopback = true;
	return r;
}

/* A socket that listens for streams, of a family that we know. */
static int check_listens(int fd, struct sockaddr_storage *ret)
{
	socklen_t n = sizeof(int), n_address = sizeof(*ret);
	int type = 0, listens = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) < 0 ||
	    getsockname(fd, (struct sockaddr *)ret, &n_address) < 0)
		return -errno;
	if (type != SOCK_STREAM || !listens)
		return -EINVAL;
	return ret->ss_family == AF_UNIX || ret->ss_family == AF_INET || ret->ss_family == AF_INET6 ? 0 : -EAFNOSUPPORT;
}

int listen_adopt(int fd, bool open, struct listener *to, size_t max, size_t *n, char *error)
{
	_cleanup_(closep) int own = fd;
	struct sockaddr_storage a = { 0 };
	struct listener l = { .fd = fd, .adopted = true };
	int r = *n < max ? check_listens(fd, &a) : -E2BIG;
	const char *path = ((struct sockaddr_un *)&a)->sun_path;

	if (r < 0) {
		snprintf(error, LISTEN_MAX_TEXT, "descriptor %d, which is said to be a socket to serve: %s", fd, strerror(-r));
		return r;
	}
	if (a.ss_family == AF_UNIX)
		snprintf(l.shown, sizeof(l.shown), "unix:%.*s", (int)sizeof(((struct sockaddr_un *)&a)->sun_path),
			 *path ? path : "(a name in no file system)");
	else
		show(&l);
	l.open = a.ss_family != AF_UNIX && !is_loopback((struct sockaddr *)&a);
	if (l.open && !open) {
		snprintf(error, LISTEN_MAX_TEXT,
			 "%.100s, of the .socket unit, is not loopback and there is no authentication: give --web.config.file "
			 "with users or client certificates, or --insecure to serve it all the same",
			 l.shown);
		return LISTEN_INSECURE;
	}
	to[*n] = l;
	to[*n].fd = TAKE_FD(own);
	++*n;
	return LISTEN_BOUND;
}
