/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* compat.bpf.h - what differs between kernels and compilers, asked of the kernel, never of its
 * version. */

/* The machine, and the files that hold what is so on it alone. */
#if !defined(__TARGET_ARCH_x86) && !defined(__TARGET_ARCH_arm64) /* ordinary C: the machine that it runs on */
#if defined(__x86_64__)
#define __TARGET_ARCH_x86
#elif defined(__aarch64__)
#define __TARGET_ARCH_arm64
#endif
#endif
#if defined(__TARGET_ARCH_x86)
#define PP_UNWIND_MACHINE "unwind-x86_64.bpf.h"
#define PP_ARGUMENT_MACHINE "argument-x86_64.bpf.h"
#define PP_FAULT_MACHINE "fault-x86_64.bpf.h"
#define PP_INTERRUPT_MACHINE "interrupt-x86_64.bpf.h"
#define PP_LABEL_MACHINE "label-x86_64.bpf.h"
#elif defined(__TARGET_ARCH_arm64)
#define PP_UNWIND_MACHINE "unwind-arm64.bpf.h"
#define PP_ARGUMENT_MACHINE "argument-arm64.bpf.h"
#define PP_FAULT_MACHINE "fault-arm64.bpf.h"
#define PP_INTERRUPT_MACHINE "interrupt-arm64.bpf.h"
#define PP_LABEL_MACHINE "label-arm64.bpf.h"
#else
#error "no BPF side for this machine"
#endif

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
