/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/* growth.bpf.c - who touches new memory?
 *
 * A page fault that writes gives the process a page that it did not have. One of PP_GROWTH_KEEP is
 * looked at, by a coin that is thrown before the stack is walked, and stands for all of them. */

#include "emit.bpf.h"

#include PP_FAULT_MACHINE

SEC(PP_FAULT_SECTION)
int pp_on_fault(PP_FAULT_CONTEXT *ctx)
{
	struct pp_event e = {
		.collector = PP_GROWTH,
		.max_frames = PP_MAX_FRAMES,
		.labelled = PP_LABELLED,
		.v = { PP_GROWTH_KEEP, PP_GROWTH_KEEP * config.page },
	};
	struct pp_process *p;

	if (!pp_fault_writes(ctx) || bpf_get_prandom_u32() % PP_GROWTH_KEEP)
		return 0;
	p = pp_target();
	return p ? pp_add(ctx, p, &e) : 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
