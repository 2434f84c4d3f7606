/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* held.h - which objects of windows are held still, though their frees are not seen?
 *
 * Between two windows nobody tells of a free. But allocators write into what is free, and whoever gets it
 * next does too: an object whose first and last bytes are what they were is taken to be there. They are
 * read from outside, in time that is ours. Not by a program in the kernel: a target decides how long a
 * reader of its memory waits, and one that sleeps there makes all of the machine's uprobes wait.
 * Serve learns only whether something has changed. */

#include <stdint.h>
#include <sys/types.h>

#include "bpf/heap.h"

#define HELD_END_BYTES 32 /* of each end of an object */

/* The heap's tables, which the kernel writes too. */
struct held {
	struct pp_heap *heaps;
	struct pp_live_bucket *keys;
	struct pp_live *live;
	struct pp_turn *turns;
	uint64_t seed; /* secret */
};

/* Both ends of an object, n bytes each. 0 or -errno; -ESRCH: the process has ended, which says nothing of the object. */
typedef int held_read_fn(void *context, uint64_t pointer, uint64_t size, void *to, unsigned n);

/* Looks at the objects of windows of the process in `slot`. now_ns: monotonic. */
void held_look(const struct held *h, uint32_t slot, uint64_t now_ns, held_read_fn *reads, void *context);
