/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* recording.h - what record.c, window.c and hand.c share. */

#include "bpf/trace.h"
#include "daemon/serve/core.h"
#include "daemon/serve/trace/feed.h"
#include "daemon/serve/trace/record.h"

struct trace_window {
	struct core *core;
	struct target *target;
	struct trace_wish wish;
	int fd; /* eventfd */
	bool counted, held; /* it counts in core.traces, it holds the objects */
	unsigned window;    /* session_hold */
	struct trace_start start;
	struct trace_thread *threads;
	/* the traces' lock */
	struct trace_window *next;
	VEC(struct feed_piece *) queue; /* the oldest first */
	uint64_t from, until;
	uint64_t n_lost; /* events that it had no room for */
	bool complete;	 /* nothing will be added to the queue */
	bool target_ended;
	bool broken;	 /* no memory: a part is missing */
};

struct trace_feed {
	struct target *target;
	uint32_t host_tgid;
	unsigned n_windows; /* 0: the rest is not there */
	struct feed feed;
	uint32_t probed; /* whose sites are: its image, which no other process will ever have */
};

struct trace_recording {
	pthread_t thread;
	bool started, stop;
	const uint8_t *records; /* PP_TRACE_RING bytes */
	uint64_t *consumer;
	const uint64_t *producer;
	struct pp_trace_state *states;
	struct pp_trace_filter *filter;
	struct trace_feed feeds[BROKER_MAX_TARGETS];
	struct trace_window *windows;
	VEC(struct feed_text) sites; /* names; control is held to add one, and the lock */
	size_t held; /* bytes of pieces that windows wait for */
};

/* What the target's program says (preload/pprofd.h) is seen from now on; without it a trace has less. The scan lock
 * and control are held. sites.c */
void recording_probe(struct core *c, struct target *t);

/* The first window, and after the last. Control is held. 0 or -errno, with `error`. */
int recording_start(struct core *c, char *error);
void recording_stop(struct core *c);

/* The lock is held by all that follow. The core's lock as well: */
int recording_add(struct core *c, struct trace_window *w);
void recording_remove(struct trace_window *w);
/* The piece has one user less. */
void recording_release(struct trace_recording *r, struct feed_piece *p);
