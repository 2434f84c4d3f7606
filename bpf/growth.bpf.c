/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/* growth.bpf.c - who touches new memory?
 *
 * A page fault that writes gives the process a page that it did not have. One of PP_GROWTH_KEEP is
 * looked at, by a coin that is thrown before the stack is walked, and stands for all of them. */

#include "emit.bpf.h"

#define PP_FAULT_WRITE 2 /* x86: X86_PF_WRITE, of the page-fault error code */
#define PP_PAGE 4096

SEC("tp_btf/page_fault_user")
int BPF_PROG(pp_on_fault, unsigned long address, struct pt_regs *regs, unsigned long error_code)
{
	struct pp_event e = {
		.collector = PP_GROWTH,
		.max_frames = PP_MAX_FRAMES,
		.labelled = PP_LABELLED,
		.v = { PP_GROWTH_KEEP, PP_GROWTH_KEEP * PP_PAGE },
	};
	struct pp_process *p;

	if (!(error_code & PP_FAULT_WRITE) || bpf_get_prandom_u32() % PP_GROWTH_KEEP)
		return 0;
	p = pp_target();
	return p ? pp_add(ctx, p, &e) : 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
