/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* go_state.h - the shadow of the reader's state: threads, CPUs, and the steps between their states.
 *
 * Private to go_*.c. go_threads.c finds and declares threads, go_step.c makes the steps, go_switch.c reads events,
 * go_say.c those that the program has made itself,
 * go_stacks.c has the stacks of a generation, go_model.c the generations. */

#include "daemon/serve/trace/go_model.h"

struct go_wake { /* seen while its thread was still running */
	uint64_t time, generation; /* time 0: none */
	uint32_t waker, stack;	   /* 0: from outside; as in the file */
};

#define GO_REGION_NAME 64

struct go_region {
	uint64_t task;
	char name[GO_REGION_NAME];
};

struct go_thread {
	uint32_t tid, index;
	uint8_t status; /* enum go_status; 0: not declared yet */
	bool gone;	/* destroyed; what it still does until its last switch says nothing */
	bool dead;	/* and that has been seen, in the first generation, at whose end it is forgotten */
	bool resume;	/* back on a CPU, it is still in the system call `call` */
	bool listed_in_call; /* blocked in one when the recording began */
	bool sees_calls;
	bool renamed; /* and nobody was told */
	int16_t call; /* entered and not left, or -1 */
	uint32_t call_stack; /* the event's, of call_generation */
	uint64_t call_generation;
	int32_t cpu; /* -1: none */
	uint64_t sequence;
	uint64_t declared_at, declared_in; /* time, generation */
	uint64_t last_time;
	uint8_t last_kind;
	uint32_t name_stack; /* in this generation; written at its end, when the name is known best */
	struct go_wake wake;
	struct go_region *regions; /* open, the innermost last; NULL, or GO_MAX_REGIONS */
	uint32_t n_regions, n_deeper; /* deeper ones that are left out */
	char name[16 + 1];
	struct go_stream stream;
};

struct go_cpu {
	bool known;
	uint8_t status; /* enum go_proc_status */
	uint64_t sequence;
	struct go_thread *owner;
};

struct go_stack {
	uint32_t id; /* the events' */
	int16_t call; /* above it, or -1 */
	uint32_t in_file;
};

#define GO_BLOCK_THREADS 256
#define GO_GONE_NS 10000000000ull /* after so long, who has a gone thread's number is another one, whatever was not seen */

struct go_trace {
	struct go_wire wire;
	struct bytes header;
	struct go_stream outside;
	uint64_t sequence_outside; /* of the goroutine that says what was lost */
	struct go_thread *blocks[GO_MAX_THREADS / GO_BLOCK_THREADS];
	uint32_t n_threads; /* places ever used */
	VEC(struct go_thread *) places; /* free */
	struct go_thread **by_tid; /* open addressing */
	uint32_t n_by_tid, n_slots;
	VEC(struct go_cpu) cpus;
	VEC(struct go_stack) stacks;
	VEC(uint64_t) tasks; /* open */
	struct hash_index stack_index;
	const struct trace_generation *generation;
	uint64_t ended;	 /* the last generation */
	uint64_t before; /* the event before */
	uint32_t n_cpus;
	int64_t to_realtime; /* from monotonic */
	bool first;	     /* generation: the only one in which a thread may just be there */
	bool said_cpus;
	bool bad;
	uint64_t n_events, n_lost;
	uint64_t repairs[GO_N_REPAIRS], now[GO_N_REPAIRS];
};

#define GO_EVENT(g, stream, m, time, event, ...)                                                   \
	({                                                                                         \
		const uint64_t _args[] = { __VA_ARGS__ };                                          \
		go_wire_event(&(g)->wire, (stream), (m), (time), (event),                          \
			      sizeof(_args) / sizeof(*_args), _args);                              \
	})

static inline void go_repair(struct go_trace *g, enum go_repair why)
{
	g->now[why]++;
}

/* go_threads.c */
/* Known, or a new undeclared one; NULL: past the bound, counted. */
struct go_thread *go_thread_get(struct go_trace *g, uint32_t tid);
struct go_thread *go_thread_find(struct go_trace *g, uint32_t tid);
/* The i-th place; one that is not in use has tid 0. */
struct go_thread *go_thread_at(struct go_trace *g, uint32_t i);
/* Its goroutine must be gone or not declared. */
void go_thread_release(struct go_trace *g, struct go_thread *th);
void go_thread_name(struct go_thread *th, const char name[16]);
/* Writes what its name is by now. */
void go_thread_write_name(struct go_trace *g, struct go_thread *th);
uint32_t go_thread_name_stack(struct go_trace *g, struct go_thread *th);
void go_threads_deinit(struct go_trace *g);
/* NULL: no such number. */
struct go_cpu *go_cpu_get(struct go_trace *g, uint32_t cpu);

/* go_step.c: each a step that the reader takes, of a declared thread. */
void go_say_status(struct go_trace *g, uint64_t t, struct go_thread *th, enum go_status status, bool own_m);
/* Declares a thread that was never seen in the state that it must have been in just before. */
void go_declare(struct go_trace *g, uint64_t t, struct go_thread *th, enum go_status status, uint32_t cpu);
void go_create(struct go_trace *g, uint64_t t, struct go_thread *th, struct go_thread *creator, uint32_t stack);
void go_start(struct go_trace *g, uint64_t t, struct go_thread *th, uint32_t cpu);
void go_stop(struct go_trace *g, uint64_t t, struct go_thread *th, const char *reason, uint32_t stack);
void go_block(struct go_trace *g, uint64_t t, struct go_thread *th, const char *reason, uint32_t stack);
void go_block_in_call(struct go_trace *g, uint64_t t, struct go_thread *th);
/* waker NULL: from outside. */
void go_unblock(struct go_trace *g, uint64_t t, struct go_thread *th, struct go_thread *waker, uint32_t stack);
void go_call_begin(struct go_trace *g, uint64_t t, struct go_thread *th, uint32_t stack);
void go_call_end(struct go_trace *g, uint64_t t, struct go_thread *th); /* if it is in one */
void go_destroy(struct go_trace *g, uint64_t t, struct go_thread *th);
/* The CPU is somebody else's now. */
void go_cpu_free(struct go_trace *g, uint64_t t, uint32_t cpu);

/* go_switch.c */
void go_switch_event(struct go_trace *g, const struct trace_event *e);

/* The event proves that tid is on the CPU. NULL: none to speak of. */
struct go_thread *go_running(struct go_trace *g, uint64_t t, uint32_t tid, uint32_t cpu);

/* go_say.c */
void go_say(struct go_trace *g, const struct trace_event *e, uint64_t t);
/* Its goroutine is gone, and with it its regions. */
void go_regions_forget(struct go_thread *th);

/* go_stacks.c */
/* As in the file; call: the system call that stands above it, or -1. */
uint32_t go_stack(struct go_trace *g, uint32_t id, int16_t call);
void go_stacks_clear(struct go_trace *g);
