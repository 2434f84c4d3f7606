/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* compat.bpf.h - what differs between kernels and compilers, asked of the kernel, never of its
 * version. */

#ifdef PP_NATIVE /* tests compile the walk as ordinary C, with helpers of their own */
#include PP_NATIVE
#else
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Verified once each instead of once a call (5.13: struct pointers as arguments). Without this
 * a walk of 255 frames costs the verifier 680,000 instructions instead of 10,000. */
#define PP_GLOBAL __attribute__((noinline))

/* Set once, between opening and loading: constants to the verifier. */
#define PP_SETTING const volatile
#endif

#define PP_INLINE static __attribute__((always_inline)) inline

/* Keeps an index below n (a power of two) in a form that neither clang moves nor the verifier
 * forgets; after a branch it also makes both arms meet in one verifier state. */
#define PP_MASK(x, n)                                                                              \
	do {                                                                                       \
		asm volatile("" : "+r"(x));                                                        \
		(x) &= (n) - 1;                                                                    \
		asm volatile("" : "+r"(x));                                                        \
	} while (0)

#define PP_READ_ONCE(x) (*(volatile __typeof__(x) *)&(x))
#define PP_BARRIER() asm volatile("" ::: "memory")

#define PP_ARRAY(name, entries, flags, T)                                                       \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, entries);                                                      \
		__uint(map_flags, flags);                                                          \
		__type(key, u32);                                                                  \
		__type(value, T);                                                                  \
	} name SEC(".maps")
