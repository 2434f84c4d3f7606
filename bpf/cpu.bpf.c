/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/* cpu.bpf.c - where is the target's CPU time spent?
 *
 * A clock on each CPU ticks at a prime rate near ten times the sampling rate; each tick is kept
 * by a coin of its own. A regular clock at 100 Hz would beat with a target that works in 10 ms
 * slots and see always the same one. */

#include "emit.bpf.h"

#define PP_CLOCK_STOOD 500000 /* ns: what is less may be the reading's */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, s64);
} pp_stood SEC(".maps");

/* Past kernel.perf_event_max_sample_rate, which the kernel lowers by itself, it stops the clock until its next own tick:
 * then the clock has been on for longer than it has counted. */
PP_INLINE void pp_look_at_clock(struct bpf_perf_event_data *ctx)
{
	struct bpf_perf_event_value v;
	u32 zero = 0;
	s64 stood, *last = bpf_map_lookup_elem(&pp_stood, &zero);

	if (!last || bpf_perf_prog_read_value(ctx, &v, sizeof(v)))
		return;
	stood = (s64)(v.enabled - v.counter);
	if (stood >= *last && stood < *last + PP_CLOCK_STOOD)
		return;
	if (stood > *last)
		pp_bump_by(PP_STAT_CLOCK_NS, stood - *last);
	*last = stood; /* less: another clock, on from now */
}

SEC("perf_event")
int pp_on_tick(struct bpf_perf_event_data *ctx)
{
	struct pp_event e = {
		.collector = PP_CPU,
		.max_frames = PP_MAX_FRAMES,
		.labelled = PP_LABELLED_WITH_IDS,
		.v = { 1 }, /* what it stands for is for user space: two sums would be read apart */
	};
	struct pp_process *p;

	pp_look_at_clock(ctx);
	if (bpf_get_prandom_u32() >= config.keep)
		return 0;
	p = pp_target();
	if (!p)
		return 0;
	e.kernel = pp_in_kernel(ctx);
	return pp_add(ctx, p, &e);
}

/* dlclose and dlopen of equal sizes between two ticks would leave exec_vm as it was: look at each
 * mmap too. Attached only while a capture is open. */
SEC("tp_btf/vm_unmapped_area")
int BPF_PROG(pp_on_mmap, unsigned long addr, struct vm_unmapped_area_info *info)
{
	struct pp_process *p = pp_target();
	u64 exec_vm;

	if (!p)
		return 0;
	exec_vm = ((struct task_struct *)bpf_get_current_task_btf())->mm->exec_vm;
	if (exec_vm != p->exec_vm) {
		__sync_fetch_and_add(&p->n_mapped, 1); /* when it is as it was, this still tells */
		pp_stale(p, PP_NOTICE_MAPPINGS, exec_vm);
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
