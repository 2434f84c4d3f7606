/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* heap.h - what heap.bpf.c and user space share besides event.h: probes, live objects, budgets.
 *
 * An ABI like event.h; the arrays are mmapable, who writes each field is said beside it. */

#include <linux/types.h>

#define PP_HEAP_RATE (512u << 10) /* bytes between two samples, on average, as Go's */
#define PP_MAX_PROBES 1024
#define PP_LIVE_WAYS 8		/* slots of a bucket: one cache line of keys */
#define PP_LIVE_BUCKET_BITS 14	/* 131,072 slots; two buckets for each key */
#define PP_HEAP_BATCH 64	/* hits that a CPU counts before it tells the others */
#define PP_HEAP_WINDOW_RATE (PP_HEAP_RATE / 64) /* between two samples while PP_HEAP_WINDOW is set */
#define PP_MAX_HELD 4096	/* objects of windows that are kept, a process */
#define PP_MAX_WALK_NS 1000000	/* what a sample is charged at most: it may have been preempted */

/* The maps of heap.bpf.c besides those of enum pp_map, in the order in which the broker hands their
 * descriptors on. */
enum pp_heap_map {
	PP_HEAP_MAP_PROBE, /* ARRAY of struct pp_probe */
	PP_HEAP_MAP_STATE, /* ARRAY of struct pp_heap, by process slot */
	PP_HEAP_MAP_CPU,   /* ARRAY of struct pp_heap_cpu, by CPU * PP_MAX_PROCESSES + slot */
	PP_HEAP_MAP_KEY,   /* ARRAY of struct pp_live_bucket */
	PP_HEAP_MAP_LIVE,  /* ARRAY of struct pp_live, by bucket * PP_LIVE_WAYS + way */
	PP_HEAP_MAP_TURN,  /* ARRAY of struct pp_turn, by slot * PP_N_TURNS + row */
	PP_N_HEAP_MAPS,
};

/* How a probed function's arguments say what it does. */
enum pp_function {
	PP_FUNCTION_NONE,
	PP_FUNCTION_MALLOC,	/* size */
	PP_FUNCTION_CALLOC,	/* n, size */
	PP_FUNCTION_REALLOC,	/* old, size */
	PP_FUNCTION_REALLOCARRAY, /* old, n, size */
	PP_FUNCTION_MEMALIGN,	/* alignment, size */
	PP_FUNCTION_POSIX_MEMALIGN, /* where to store it, alignment, size; returns 0 */
	PP_FUNCTION_NEW,	/* size */
	PP_FUNCTION_NEW_NOTHROW, /* size */
	PP_FUNCTION_FREE,	/* pointer */
	PP_FUNCTION_USDT_ALLOC, /* pointer, size, weight: sampled by the process itself */
	PP_FUNCTION_USDT_FREE,	/* pointer */
	PP_N_FUNCTIONS,
};

enum pp_argument_kind { PP_ARGUMENT_NONE, PP_ARGUMENT_REGISTER, PP_ARGUMENT_MEMORY,
			PP_ARGUMENT_CONSTANT };

struct pp_argument {
	__u8 kind;  /* enum pp_argument_kind */
	__u8 reg;   /* DWARF number; of PP_ARGUMENT_MEMORY the base */
	__u8 index; /* DWARF number, 0xff: none */
	__u8 scale;
	__s8 size; /* bytes; negative: signed */
	__u8 pad[3];
	__s64 value; /* the constant; the displacement */
};
_Static_assert(sizeof(struct pp_argument) == 16, "no padding");

/* Of a probe. ENTRY_ONLY: it may throw, and a throw through a return probe ends the program: seen where
 * it is entered only. */
enum {
	PP_PROBE_ENTRY_ONLY = 1,
	PP_PROBE_TAIL = 2, /* realloc(NULL) jumps to malloc, whose probe sees it */
};

/* Written by the broker before it attaches. The attachment's cookie is its number. */
struct pp_probe {
	__u16 function; /* enum pp_function */
	__u16 flags;
	__u32 slot;	/* of the process */
	struct pp_argument arguments[3];
};
_Static_assert(sizeof(struct pp_probe) == 56, "no padding");

enum { /* struct pp_heap.flags */
	PP_HEAP_FREES = 1,  /* frees are seen, so live objects may be kept */
	PP_HEAP_WINDOW = 2, /* only for a moment: sampled finely, and kept as held objects */
	PP_HEAP_PROBED = 4, /* there are probes that a child inherits */
};

