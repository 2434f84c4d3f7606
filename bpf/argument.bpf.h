/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* argument.bpf.h - a probe's arguments, where its note or its function's ABI says that they are. */

#include "heap.h"
#include "unwind.bpf.h"

/* What the context holds, taken out of it: global functions cannot be given the context itself. */
struct pp_registers {
	u64 di, si, dx, sp;
};

PP_INLINE struct pp_registers pp_registers_of(const struct pt_regs *g)
{
	return (struct pp_registers){ g->di, g->si, g->dx, g->sp };
}

PP_INLINE u64 pp_register(const struct pp_registers *g, u32 n)
{
	u64 v = 0;

	switch (n) {
	case 5:
		return g->di;
	case 4:
		return g->si;
	case 1:
		return g->dx;
	case 7:
		return g->sp;
	}
	pp_leaf_register(0, n, &v);
	return v;
}

/* The low bytes of v, as many as size says; negative: signed. */
PP_INLINE u64 pp_extend(u64 v, s32 size)
{
	u32 shift = 64 - (size < 0 ? -size : size) * 8;

	if (shift > 56)
		return v;
	return size < 0 ? (u64)((s64)(v << shift) >> shift) : v << shift >> shift;
}

PP_GLOBAL u64 pp_argument(const struct pp_registers *g, const struct pp_argument *a)
{
	u64 v = 0, at;

	if (!g || !a)
		return 0;
	if (a->kind == PP_ARGUMENT_CONSTANT)
		return a->value;
	if (a->kind == PP_ARGUMENT_NONE)
		return 0;
	v = pp_register(g, a->reg);
	if (a->kind == PP_ARGUMENT_MEMORY) {
		at = v + a->value;
		if (a->index != 0xff)
			at += pp_register(g, a->index) * a->scale;
		v = 0;
		bpf_probe_read_user(&v, 8, (void *)at); /* not there: 0 */
	}
	return pp_extend(v, a->size);
}

/* The same; what nearly every argument is, a whole register, without a call. */
PP_INLINE u64 pp_argument_of(const struct pp_registers *g, const struct pp_argument *a)
{
	if (a->kind == PP_ARGUMENT_NONE)
		return 0;
	if (a->kind == PP_ARGUMENT_REGISTER && a->size == 8) {
		if (a->reg == 5)
			return g->di;
		if (a->reg == 4)
			return g->si;
		if (a->reg == 1)
			return g->dx;
	}
	return pp_argument(g, a);
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

/* The same as pp_argument, of the context itself: cheap but for what is in memory. */
PP_INLINE u64 pp_argument_in(const struct pt_regs *g, const struct pp_registers *r, const struct pp_argument *a)
{
	if (a->kind == PP_ARGUMENT_CONSTANT)
		return a->value;
	if (a->kind == PP_ARGUMENT_REGISTER)
		return pp_extend(pp_context_register(g, a->reg), a->size);
	return a->kind == PP_ARGUMENT_NONE ? 0 : pp_argument(r, a);
}
