/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/* life.bpf.c - which processes come and go?
 *
 * Loaded only where processes are described otherwise than by their numbers. Says nothing of what they are: that is
 * read in /proc, by whoever reads the ring, and a moment later, so that one look does for fork and exec. */

#include "compat.bpf.h"
#include "identity.h"
#include "life.h"
#include "number.bpf.h"

#define PP_KERNEL_THREAD 0x00200000 /* linux/sched.h: PF_KTHREAD */

PP_ARRAY(pp_query, 1, 0, struct pp_identity_query);
PP_ARRAY(pp_life_lost, 1, 0, u64);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, PP_LIFE_RING);
} pp_life_ring SEC(".maps");

PP_INLINE int pp_tell(u32 what, struct task_struct *t, struct task_struct *parent)
{
	u32 zero = 0;
	struct pp_identity_query *q = bpf_map_lookup_elem(&pp_query, &zero);
	u64 *lost = bpf_map_lookup_elem(&pp_life_lost, &zero);
	struct pp_life l = { .what = what };

	if (!q || !lost)
		return 0;
	l.pid = pp_number_in(t, q->namespace_inode);
	if (!l.pid)
		return 0; /* another namespace's business */
	if (parent)
		l.parent = pp_number_in(parent, q->namespace_inode);
	if (bpf_ringbuf_output(&pp_life_ring, &l, sizeof(l), 0))
		__sync_fetch_and_add(lost, 1);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(pp_on_life_fork, struct task_struct *parent, struct task_struct *child)
{
	if (child->pid != child->tgid || child->flags & PP_KERNEL_THREAD)
		return 0;
	return pp_tell(PP_LIFE_FORK, child, parent->group_leader);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(pp_on_life_exec, struct task_struct *t)
{
	return pp_tell(PP_LIFE_EXEC, t, NULL);
}

/* The last thread of a process. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(pp_on_life_exit, struct task_struct *t)
{
	if (t->signal->live.counter)
		return 0;
	return pp_tell(PP_LIFE_EXIT, t->group_leader, NULL);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
