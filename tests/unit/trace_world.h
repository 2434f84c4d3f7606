/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* trace_world.h - recordings to try the formats of a trace with: a real one (fixtures/recorded-trace.gz: 1.5 s of a
 * program whose threads lock, talk through pipes and sockets, write files and create each other, with system calls), and a
 * short one made by hand. And what may happen to them on the way.
 *
 * recorded-trace.gz, LEB128 numbers: threads (n; tid, name), PCs (n; ascending differences), stacks (n; n PCs, index of each, leaf
 * first), events (n; time's difference, kind, tid, cpu, other, stack, why, call as zigzag, flags, name). Names: length, bytes. */

#include "base/bytes.h"
#include "base/vec.h"
#include "daemon/serve/trace/event.h"

struct trace_world_stack {
	uint32_t first, n;
};

struct trace_world {
	struct trace_start start;
	VEC(struct trace_thread) threads;
	VEC(struct trace_event) events;
	VEC(struct trace_frame) frames;
	VEC(struct trace_world_stack) stacks; /* [0] is none */
	VEC(char *) names;
};

/* 0, or -errno. */
int trace_world_read(struct trace_world *w, const char *path);
/* Two CPUs, four threads, one of each kind of event; 0 or -ENOMEM. */
int trace_world_small(struct trace_world *w);
void trace_world_free(struct trace_world *w);
/* The frames() of a generation, with a world as its context. */
uint32_t trace_world_frames(void *world, uint32_t id, const struct trace_frame **ret);
void trace_world_add(struct trace_world *w, struct trace_event e);
/* A stack of these functions, NULL ends them: its id. */
uint32_t trace_world_stack(struct trace_world *w, const char *const *functions);

/* What goes wrong. Chances are of a million. */
struct trace_harm {
	uint64_t seed;
	uint32_t lose, twice, late; /* late: into the next generation, with its old time */
	uint32_t skew_ns;	    /* by which each CPU's clock is before the next one's */
	bool calls;		    /* system calls are left in */
	uint32_t first, n;	    /* of the events; n 0: all */
};

/* Calls `each` for the generations of `ns` that are left of the recording. */
int trace_world_play(struct trace_world *w, const struct trace_harm *harm, uint64_t ns,
		     int (*each)(void *context, const struct trace_generation *generation), void *context);
