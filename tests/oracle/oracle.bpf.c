/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/* oracle.bpf.c - the product's walker on one target's events, and beside each walk what libdw needs to
 * repeat it. Test only. */

#include "emit.bpf.h"
#include "oracle.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 32 << 20);
} oracle_ring SEC(".maps");

u64 oracle_lost = 0;

PP_INLINE void copy_stack(struct oracle_sample *o, u64 sp)
{
	o->stack_at = sp & ~4095ull;
	o->n_stack = 0;
	for (int i = 0; i < ORACLE_STACK / 4096; i++) {
		u32 at = i * 4096;

		if (bpf_probe_read_user(&o->stack[at], 4096, (void *)(o->stack_at + at)))
			break;
		o->n_stack = at + 4096;
	}
}

PP_INLINE void task_registers(u64 *r)
{
	u64 call, argument;

	pp_all_registers(bpf_get_current_task_btf(), r, &call, &argument);
}

PP_GLOBAL int oracle_copy(struct oracle_sample *o, struct pp_scratch *s)
{
	if (!o || !s)
		return 0;
	task_registers(o->registers);
	copy_stack(o, s->walk.sp);
	return 0;
}

PP_GLOBAL int oracle_take(struct oracle_sample *o, struct pp_scratch *s)
{
	if (!o || !s)
		return 0;
	o->end = s->walk.end;
	o->n = s->words.n;
	for (u32 i = 0; i < PP_MAX_WORDS; i++)
		o->words[i] = i < s->words.n ? s->words.w[i] : 0;
	return 0;
}

PP_INLINE int sample(void *ctx)
{
	struct pp_process *p = pp_target();
	struct oracle_sample *o;
	struct pp_scratch *s;
	u32 k;

	if (!p)
		return 0;
	o = bpf_ringbuf_reserve(&oracle_ring, sizeof(*o), 0);
	if (!o) {
		__sync_fetch_and_add(&oracle_lost, 1);
		return 0;
	}
	k = pp_scratch_take();
	s = k < PP_N_SCRATCH ? bpf_map_lookup_elem(&pp_scratch, &k) : NULL;
	if (!s) {
		bpf_ringbuf_discard(o, 0);
		return 0;
	}
	o->tid = bpf_get_current_pid_tgid();
	s->words.n = 0;
	pp_walk_init(&s->walk, p, &(struct pp_event){ 0 });
	oracle_copy(o, s);
	pp_walk_stack(s, PP_MAX_FRAMES);
	oracle_take(o, s);
	__sync_lock_test_and_set(&s->taken, 0);
	bpf_ringbuf_submit(o, 0);
	return 0;
}

SEC("perf_event")
int oracle_tick(struct bpf_perf_event_data *ctx)
{
	return sample(ctx);
}

SEC("tracepoint/syscalls/sys_enter_futex")
int oracle_futex(void *ctx)
{
	return sample(ctx);
}

SEC("uprobe")
int oracle_uprobe(struct pt_regs *ctx)
{
	return sample(ctx);
}

/* Makes return probes exist, for walks through their trampoline. */
SEC("uretprobe")
int oracle_uretprobe(struct pt_regs *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
