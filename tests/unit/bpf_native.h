/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* bpf_native.h - the kernel side as ordinary C: runs under gdb and sanitizers, without root.
 *
 * Stands in for vmlinux.h and libbpf's headers in bpf/compat.bpf.h (#define PP_NATIVE before the
 * first include). Maps are plain arrays that the test registers; user memory is a list of regions;
 * the current task is a variable. One test program, one file that includes this. */

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
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

/* As in bpf_helpers.h: declarations of maps keep their types and sizes. */
#define __uint(name, value) int(*name)[value]
#define __type(name, value) __typeof__(value) *name
#define __array(name, value) __typeof__(value) *name[]

struct native_map {
	const void *name; /* the declared map, or itself for an inner one */
	void *values;
	size_t value_size;
	uint32_t n;
	bool of_maps; /* values are struct native_map * */
};

struct native_region {
	uint64_t at, n;
	void *bytes;
};

struct native {
	struct native_map maps[16];
	unsigned n_maps;
	struct native_region regions[8];
	unsigned n_regions;
	struct task_struct task;
	struct pt_regs registers;
	uint64_t pid_tgid;
	uint64_t kernel_stack[80];
	int n_kernel_stack;	  /* negative: -errno */
	bool no_return_instances; /* a kernel without uprobes */
	unsigned n_reads;	  /* of user memory */
	struct {
		char bytes[16];
	} notices[64];
	unsigned n_notices, max_notices; /* 0: all of them */
};

static struct native native;

static inline void native_map(const void *name, void *values, size_t value_size, uint32_t n)
{
	assert(native.n_maps < sizeof(native.maps) / sizeof(native.maps[0]));
	native.maps[native.n_maps++] = (struct native_map){ name, values, value_size, n, false };
}

/* Of a declared map: the size of its values is known, how many there are is set when loading. */
#define NATIVE_MAP(map, values, n) native_map(&(map), values, sizeof(*(map).value), n)

static inline void native_region(uint64_t at, void *bytes, uint64_t n)
{
	assert(native.n_regions < sizeof(native.regions) / sizeof(native.regions[0]));
	native.regions[native.n_regions++] = (struct native_region){ at, n, bytes };
}

static inline void *bpf_map_lookup_elem(const void *map, const void *key)
{
	const struct native_map *m = native.maps;
	uint32_t i = *(const uint32_t *)key;

	while (m < native.maps + native.n_maps && m->name != map)
		m++;
	if (m == native.maps + native.n_maps) /* an inner map */
		m = map;
	assert(m->name == map);
	if (i >= m->n)
		return NULL;
	if (m->of_maps)
		return ((void **)m->values)[i];
	return (char *)m->values + i * m->value_size;
}

static inline long bpf_probe_read_user(void *to, uint32_t n, const void *from)
{
	uint64_t at = (uint64_t)(uintptr_t)from, k = 0;

	native.n_reads++;
	while (k < n) {
		const struct native_region *r = native.regions;

		while (r < native.regions + native.n_regions && (at + k - r->at) >= r->n)
			r++;
		if (r == native.regions + native.n_regions) {
			memset(to, 0, n); /* as the kernel does */
			return -14;
		}
		((char *)to)[k] = ((char *)r->bytes)[at + k - r->at];
		k++;
	}
	return 0;
}

static inline long bpf_probe_read_kernel(void *to, uint32_t n, const void *from)
{
	memcpy(to, from, n);
	return 0;
}

static inline long bpf_ringbuf_output(const void *map, const void *data, uint64_t n, uint64_t flags)
{
	assert(n == sizeof(native.notices[0]));
	if (native.n_notices == (native.max_notices ? native.max_notices : 64))
		return -11;
	memcpy(&native.notices[native.n_notices++], data, n);
	return 0;
}

#ifndef PP_NATIVE_CLOCK /* the test has one of its own */
static inline uint64_t bpf_ktime_get_ns(void)
{
	return 0;
}
#endif

static inline uint64_t bpf_get_current_pid_tgid(void)
{
	return native.pid_tgid;
}

static inline uint64_t bpf_get_current_task(void)
{
	return (uint64_t)(uintptr_t)&native.task;
}

static inline struct task_struct *bpf_get_current_task_btf(void)
{
	return &native.task;
}

static inline long bpf_task_pt_regs(struct task_struct *t)
{
	assert(t == &native.task);
	return (long)(uintptr_t)&native.registers;
}

static inline long bpf_get_stack(const void *ctx, void *to, uint32_t n, uint64_t flags)
{
	int k = native.n_kernel_stack * (int)sizeof(uint64_t);

	if (k < 0)
		return native.n_kernel_stack;
	if ((uint32_t)k > n)
		k = (int)n;
	memcpy(to, native.kernel_stack, (size_t)k);
	return k;
}

#define bpf_core_type_exists(type) (!native.no_return_instances)

/* Reads of kernel memory: a null pointer on the way gives 0. */
#define NATIVE_READ_1(s, a) ((s) ? (s)->a : 0)
#define NATIVE_READ_2(s, a, b)                                                                     \
	({                                                                                         \
		__typeof__((s)->a) _a = (s)->a;                                                    \
		_a ? _a->b : 0;                                                                    \
	})
#define NATIVE_READ_3(s, a, b, c)                                                                  \
	({                                                                                         \
		__typeof__((s)->a) _b = (s)->a;                                                    \
		_b ? NATIVE_READ_2(_b, b, c) : 0;                                                  \
	})
#define NATIVE_READ_N(_1, _2, _3, name, ...) name
#define BPF_CORE_READ(s, ...)                                                                      \
	NATIVE_READ_N(__VA_ARGS__, NATIVE_READ_3, NATIVE_READ_2, NATIVE_READ_1)(s, __VA_ARGS__)
