/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* wait.h - what wait.bpf.c and user space share besides event.h: waits that are still open, what a wait
 * was for, how waits are sampled.
 *
 * An ABI like event.h; the arrays are mmapable, who writes each field is said beside it. */

#include <linux/types.h>

#define PP_WAIT_FRAMES 64     /* the walk runs under a lock of the scheduler's */
#define PP_WAIT_WAYS 8	      /* slots of a bucket: one cache line of keys */
#define PP_WAIT_BUCKET_BITS 11 /* 16,384 threads may wait at once; two buckets for each */
#define PP_LOCK_WAYS 4
#define PP_LOCK_BUCKET_BITS 11 /* 8,192 locks may be waited for at once */
#define PP_WAIT_MAX_SHIFT 16   /* at least one wait of 65,536 is looked at */

/* The maps of wait.bpf.c besides those of enum pp_map, in the order in which the broker hands their
 * descriptors on. */
enum pp_wait_map {
	PP_WAIT_MAP_KEY,  /* ARRAY of struct pp_wait_bucket */
	PP_WAIT_MAP_OPEN, /* ARRAY of struct pp_wait, by bucket * PP_WAIT_WAYS + way */
	PP_WAIT_MAP_STATE, /* ARRAY of struct pp_wait_state, by process slot */
	PP_WAIT_MAP_CPU,  /* ARRAY of struct pp_wait_cpu, by CPU * PP_MAX_PROCESSES + slot */
	PP_WAIT_MAP_FILTER, /* ARRAY, one struct pp_wait_filter */
	PP_N_WAIT_MAPS,
};

/* What a thread was doing when it left its CPU: the `item` of a count row (of PP_RELEASE: of a waiter). The low bits are the number of
 * the system call, as this architecture counts them. */
#define PP_WAIT_CALL(item) ((item) & 0x3ff)
#define PP_WAIT_NO_CALL 0x3ffu /* a page fault, or an interrupt of user code */
#define PP_WAIT_OP_SHIFT 10    /* of a futex: the operation, without its flags */
#define PP_WAIT_OP(item) ((item) >> PP_WAIT_OP_SHIFT & 0x7f)
#define PP_WAIT_FILE_SHIFT 17  /* of read and write: enum pp_wait_file */
#define PP_WAIT_FILE(item) ((item) >> PP_WAIT_FILE_SHIFT & 7)
#define PP_WAIT_PREEMPTED (1u << 20) /* it could have run on */
#define PP_WAIT_DISK (1u << 21)	     /* the kernel counts it as waiting for input and output */
#define PP_WAIT_STOPPED (1u << 22)   /* by a signal, or by a debugger */
#define PP_WAIT_KERNEL (1u << 23)    /* cannot be interrupted: a lock of the kernel's */
#define PP_WAIT_YIELDED (1u << 24)   /* gave its CPU away, and could have run on */

/* Where the record of a thread may stand: the upper bits of this, or those from 32 on. */
#define PP_WAIT_HASH(tid) (((tid) + 1ull) * 0x9fb21c651e98df25ull)

enum pp_wait_file { PP_FILE_OTHER, PP_FILE_PIPE, PP_FILE_SOCKET, PP_FILE_EVENT, PP_FILE_TIMER,
		    PP_FILE_TERMINAL };

struct pp_wait_bucket {
	__u64 key[PP_WAIT_WAYS]; /* thread id | 1 << 32; 0: free */
};

/* A wait that is not over. Written by the kernel; `began` last and cleared first. */
struct pp_wait {
	__u64 began; /* ns of the monotonic clock; 0: not there */
	__u64 woken; /* likewise; 0: not yet */
	__u64 ran;   /* ns that the thread had run by then */
	__u64 lock;  /* the futex's address; 0: none */
	__u64 named; /* the same, if it stands in a file's data, else 0 */
	__u64 stack; /* hash, as in the count row's name[0] */
	__u64 epoch; /* that `row` is of */
	__u32 row;   /* as pp_count.stack */
	__u32 item;
	__u32 target; /* image id */
	__u32 weight; /* waits that it stands for */
	__u32 slot;   /* of the process */
	__u32 tid;
	__u32 ended;  /* set before it is counted */
	__u32 walk;   /* ns that looking at it took before it began, */
	__u32 held;   /* and while it lasted: others, who are not looked at, do not wait for that */
	__u32 labels; /* as pp_count.labels; serve writes it too, when an epoch ends */
};
_Static_assert(sizeof(struct pp_wait) == 96, "no padding");

/* What most events end at: of each 65,536 numbers one byte, without any hash. */
#define PP_WAIT_SEVERAL 0xff
struct pp_wait_filter {
	__u8 slot[1 << 16]; /* by tgid; written by serve: process slot + 1; 0: no target; PP_WAIT_SEVERAL:
			     * ask PP_MAP_TARGETS */
	__u32 open[1 << 14]; /* by thread id; written by both: records that are open */
	__u32 locks[1 << 12]; /* by address; written by the kernel: waiters that are looked at. It may be too
			       * high */
};

#define PP_WAIT_RANGES 8

/* Of one process. */
struct pp_wait_state {
	__u64 share;   /* written by serve: of the target's CPU time, and of wall time on each CPU, in */
	__u64 floor;   /* 1/2^20: what the programs may take before waits are sampled */
	__u64 n_open;  /* written by the kernel: records */
	__u64 n_full;  /* waits that found no slot, locks that found none or were busy */
	__u64 n_lock_full;
	__u64 n_lock_busy;
	__u64 n_unseen; /* threads that were back on a CPU without an event that told so */
	__u64 ranges[PP_WAIT_RANGES][2]; /* written by serve: data of files, [start, end) */
	__u64 n_ranges;
};
_Static_assert(sizeof(struct pp_wait_state) == 192, "three cache lines");

/* Written by the kernel, each by one CPU. */
struct pp_wait_cpu {
	__s64 account;	/* ns that the programs may still take */
	__u64 ran;	/* ns that the target ran since `looked` */
	__u64 looked;	/* when the account was last brought up to date, */
	__u64 changed;	/* and `shift` was last changed: ns of the monotonic clock */
	__u64 n_seen, n_taken; /* waits */
	__u64 spent;	/* ns: in waits and releases that were looked at */
	__u32 longest;	/* ns: of these, in one */
	__u32 shift;	/* one of 1 << shift is looked at */
	__s64 account_then; /* when `shift` was last thought about: at `changed` */
	__u64 pad[7];
};
_Static_assert(sizeof(struct pp_wait_cpu) == 128, "two cache lines");
