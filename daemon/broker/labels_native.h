/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* labels_native.h - what bpf/label.bpf.h finds in the kernel, found in the broker: included by labels.c alone, as its
 * PP_NATIVE. The current thread is the one that is asked about; its memory is read from /proc. */

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
#define SEC(name) __attribute__((unused, weak)) /* serve has them too, and tests both */
#define __uint(name, value) int(*name)[value]
#define __type(name, value) __typeof__(value) *name
#define __array(name, value) __typeof__(value) *name[]

static void *bpf_map_lookup_elem(const void *map, const void *key);
static long bpf_probe_read_user(void *to, uint64_t n, const void *from);
static struct task_struct *bpf_get_current_task_btf(void);

static inline long bpf_ringbuf_output(const void *map, const void *data, uint64_t n, uint64_t flags)
{
	return -1;
}
