/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* threads.h - what threads.bpf.c writes of each thread of a process; and who created it. */

#include <linux/types.h>

/* By DWARF number, then the pc. */
#if defined(__TARGET_ARCH_arm64) || defined(__aarch64__)
#define PP_THREAD_REGISTERS 33
#define PP_THREAD_SP 31
#define PP_THREAD_SECOND 1 /* of a call's arguments */
#else
#define PP_THREAD_REGISTERS 17
#define PP_THREAD_SP 7
#define PP_THREAD_SECOND 4
#endif

struct pp_thread {
	__u64 registers[PP_THREAD_REGISTERS]; /* as they were when it entered the kernel; running: stale */
	__u64 call; /* number of the system call it is in; -1: none */
	__u64 argument; /* its first one */
	__u64 started;	/* ns since boot: tells a reused number */
	__u64 arrived;	/* sched_info.last_arrival: when it last came to a CPU, by the scheduler's clock */
	__u64 n_switches; /* how often it has left a CPU */
	__u64 ran;	/* ns that it has run */
	__u64 thread_pointer;
	__u64 exec_id;
	__u32 host_tid;
	__u32 tid; /* as our PID namespace calls it; 0: it does not */
	__u32 state; /* task_struct.__state */
	__u32 running; /* on a CPU, or it was while it was read: no stack */
	__u32 exit_state;
	__u32 file; /* enum pp_wait_file: of a read or a write */
	__u32 in_iowait;
	__u32 has_lock; /* of the kernel's: it is in a futex call */
	__u64 signal_stack, signal_size; /* its stack for handlers of signals, if it has one */
	__u64 lock[2]; /* of the broker's: the 16 bytes at its futex, if has_lock; of the kernel's: zeros */
	__u32 own_tid; /* as its own PID namespace calls it, and so its locks */
	char comm[16];
	/* the broker's own: */
	__u32 position; /* in the list; each thread keeps it */
	__u32 n_stack, n_other; /* bytes of its stack, and of another one (struct broker_more), that follow */
	__u32 ends; /* enum pp_thread_ends */
	__u32 pad;
};

enum pp_thread_ends {
	PP_ENDS_STACK = 1, /* behind n_stack there is nothing that can be read */
	PP_ENDS_OTHER = 2, /* likewise */
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

_Static_assert(sizeof(struct pp_thread) == PP_THREAD_REGISTERS * 8 + 64 + 32 + 32 + 4 + 16 + 20, "no padding");
