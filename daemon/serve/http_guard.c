/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/http_guard.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/http.h"

#define PEEK_START (1 << 30)
#define DRAIN_MAX (4 << 20)
#define DRAIN_NS                                                                                   \
	(5 * NS_PER_S) /* a client that is slower than that may lose the answer to a reset */

const struct http_limits http_default_limits = {
	.max_connections = 704, /* 512 captures, and those who are told to come back */
	.max_per_address = 640,
	.idle_timeout_s = 60,
	.head_timeout_s = 10,
	.max_head = 32 * 1024,
	.max_body = 1024 * 1024,
	.max_held = 256 * 1024 * 1024,
};

struct http_guard {
	unsigned max_clients, max_per_address;
	pthread_t thread;
	bool started;
	pthread_cond_t changed;
	pthread_mutex_t lock; /* guards all below, and every client's deadline_ns */
	struct http_guard_client *clients;
	unsigned n;
	int64_t wake_ns; /* when the thread looks next */
	bool stop;
};

/* Shuts down whoever is late; when to look again. */
static int64_t cut(struct http_guard *g)
{
	int64_t now = monotonic_ns(), first = INT64_MAX;

	for (struct http_guard_client *c = g->clients; c; c = c->next) {
		if (c->deadline_ns && c->deadline_ns <= now) {
			shutdown(c->fd, SHUT_RDWR);
			c->deadline_ns = 0;
		}
		if (c->deadline_ns && c->deadline_ns < first)
			first = c->deadline_ns;
	}
	return first;
}

