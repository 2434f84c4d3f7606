/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* walk.h - the walk of bpf/unwind.bpf.h, run in serve on a thread's registers and a copy of its stack.
 *
 * The same code and the same tables as in the kernel, so a stack means the same in every profile. */

#include <stdint.h>

#include "bpf/event.h"
#include "bpf/threads.h"
#include "daemon/serve/table.h"

struct walk_input {
	const struct tables *tables;
	uint64_t list; /* struct pp_process.list */
	const struct pp_thread *thread;
	const uint8_t *stack; /* thread->n_stack bytes at its stack pointer */
	const uint8_t *other; /* thread->n_other bytes where the stack pointer that stands at `from` points to */
	uint64_t from;
};

/* What would bring the walk further: bytes of the stack, and of the one that the thread was on when a signal came,
 * whose stack pointer stands at `from`. 0: no more. */
struct walk_more {
	uint32_t n_stack, n_other;
	uint64_t from;
};

#define WALK_MAX_STACK (3u << 20) /* bytes above a stack pointer that are looked at */

/* Frames, innermost first, with the marker of a walk that did not come to the end; how many. The scan lock
 * is held. */
uint32_t walk_thread(const struct walk_input *in, uint64_t words[PP_MAX_WORDS], struct walk_more *ret_more);
