/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* go_wire.h - the bytes of a Go execution trace: header, batches, tables, generations.
 *
 * Owns the tables of the open generation (strings, stacks, samples); the batches of each M are in streams of the
 * caller's. Stamps events with times that strictly increase over all Ms, whatever it is told: a reader that finds
 * two equal ones may give up. Knows nothing of what may follow what: that is the model's. A lack of memory is
 * sticky, in the output's `bad`. */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/vec.h"
#include "daemon/serve/trace/event.h"

#define GO_NONE UINT64_MAX
#define GO_MAX_BATCH (64ul << 10)
#define GO_MAX_STRING 1024
#define GO_MAX_FRAMES 128

enum go_event {
	GO_PROCS_CHANGE = 9,
	GO_PROC_START = 10,
	GO_PROC_STOP = 11,
	GO_PROC_STATUS = 13,
	GO_CREATE = 14,
	GO_START = 16,
	GO_DESTROY = 17,
	GO_STOP = 19,
	GO_BLOCK = 20,
	GO_UNBLOCK = 21,
	GO_SYSCALL_BEGIN = 22,
	GO_SYSCALL_END = 23,
	GO_SYSCALL_END_BLOCKED = 24,
	GO_STATUS = 25,
	GO_LABEL = 39,
	GO_TASK_BEGIN = 40,
	GO_TASK_END = 41,
	GO_REGION_BEGIN = 42,
	GO_REGION_END = 43,
	GO_USER_LOG = 44,
	GO_STATUS_STACK = 48, /* 1.23 */
};

enum go_status { GO_RUNNABLE = 1, GO_RUNNING, GO_SYSCALL, GO_WAITING };
enum go_proc_status { GO_P_RUNNING = 1, GO_P_IDLE, GO_P_SYSCALL };

/* The open batch of one M. */
struct go_stream {
	uint64_t began, last;
	struct bytes b;
};

struct go_pc { /* a PC means one (function, file, line) for a generation */
	uint64_t pc;
	uint32_t function, file, line;
};

struct go_wire {
	unsigned version; /* 22, 23, 25, 26 */
	uint64_t generation, began, realtime;
	uint64_t now; /* the last event's time */
	uint64_t n_events;
	struct bytes *out;
	struct bytes strings, stacks, samples; /* their open batches */
	struct bytes text; /* of all strings of the generation */
	VEC(size_t) string_at;
	struct hash_index string_index;
	VEC(struct go_pc) pcs;
	struct hash_index pc_index;
	VEC(uint32_t) said; /* by string: the stack of go_wire_say(), 0: none yet */
	uint32_t n_stacks;
};

bool go_wire_version_known(unsigned version);
/* Writes the header. */
void go_wire_init(struct go_wire *w, unsigned version, struct bytes *out);
void go_wire_deinit(struct go_wire *w);

/* All until the end goes to `out`; began: CLOCK_MONOTONIC ns, realtime: the same moment. */
void go_wire_begin(struct go_wire *w, uint64_t began, uint64_t realtime, struct bytes *out);
void go_wire_event(struct go_wire *w, struct go_stream *s, uint64_t m, uint64_t time, enum go_event event,
		   uint32_t n, const uint64_t *args);
/* Ends m's open batch. */
void go_wire_flush(struct go_wire *w, struct go_stream *s, uint64_t m);
void go_wire_sample(struct go_wire *w, uint64_t time, uint64_t m, uint64_t p, uint64_t g, uint64_t stack);
void go_wire_end(struct go_wire *w); /* after each stream's flush */

/* The id of a string in this generation; 0: "". Cut to GO_MAX_STRING bytes, made UTF-8 without control
 * characters. */
uint32_t go_wire_string(struct go_wire *w, const char *text);
/* An id for a stack whose frames come later in this generation. */
uint32_t go_wire_stack_id(struct go_wire *w);
/* Leaf first; what is more than GO_MAX_FRAMES is cut at the root, and a frame says so. */
void go_wire_stack(struct go_wire *w, uint32_t id, const struct trace_frame *frames, uint32_t n);
/* A frame that is no code: words. */
struct trace_frame go_wire_words(const char *words);
/* The stack that is one such frame. */
uint32_t go_wire_say(struct go_wire *w, const char *words);
