/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* notify.h - what systemd hands us, and what it is told: sockets that it listens on (sd_listen_fds(3)), that we
 * are ready, end, live (sd_notify(3)).
 *
 * The protocol is one datagram and five variables, promised to stay (systemd.io/PORTABILITY_AND_STABILITY), so no
 * libsystemd, with all that it links, in the one process that has capabilities. The variables are
 * forgotten once they are read: they are not for what we start. Without systemd nothing of this does anything. */

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define NOTIFY_FIRST_FD 3
#define NOTIFY_MAX_SOCKETS 16

struct notify {
	int fd; /* -1: nobody wants to know */
	struct sockaddr_un to;
	socklen_t n_to;
	uint32_t watchdog_ms; /* it wants a sign of life this often; 0: it does not */
	unsigned n_sockets;   /* descriptors from NOTIFY_FIRST_FD on */
};

#define NOTIFY_NONE { .fd = -1 }

/* Reads the environment and takes what is ours out of it. What is not for us (another process's LISTEN_PID or
 * WATCHDOG_PID), or makes no sense, counts as not there. -E2BIG: more sockets than we take. */
int notify_init(struct notify *ret);
void notify_deinit(struct notify *n);
/* Lines of VARIABLE=VALUE. Waits for systemd two seconds at most; a loss is no reason to stop. */
void notify_say(const struct notify *n, const char *lines);
