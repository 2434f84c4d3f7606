/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* harness.h - the whole of pprofd but HTTP, in one process and for one target: for the oracle and the
 * benchmarks, which look at what users never see. The broker's side runs in a thread; the
 * symbolizer is the real child. */

#include <sys/types.h>

#include "daemon/broker/broker.h"
#include "daemon/serve/core.h"

struct harness {
	struct broker broker;
	struct process process;
	struct core core;
	pthread_t thread;
};

/* Loads the programs and writes the target's tables. Exits with a message when it cannot. */
void harness_open(struct harness *h, pid_t pid, struct kernel_clock clock);
void harness_close(struct harness *h);