static void *watch(void *context)
{
	struct http_guard *g = context;
	struct timespec t;

	pthread_mutex_lock(&g->lock);
	while (!g->stop) {
		g->wake_ns = cut(g);
		if (g->wake_ns == INT64_MAX) {
			pthread_cond_wait(&g->changed, &g->lock);
			continue;
		}
		t = (struct timespec){ g->wake_ns / NS_PER_S, g->wake_ns % NS_PER_S };
		pthread_cond_timedwait(&g->changed, &g->lock, &t);
	}
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

int http_guard_new(unsigned max_clients, unsigned max_per_address, struct http_guard **ret)
{
	_cleanup_(http_guard_freep) struct http_guard *g = calloc(1, sizeof(*g));
	pthread_condattr_t monotonic;
	int r;

	if (!g)
		return -ENOMEM;
	g->max_clients = max_clients;
	g->max_per_address = max_per_address;
	pthread_mutex_init(&g->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&g->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	r = pthread_create(&g->thread, NULL, watch, g);
	if (r)
		return -r;
	g->started = true;
	*ret = TAKE_PTR(g);
	return 0;
}

void http_guard_free(struct http_guard *g)
{
	if (!g)
		return;
	if (g->started) {
		pthread_mutex_lock(&g->lock);
		g->stop = true;
		pthread_cond_signal(&g->changed);
		pthread_mutex_unlock(&g->lock);
		pthread_join(g->thread, NULL);
	}
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

static bool ip_address(const struct sockaddr *from, unsigned char ret[16])
{
	if (from->sa_family == AF_INET6) {
		memcpy(ret, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
		return true;
	}
	if (from->sa_family != AF_INET)
		return false;
	memcpy(ret, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
	memcpy(ret + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
	return true;
}

bool http_guard_admits(struct http_guard *g, const struct sockaddr *from, socklen_t n)
{
	unsigned char address[16];
	bool is_ip = n >= sizeof(struct sockaddr_in) && ip_address(from, address), admits;
	unsigned same = 0;

	pthread_mutex_lock(&g->lock);
	for (struct http_guard_client *c = g->clients; c && is_ip; c = c->next)
		same += c->is_ip && !memcmp(c->address, address, sizeof(address));
	admits = g->n < g->max_clients && same < g->max_per_address;
	pthread_mutex_unlock(&g->lock);
	return admits;
}

struct http_guard_client *http_guard_add(struct http_guard *g, int fd, const struct sockaddr *from,
					 int64_t deadline_ns)
{
	struct http_guard_client *c = calloc(1, sizeof(*c));
	struct ucred user = { .uid = (uid_t)-1 };
	socklen_t n_user = sizeof(user);
	int peek = PEEK_START;

	if (!c)
		return NULL;
	c->fd = fd;
	c->is_ip = ip_address(from, c->address);
	c->uid = (uid_t)-1;
	if (!c->is_ip && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &n_user) == 0)
		c->uid = user.uid;
	if (!c->is_ip)
		setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &peek, sizeof(peek));
	pthread_mutex_lock(&g->lock);
	c->next = g->clients;
	if (c->next)
		c->next->prev = c;
	g->clients = c;
	g->n++;
	pthread_mutex_unlock(&g->lock);
	http_guard_set(g, c, deadline_ns);
	return c;
}

void http_guard_drop(struct http_guard *g, struct http_guard_client *c)
{
	pthread_mutex_lock(&g->lock);
	*(c->prev ? &c->prev->next : &g->clients) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	g->n--;
	pthread_mutex_unlock(&g->lock);
	free(c);
}

void http_guard_set(struct http_guard *g, struct http_guard_client *c, int64_t deadline_ns)
{
	pthread_mutex_lock(&g->lock);
	c->deadline_ns = deadline_ns;
	/* A later deadline does not wake the thread: it looks at the old one, once, for nothing. */
	if (deadline_ns && deadline_ns < g->wake_ns)
		pthread_cond_signal(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

/* How many bytes libmicrohttpd has read from the connection. TCP counts what came (tcp_info, since
 * Linux 4.1), so there must be nothing unread; what comes in between makes the result too great. An
 * AF_UNIX socket's peek offset goes down by what is read (socket(7), SO_PEEK_OFF; TCP has it since
 * 6.9 only). */
static bool bytes_read(const struct http_guard_client *c, uint64_t *ret)
{
	const socklen_t need = offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(uint64_t);
	struct tcp_info info = { 0 };
	socklen_t n = sizeof(info), n_peek = sizeof(int);
	int peek;
	char byte;

	if (!c->is_ip) {
		if (getsockopt(c->fd, SOL_SOCKET, SO_PEEK_OFF, &peek, &n_peek) < 0 || peek <= 0)
			return false;
		*ret = (uint64_t)(PEEK_START - peek);
		return true;
	}
	if (recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN ||
	    getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0 || n < need)
		return false;
	*ret = info.tcpi_bytes_received;
	return true;
}

/* Sleeps until there is something to read; false at the end of the time. */
static bool wait_readable(int fd, int stop_fd, int64_t until_ns)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN | POLLRDHUP },
			       { .fd = stop_fd, .events = POLLIN } };

	for (;;) {
		int64_t left_ns = until_ns - monotonic_ns();
		struct timespec t = { left_ns / NS_PER_S, left_ns % NS_PER_S };

		if (left_ns <= 0)
			return false;
		if (ppoll(p, 2, &t, NULL) > 0)
			return true;
	}
}

void http_guard_idle(struct http_guard_client *c, int stop_fd, int64_t until_ns)
{
	uint64_t n;

	if (!bytes_read(c, &n) || n != c->n_wanted)
		return;
	if (!wait_readable(c->fd, stop_fd, until_ns))
		shutdown(c->fd, SHUT_RDWR);
}

void http_guard_drain(struct http_guard_client *c, int stop_fd)
{
	int64_t until_ns = monotonic_ns() + DRAIN_NS;
	char bytes[16 * 1024];
	ssize_t n = 1;

	shutdown(c->fd, SHUT_WR);
	for (size_t all = 0; n > 0 && all < DRAIN_MAX; all += (size_t)n) {
		if (!wait_readable(c->fd, stop_fd, until_ns))
			return;
		n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	}
}

enum http_wait http_wait(const struct http_request *q, int64_t until_ns, int extra_fd)
{
	struct pollfd p[3] = { { .fd = q->stop_fd, .events = POLLIN },
			       { .fd = q->client_fd, .events = POLLRDHUP },
			       { .fd = extra_fd, .events = POLLIN } };

	for (;;) {
		int64_t left_ns = until_ns - monotonic_ns();
		struct timespec t = { left_ns > 0 ? left_ns / NS_PER_S : 0,
				      left_ns > 0 ? left_ns % NS_PER_S : 0 };

		/* Asked once more at the end of the time: a client that is gone wants no answer. */
		if (ppoll(p, 3, &t, NULL) < 0)
			continue;
		if (p[0].revents)
			return HTTP_STOPPING;
		if (p[1].revents)
			return HTTP_CLIENT_GONE;
		if (p[2].revents)
			return HTTP_EXTRA;
		if (left_ns <= 0)
			return HTTP_WAITED;
	}
}
