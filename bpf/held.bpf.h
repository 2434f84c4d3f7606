/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* held.bpf.h - which objects of windows are held still, though their frees are not seen?
 *
 * Between two windows nobody tells of a free. But allocators write into what is free, and whoever gets it
 * next does too: an object whose first and last bytes are what they were is taken to be there. They are
 * read from outside, in time that is ours, by whoever reads this iterator; it sees the target's memory,
 * user space only that something has changed. */

#include "live.bpf.h"

#define PP_END_BYTES 32 /* of each end of an object */

struct pp_looking {
	struct task_struct *task;
	struct pp_heap *heap;
	u64 now, n;
	u32 slot;
};

/* Of both ends of the object, PP_PRINT_TAKEN; PP_PRINT_NONE: all zeros; 0: it cannot be read. */
PP_INLINE u32 pp_print(struct task_struct *task, u64 pointer, u64 size)
{
	u64 w[2 * PP_END_BYTES / 8] = { 0 }, n = size < PP_END_BYTES ? size : PP_END_BYTES;
	u64 hash = config.seed, any = 0;

	if (!n || bpf_copy_from_user_task(w, n, (void *)pointer, task, 0) ||
	    bpf_copy_from_user_task(w + PP_END_BYTES / 8, n, (void *)(pointer + size - n), task, 0))
		return 0;
	for (u32 i = 0; i < 2 * PP_END_BYTES / 8; i++) {
		hash = pp_mix(hash, w[i]);
		any |= w[i];
	}
	return any ? (u32)(hash >> 32 & ~3ull) | PP_PRINT_TAKEN : PP_PRINT_NONE;
}

/* Old objects are looked at less often: four times while their age doubles. What has been swapped out
 * comes back in by being looked at. */
PP_INLINE int pp_is_time(const struct pp_looking *l, u64 born)
{
	u64 then = PP_READ_ONCE(l->heap->looked_ns);

	return then <= born || pp_size_class((l->now - born) >> 24) >> 2 !=
				       pp_size_class((then - born) >> 24) >> 2;
}

/* 1: it may stay. */
PP_INLINE int pp_is_held(struct pp_looking *l, struct pp_live *e, u64 pointer, u64 born)
{
	u32 was = PP_READ_ONCE(e->print), is;

	if (was == PP_PRINT_NONE && born < l->heap->window_ns)
		return 0; /* its window has ended before it was looked at: it may be gone by now */
	if (was == PP_PRINT_NONE && PP_READ_ONCE(l->heap->flags) & PP_HEAP_WINDOW)
		return 1; /* not yet: its owner has only just got it */
	if (was != PP_PRINT_NONE && !pp_is_time(l, born))
		return 1;
	is = pp_print(l->task, pointer, e->size);
	if (is == PP_PRINT_NONE && was == PP_PRINT_NONE)
		l->heap->n_blank++;
	if (is == PP_PRINT_NONE || !is)
		return 0;
	if (was != PP_PRINT_NONE && (was | PP_PRINT_SEEN) != (is | PP_PRINT_SEEN))
		return 0;
	e->print = was == PP_PRINT_NONE ? is : is | PP_PRINT_SEEN;
	return 1;
}

static long pp_look_at(u32 b, void *context)
{
	struct pp_looking *l = context;
	struct pp_live_bucket *k = bpf_map_lookup_elem(&pp_live_key, &b);

	for (u32 i = 0; k && i < PP_LIVE_WAYS; i++) {
		u64 key = PP_READ_ONCE(k->key[i]), born;
		u32 at = b * PP_LIVE_WAYS + i;
		struct pp_live *e;

		if (!key || (key >> 1 & (PP_MAX_PROCESSES - 1)) != l->slot)
			continue;
		e = bpf_map_lookup_elem(&pp_live, &at);
		if (!e)
			continue;
		born = PP_READ_ONCE(e->born);
		if (!born || !PP_READ_ONCE(e->print))
			continue;
		if (pp_is_held(l, e, key >> 7, born)) {
			l->n++;
			continue;
		}
		if (__sync_val_compare_and_swap(&e->born, born, 0) != born)
			continue; /* it has been freed just now */
		__sync_val_compare_and_swap(&k->key[i], key, 0);
		if ((PP_READ_ONCE(e->print) & PP_PRINT_SEEN) == PP_PRINT_SEEN)
			pp_turn_add(l->slot, e->stack, 1);
		l->heap->n_changed++;
	}
	return 0;
}

/* For one thread of the target: its objects are looked at. */
SEC("iter.s/task")
int pp_look(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct pp_looking l = { .task = t, .now = bpf_ktime_get_ns() };
	u32 tgid, *slot;

	if (!t)
		return 0;
	tgid = t->tgid;
	slot = bpf_map_lookup_elem(&pp_targets, &tgid);
	if (!slot)
		return 0;
	l.slot = *slot & (PP_MAX_PROCESSES - 1);
	l.heap = bpf_map_lookup_elem(&pp_heap, &l.slot);
	if (!l.heap)
		return 0;
	bpf_loop(1 << PP_LIVE_BUCKET_BITS, pp_look_at, &l, 0);
	l.heap->n_held = l.n;
	l.heap->looked_ns = l.now;
	return 0;
}
