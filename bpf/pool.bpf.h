/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* pool.bpf.h - the tables that grow: stacks and counts.
 *
 * Open addressing in mmapable arrays; rows are claimed by cmpxchg, filled, then published, and
 * never change or move inside an epoch. Two programs that meet at a row being written do not
 * wait: the second stores its own copy and user space adds the two up. All of one event goes to
 * one half. */

#include "maps.bpf.h"

#define PP_TRIES 32 /* triangular probing; at 75 % load, where user space empties the half, none
		     * of 14 k stacks was lost with 32 */

PP_INLINE u64 pp_mix(u64 h, u64 v)
{
	h = (h ^ v) * 0x9fb21c651e98df25ull;
	return h ^ h >> 32;
}

/* Tells user space, once an epoch, that a table of this half is 75 % full. */
PP_INLINE void pp_filling(struct pp_control *c, u64 epoch, u64 used, u64 size)
{
	if (used < size - size / 4 || PP_READ_ONCE(c->noted) == epoch + 1)
		return;
	if (__sync_lock_test_and_set(&c->noted, epoch + 1) != epoch + 1 && pp_notice(PP_NOTICE_FILLING, 0, epoch))
		__sync_lock_test_and_set(&c->noted, 0);
}

/* A stack in scratch: n words and their hash. */
struct pp_words {
	u64 hash;
	u32 n;
	u32 half;
	u64 epoch;
	u32 labels; /* not a stack but labels, of process row labels - 1 */
	u32 ids;    /* of these, trace and span too, as long as there is room */
	u64 w[PP_MAX_WORDS];
};

PP_GLOBAL int pp_words_copy(struct pp_words *s, u32 chunk, u32 at)
{
	struct pp_pool_chunk *c = bpf_map_lookup_elem(&pp_word, &chunk);

	if (!c || !s)
		return -1;
	for (u32 i = 0; i < PP_MAX_WORDS && i < s->n; i++) {
		u64 k = at + i;

		PP_MASK(k, 1 << PP_POOL_BITS);
		c->w[k] = s->w[i];
	}
	return 0;
}

PP_GLOBAL int pp_words_equal(struct pp_words *s, u32 chunk, u32 at)
{
	struct pp_pool_chunk *c = bpf_map_lookup_elem(&pp_word, &chunk);
	u64 differ = 0;

	if (!c || !s)
		return 0;
	for (u32 i = 0; i < PP_MAX_WORDS && i < s->n; i++) {
		u64 k = at + i;

		PP_MASK(k, 1 << PP_POOL_BITS);
		differ |= c->w[k] ^ s->w[i];
	}
	return !differ;
}

/* Writes the words of a claimed row; a stack never crosses a chunk. Row + 1, or 0: no room. */
PP_GLOBAL int pp_stack_fill(struct pp_words *s, u32 row)
{
	struct pp_stack *e = bpf_map_lookup_elem(&pp_stack, &row);
	struct pp_control *c = pp_controls();
	u64 n, at = 0, size = (u64)config.n_pool_chunks << PP_POOL_BITS;
	u32 half;

	if (!e || !s || !c)
		return 0;
	n = s->n;
	half = s->half & 1;
	for (int t = 0; t < 2; t++) {
		at = __sync_fetch_and_add(&c->n_words[half], n);
		if ((at & ((1 << PP_POOL_BITS) - 1)) + n <= 1 << PP_POOL_BITS)
			break;
	}
	pp_filling(c, s->epoch, at, size);
	pp_filling(c, s->epoch, __sync_fetch_and_add(&c->n_stacks[half], 1), config.n_stacks);
	if (at + n > size || (at & ((1 << PP_POOL_BITS) - 1)) + n > 1 << PP_POOL_BITS) {
		pp_bump(PP_STAT_STACK_FULL);
		e->hash = 0; /* free again: the worst that can come of it is a duplicate */
		return 0;
	}
	at += half ? size : 0;
	if (pp_words_copy(s, at >> PP_POOL_BITS, at & ((1 << PP_POOL_BITS) - 1)))
		return 0;
	PP_BARRIER();
	__sync_lock_test_and_set(&e->meta, PP_READY | n << 40 | at);
	return row + 1;
}

/* Room for one more set of labels? Of a half's rows one in eight may be of labels, half of them one process's: a
 * process that makes up a new label for each sample costs itself its labels. */
