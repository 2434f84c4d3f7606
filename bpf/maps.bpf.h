/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* maps.bpf.h - the tables of event.h as maps. Every collector's object declares all of them; the
 * broker makes them once and hands the same ones to each object. Sizes that depend on the
 * machine are set before loading (struct pp_config). */

#include "compat.bpf.h"
#include "event.h"

PP_SETTING struct pp_config config = { 0 };

struct pp_mapping_list {
	struct pp_mapping m[PP_MAX_MAPPINGS];
};
struct pp_label_list {
	struct pp_labels p[PP_MAX_PROCESSES];
};
struct pp_chunk {
	u32 w[1 << PP_CHUNK_BITS];
};
struct pp_pool_chunk {
	u64 w[1 << PP_POOL_BITS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PP_MAX_PROCESSES);
	__type(key, u32);
	__type(value, u32);
} pp_targets SEC(".maps");

PP_ARRAY(pp_mapping, 1, BPF_F_MMAPABLE, struct pp_mapping_list);
PP_ARRAY(pp_rule, PP_MAX_RULES, BPF_F_MMAPABLE, struct pp_rule);
PP_ARRAY(pp_stack, 1, BPF_F_MMAPABLE, struct pp_stack);
PP_ARRAY(pp_word, 1, BPF_F_MMAPABLE, struct pp_pool_chunk);
PP_ARRAY(pp_count, 1, BPF_F_MMAPABLE, struct pp_count);
PP_ARRAY(pp_state, 1, BPF_F_MMAPABLE, struct pp_state);
PP_ARRAY(pp_labels, 1, BPF_F_MMAPABLE, struct pp_label_list);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} pp_ring SEC(".maps");

/* Slabs of unwind rows. The template gives sizes, not types: with types, 6.1 refuses inner maps
 * that were made without BTF. */
struct pp_slab_template {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << PP_SLAB_BITS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(key_size, 4);
	__uint(value_size, sizeof(struct pp_chunk));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, PP_MAX_SLABS);
	__type(key, u32);
	__array(values, struct pp_slab_template);
} pp_slabs SEC(".maps");

PP_INLINE struct pp_control *pp_controls(void)
{
	u32 zero = 0;
	struct pp_state *s = bpf_map_lookup_elem(&pp_state, &zero);

	return s ? &s->control : NULL;
}

PP_INLINE void pp_bump_by(enum pp_statistic which, u64 n)
{
	struct pp_control *c = pp_controls();

	if (c)
		__sync_fetch_and_add(&c->statistics[which], n);
}

PP_INLINE void pp_bump(enum pp_statistic which)
{
	pp_bump_by(which, 1);
}

/* 1: it was lost, and whoever tells a thing once tells it again. */
PP_INLINE int pp_notice(u32 type, u32 target, u64 value)
{
	struct pp_notice n = { type, target, value };

	if (!bpf_ringbuf_output(&pp_ring, &n, sizeof(n), 0))
		return 0;
	pp_bump(PP_STAT_NOTICE_LOST);
	return 1;
}
