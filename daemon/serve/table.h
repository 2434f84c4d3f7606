/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* table.h - the unwind tables in the kernel, written through their mappings.
 *
 * Owns the mmapped maps (rules, rows, mapping lists) and who uses which part of
 * them. Parts that programs may still be reading are given back only after a grace period
 * (membarrier). Guarded by the scan lock. */

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/vec.h"
#include "bpf/event.h"
#include "symbolizer/client.h"

struct table_range {
	uint32_t first, n; /* words, or mappings */
};

struct table_place { /* of one file's rows */
	struct table_range words; /* hints, then rows */
	uint64_t base;		  /* address in the file of the first granule */
	uint32_t n_granules;
};

/* Asks the broker for slab `index`; a descriptor or -errno. */
typedef int table_slab_fn(void *context, uint32_t index);

struct table_space { /* first fit; ranges sorted, neighbours joined */
	VEC(struct table_range) free;
	uint32_t size;
};

struct tables {
	struct pp_process *processes; /* PP_MAX_PROCESSES; borrowed */
	struct pp_mapping *mappings;
	struct pp_rule *rules;
	uint32_t n_rules;
	struct hash_index rule_index;
	uint32_t *slabs[PP_MAX_SLABS];
	uint32_t n_slabs;
	struct table_space words, lists;
	VEC(struct table_range) old_words, old_lists; /* until the grace period */
	table_slab_fn *slab;
	void *context;
	uint32_t n_lists; /* published so far */
	uint64_t n_full; /* refused for want of room */
};

/* Maps the two arrays (descriptors stay the caller's). 0 or -errno. */
int tables_init(struct tables *t, struct pp_process *processes, int mapping_fd, int rule_fd,
		table_slab_fn *slab, void *context);
void tables_deinit(struct tables *t);

/* Writes a file's rows. 0; -ENOSPC: no room, counted; -errno of the slab. */
int tables_place(struct tables *t, const struct symbolizer_rows *rows, struct table_place *ret);
void tables_forget(struct tables *t, const struct table_place *p);

/* Writes a list of mappings; the words of struct pp_process.list. 0 or -ENOSPC. */
int tables_list(struct tables *t, const struct pp_mapping *m, uint32_t n, uint64_t *ret);
void tables_forget_list(struct tables *t, uint64_t list);

/* Waits until no program uses what was forgotten, and takes it back. Slow (10 ms). */
void tables_collect(struct tables *t);
