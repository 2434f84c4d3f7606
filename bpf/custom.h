/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* custom.h - what custom.bpf.c and user space share: profiles that programs make themselves.
 *
 * An ABI like event.h; the arrays are mmapable, who writes each field is said beside it. */

#include <linux/types.h>

#include "heap.h"

#define PP_CUSTOM_NAME 64      /* bytes, with a NUL */
#define PP_MAX_CUSTOM_PROBES 8192
#define PP_MAX_CUSTOM 128      /* profiles of a process; a power of two */
#define PP_HELD_WAYS 8
#define PP_HELD_BUCKET_BITS 14 /* 131,072 values; two buckets for each */
#define PP_MAX_HELD_VALUES (1u << 16) /* of a process */
#define PP_MAX_SKIP 255

enum pp_custom_map {
	PP_CUSTOM_MAP_STATE,   /* ARRAY of struct pp_custom, by process slot */
	PP_CUSTOM_MAP_PROFILE, /* ARRAY of struct pp_custom_profile, by slot * PP_MAX_CUSTOM + row */
	PP_CUSTOM_MAP_KEY,     /* ARRAY of struct pp_held_bucket */
	PP_CUSTOM_MAP_HELD,    /* ARRAY of struct pp_held, by bucket * PP_HELD_WAYS + way */
	PP_N_CUSTOM_MAPS,
};

enum pp_custom_kind {
	PP_CUSTOM_NONE,
	PP_CUSTOM_ADD,
	PP_CUSTOM_REMOVE,
	/* on the return instructions of a function that was named to us, where the result is */
	PP_CUSTOM_RESULT,     /* a pointer, or a failure: 0, or a small negative number */
	PP_CUSTOM_DESCRIPTOR, /* an int, or a failure: negative. One that is held has been closed unseen */
	PP_CUSTOM_OUT,	      /* 0, or a failure: the value is where the argument points that ENTER has seen */
	PP_CUSTOM_OUT_PAIR,   /* likewise, two descriptors */
	PP_CUSTOM_ENTER,      /* at the entry of such a function: value is a pointer */
	PP_N_CUSTOM_KINDS,
};

/* Arguments: value, skip, name. Written by the broker
 * before it attaches, and made 0 before it detaches. The attachment's cookie is its number. */
struct pp_custom_probe {
	__u32 slot; /* of the process */
	__u32 kind; /* enum pp_custom_kind */
	__u32 row;  /* of the profile, + 1; 0: the third argument points to its name */
	__u32 cost_ns; /* what a hit costs the process, about */
	struct pp_argument arguments[3];
};
_Static_assert(sizeof(struct pp_custom_probe) == 64, "one cache line");

/* One of a process's profiles; found by the hash of its name. Claimed by whoever needs it first, the kernel or
 * serve; emptied by serve when nothing is attached. */
struct pp_custom_profile {
	__u64 hash;  /* 0: free */
	__u64 ready; /* the name is there */
	__u64 name[PP_CUSTOM_NAME / 8];
	__u64 n_added, n_removed; /* written by the kernel, and these: calls that did something */
	__u64 n_twice; /* values that were held already */
	__u64 n_absent; /* values that were to be removed and were not held */
	__u64 n_lost; /* values that found no room */
	__u64 pad;
};
_Static_assert(sizeof(struct pp_custom_profile) == 128, "two cache lines");

/* Of a process. Written by the kernel. */
struct pp_custom {
	__s64 n_held;
	__u64 n_profiles_full; /* calls that named one more than PP_MAX_CUSTOM profiles */
	__u64 n_bad_names;     /* calls whose name was empty, too long, or not there */
	__u64 n_early;	       /* calls of a program that we had yet to look at */
	__u64 probed;	       /* written by serve: children inherit something */
	__u64 n_forks, fork_noted; /* the latter is cleared by serve */
	__u64 n_unseen; /* calls since stopped_ns, while there were probes still */
	__u64 spent_ns; /* what probes and walks have cost the process, about */
	__u64 stopped_ns; /* monotonic: since then nothing is looked at, whatever serve allows; 0: it is */
	__u64 notify_at, stop_at; /* written by serve: of spent_ns, what raises a notice, and what stops all */
	__u64 noted; /* written by the kernel: notify_at of the last notice */
	__u64 pad[3];
};
_Static_assert(sizeof(struct pp_custom) == 128, "two cache lines");

struct pp_held_bucket {
	__u64 key[PP_HELD_WAYS]; /* 0: free */
};

/* A value that has been added and not removed. Written by the kernel; `born` last and cleared first. */
struct pp_held {
	__u64 born; /* ns of the monotonic clock; 0: not there */
	__u64 value;
	__u64 stack;   /* hash, as in the count row's name[0] */
	__u32 target;  /* image id */
	__u32 profile; /* slot * PP_MAX_CUSTOM + row */
	__u32 skip;
	__u32 pad;
};
_Static_assert(sizeof(struct pp_held) == 40, "no padding");

/* Of a name that is padded with zeros: never 0. */
static inline __u64 pp_custom_hash(const __u64 name[PP_CUSTOM_NAME / 8])
{
	__u64 h = 0x2545f4914f6cdd1dull;

	for (int i = 0; i < PP_CUSTOM_NAME / 8; i++) {
		h = (h ^ name[i]) * 0x9fb21c651e98df25ull;
		h ^= h >> 32;
	}
	return h | 1;
}
