/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* record.h - one recording for all traces: reads the kernel's ring while at least one window is open, and hands each
 * window its part, generation by generation.
 *
 * Owns the ring's mapping and the thread that reads it, neither of which is there while nobody traces. Events are
 * held back for a moment, so that they can be sorted. Bounded: TRACE_MAX_WINDOWS at a time; what waits for slow
 * clients has TRACE_MAX_HELD bytes in all, and when that is full the one for whom most waits loses its oldest part, which is
 * counted. Files: record.c reads and cuts, window.c is a window's life, hand.c names a generation and hands it out, feed.c
 * collects what one target does, why.c tells what a thread leaves its CPU for.
 *
 * Locks: `control` orders beginnings and ends of windows and is taken before all others; core.lock, then `lock`; `handing`
 * alone. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/protocol.h"
#include "base/vec.h"
#include "daemon/serve/naming.h"
#include "daemon/serve/trace/event.h"

struct core;
struct target;
struct feed_piece;
struct feed_text;
struct trace_recording;
struct trace_window;

#define TRACE_MAX_WINDOWS 8
#define TRACE_MAX_HELD (20ul << 20)

struct traces {
	pthread_mutex_t control; /* guards n_calls, and who begins or ends */
	uint32_t n_windows, n_calls;
	pthread_mutex_t lock; /* guards `recording` and all that belongs to it */
	struct trace_recording *recording; /* NULL: nobody traces */
	pthread_mutex_t handing; /* one generation is named and written at a time */
};

void traces_init(struct traces *t);

struct trace_wish {
	int64_t window_ns;
	bool stacks;
	bool calls; /* enter and leave of system calls */
};

enum trace_open_result { TRACE_OPEN, TRACE_GONE, TRACE_TOO_MANY, TRACE_NO_KERNEL, TRACE_REFUSED };

/* Begins a window, from now on. TRACE_OPEN: *ret is the caller's until trace_close; TRACE_REFUSED: `error`
 * (BROKER_MAX_TEXT) says why; or -errno. */
int trace_open(struct core *c, struct target *t, const struct trace_wish *wish, struct trace_window **ret, char *error);
void trace_close(struct trace_window *w);

/* Borrowed until trace_close. */
const struct trace_start *trace_start(const struct trace_window *w);
/* Readable when trace_next has something to say. */
int trace_fd(const struct trace_window *w);
/* The window ends now. */
void trace_stop(struct trace_window *w);
/* Whether it ended because its process did. */
bool trace_target_ended(const struct trace_window *w);

/* A generation that is handed out. */
struct trace_given {
	struct trace_generation generation;
	uint64_t n_no_stack; /* stacks that could not be had */
	struct trace_event *events;
	struct trace_note *notes;
	struct feed_text *sites; /* names */
	uint32_t n_sites;
	struct naming names;
	struct feed_piece *piece;
	VEC(struct trace_frame) frames;
	struct trace_window *window;
};

enum trace_next_result { TRACE_NOTHING, TRACE_GIVEN, TRACE_ENDED };

/* TRACE_GIVEN: *ret until trace_done, which must come soon: others wait for it. Or -errno. */
int trace_next(struct trace_window *w, struct trace_given *ret);
void trace_done(struct trace_given *g);

/* Of an item of a record (bpf/trace.h): enum trace_why. */
uint8_t trace_why(uint32_t item);
