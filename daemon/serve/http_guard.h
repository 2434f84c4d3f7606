/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* http_guard.h - limits on what a client may cost: connections, and time to send and to take.
 *
 * Owns one record a connection and a thread that sleeps until the earliest deadline and then shuts
 * the late socket down; the connection's own thread sees the end of the stream and cleans up.
 * libmicrohttpd's timeout is of no use for this: it starts anew with every byte, and it spins
 * through its last second. Never closes a socket. Also the waits on clients (http.h: http_wait):
 * everything here that sleeps. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/cleanup.h"

struct http_guard;

/* A connection; for its thread and the guard. */
struct http_guard_client {
	int fd;
	int64_t deadline_ns; /* 0: none */
	bool is_ip;
	unsigned char address[16]; /* IPv6, or IPv4 mapped into it */
	uid_t uid; /* of a Unix socket */
	struct web_config *web; /* what it began with (http_door.h); or NULL */
	uint64_t n_wanted; /* bytes that the requests so far were made of, as far as known */
	struct http_guard_client *prev, *next;
};

int http_guard_new(unsigned max_clients, unsigned max_per_address, struct http_guard **ret);
/* All clients are gone. */
void http_guard_free(struct http_guard *g);
DEFINE_CLEANUP(struct http_guard, http_guard_free)

/* Whether one more connection from there is welcome. */
bool http_guard_admits(struct http_guard *g, const struct sockaddr *from, socklen_t n);

/* NULL: no memory. The socket must stay open until the client is dropped. */
struct http_guard_client *http_guard_add(struct http_guard *g, int fd, const struct sockaddr *from,
					 int64_t deadline_ns);
void http_guard_drop(struct http_guard *g, struct http_guard_client *c);

/* A new deadline, 0 for none. */
void http_guard_set(struct http_guard *g, struct http_guard_client *c, int64_t deadline_ns);

/* Between two requests: sleeps in the connection's own thread until the next one begins, the client
 * hangs up, or stop_fd is readable; at until_ns shuts the socket down. Returns at once if
 * libmicrohttpd may already hold a part of the next request (n_wanted is less than it has
 * read): then only a deadline can be set. */
void http_guard_idle(struct http_guard_client *c, int stop_fd, int64_t until_ns);

/* Before the socket is closed with bytes of the client unread, which would reset the connection and
 * take our answer from the client: reads them away, for some seconds and megabytes at most. */
void http_guard_drain(struct http_guard_client *c, int stop_fd);
