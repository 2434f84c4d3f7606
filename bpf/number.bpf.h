/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* number.bpf.h - what PID namespaces call a thread. */

#include "compat.bpf.h"
#include "identity.h"

/* In the namespace of this inode; 0: it has no number there. */
PP_INLINE u32 pp_number_in(struct task_struct *t, u32 namespace_inode)
{
	struct pid *p = t->thread_pid;

	if (!p)
		return 0;
	for (u32 i = 0; i < PP_MAX_PID_LEVELS && i <= p->level; i++) {
		struct upid u = { 0 };

		bpf_core_read(&u, sizeof(u), &p->numbers[i]);
		if (BPF_CORE_READ(u.ns, ns.inum) == namespace_inode)
			return u.nr;
	}
	return 0;
}

/* In its own one: what it calls itself. */
PP_INLINE u32 pp_own_number(struct task_struct *t)
{
	struct pid *p = t->thread_pid;
	struct upid u = { 0 };
	u32 level;

	if (!p)
		return 0;
	level = p->level;
	if (level >= PP_MAX_PID_LEVELS)
		return 0;
	bpf_core_read(&u, sizeof(u), &p->numbers[level]);
	return u.nr;
}
