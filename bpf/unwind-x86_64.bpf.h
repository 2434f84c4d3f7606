/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* unwind-x86_64.bpf.h - the walk's x86_64 part: registers by DWARF number, the signal frame. */

#include "compat.bpf.h"

/* Where register N (System V psABI, figure 3.36: rax rdx rcx rbx rsi rdi rbp rsp r8 .. r15) stands in
 * struct pt_regs, counted in words: one hexadecimal digit each, rax the lowest. rsp is not asked. */
#define PP_IN_PT_REGS 0x0123678904ed5bcaull
/* ... and in the registers of a signal frame (struct sigcontext_64 of the user ABI). */
#define PP_IN_SIGCONTEXT 0x76543210fa89becdull
#define PP_SIGCONTEXT 40 /* struct sigcontext_64 in struct ucontext */

#define PP_LINK_REGISTER 0
#define PP_RETURN_POPS 8 /* bytes of the stack that a return takes */
#define PP_SIGNAL_WORDS 7 /* bp, bx, dx, ax, cx, sp, ip: what is read of a signal frame */
#define PP_SIGNAL_SP 5

struct pp_start {
	u64 ip, sp, fp, bx;
};

/* Of the interrupted context: privilege level 0 is the kernel. */
PP_INLINE int pp_in_kernel(const struct bpf_perf_event_data *ctx)
{
	return !(ctx->regs.cs & 3);
}

/* int3: where a uprobe is. */
PP_INLINE u8 pp_is_breakpoint(u64 ip)
{
	u8 code = 0;

	return !bpf_probe_read_user(&code, 1, (void *)ip) && code == 0xcc;
}

/* How many words above the stack pointer the way back stands once the kernel has run the return probes, which takes
 * it from the task's list: behind the trampoline's system call (6.11 and later: push rax, rcx, r11; mov; syscall;
 * pop r11, rcx; ret). Negative: not there. */
PP_INLINE int pp_trampoline_words(u64 offset)
{
	return offset == 13 ? 2 : offset == 15 ? 1 : offset == 16 ? 0 : -1;
}

/* The user registers of the current task, saved when it entered the kernel. */
PP_INLINE void pp_start_registers(struct pp_start *s)
{
	struct pt_regs *g = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());

	s->ip = g->ip;
	s->sp = g->sp;
	s->fp = g->bp;
	s->bx = g->bx;
}

PP_INLINE u64 pp_unsigned(u64 ra, u64 mask)
{
	return ra;
}

/* Any register of the innermost frame: of the current task, or of the signal frame at `signal` (not 0).
 * 0, or not readable. */
PP_INLINE int pp_leaf_register(u64 signal, u32 n, u64 *ret)
{
	u64 at = (u64)bpf_task_pt_regs(bpf_get_current_task_btf());

	n = (n & 15) * 4;
	if (signal)
		return bpf_probe_read_user(ret, 8,
					   (void *)(signal + (PP_IN_SIGCONTEXT >> n & 15) * 8));
	return bpf_probe_read_kernel(ret, 8, (void *)(at + (PP_IN_PT_REGS >> n & 15) * 8));
}

/* rt_sigframe, after the return address that the handler popped, begins with struct ucontext. Its
 * registers: r8 .. r15, di, si, bp, bx, dx, ax, cx, sp, ip. Answers where they are, 0: unreadable. */
PP_INLINE u64 pp_signal_registers(u64 sp, struct pp_start *s)
{
	u64 g[PP_SIGNAL_WORDS];

	if (bpf_probe_read_user(g, sizeof(g), (void *)(sp + PP_SIGCONTEXT + 10 * 8)))
		return 0;
	*s = (struct pp_start){ .ip = g[6], .sp = g[PP_SIGNAL_SP], .fp = g[0], .bx = g[1] };
	return sp + PP_SIGCONTEXT;
}

/* The system call that a thread is in; its first arguments. -1: none. */
struct pp_system_call {
	u64 number;
	u64 a[5];
};

PP_INLINE void pp_call_registers(struct task_struct *t, struct pp_system_call *c)
{
	struct pt_regs *g = (void *)bpf_task_pt_regs(t);

	c->number = g->orig_ax;
	c->a[0] = g->di;
	c->a[1] = g->si;
	c->a[2] = g->dx;
	c->a[3] = g->r10;
	c->a[4] = g->r8;
}

/* asm/unistd_64.h */
#define PP_CALL_FUTEX 202

PP_INLINE int pp_is_futex(u64 call) /* futex, futex_waitv, futex_wake, futex_wait, futex_requeue */
{
	return call == PP_CALL_FUTEX || call == 449 || (call >= 454 && call <= 456);
}

PP_INLINE int pp_is_futex_wait(u64 call) /* futex_waitv, futex_wait */
{
	return call == 449 || call == 455;
}

PP_INLINE int pp_is_read_write(u64 call) /* read, write, readv, writev */
{
	return call <= 1 || call == 19 || call == 20;
}

PP_INLINE int pp_is_exit(u64 call) /* exit, exit_group: robust and joined threads */
{
	return call == 60 || call == 231;
}

/* Registers by DWARF number, the pc last; the system call (-1: none) and its first argument. */
PP_INLINE void pp_all_registers(struct task_struct *t, u64 *to, u64 *call, u64 *argument)
{
	struct pt_regs *g = (void *)bpf_task_pt_regs(t);

	to[0] = g->ax, to[1] = g->dx, to[2] = g->cx, to[3] = g->bx;
	to[4] = g->si, to[5] = g->di, to[6] = g->bp, to[7] = g->sp;
	to[8] = g->r8, to[9] = g->r9, to[10] = g->r10, to[11] = g->r11;
	to[12] = g->r12, to[13] = g->r13, to[14] = g->r14, to[15] = g->r15;
	to[16] = g->ip;
	*call = g->orig_ax;
	*argument = g->di;
}

#ifdef PP_NATIVE
PP_INLINE void pp_set_registers(struct pt_regs *g, const __u64 *r)
{
	*g = (struct pt_regs){ .ax = r[0], .dx = r[1], .cx = r[2], .bx = r[3], .si = r[4], .di = r[5],
			       .bp = r[6], .sp = r[7], .r8 = r[8], .r9 = r[9], .r10 = r[10], .r11 = r[11],
			       .r12 = r[12], .r13 = r[13], .r14 = r[14], .r15 = r[15], .ip = r[16] };
}
#endif
