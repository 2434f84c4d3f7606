/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* native.h - what bpf/unwind.bpf.h finds in the kernel, found in serve: included by walk.c alone, as its
 * PP_NATIVE. Maps are serve's mappings of them; user memory is what was read of one thread's stack. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#ifdef __clang__
#pragma GCC diagnostic ignored "-Wunknown-attributes"
#endif
#include "bpf/vmlinux.h"
#pragma GCC diagnostic pop

#define PP_GLOBAL static __attribute__((noinline, unused))
#define PP_SETTING static __attribute__((unused))
#define SEC(name) __attribute__((unused))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) __typeof__(value) *name
#define __array(name, value) __typeof__(value) *name[]

/* Return probes: a thread that waits inside a probed function has an address of the kernel's on its stack. The
 * walk ends there and says so. */
#define bpf_core_type_exists(type) 0
#define BPF_CORE_READ(s, ...) 0
#define bpf_core_field_exists(field) 0

static void *bpf_map_lookup_elem(const void *map, const void *key);
static long bpf_probe_read_user(void *to, uint32_t n, const void *from);
static struct task_struct *bpf_get_current_task_btf(void);
static long bpf_task_pt_regs(struct task_struct *t);

static inline long bpf_probe_read_kernel(void *to, uint32_t n, const void *from)
{
	memcpy(to, from, n);
	return 0;
}

static inline uint64_t bpf_get_current_task(void)
{
	return 0;
}

static inline long bpf_ringbuf_output(const void *map, const void *data, uint64_t n, uint64_t flags)
{
	return -1;
}
