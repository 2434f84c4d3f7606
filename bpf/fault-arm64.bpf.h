/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* fault-arm64.bpf.h - where page faults of user code are seen on arm64, and which of them write.
 *
 * There is no tracepoint; a kprobe stands where all faults come through: handle_mm_fault(vma, address, flags, registers). */

#include "compat.bpf.h"

#define PP_FAULT_SECTION "kprobe/handle_mm_fault"
#define PP_FAULT_CONTEXT struct pt_regs

enum { PP_FAULT_WRITE = 1 << 0, PP_FAULT_TRIED = 1 << 5, PP_FAULT_USER = 1 << 6 }; /* enum fault_flag */

PP_INLINE int pp_fault_writes(const struct pt_regs *ctx)
{
	return (ctx->regs[2] & (PP_FAULT_WRITE | PP_FAULT_TRIED | PP_FAULT_USER)) == (PP_FAULT_WRITE | PP_FAULT_USER);
}
