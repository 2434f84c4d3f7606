/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* interrupt-x86_64.bpf.h - does something happen by the current thread's doing, or in an interrupt that came in between?
 *
 * The kernel's count of interrupts (__preempt_count, pcpu_hot) can be had only where its symbols are in kallsyms, which
 * not every kernel has. But x86_64 handles interrupts and softirqs on a stack of their own, unless they interrupt user
 * code: then on the thread's, which is in no system call. And what a tracepoint hands to programs stands on the
 * stack on which it happens. */

#include "compat.bpf.h"
#include "unwind-x86_64.bpf.h"

PP_INLINE int pp_is_send(u64 call) /* write, writev, connect, sendto, sendmsg, sendmmsg, sendfile, splice */
{
	return call == 1 || call == 20 || call == 42 || call == 44 || call == 46 || call == 307 || call == 40 ||
	       call == 275;
}

/* read, readv, poll, select, recv*, accept*, epoll_wait*, ppoll, pselect6 */
PP_INLINE int pp_is_receive(u64 call)
{
	return call == 0 || call == 19 || call == 7 || call == 23 || call == 45 || call == 47 || call == 299 ||
	       call == 43 || call == 288 || call == 232 || call == 281 || call == 441 || call == 271 || call == 270;
}

/* 1: the current thread does not wake p, but something that interrupted it. A wake-up out of a page fault of user code
 * cannot be told from an interrupt and counts as one. ctx: of the program. */
PP_INLINE int pp_in_interrupt(void *ctx, struct task_struct *me, struct task_struct *p)
{
	struct pp_system_call call, woken;

	pp_call_registers(me, &call);
	if (!me->pid || (me->mm && (s64)call.number < 0)) /* the idle thread has nothing of its own to do */
		return 1;
	if ((u64)ctx >= (u64)me->stack && (u64)ctx < (u64)bpf_task_pt_regs(me))
		return 0;
	/* What is sent to this machine is received in a softirq of the sender's. */
	pp_call_registers(p, &woken);
	return !(pp_is_send(call.number) && pp_is_receive(woken.number));
}
