/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* go_model.h - a recording as a Go execution trace, which the unmodified `go tool trace` opens.
 *
 * A thread is a goroutine and an M of the same number, CPU n is P n+1; what comes from outside happens on M
 * GO_OUTSIDE with P 0. A Go trace is a strict state machine, and one wrong step loses the rest of the file: so this is a
 * shadow of the reader's state that makes only steps the reader takes. Whatever was lost, doubled or late is
 * repaired, and each repair is counted by its reason; the counts and the lost events are log messages of the trace
 * itself, in the generation where they were, and a total at the end.
 *
 * Bounded: GO_MAX_THREADS threads at a time, whose further events are counted; the rest goes with a generation.
 *
 * Tasks, regions and log messages of the target are in go_say.c. They need their thread on a CPU; an end must match the
 * innermost open region of its thread, and a task must not begin twice: either is fatal to a reader. */

#include "base/cleanup.h"
#include "daemon/serve/trace/go_wire.h"

#define GO_OUTSIDE 4194304ull /* PID_MAX_LIMIT: no thread has this number */
#define GO_MAX_THREADS 65536
#define GO_MAX_CPUS 8192
#define GO_MAX_TASKS 4096 /* open at a time */
#define GO_MAX_REGIONS 32 /* of a thread, one within the other */

enum go_repair {
	GO_LOST_OUT,	/* a switch out was not seen: the CPU or the thread was found elsewhere */
	GO_LOST_IN,
	GO_LOST_WAKING,
	GO_LOST_NEW,
	GO_LOST_EXIT,	/* its number was given to a new thread */
	GO_LOST_ENTER,
	GO_LOST_LEAVE,
	GO_TWICE,	/* the same event again */
	GO_LATE,	/* before what came before it, or outside of its generation */
	GO_LATE_NEW,	/* created after it was seen */
	GO_AFTER_END,	/* a sample of a thread that has ended */
	GO_TOO_MANY,	/* of a thread past GO_MAX_THREADS: left out */
	GO_TASK_TWICE,	/* a task that is open began again, or one without a number: left out */
	GO_REGION_OPEN, /* a region was open when the one around it ended */
	GO_REGION_END_ALONE, /* one ended that was not open, within another: left out */
	GO_SAID_TOO_MUCH, /* past GO_MAX_TASKS or GO_MAX_REGIONS: left out */
	GO_UNKNOWN,	/* not understood: left out */
	GO_N_REPAIRS,
};

struct go_trace;

/* What `start` points to is borrowed until this returns. 0; -EINVAL: no such version (22, 23, 25, 26); -ENOMEM. */
int go_trace_new(const struct trace_start *start, unsigned version, struct go_trace **ret);
void go_trace_free(struct go_trace *g);
DEFINE_CLEANUP(struct go_trace, go_trace_free)

/* Appends a generation to `out`; 0 or -ENOMEM, after which only go_trace_free may follow. */
int go_trace_generation(struct go_trace *g, const struct trace_generation *generation, struct bytes *out);
/* Appends the end; what there is to know besides (that the trace was cut, say) is `note`, or NULL. */
int go_trace_end(struct go_trace *g, const char *note, struct bytes *out);

/* So far. */
uint64_t go_trace_repairs(const struct go_trace *g, enum go_repair repair);
const char *go_repair_text(enum go_repair repair);
