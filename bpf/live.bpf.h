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
	__sync_lock_test_and_set(&e->born, 0);
	e->size = v->size;
	e->weight = v->weight;
	e->stack = v->stack;
	e->target = v->target;
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
	__sync_val_compare_and_swap(&k->key[way], key, 0);
	return 1;
}
