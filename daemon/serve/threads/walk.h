/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* walk.h - the walk of bpf/unwind.bpf.h, run in serve on a thread's registers and a copy of its stack.
 *
 * The same code and the same tables as in the kernel, so a stack means the same in every profile. */

#include <stdint.h>

#include "bpf/event.h"
#include "bpf/threads.h"
#include "daemon/serve/table.h"

/* Bytes of the thread's stack at sp + offset (from: not 0, the address on its signal stack of another sp), as many as can be had, into `to`; how many, 0: none. */
typedef uint32_t walk_more_fn(void *context, const struct pp_thread *t, uint64_t from, uint64_t offset,
			      uint8_t to[PP_THREAD_STACK]);

struct walk_input {
	const struct tables *tables;
	uint64_t list; /* struct pp_process.list */
	const struct pp_thread *thread;
	const uint8_t *stack; /* thread->n_stack bytes at its stack pointer */
	walk_more_fn *more;   /* for a deeper stack; may be NULL */
	void *context;
};

/* Frames, innermost first, with the marker of a walk that did not come to the end; how many. The scan lock
 * is held. */
uint32_t walk_thread(const struct walk_input *in, uint64_t words[PP_MAX_WORDS]);
