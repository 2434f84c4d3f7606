/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* unwind-x86_64.bpf.h - the walk's x86_64 part: registers by DWARF number, the signal frame. */

#include "compat.bpf.h"

#define PP_N_REGISTERS 17
enum { PP_REG_BX = 3, PP_REG_FP = 6, PP_REG_SP = 7, PP_REG_IP = 16 };

/* System V psABI, figure 3.36: rax rdx rcx rbx rsi rdi rbp rsp r8 .. r15, return address. */
PP_INLINE void pp_registers(u64 *r, const struct pt_regs *g)
{
	r[0] = g->ax, r[1] = g->dx, r[2] = g->cx, r[3] = g->bx;
	r[4] = g->si, r[5] = g->di, r[6] = g->bp, r[7] = g->sp;
	r[8] = g->r8, r[9] = g->r9, r[10] = g->r10, r[11] = g->r11;
	r[12] = g->r12, r[13] = g->r13, r[14] = g->r14, r[15] = g->r15;
	r[16] = g->ip;
}

/* Of the interrupted context: privilege level 0 is the kernel. */
PP_INLINE int pp_in_kernel(const struct bpf_perf_event_data *ctx)
{
	return !(ctx->regs.cs & 3);
}

/* rt_sigframe, after the return address that the handler popped: struct ucontext, whose
 * uc_mcontext begins 40 bytes in (arch/x86/include/uapi/asm/sigcontext.h, sigcontext_64). */
PP_INLINE int pp_signal_registers(u64 *r, u64 sp)
{
	u64 g[17]; /* r8 .. r15, di, si, bp, bx, dx, ax, cx, sp, ip */

	if (bpf_probe_read_user(g, sizeof(g), (void *)(sp + 40)))
		return -1;
	for (int i = 0; i < 8; i++)
		r[8 + i] = g[i];
	r[5] = g[8], r[4] = g[9], r[6] = g[10], r[3] = g[11];
	r[1] = g[12], r[0] = g[13], r[2] = g[14], r[7] = g[15], r[16] = g[16];
	return 0;
}
