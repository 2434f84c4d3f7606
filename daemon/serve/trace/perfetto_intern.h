/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* perfetto_intern.h - what a Perfetto trace says once a generation and then names by number: functions, frames, stacks;
 * and for longer, names of threads. */

#include "base/bytes.h"
#include "base/hash.h"
#include "base/vec.h"
#include "daemon/serve/trace/event.h"

struct perfetto_frame {
	uint64_t pc;
	uint32_t function, file, line;
};

struct perfetto_intern {
	struct bytes text; /* of all strings, each with its NUL */
	VEC(size_t) strings;
	struct hash_index string_index;
	VEC(struct perfetto_frame) frames;
	struct hash_index frame_index;
	VEC(uint32_t) stacks; /* the events' ids */
	struct hash_index stack_index;
	struct bytes inner;
};

void perfetto_intern_clear(struct perfetto_intern *in);
void perfetto_intern_deinit(struct perfetto_intern *in);
/* The number of a stack; what a reader does not know yet is appended to `news`, an InternedData. 0: there is none. */
uint32_t perfetto_intern_stack(struct perfetto_intern *in, const struct trace_generation *from, uint32_t id,
			       struct bytes *news);

struct perfetto_thread {
	uint32_t tid;
	bool said, gone, tracked; /* it has a track for what it says */
	char name[16 + 1];
};

struct perfetto_threads {
	VEC(struct perfetto_thread) all;
	struct hash_index index;
	uint64_t n_unnamed; /* past the bound */
};

/* NULL: past the bound, counted. Borrowed until the next one. */
struct perfetto_thread *perfetto_thread(struct perfetto_threads *t, uint32_t tid);
const char *perfetto_thread_name(const struct perfetto_threads *t, uint32_t tid); /* "": unknown */
/* Forgets who is gone, when they are many. */
int perfetto_threads_tidy(struct perfetto_threads *t);
void perfetto_threads_deinit(struct perfetto_threads *t);
