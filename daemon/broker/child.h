/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* child.h - the other processes: started with one socket, no capabilities, another user, an
 * empty environment; ended with us. */

#include <sys/types.h>

struct child {
	pid_t pid;
	int pidfd;
	int socket; /* our end of the record pair */
};

#define CHILD_NONE { 0, -1, -1 }

/* Starts the one that starts the others (starter.h): before rights are given up. child_start does it where nobody has.
 * 0 or -errno. */
int child_begin(void);
/* It goes; nobody is started any more. */
void child_end(void);

/* Starts `name` (a file beside our own, or in libexec) with its end of the socket as descriptor 3.
 * 0 or -errno. */
int child_start(const char *name, struct child *ret);
/* Kills it and waits. */
void child_stop(struct child *c);
