/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/* create.bpf.c - who creates threads?
 *
 * The creator's stack is counted, and noted beside the number of the new thread, so that a dump can say
 * "created by". Runs in the creator's context, before the new thread does. */

#include "emit.bpf.h"
#include "identity.h"
#include "number.bpf.h"
#include "threads.h"

PP_ARRAY(pp_created, PP_N_CREATED, BPF_F_MMAPABLE, struct pp_created);
PP_ARRAY(pp_query, 1, 0, struct pp_identity_query);

/* tid last, and cleared first: a reader that finds it twice has read one record. */
PP_INLINE void pp_note_created(struct task_struct *parent, struct task_struct *child, u32 target, u64 stack)
{
	u32 zero = 0, k = child->pid & (PP_N_CREATED - 1);
	struct pp_identity_query *q = bpf_map_lookup_elem(&pp_query, &zero);
	struct pp_created *to = bpf_map_lookup_elem(&pp_created, &k);

	if (!to || !q)
		return;
	__sync_lock_test_and_set(&to->tid, 0);
	to->started = child->start_boottime;
	to->stack = stack;
	to->by = pp_number_in(parent, q->namespace_inode);
	to->target = target;
	__sync_lock_test_and_set(&to->tid, child->pid);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(pp_on_create, struct task_struct *parent, struct task_struct *child)
{
	struct pp_event e = { .collector = PP_CREATE, .max_frames = PP_MAX_FRAMES };
	struct pp_key key = { .collector = PP_CREATE, .v = { 1, 0 } };
	struct pp_process *p = pp_target();
	struct pp_control *c = pp_controls();

	if (!p || !c || parent->tgid != child->tgid)
		return 0;
	key.target = p->target;
	key.epoch = PP_READ_ONCE(c->epoch);
	key.half = key.epoch & 1;
	key.stack = pp_stack_for(ctx, p, &e, key.epoch);
	key.name[0] = key.stack >= PP_NO_STACK(0) ? key.stack : e.hash;
	pp_count_add(&key);
	pp_note_created(parent, child, p->target, key.name[0]);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
