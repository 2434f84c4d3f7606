/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* listen.h - binds the sockets that serve will listen on.
 *
 * The broker never accepts a connection: it binds, because ports and paths may need its rights,
 * and hands the sockets on. */

#include <stdbool.h>
#include <stddef.h>

#define LISTEN_MAX_TEXT 300

struct listener {
	int fd;
	char shown[LISTEN_MAX_TEXT]; /* for people: http://127.0.0.1:6060, unix:/run/x */
	bool assumed_loopback;	     /* ":6060" was taken for loopback */
	bool open;		     /* others than this machine can reach it */
	bool adopted;		     /* somebody else's: a file of it is not ours to remove */
};

enum listen_result {
	LISTEN_BOUND,
	LISTEN_BAD_ADDRESS, /* not understood, or unknown host */
	LISTEN_INSECURE,    /* not loopback, which there was no `open` for */
};

/* Binds ADDR: ":PORT", "HOST:PORT", "[ADDR]:PORT", "unix:PATH". A host name with several addresses
 * (localhost) binds each of them, on one port. open: there is authentication, or --insecure; else
 * anything but loopback is refused and ":PORT" is taken for loopback. Appends to `to`. Answers enum listen_result, or
 * -errno of bind(2); `error` (LISTEN_MAX_TEXT) says in one line what is wrong. */
int listen_bind(const char *address, bool open, struct listener *to, size_t max, size_t *n,
		char *error);
/* The same for a socket that we were started with (socket activation), under the same rules. Takes `fd`
 * in any case. Answers enum listen_result, -ENOTSOCK among what is broken. */
int listen_adopt(int fd, bool open, struct listener *to, size_t max, size_t *n, char *error);
