/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* starter.h - the process that starts the others.
 *
 * It comes first, before the broker gives up its rights and shuts itself in: filters and capabilities are inherited, and
 * only who may change users can start somebody as another one. It holds what that takes and nothing else, starts three
 * programs by their numbers, whose files it has opened before, and ends what it has started. It is gone with the broker.
 * What it starts are the broker's children (CLONE_PARENT). */

#include <stdint.h>
#include <sys/types.h>

enum { STARTER_SERVE, STARTER_SYMBOLIZER, STARTER_FETCH, STARTER_N_PROGRAMS };

/* Types of records; answers have the same type. */
enum starter_request {
	STARTER_START = 1, /* .program; fd: its socket -> status: its pid, or -errno; fd: its pidfd */
	STARTER_END,	   /* .pid -> status: 0 or -errno */
};

struct starter_question {
	uint32_t program;
	int32_t pid;
};

/* The number of a program's name, or -ENOENT. */
int starter_program(const char *name);
/* Our end of its socket, or -errno. */
int starter_begin(pid_t *ret_pid);
