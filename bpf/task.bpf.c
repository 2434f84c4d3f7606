/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/* task.bpf.c - which process of the host is "PID 1234" to us?
 *
 * Inside a PID namespace /proc numbers processes otherwise than BPF programs see them. This
 * iterator writes, for the pid as our namespace calls it, struct pp_identity. */

#include "compat.bpf.h"
#include "identity.h"

PP_ARRAY(pp_query, 1, 0, struct pp_identity_query);

SEC("iter/task")
int pp_identify(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct pp_identity found = { 0 };
	struct pp_identity_query *query;
	struct pid *p;
	u32 zero = 0;

	query = bpf_map_lookup_elem(&pp_query, &zero);
	if (!query || !t || t->pid != t->tgid)
		return 0;
	p = t->thread_pid;
	if (!p)
		return 0;
	for (u32 i = 0; i < PP_MAX_PID_LEVELS && i <= p->level; i++) {
		struct upid u = { 0 };

		bpf_core_read(&u, sizeof(u), &p->numbers[i]);
		if (u.nr != query->pid || BPF_CORE_READ(u.ns, ns.inum) != query->namespace_inode)
			continue;
		found.tgid = t->tgid;
		found.start_boottime = t->start_boottime;
		found.exec_id = t->self_exec_id;
		bpf_seq_write(ctx->meta->seq, &found, sizeof(found));
		return 0;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
