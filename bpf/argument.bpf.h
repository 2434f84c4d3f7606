/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* argument.bpf.h - a probe's arguments, where its note or its function's ABI says that they are. */

#include "heap.h"
#include "unwind.bpf.h"

/* What the context holds, taken out of it: global functions cannot be given the context itself. */
struct pp_registers {
	u64 a[3], sp;
};

#include PP_ARGUMENT_MACHINE

PP_INLINE u64 pp_register(const struct pp_registers *g, u32 n)
{
	u64 v = 0;

	switch (n) {
	case PP_REGISTER_0:
		return g->a[0];
	case PP_REGISTER_1:
		return g->a[1];
	case PP_REGISTER_2:
		return g->a[2];
	case PP_REGISTER_SP:
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
		if (a->reg == PP_REGISTER_0)
			return g->a[0];
		if (a->reg == PP_REGISTER_1)
			return g->a[1];
		if (a->reg == PP_REGISTER_2)
			return g->a[2];
	}
	return pp_argument(g, a);
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
