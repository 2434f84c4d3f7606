/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* pool.h - reads the kernel's tables (bpf/pool.bpf.h) through their mappings and adds them up in
 * totals.
 *
 * Owns the mappings and the ring. The kernel writes one half of every table; when it is nearly
 * full the other half takes over and this one is folded and emptied: a grace period
 * (membarrier) makes sure that no program still writes to it, so nothing is lost or counted
 * twice. Reading takes no system call: map look-ups by syscall would switch the sampler off on
 * their CPU (counting.md A4 measured 40 % of a target's samples lost). Guarded by the core lock. */

#include <stdint.h>

#include "bpf/event.h"
#include "bpf/wait.h"
#include "daemon/protocol.h"
#include "daemon/serve/totals.h"

struct pool_half {
	int64_t (*folded)[2]; /* n_counts: values already added */
	uint32_t *row;	      /* n_counts: of totals, + 1; 0: not known yet */
	uint8_t *end;	      /* n_counts: enum pp_end of the stack, where the row is known */
};

struct pool {
	uint32_t n_stacks, n_counts, n_pool_chunks;
	struct pp_stack *stacks;
	uint64_t *words;
	struct pp_count *counts;
	struct pp_state *state;
	struct pp_control *control; /* in state */
	struct pp_labels *labels;   /* PP_MAX_PROCESSES */
	struct pool_half halves[2];
	/* borrowed; NULL until they are there: waits that are open know their stacks by row */
	const struct pp_wait_bucket *wait_keys;
	struct pp_wait *waits; /* their labels are written */
	/* NULL: nobody. Called when a half is about to be emptied and no program writes to it any more: last chance to
	 * read its stacks. */
	void (*before_empty)(void *context);
	void *context;
	uint64_t n_flips, n_bad; /* bad: rows that make no sense */
	uint64_t n_not_kept;	 /* events that totals had no memory for */
	/* events folded so far, weighed as profiles show them, by how their stacks end */
	double n_ends[PP_N_COLLECTORS][PP_N_ENDS];
};

/* Maps them; the descriptors stay the caller's. */
int pool_init(struct pool *p, const struct broker_maps *sizes, const int fds[PP_N_MAPS]);
void pool_deinit(struct pool *p);

/* Adds everything counted so far to the totals: `kept` of collectors that count for as long as a target
 * lives, `t` of the others. */
void pool_fold(struct pool *p, struct totals *t, struct totals *kept);
/* Switches halves, waits for the grace period, folds and empties the old half. */
void pool_flip(struct pool *p, struct totals *t, struct totals *kept);
/* Whether a flip is worth its 10 ms before a first window. */
bool pool_used(const struct pool *p);
/* Totals have been cleared: rows are looked for anew. */
void pool_forget_rows(struct pool *p);

/* The wait in a slot of the open ones, as it was at one moment; false: there is none. */
#define POOL_N_WAITS ((uint32_t)PP_WAIT_WAYS << PP_WAIT_BUCKET_BITS)
bool pool_wait(const struct pool *p, uint32_t slot, struct pp_wait *ret);
/* Its row of `kept`, made if need be; HASH_NONE: no memory. */
uint32_t pool_wait_row(struct pool *p, struct totals *kept, const struct pp_wait *w);

/* The words of the stack in a row of this half, in the order and form of captures; 0: the row makes no sense. */
uint32_t pool_stack(const struct pool *p, unsigned half, uint32_t row, uint64_t words[PP_MAX_WORDS]);

uint64_t pool_statistic(const struct pool *p, enum pp_statistic which);
