/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* command.h - `pprofd -- COMMAND`: a program that is started to be profiled.
 *
 * Owns the child. It runs as whoever started us would have run it: with that one's rights, signals and descriptors 0 to 2,
 * and nothing of ours. Started before we give up or take any right. It is never killed by us: signals that we get are
 * passed on, and when it ends, so do we. */

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

struct command {
	pid_t pid; /* 0: none */
	int pidfd;
	int status; /* as a shell says it, once it has ended */
	bool ended;
};

#define COMMAND_NONE { 0, -1, 0, false }
#define COMMAND_MAX_TEXT 300

/* Starts it, with the allocation sampler preloaded if `sampler`, and waits until it is the program. `signals`: the mask that
 * it gets. 0; or -errno of the exec. `told` (COMMAND_MAX_TEXT): a line to be said, or "". */
int command_start(char **arguments, bool sampler, const sigset_t *signals, struct command *ret, char *told);
/* Passes a signal on, unless the terminal has given it to the command as well. */
void command_signal(const struct command *c, int number, bool from_terminal);
/* Whether it has ended, which is waited for with `wait`. */
bool command_ended(struct command *c, bool wait);
