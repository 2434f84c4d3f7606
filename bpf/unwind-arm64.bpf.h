/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* unwind-arm64.bpf.h - the walk's arm64 part: registers by DWARF number, the signal frame, signed addresses. */

#include "compat.bpf.h"

/* The return address comes in a register (x30), which a rule calls bx; a frame record may stand anywhere in its frame. */
#define PP_LINK_REGISTER 1
#define PP_RETURN_POPS 0 /* bytes of the stack that a return takes */

#define PP_SIGCONTEXT 312 /* x0, in struct rt_sigframe: siginfo (128), ucontext up to uc_mcontext (176), fault address */
#define PP_SIGNAL_WORDS 4 /* x29, x30, sp, pc */
#define PP_SIGNAL_SP 2

struct pp_start {
	u64 ip, sp, fp, bx;
};

/* Of the interrupted context: exception level 0 is the user. */
PP_INLINE int pp_in_kernel(const struct bpf_perf_event_data *ctx)
{
	return (ctx->regs.pstate & 0xf) != 0;
}

/* No instruction that moves the stack is emulated under a uprobe before it has happened. */
PP_INLINE u8 pp_is_breakpoint(u64 ip)
{
	return 0;
}

/* A return address that the code has signed (pointer authentication: up to bit 54) without the signature. Code is below
 * 2^48 also where there could be more, unless a program asks for that, which none does for its code. */
PP_INLINE u64 pp_unsigned(u64 ra, u64 mask)
{
	return ra >> 55 ? ra : ra & (mask ? mask : (1ull << 48) - 1);
}

PP_INLINE int pp_trampoline_words(u64 offset) /* one brk: the kernel leaves it by the registers */
{
	return -1;
}

PP_INLINE void pp_start_registers(struct pp_start *s)
{
	struct pt_regs *g = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());

	s->ip = g->pc;
	s->sp = g->sp;
	s->fp = g->regs[29];
	s->bx = g->regs[30];
}

/* Any register of the innermost frame: of the current task, or of the signal frame at `signal` (not 0).
 * 0, or not readable. pt_regs and struct sigcontext begin alike: x0 to x30, sp, pc. */
PP_INLINE int pp_leaf_register(u64 signal, u32 n, u64 *ret)
{
	u64 at = (u64)bpf_task_pt_regs(bpf_get_current_task_btf());

	n = (n & 31) * 8;
	if (signal)
		return bpf_probe_read_user(ret, 8, (void *)(signal + n));
	return bpf_probe_read_kernel(ret, 8, (void *)(at + n));
}

/* Answers where the registers are, 0: unreadable. */
PP_INLINE u64 pp_signal_registers(u64 sp, struct pp_start *s)
{
	u64 g[PP_SIGNAL_WORDS];

	if (bpf_probe_read_user(g, sizeof(g), (void *)(sp + PP_SIGCONTEXT + 29 * 8)))
		return 0;
	*s = (struct pp_start){ .fp = g[0], .bx = g[1], .sp = g[2], .ip = g[3] };
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

	c->number = (s64)g->syscallno;
	c->a[0] = g->orig_x0;
	c->a[1] = g->regs[1];
	c->a[2] = g->regs[2];
	c->a[3] = g->regs[3];
	c->a[4] = g->regs[4];
}

/* asm-generic/unistd.h */
#define PP_CALL_FUTEX 98

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
	return call >= 63 && call <= 66;
}

PP_INLINE int pp_is_exit(u64 call) /* exit, exit_group: robust and joined threads */
{
	return call == 93 || call == 94;
}

/* Registers by DWARF number, the pc last; the system call (-1: none) and its first argument. */
PP_INLINE void pp_all_registers(struct task_struct *t, u64 *to, u64 *call, u64 *argument)
{
	struct pt_regs *g = (void *)bpf_task_pt_regs(t);

	bpf_probe_read_kernel(to, 31 * sizeof(*to), g->regs);
	to[31] = g->sp;
	to[32] = g->pc;
	*call = (s64)g->syscallno;
	*argument = g->orig_x0;
}

#ifdef PP_NATIVE
PP_INLINE void pp_set_registers(struct pt_regs *g, const __u64 *r)
{
	*g = (struct pt_regs){ .sp = r[31], .pc = r[32] };
	for (int i = 0; i < 31; i++)
		g->regs[i] = r[i];
}
#endif
