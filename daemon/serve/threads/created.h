/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* created.h - who created the threads of a target, since pprofd attached.
 *
 * Owns the mapping of the kernel's table of who created whom, which is bounded: a thread that is not in it was
 * there before us, or has been crowded out. Counts by the creator's stack are rows of core.kept. */

#include <stdbool.h>
#include <stdint.h>

#include "bpf/threads.h"
#include "daemon/protocol.h"
#include "symbolizer/protocol.h"

struct core;
struct target;
struct capture;
struct naming;
struct totals_before;
struct bytes;

/* Set once, before `records` is. */
struct created {
	const struct pp_created *records; /* NULL: not there */
	uint64_t n_before[BROKER_MAX_TARGETS]; /* threads that were there, by the target's index */
};

struct created_by {
	uint32_t tid; /* of the creator, as our PID namespace calls it; 0: it has no number there */
	uint32_t row; /* + 1, of core.kept: its stack is the creator's; 0: it was not seen */
};

/* Arms, and counts who is there already. Takes the locks in turn. */
void created_start(struct core *c);
/* Counts who is in a target that counts from now on. Takes the locks in turn. */
void created_before(struct core *c, struct target *t);
/* The core's lock is held, and the pool has been folded. */
struct created_by created_by(const struct core *c, const struct pp_thread *t);
/* How many that we know of. Takes the core's lock. */
uint64_t created_count(struct core *c, const struct target *t);

/* The samples since `before` (empty: and the threads from before pprofd), named, with comments; in *ret_text,
 * unless that is NULL, debug=1 with names as `how` says. Takes the locks in turn. 0 or -errno. */
int created_capture(struct core *c, struct target *t, const struct totals_before *before, bool delta,
		    struct capture *to, enum symbolizer_demangle how, struct naming *names,
		    struct bytes *ret_text);
