/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* carry.h - cumulative counts that outlive us: what an answer has shown, the next pprofd goes on from.
 *
 * A target has two files, which the broker opens (broker/carry.h); they are written in turn, so that one is whole
 * whenever we are killed. Each has the target's rows of core.kept with their stacks, files and labels, in memory
 * order of this machine, and a hash over them. It is written before each answer of what counts for ever, so
 * no client sees a number go down; what came after the last answer is lost, and how long that was is told. Never in
 * there: what is in use and values that are held (nobody saw them go meanwhile), and windows.
 * What is read is checked and bounded, although it is ours. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CARRY_MAX_BYTES (64u << 20)

struct core;
struct target;
struct capture;

struct carry {
	bool asked;	      /* atomic; set under the scan lock */
	bool there;	      /* files; before, nothing is kept */
	int fds[2];	      /* valid if there */
	uint64_t n_written;
	int64_t since_ns;     /* boottime: counts begin there, whoever counted */
	uint32_t n_gaps;      /* times nobody counted, how long in all: never change once restored */
	int64_t gap_ns;
	uint64_t n_lost;      /* rows that found no room */
	uint64_t allocs[4];   /* struct heap_counters: allocations, frees, bytes, samples, of those before us */
	uint64_t n_threads_before;
	bool restored;
	const char *problem;  /* atomic: why it is not written; NULL: it is */
};

/* After the first scan of a target: what there is of it comes into core.kept, as an image of its own. The scan lock
 * is held. */
void carry_restore(struct core *c, struct target *t);
/* All that the contents of a file say, or nothing: 0; -ESTALE: of another process; -EBADMSG; -ENOMEM. Takes the core's lock. */
int carry_read(struct core *c, struct target *t, const void *data, size_t n);
/* Before the first answer: until there was a first scan. Takes the core's locks. */
void carry_wait(struct core *c, struct target *t);
/* Before an answer goes out. Takes the core's lock. */
void carry_save(struct core *c, struct target *t);
/* The target is let go: the files are closed. */
void carry_close(struct carry *x);
/* Lines for the profile's comment, where there is something to say. */
void carry_say(const struct target *t, struct capture *to);
