/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* live.bpf.h - the sampled objects that have not been freed, by pointer and process.
 *
 * An object may stand in any slot of two buckets; there are no chains and nothing is left behind
 * by a deletion. Looking up a pointer that is not there, as most frees do, reads two cache
 * lines. User space reads the arrays in place. */

#include "maps.bpf.h"
#include "pool.bpf.h"
#include "heap.h"

PP_ARRAY(pp_live_key, 1 << PP_LIVE_BUCKET_BITS, BPF_F_MMAPABLE, struct pp_live_bucket);
PP_ARRAY(pp_live, PP_LIVE_WAYS << PP_LIVE_BUCKET_BITS, BPF_F_MMAPABLE, struct pp_live);

_Static_assert(PP_MAX_PROCESSES <= 1 << (PP_LIVE_SHIFT - 1), "a slot fits below the pointer");

PP_ARRAY(pp_turn, PP_MAX_PROCESSES * PP_N_TURNS, BPF_F_MMAPABLE, struct pp_turn);

/* A held object that has been found the same before is gone. */
PP_GLOBAL int pp_turn_add(u32 slot, u64 stack, u32 changed)
{
	for (u32 t = 0; t < PP_TURN_TRIES; t++) {
		u32 row = PP_TURN_ROW(slot, stack, t);
		struct pp_turn *e = bpf_map_lookup_elem(&pp_turn, &row);
		u64 was;

		if (!e)
			return 1;
		was = __sync_val_compare_and_swap(&e->stack, 0, stack);
		if (was && was != stack)
			continue;
		__sync_fetch_and_add(changed ? &e->n_changed : &e->n_freed, 1);
		return 0;
	}
	return 1;
}

PP_INLINE u32 pp_live_bucket_of(u64 key, u32 which)
{
	u64 h = pp_mix(config.seed, key);

	/* bits that have nothing to do with each other: h >> 32 differs from h by what pointers that are
	 * aligned alike have in common */
	return which ? h >> (64 - PP_LIVE_BUCKET_BITS) : h & ((1 << PP_LIVE_BUCKET_BITS) - 1);
}

/* Slot number + 1 of the key; 0: not there. */
PP_GLOBAL int pp_live_find(u64 key)
{
	for (u32 which = 0; which < 2; which++) {
		u32 b = pp_live_bucket_of(key, which);
		struct pp_live_bucket *k = bpf_map_lookup_elem(&pp_live_key, &b);

		if (!k)
			return 0;
		for (u32 i = 0; i < PP_LIVE_WAYS; i++)
			if (PP_READ_ONCE(k->key[i]) == key)
				return b * PP_LIVE_WAYS + i + 1;
	}
	return 0;
}

/* How many slots of one of the key's buckets are taken. */
PP_INLINE u32 pp_live_used(u64 key, u32 which)
{
	u32 b = pp_live_bucket_of(key, which), n = 0;
	struct pp_live_bucket *k = bpf_map_lookup_elem(&pp_live_key, &b);

	for (u32 i = 0; k && i < PP_LIVE_WAYS; i++)
		n += PP_READ_ONCE(k->key[i]) != 0;
	return n;
}

/* Takes a free slot for the key, of the emptier bucket first: so that hardly any object finds both of
 * them full before the table is. Slot number + 1, or 0: both are. */
PP_GLOBAL int pp_live_claim(u64 key)
{
	u32 first = pp_live_used(key, 1) < pp_live_used(key, 0);

	for (u32 which = 0; which < 2; which++) {
		u32 b = pp_live_bucket_of(key, which ^ first);
		struct pp_live_bucket *k = bpf_map_lookup_elem(&pp_live_key, &b);

		if (!k)
			return 0;
		for (u32 i = 0; i < PP_LIVE_WAYS; i++)
			if (!PP_READ_ONCE(k->key[i]) &&
			    !__sync_val_compare_and_swap(&k->key[i], 0, key))
				return b * PP_LIVE_WAYS + i + 1;
	}
	return 0;
}

/* An object that is there under this key has been freed unseen: it goes. 0: done; 1: no room. */
PP_GLOBAL int pp_live_put(u64 key, const struct pp_live *v)
{
	struct pp_live *e;
	u32 slot;
	int at;

	if (!v)
		return 1;
	at = pp_live_find(key);
	if (at <= 0)
		at = pp_live_claim(key);
	if (at <= 0)
		return 1;
	slot = at - 1;
	e = bpf_map_lookup_elem(&pp_live, &slot);
	if (!e)
		return 1;
	if (__sync_lock_test_and_set(&e->born, 0) && (e->print & PP_PRINT_SEEN) == PP_PRINT_SEEN)
		pp_turn_add(key >> 1 & (PP_MAX_PROCESSES - 1), e->stack, 0);
	e->size = v->size;
	e->weight = v->weight;
	e->stack = v->stack;
	e->target = v->target;
	e->print = v->print;
	__sync_lock_test_and_set(&e->born, v->born);
	return 0;
}

/* 1: it was there, is gone, and *ret is what it was. */
PP_GLOBAL int pp_live_take(u64 key, struct pp_live *ret)
{
	struct pp_live_bucket *k;
	struct pp_live *e;
	u32 slot, bucket;
	u64 way;
	int at = pp_live_find(key);

	if (at <= 0 || !ret)
		return 0;
	slot = at - 1;
	bucket = slot / PP_LIVE_WAYS;
	way = slot;
	PP_MASK(way, PP_LIVE_WAYS);
	e = bpf_map_lookup_elem(&pp_live, &slot);
	k = bpf_map_lookup_elem(&pp_live_key, &bucket);
	if (!e || !k)
		return 0;
	ret->born = __sync_lock_test_and_set(&e->born, 0);
	if (!ret->born)
		return 0; /* another CPU is writing it or taking it away */
	ret->size = e->size;
	ret->weight = e->weight;
	ret->stack = e->stack;
	ret->target = e->target;
	ret->print = e->print;
	__sync_val_compare_and_swap(&k->key[way], key, 0);
	return 1;
}