PP_INLINE int pp_labels_room(struct pp_words *s)
{
	u32 zero = 0;
	struct pp_label_list *l = bpf_map_lookup_elem(&pp_labels, &zero);
	struct pp_control *c = pp_controls();
	u64 k = s->labels - 1;
	u32 half = s->half & 1;

	if (!l || !c)
		return 0;
	PP_MASK(k, PP_MAX_PROCESSES);
	if (l->p[k].n_sets[half] >= config.n_stacks / 16 || c->n_labels[half] >= config.n_stacks / 8) {
		pp_bump(PP_STAT_LABELS_FULL);
		return 0;
	}
	__sync_fetch_and_add(&l->p[k].n_sets[half], 1);
	__sync_fetch_and_add(&c->n_labels[half], 1);
	return 1;
}

/* Row + 1 of the stack, or 0: the table is full. */
PP_GLOBAL int pp_stack_put(struct pp_words *s)
{
	u64 hash, size = config.n_stacks;

	if (!s)
		return 0;
	hash = s->hash ? s->hash : 1;
	for (u32 t = 0; t < PP_TRIES; t++) {
		u32 row = ((hash + (t * t + t) / 2) & (size - 1)) + (s->half & 1 ? size : 0);
		struct pp_stack *e = bpf_map_lookup_elem(&pp_stack, &row);
		u64 old, meta;

		if (!e)
			return 0;
		old = PP_READ_ONCE(e->hash);
		if (!old) {
			if (s->labels && !pp_labels_room(s))
				return 0;
			old = __sync_val_compare_and_swap(&e->hash, 0, hash);
			if (!old)
				return pp_stack_fill(s, row);
		}
		if (old != hash)
			continue;
		meta = PP_READ_ONCE(e->meta);
		if (!(meta & PP_READY)) {
			pp_bump(PP_STAT_DUPLICATE);
			continue;
		}
		if ((u32)(meta >> 40 & 0xffff) == s->n &&
		    pp_words_equal(s, (u32)meta >> PP_POOL_BITS, meta & ((1 << PP_POOL_BITS) - 1)))
			return row + 1;
	}
	pp_bump(PP_STAT_STACK_FULL);
	return 0;
}

struct pp_key {
	u32 target, collector, stack, item;
	u32 half;
	u32 labels;
	u64 epoch;
	u64 name[2];
	s64 v[2];
};

/* Adds k->v to the row of the key. 0: done; 1: the table is full. */
PP_GLOBAL int pp_count_add(struct pp_key *k)
{
	struct pp_control *c = pp_controls();
	u64 hash, tag, size = config.n_counts;

	if (!k || !c)
		return 1;
	hash = pp_mix(config.seed, (u64)k->target << 32 | k->collector);
	hash = pp_mix(pp_mix(hash, (u64)k->stack << 32 | k->item), k->name[0]);
	hash = pp_mix(hash, k->name[1] ^ (u64)k->labels << 32);
	tag = (hash & ~3ull) | PP_CLAIMED;
	for (u32 t = 0; t < PP_TRIES; t++) {
		u32 row = (((hash >> 20) + (t * t + t) / 2) & (size - 1)) + (k->half & 1 ? size : 0);
		struct pp_count *e = bpf_map_lookup_elem(&pp_count, &row);
		u64 old;

		if (!e)
			return 1;
		old = PP_READ_ONCE(e->tag);
		if (!old) {
			old = __sync_val_compare_and_swap(&e->tag, 0, tag);
			if (!old) {
				e->target = k->target;
				e->collector = k->collector;
				e->stack = k->stack;
				e->item = k->item;
				e->labels = k->labels;
				e->name[0] = k->name[0];
				e->name[1] = k->name[1];
				__sync_lock_test_and_set(&e->tag, tag | PP_FILLED);
				old = tag | PP_FILLED;
				pp_filling(c, k->epoch,
					   __sync_fetch_and_add(&c->n_counts[k->half & 1], 1), size);
			}
		}
		if (old != (tag | PP_FILLED) || e->target != k->target ||
		    e->collector != k->collector || e->stack != k->stack || e->item != k->item ||
		    e->labels != k->labels || e->name[0] != k->name[0] || e->name[1] != k->name[1])
			continue;
		__sync_fetch_and_add(&e->v[0], k->v[0]);
		if (k->v[1])
			__sync_fetch_and_add(&e->v[1], k->v[1]);
		return 0;
	}
	pp_bump(PP_STAT_LOST_COUNT);
	return 1;
}
