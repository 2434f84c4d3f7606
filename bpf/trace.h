/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* trace.h - what trace.bpf.c and user space share besides event.h: a record for each thing that a thread of a
 * traced process does.
 *
 * An ABI like event.h. Records are hints to their reader: the ring may have had no room for some, and they
 * stand in it in nearly the order of their times. */

#include <linux/types.h>

#include "wait.h"

#define PP_TRACE_FRAMES 64 /* the walk runs under a lock of the scheduler's */
#define PP_TRACE_RING (16u << 20) /* bytes; a second and more of 100,000 switches a second */

/* The maps of trace.bpf.c besides those of enum pp_map, in the order in which the broker hands their
 * descriptors on. */
enum pp_trace_map {
	PP_TRACE_MAP_RING,   /* RINGBUF of struct pp_trace_record */
	PP_TRACE_MAP_STATE,  /* ARRAY of struct pp_trace_state, by process slot */
	PP_TRACE_MAP_FILTER, /* ARRAY, one struct pp_trace_filter */
	PP_N_TRACE_MAPS,
};

/* What most events of the machine end at. Written by serve. */
struct pp_trace_filter {
	__u8 slot[1 << 16]; /* by tgid: as of struct pp_wait_filter */
};

#define PP_TRACE_WANT 1 /* wants */
#define PP_TRACE_WANT_STACKS 2
#define PP_TRACE_WANT_CALLS 4

/* Of one process. */
struct pp_trace_state {
	__u64 wants;  /* written by serve; 0: it is not traced */
	__u64 n_lost; /* written by the kernel: records that the ring had no room for */
};

enum pp_trace_kind {
	PP_TRACE_SWITCH = 1, /* tid leaves its CPU; item: what for, as PP_WAIT_* and below; other: if a thread of
			      * the same process comes */
	PP_TRACE_IN,	     /* tid comes to a CPU */
	PP_TRACE_WAKING,     /* tid is woken by other; 0: from outside, by name; item: 1: by an interrupt */
	PP_TRACE_NEW,	     /* tid is made by other, name */
	PP_TRACE_EXIT,
	PP_TRACE_NAME,	     /* tid is called name now */
	PP_TRACE_EXEC,	     /* tid was other until now, name */
	PP_TRACE_ENTER,	     /* item: number of the system call */
	PP_TRACE_LEAVE,
	PP_TRACE_TICK,
	/* what the program says (preload/pprofd.h), struct pp_trace_note; item: the site, if its name is known
	 * to serve */
	PP_TRACE_TASK_BEGIN,
	PP_TRACE_TASK_END,
	PP_TRACE_REGION_BEGIN,
	PP_TRACE_REGION_END,
	PP_TRACE_LOG,
};

#define PP_TRACE_DEAD (1u << 25) /* item, besides PP_WAIT_PREEMPTED and those that follow it */

/* Threads are told by their numbers in the broker's PID namespace. The name only where a kind has one. */
struct pp_trace_record {
	__u64 time; /* ns of the monotonic clock */
	__u32 tid, other;
	__u32 stack; /* as pp_count.stack; 0: none */
	__u32 epoch; /* low bits: that `stack` is of */
	__u32 item;
	__u16 cpu;
	__u8 kind; /* enum pp_trace_kind */
	__u8 slot; /* of the process */
	char name[16];
};
#define PP_TRACE_SHORT 32 /* bytes of a record without a name */
_Static_assert(sizeof(struct pp_trace_record) == PP_TRACE_SHORT + 16, "no padding");

#define PP_TRACE_TEXT 64 /* bytes, with a NUL */
#define PP_MAX_TRACE_SITES 4096

/* The texts only where item is 0, or the kind is PP_TRACE_LOG. */
struct pp_trace_note {
	struct pp_trace_record r;
	__u64 task, parent; /* as the program calls them */
	char name[PP_TRACE_TEXT], message[PP_TRACE_TEXT];
};
#define PP_TRACE_NOTE_SHORT 64 /* bytes of a note without texts */
_Static_assert(sizeof(struct pp_trace_note) == PP_TRACE_NOTE_SHORT + 2 * PP_TRACE_TEXT, "no padding");
