/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* preempt.bpf.h - does this run in an interrupt, or on behalf of the current thread? */

#include "compat.bpf.h"
#include "unwind-x86_64.bpf.h"

/* Where x86 keeps the count has a name of its own in 6.1 and since 6.15, and is a part of pcpu_hot between. */
extern const int __preempt_count __ksym __weak;
extern const struct pcpu_hot pcpu_hot __ksym __weak;

#define PP_COUNT_HARD 0xff0000u /* linux/preempt.h: in an interrupt, or an NMI */
#define PP_COUNT_SOFT 0x100u	/* serving a softirq; disabling them counts in twos */
#define PP_COUNT_UNKNOWN 0xffffffffu

PP_INLINE u32 pp_preempt_count(void)
{
	if (&__preempt_count)
		return *(const int *)bpf_this_cpu_ptr(&__preempt_count);
	if (&pcpu_hot)
		return ((const struct pcpu_hot *)bpf_this_cpu_ptr(&pcpu_hot))->preempt_count;
	return PP_COUNT_UNKNOWN;
}

/* What is sent to this machine is received in a softirq of the sender's. */
PP_INLINE int pp_is_send(u64 call) /* write, writev, sendto, sendmsg, sendmmsg, connect, sendfile, splice */
{
	return call == 1 || call == 20 || call == 44 || call == 46 || call == 307 || call == 42 || call == 40 ||
	       call == 275;
}

/* 1: what happens is no doing of the current thread's. */
PP_INLINE int pp_in_interrupt(struct task_struct *me)
{
	u32 count = pp_preempt_count();
	struct pp_system_call call;

	if (count != PP_COUNT_UNKNOWN && !(count & (PP_COUNT_HARD | PP_COUNT_SOFT)))
		return 0;
	if (count != PP_COUNT_UNKNOWN && count & PP_COUNT_HARD)
		return 1;
	if (!me->mm)
		return 1;
	pp_call_registers(me, &call);
	if (count != PP_COUNT_UNKNOWN)
		return !pp_is_send(call.number);
	/* nobody tells: calls that are made to wake others are believed */
	return !pp_is_send(call.number) && !pp_is_futex(call.number) && !pp_is_exit(call.number);
}
