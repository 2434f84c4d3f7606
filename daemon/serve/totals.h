/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* totals.h - what was counted so far, in user space: one row for each (target image, collector,
 * item, stack, name: the thread's, or what else the collector says, and the thread's labels).
 *
 * Owns rows, stacks and names. Rows never move or go while anybody has a snapshot, and only
 * grow, so a window is "after minus before" by row number. Bounded: past TOTALS_MAX_* a
 * new row is added to [other], of no thread, and where there is no room for labels to the row without, counted.
 * Guarded by the core lock. */

#include <stdbool.h>
#include <stdint.h>

#include "bpf/event.h"
#include "daemon/serve/stacks.h"

#define TOTALS_MAX_ROWS (1u << 20)
#define TOTALS_LOCK_ROWS (1u << 18) /* from then on, locks get no new rows of their own */
#define TOTALS_MAX_WORDS (16u << 20)
#define TOTALS_NAME 16
#define TOTALS_LABEL_ROWS (1u << 18)	/* from then on, sets of labels get no new rows of their own */
#define TOTALS_MAX_LABELS (1u << 14)	/* sets */
#define TOTALS_IMAGE_LABELS (1u << 12)	/* of one image */

struct total {
	uint32_t target;
	uint32_t collector : 6, item : 26; /* item: the collector's own */
	uint32_t stack; /* of `stacks` */
	uint32_t name;	/* of `names` */
	int64_t v[2];
};
_Static_assert(sizeof(struct total) == 32, "there are many");
_Static_assert(PP_N_COLLECTORS <= 1 << 6, "a collector fits its field");

struct total_name {
	char text[TOTALS_NAME]; /* as the kernel has it: any bytes, NUL-padded */
	uint32_t labels;	/* of `label_sets`, + 1; 0: none */
	uint32_t size;		/* PP_HEAP: what answers say that an object takes; 0: none has said so. Not of the key */
};

struct totals_image {
	uint32_t image, n;
};

struct totals {
	VEC(struct total) rows;
	struct hash_index index;
	struct stacks stacks;
	VEC(struct total_name) names;
	struct hash_index name_index;
	struct stacks label_sets; /* words as the kernel stores them */
	VEC(struct totals_image) labelled; /* how many sets each image has */
	struct hash_index known; /* rows of PP_WAIT, PP_CREATE and PP_CUSTOM, by the hash of their stack */
	uint64_t n_other; /* events whose stack went to [other] */
	uint64_t n_plain; /* that went to the row of no lock in particular */
	uint64_t n_unlabelled; /* rows that went without their labels */
};

/* A snapshot: the values of rows [0, n). */
struct totals_before {
	size_t n;
	int64_t (*v)[2];
	struct totals_before *next; /* of those that totals_drop_idle is to mind; the caller's */
};

/* The row of a key, made if need be; HASH_NONE: no memory. */
uint32_t totals_row(struct totals *t, uint32_t target, uint32_t collector, const uint64_t *words,
		    uint32_t n, const char name[TOTALS_NAME]);
/* The same, of an item. */
uint32_t totals_item_row(struct totals *t, uint32_t target, uint32_t collector, uint32_t item,
			 const uint64_t *words, uint32_t n, const char name[TOTALS_NAME]);
/* A set of labels of this image, kept: its number + 1, as in struct total_name; 0: none, or no room for one more. */
uint32_t totals_labels(struct totals *t, uint32_t image, const uint64_t *words, uint32_t n);
/* The same, of a thread with labels: n_labels words of bpf/event.h, 0: none. */
uint32_t totals_labelled_row(struct totals *t, uint32_t target, uint32_t collector, uint32_t item,
			     const uint64_t *words, uint32_t n, const char name[TOTALS_NAME],
			     const uint64_t *labels, uint32_t n_labels);
/* A row of PP_WAIT, PP_CREATE or PP_CUSTOM with the stack that has this hash, of whatever process and item; HASH_NONE: there is
 * none. */
uint32_t totals_known(const struct totals *t, uint64_t stack_hash);
/* What it takes, bytes. */
uint64_t totals_bytes(const struct totals *t);
/* How full it is, of the bounds above: 0 to 1. */
double totals_fill(const struct totals *t);
int totals_snapshot(const struct totals *t, struct totals_before *ret);
void totals_before_deinit(struct totals_before *b);
/* Rows that have changed since one of these snapshots (`next`) alone, in the same order; the snapshots follow, and nobody else
 * may have one. 0; or -ENOMEM, and nothing has changed. */
int totals_drop_idle(struct totals *t, struct totals_before *all);
/* Rows of images that are `live` alone, in the same order: map[i] is where row i has gone, or HASH_NONE. Sets of labels
 * keep their numbers. When nobody has a snapshot. 0; or -ENOMEM, and nothing has changed. */
typedef bool totals_live(void *context, uint32_t image);
int totals_keep(struct totals *t, totals_live *live, void *context, uint32_t *map);
/* When nobody has a snapshot. */
void totals_clear(struct totals *t);
void totals_deinit(struct totals *t);
