/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* label-arm64.bpf.h - where a thread of arm64 keeps its variables (ELF TLS, variant I). */

#include "compat.bpf.h"

/* Of the pointer to the vector of blocks, from the thread pointer: glibc keeps it there, musl before it. */
#define PP_VECTOR_AT(musl) ((musl) ? -8 : 0)

/* What a descriptor says: an offset from the thread pointer, or a pointer to (module, offset). Nobody has so many
 * variables in the first blocks, and nothing can be mapped so low. */
#define PP_TLS_IS_OFFSET(v) ((v) < 1 << 15)

/* 0: none, or it has not left a CPU since it was set: the register is saved then. */
PP_INLINE u64 pp_thread_pointer_of(struct task_struct *t)
{
	return t->thread.uw.tp_value;
}

#ifdef PP_NATIVE
PP_INLINE void pp_set_thread_pointer(struct task_struct *t, u64 v)
{
	t->thread.uw.tp_value = v;
}
#endif

PP_INLINE u64 pp_thread_pointer(void)
{
	return pp_thread_pointer_of(bpf_get_current_task_btf());
}
