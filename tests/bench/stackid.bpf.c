/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/* stackid.bpf.c - the kernel's own frame-pointer walk, to compare ours with: same clock, same target
 * check, bpf_get_stackid on user frames. */

#include "compat.bpf.h"

const volatile u32 target_tgid = 0;
u64 n_events = 0;

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 16384);
	__uint(key_size, 4);
	__uint(value_size, 127 * 8);
} stacks SEC(".maps");

SEC("perf_event")
int stackid_tick(struct bpf_perf_event_data *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 != target_tgid)
		return 0;
	bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	__sync_fetch_and_add(&n_events, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
