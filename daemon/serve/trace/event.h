/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* event.h - what a recording hands to the formats of a trace (Go's, Perfetto's): one thing that a thread of the
 * target did, and where names and stacks are found.
 *
 * Between the recording (record.c), which reads the kernel's ring, holds events back until they can be
 * sorted, and cuts them into generations, and the formats (go_*.c, perfetto.c), which know nothing of the kernel.
 * Events are hints: any of them may be missing, doubled or late. */

#include <stdbool.h>
#include <stdint.h>

enum trace_kind {
	TRACE_IN = 1,  /* tid comes to a CPU */
	TRACE_OUT,     /* tid leaves its CPU: why; stack where it does, if it blocks or was asked for */
	TRACE_WAKING,  /* tid is woken: by `other`, a thread of the target, with its stack; 0: from outside */
	TRACE_NEW,     /* tid was created by `other`, with other's stack; name: its first */
	TRACE_EXIT,    /* tid is gone */
	TRACE_NAME,    /* tid is called `name` from now on */
	TRACE_ENTER,   /* tid enters system call `call`, with its stack (only ?syscalls=1) */
	TRACE_LEAVE,   /* it returns */
	TRACE_SAMPLE,  /* a tick of the CPU clock found tid at `stack` */
	/* what tid says of itself: `other` is the number of the note, + 1 */
	TRACE_TASK_BEGIN,
	TRACE_TASK_END,
	TRACE_REGION_BEGIN,
	TRACE_REGION_END,
	TRACE_LOG,
};

enum trace_why { /* of TRACE_OUT: how it left, and if it blocks, what for (go-trace.md section 3's table) */
	TRACE_PREEMPTED = 1,
	TRACE_YIELDED,
	TRACE_STOPPED, /* by a signal or a tracer */
	TRACE_DEAD,
	/* it blocks */
	TRACE_SYNC,    /* futex */
	TRACE_NETWORK,
	TRACE_PIPE,
	TRACE_EVENTFD,
	TRACE_POLL,
	TRACE_SLEEP,
	TRACE_CHILD,   /* wait4, waitid */
	TRACE_SIGNAL,  /* sigwait, pause */
	TRACE_FAULT,   /* in no system call: a page fault */
	TRACE_SYSCALL, /* any other system call: file I/O, io_uring, ... */
};

/* flags */
#define TRACE_IRQ 1  /* of TRACE_WAKING from outside: an interrupt, not a process, woke it */
#define TRACE_DISK 2 /* of TRACE_OUT: it waits uninterruptibly (state D) */

/* One switch between two threads of the target is a TRACE_OUT and a TRACE_IN of the same time and CPU. An exec by
 * a thread that is not the leader: TRACE_EXIT of its old tid, TRACE_NEW (other: 0) and TRACE_IN of the leader's. */

struct trace_event {
	uint64_t time; /* ns, CLOCK_MONOTONIC */
	uint32_t tid;  /* as goroutine dumps call it: in pprofd's PID namespace */
	uint32_t other;
	uint32_t stack; /* id, of this generation; 0: none */
	uint16_t cpu;   /* where it happened: `other` runs there (TRACE_WAKING, TRACE_NEW), else tid; not of TRACE_NAME */
	uint8_t kind;  /* enum trace_kind */
	uint8_t why;   /* enum trace_why */
	int16_t call;  /* number of the system call it is in, where that is known; -1 */
	uint8_t flags; /* TRACE_IRQ */
	uint8_t pad[5];
	char name[16]; /* TRACE_NEW, TRACE_NAME: of tid; TRACE_WAKING from outside: of who did it. UTF-8 is not
			* promised, a NUL is only at the end */
};

struct trace_frame {
	uint64_t pc; /* the frame's real identity: synthetic address as in every answer */
	const char *function, *file; /* UTF-8, never NULL */
	uint32_t line;
	bool inlined; /* into the frame that follows */
};

/* What a program says. Texts are any bytes, ended by a NUL. */
struct trace_note {
	uint64_t task, parent; /* its own numbers; 0: none */
	const char *name, *message; /* of TRACE_LOG: the category, and what it says; else message is "" */
};

/* One generation: what happened in [began, ended), sorted by time. They follow each other without a gap. */
struct trace_generation {
	const struct trace_event *events;
	uint32_t n;
	uint64_t began, ended; /* ns, CLOCK_MONOTONIC */
	uint64_t n_lost;       /* events that the ring had no room for, in this generation */
	/* The frames of stack `id`, leaf first; borrowed until the next call. How many, 0 for an unknown id. */
	uint32_t (*frames)(void *context, uint32_t id, const struct trace_frame **ret);
	void *context;
	const struct trace_note *notes;
	uint32_t n_notes;
};

/* A thread that was there when the recording began. */
struct trace_thread {
	uint32_t tid;
	char name[16];
	bool in_call; /* it is blocked in a system call that is none of the classes above */
};

/* What a format is told at its start. */
struct trace_start {
	uint32_t pid;
	const char *process; /* its name */
	uint32_t n_cpus;     /* that the process may use */
	uint64_t monotonic, realtime, boottime; /* ns, of one moment */
	const struct trace_thread *threads;
	uint32_t n_threads;
};
