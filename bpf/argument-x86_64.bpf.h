/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* argument-x86_64.bpf.h - the context of a probe on x86_64: registers by DWARF number, what a call was given and gives. */

#include "unwind-x86_64.bpf.h"

enum { PP_REGISTER_0 = 5, PP_REGISTER_1 = 4, PP_REGISTER_2 = 1, PP_REGISTER_SP = 7 }; /* rdi, rsi, rdx, rsp */

PP_INLINE struct pp_registers pp_registers_of(const struct pt_regs *g)
{
	return (struct pp_registers){ { g->di, g->si, g->dx }, g->sp };
}

PP_INLINE u64 pp_result(const struct pt_regs *g)
{
	return g->ax;
}

PP_INLINE u64 pp_pc(const struct pt_regs *g)
{
	return g->ip;
}

PP_INLINE struct pp_start pp_start_here(const struct pt_regs *g)
{
	return (struct pp_start){ g->ip, g->sp, g->bp, g->bx };
}

/* At the entry of a function: where its caller goes on. 0, or not readable. */
PP_INLINE long pp_start_caller(const struct pt_regs *g, struct pp_start *s)
{
	*s = (struct pp_start){ 0, g->sp + 8, g->bp, g->bx };
	return bpf_probe_read_user(&s->ip, 8, (void *)g->sp);
}

/* A register of the context, without a helper: each by itself, since the context's address may not be computed with. */
#define PP_REGISTER_IS(n, field)                                                                   \
	case n:                                                                                    \
		v = g->field;                                                                      \
		asm volatile("" : "+r"(v));                                                        \
		break

PP_INLINE u64 pp_context_register(const struct pt_regs *g, u32 n)
{
	u64 v = 0;

	switch (n & 15) {
		PP_REGISTER_IS(0, ax);
		PP_REGISTER_IS(1, dx);
		PP_REGISTER_IS(2, cx);
		PP_REGISTER_IS(3, bx);
		PP_REGISTER_IS(4, si);
		PP_REGISTER_IS(5, di);
		PP_REGISTER_IS(6, bp);
		PP_REGISTER_IS(7, sp);
		PP_REGISTER_IS(8, r8);
		PP_REGISTER_IS(9, r9);
		PP_REGISTER_IS(10, r10);
		PP_REGISTER_IS(11, r11);
		PP_REGISTER_IS(12, r12);
		PP_REGISTER_IS(13, r13);
		PP_REGISTER_IS(14, r14);
		PP_REGISTER_IS(15, r15);
	}
	return v;
}
