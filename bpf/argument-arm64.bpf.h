/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* argument-arm64.bpf.h - the context of a probe on arm64: registers by DWARF number, what a call was given and gives. */

#include "unwind-arm64.bpf.h"

enum { PP_REGISTER_0 = 0, PP_REGISTER_1 = 1, PP_REGISTER_2 = 2, PP_REGISTER_SP = 31 };

PP_INLINE struct pp_registers pp_registers_of(const struct pt_regs *g)
{
	return (struct pp_registers){ { g->regs[0], g->regs[1], g->regs[2] }, g->sp };
}

PP_INLINE u64 pp_result(const struct pt_regs *g)
{
	return g->regs[0];
}

PP_INLINE u64 pp_pc(const struct pt_regs *g)
{
	return g->pc;
}

PP_INLINE struct pp_start pp_start_here(const struct pt_regs *g)
{
	return (struct pp_start){ g->pc, g->sp, g->regs[29], g->regs[30] };
}

/* At the entry of a function: where its caller goes on. 0, or not readable. */
PP_INLINE long pp_start_caller(const struct pt_regs *g, struct pp_start *s)
{
	*s = (struct pp_start){ pp_unsigned(g->regs[30], config.address_mask), g->sp, g->regs[29], 0 };
	return 0;
}

/* A register of the context, without a helper: each by itself, since the context's address may not be computed with. */
#define PP_REGISTER_IS(n)                                                                          \
	case n:                                                                                    \
		v = g->regs[n];                                                                    \
		asm volatile("" : "+r"(v));                                                        \
		break

PP_INLINE u64 pp_context_register(const struct pt_regs *g, u32 n)
{
	u64 v = 0;

	switch (n & 31) {
		PP_REGISTER_IS(0);
		PP_REGISTER_IS(1);
		PP_REGISTER_IS(2);
		PP_REGISTER_IS(3);
		PP_REGISTER_IS(4);
		PP_REGISTER_IS(5);
		PP_REGISTER_IS(6);
		PP_REGISTER_IS(7);
		PP_REGISTER_IS(8);
		PP_REGISTER_IS(9);
		PP_REGISTER_IS(10);
		PP_REGISTER_IS(11);
		PP_REGISTER_IS(12);
		PP_REGISTER_IS(13);
		PP_REGISTER_IS(14);
		PP_REGISTER_IS(15);
		PP_REGISTER_IS(16);
		PP_REGISTER_IS(17);
		PP_REGISTER_IS(18);
		PP_REGISTER_IS(19);
		PP_REGISTER_IS(20);
		PP_REGISTER_IS(21);
		PP_REGISTER_IS(22);
		PP_REGISTER_IS(23);
		PP_REGISTER_IS(24);
		PP_REGISTER_IS(25);
		PP_REGISTER_IS(26);
		PP_REGISTER_IS(27);
		PP_REGISTER_IS(28);
		PP_REGISTER_IS(29);
		PP_REGISTER_IS(30);
	case 31:
		v = g->sp;
		asm volatile("" : "+r"(v));
		break;
	}
	return v;
}
