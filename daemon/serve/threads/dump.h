/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* dump.h - every thread of a target at (nearly) one moment, without stopping it.
 *
 * Owns the threads' stacks. Threads that run have no stack: their registers are old. A thread that dies meanwhile
 * is absent. Bounded: DUMP_MAX_THREADS, and the bytes that are asked for. */

#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"
#include "bpf/event.h"
#include "daemon/protocol.h"

struct core;
struct target;

#define DUMP_MAX_THREADS BROKER_MAX_THREADS

struct dump_thread {
	struct pp_thread t;
	uint32_t labels; /* a set of core.kept + 1; 0: none, or not known */
	uint32_t first, n; /* words of its stack; none: it runs, or has executed another program */
};

struct dump {
	VEC(struct dump_thread) threads; /* in the kernel's order; exit_state: it has ended meanwhile */
	VEC(uint64_t) words;
	int64_t began_ns, took_ns; /* monotonic: from the first look to the last */
	uint64_t n_left_out;
	uint64_t n_late; /* readings that its memory did not answer */
	uint64_t n_unlabelled; /* threads whose labels are not known: they have run since, or could not be read */
	uint64_t n_deep; /* threads whose stacks were too much to be read whole */
	uint32_t image; /* that the words are of */
};

/* Stacks are walked. 0 or -errno; -ESRCH: it has ended. Takes the dump lock and the scan lock. */
int dump_read(struct core *c, struct target *t, enum broker_threads_what what, struct dump *ret);
/* Labels of the threads that have not run since; the others' stay unknown, and are counted. */
void dump_add_labels(struct core *c, struct target *t, struct dump *d);
void dump_deinit(struct dump *d);