struct pp_heap {
	__u64 n_hits;	/* written by the kernel, in batches */
	__u64 spent_ns;	/* likewise: what hits and samples have cost the process */
	__u64 hit_ns;	/* written by serve, and these: what a hit costs now */
	__u64 notify_at, stop_at; /* of spent_ns: what raises a notice, and what stops all */
	__u64 noted;	/* written by the kernel: notify_at of the last notice */
	__u64 n_live_full; /* written by the kernel, and these: objects that found no slot */
	__u64 n_pending_full;
	__u64 n_unknown; /* samples whose pointer cannot be had (PP_PROBE_ENTRY_ONLY) */
	__u64 flags;	 /* written by serve */
	__s64 live_bytes; /* written by the kernel: what live samples stand for, about */
	__s64 peak_at;	 /* live_bytes above which a notice tells of a new peak; written by both */
	__u64 window_ns; /* written by serve: when the last window began, monotonic */
	__u64 looked_ns; /* written by the kernel, and these: when the held objects were last looked at */
	__u64 n_held, n_held_full; /* objects of windows; of these, that were one too many */
	__u64 n_blank;	 /* of these, that were left out: nothing but zeros to be known by */
	__u64 n_changed; /* of these, that have left: not readable or not the same any more */
	__u64 n_forks;	 /* children that were forked while PP_HEAP_PROBED */
	__u64 fork_noted; /* set with a notice, cleared by serve */
	__u64 pad[4];
};
_Static_assert(sizeof(struct pp_heap) == 192, "three cache lines");

/* Written by the kernel, each by one CPU. */
struct pp_heap_cpu {
	__s64 left[2]; /* bytes until the next sample, and until the next of windows; 0: not drawn yet */
	__u64 n_allocs, n_frees, n_bytes;
	__u64 n_sampled, n_hits;
	__u64 pad;
};
_Static_assert(sizeof(struct pp_heap_cpu) == 64, "one cache line");

/* Pointer and process slot in one word, never 0. Pointers into user space have 56 bits at most. */
#define PP_LIVE_KEY(pointer, slot) ((pointer) << PP_LIVE_SHIFT | (slot) << 1 | 1)
#define PP_LIVE_SHIFT 8

struct pp_live_bucket {
	__u64 key[PP_LIVE_WAYS]; /* 0: free */
};

/* A sampled object that has not been freed. Written by the kernel; `born` last and cleared first. */
struct pp_live {
	__u64 born;   /* ns of the monotonic clock; 0: not there */
	__u64 size;
	__u64 weight; /* bytes that it stands for; 0: as the rate and the size say */
	__u64 stack;  /* hash, as in the count row's name[0] */
	__u32 target; /* image id */
	__u32 print;  /* 0: not of a window; PP_PRINT_NONE: not looked at yet; else a hash of its ends and: */
};
enum { PP_PRINT_NONE = 1, PP_PRINT_TAKEN = 2, PP_PRINT_SEEN = 3 }; /* SEEN: found the same later */
_Static_assert(sizeof(struct pp_live) == 40, "no padding");

/* How held objects of one stack have ended: seen freed while probes were on, or found changed between.
 * Written by the kernel, cleared by serve. More stacks than rows: those are not judged. */
struct pp_turn {
	__u64 stack; /* hash, 0: free */
	__u32 n_freed, n_changed;
};
#define PP_N_TURNS 256 /* a process */
#define PP_TURN_TRIES 8
#define PP_TURN_ROW(slot, stack, t) ((slot) * PP_N_TURNS + (((stack) >> 8) + (t)) % PP_N_TURNS)
_Static_assert(sizeof(struct pp_turn) == 16, "no padding");

/* name[1] of a count row: the size class, and whether v is {objects << 16, bytes} as the process
 * weighed them, instead of {sampled objects, their bytes}. */
#define PP_SIZE_WEIGHED (1ull << 32)
#define PP_SIZE_WINDOW (1ull << 34)  /* sampled every PP_HEAP_WINDOW_RATE bytes */
#define PP_SIZE_UNKNOWN (1ull << 33) /* objects whose pointer is not known: never in use */

static inline __u32 pp_log2(__u64 v) /* of 0: 0 */
{
	__u32 n = 0;

	for (__u32 step = 32; step; step /= 2) {
		if (!(v >> step))
			continue;
		v >>= step;
		n += step;
	}
	return n;
}

/* Sixteen classes an octave, so that sizes of a class differ by 6 % at most; exact below 32. */
static inline __u32 pp_size_class(__u64 size)
{
	__u32 shift = size < 32 ? 0 : pp_log2(size) - 4;

	return shift << 5 | (__u32)(size >> shift);
}
