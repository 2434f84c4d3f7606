/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* fault-x86_64.bpf.h - where page faults of user code are seen on x86_64, and which of them write. */

#include "compat.bpf.h"

#define PP_FAULT_SECTION "tp_btf/page_fault_user" /* address, registers, error code */
#define PP_FAULT_CONTEXT unsigned long long

PP_INLINE int pp_fault_writes(const unsigned long long *ctx)
{
	return (ctx[2] & 2) != 0; /* X86_PF_WRITE */
}
