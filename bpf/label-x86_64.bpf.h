/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* label-x86_64.bpf.h - where a thread of x86_64 keeps its variables (ELF TLS, variant II). */

#include "compat.bpf.h"

#define PP_VECTOR_AT(musl) 8 /* of the pointer to the vector of blocks, from the thread pointer; glibc and musl */
#define PP_TLS_IS_OFFSET(v) ((s64)(v) < 0) /* of what a descriptor says: else a pointer to (module, offset) */

/* 0: none, a thread of a 32-bit program. The kernel keeps it here since the thread was made or called arch_prctl; no
 * C library sets it by instruction. */
PP_INLINE u64 pp_thread_pointer_of(struct task_struct *t)
{
	return t->thread.fsbase;
}

#ifdef PP_NATIVE
PP_INLINE void pp_set_thread_pointer(struct task_struct *t, u64 v)
{
	t->thread.fsbase = v;
}
#endif

PP_INLINE u64 pp_thread_pointer(void)
{
	return pp_thread_pointer_of(bpf_get_current_task_btf());
}
