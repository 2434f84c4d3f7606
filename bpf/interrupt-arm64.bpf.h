/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* interrupt-arm64.bpf.h - does something happen by the current thread's doing, or in an interrupt that came in between?
 *
 * Interrupts are handled on a stack of their own, even those of user code, and since 6.2 softirqs too. What a
 * tracepoint hands to programs stands on the stack on which it happens. On 6.1 a softirq that a system call runs on
 * its way out counts as the thread's doing. */

#include "compat.bpf.h"
#include "unwind-arm64.bpf.h"

PP_INLINE int pp_is_send(u64 call) /* write, writev, sendfile, splice, connect, sendto, sendmsg, sendmmsg */
{
	return call == 64 || call == 66 || call == 71 || call == 76 || call == 203 || call == 206 || call == 211 ||
	       call == 269;
}

/* read, readv, epoll_pwait*, pselect6, ppoll, accept*, recv* */
PP_INLINE int pp_is_receive(u64 call)
{
	return call == 63 || call == 65 || call == 22 || call == 441 || call == 72 || call == 73 || call == 202 ||
	       call == 242 || call == 207 || call == 212 || call == 243;
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
