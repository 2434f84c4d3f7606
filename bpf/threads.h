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
	__u32 running; /* on a CPU, or it was while it was read: no stack */
	__u32 n_stack; /* bytes that follow */
	__u32 exit_state;
	__u32 file; /* enum pp_wait_file: of a read or a write */
	__u32 in_iowait;
	__u64 lock[2]; /* in a futex call: the 16 bytes at its address, if has_lock */
	__u32 has_lock;
	__u32 own_tid; /* as its own PID namespace calls it, and so its locks */
	char comm[16];
};

/* Who created a thread: at its host number modulo PP_N_CREATED. Written by create.bpf.c, mmapable. */
#define PP_N_CREATED 32768

struct pp_created {
	__u64 started; /* of the new thread: ns since boot */
	__u64 stack;   /* the creator's: as in the count row's name[0] */
	__u32 tid;     /* host's; 0: nothing, or just being written */
	__u32 by;      /* the creator's number in our PID namespace */
	__u32 target;  /* image id */
	__u32 pad;
};
_Static_assert(sizeof(struct pp_created) == 32, "no padding");

struct pp_more { /* the question of pp_stack_more, for one thread */
	__u64 sp, offset;
	__u64 from; /* not 0: offset is from the stack pointer that stands there, on its signal stack */
};

_Static_assert(sizeof(struct pp_thread) == 136 + 56 + 32 + 24 + 16, "no padding");
