/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* threads.h - what threads.bpf.c writes of each thread of a process: struct pp_thread, then the bytes of its
 * stack from the stack pointer on. */

#include <linux/types.h>

#define PP_THREAD_STACK 8192 /* bytes at most; the rest is asked for when it is needed */
#define PP_THREAD_REGISTERS 17 /* DWARF 0 to 15, then the pc */

struct pp_thread {
	__u64 registers[PP_THREAD_REGISTERS]; /* as they were when it entered the kernel; running: stale */
	__u64 call; /* number of the system call it is in; -1: none */
	__u64 argument; /* its first one */
	__u64 started;	/* ns since boot: tells a reused number */
	__u64 arrived;	/* sched_info.last_arrival: when it last came to a CPU, by the scheduler's clock */
	__u64 n_switches; /* how often it has left a CPU */
	__u64 ran;	/* ns that it has run */
	__u64 exec_id;
	__u32 host_tid;
	__u32 tid; /* as our PID namespace calls it; 0: it does not */
	__u32 state; /* task_struct.__state */
	__u32 running; /* on a CPU */
	__u32 n_stack; /* bytes that follow */
	__u32 exit_state;
	__u32 file; /* enum pp_wait_file: of a read or a write */
	__u32 in_iowait;
	char comm[16];
};
struct pp_more { /* the question of pp_stack_more, for one thread */
	__u64 sp, offset;
};

_Static_assert(sizeof(struct pp_thread) == 136 + 56 + 32 + 16, "no padding");
