/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* clocks.h - a clock of samples on each CPU: perf events, and a program that each tick runs.
 *
 * Owns the events. A CPU that goes off takes its event with it, and comes back without: whoever has clocks looks at them
 * once a second. Refuses to start where no CPU has one. */

#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"

#define CLOCKS_LOOK_NS 1000000000ll

struct clocks_one {
	int fd;		  /* -1: the CPU is off */
	uint64_t enabled; /* ns that it has been on, at the last look: an event that is gone stands still */
};

struct clocks {
	VEC(struct clocks_one) all; /* by CPU; none: not started */
	uint64_t period_ns;
	int program;	  /* borrowed */
	int64_t looked_ns;
};

/* On all possible CPUs. 0 or -errno; started already: 0. */
int clocks_start(struct clocks *c, int n_cpus, uint64_t period_ns, int program);
void clocks_stop(struct clocks *c);

/* If it is time to: CPUs that came on get a clock. Adds to *missed_ns the time since when none of theirs can have ticked,
 * at most. Answers in how many ms it is time again; -1: never. */
int clocks_look(struct clocks *c, uint64_t *missed_ns);
