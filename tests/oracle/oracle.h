/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* oracle.h - one sample with everything that libdw needs to walk the same stack: the registers, and
 * the bytes above the stack pointer. Include after pp_scratch is known (BPF) or with the shape below
 * (user space). */

#include <linux/types.h>

#include "bpf/threads.h"

#define ORACLE_STACK (60 * 1024)

struct oracle_sample {
	__u32 tid, n, end, pad;
	__u64 registers[PP_THREAD_REGISTERS]; /* DWARF numbers, the pc last */
	__u64 stack_at, n_stack;
	__u64 words[320];
	unsigned char stack[ORACLE_STACK + 4096];
};
