/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* kernel.h - our programs and tables in the kernel.
 *
 * Owns every BPF object, map, link and perf event; libbpf is seen by kernel.c alone. A collector is
 * attached only between kernel_arm and kernel_disarm, and everything ends with this process: no
 * link is pinned. */

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpf/event.h"
#include "bpf/threads.h"
#include "daemon/broker/process.h"

struct kernel;

struct kernel_sizes {
	uint32_t n_stacks, n_counts, n_pool_chunks; /* of one half */
	uint32_t ring_size;
};

struct kernel_clock {
	unsigned hz;	      /* samples a second and CPU */
	unsigned clock_hz;    /* ticks, of which hz are kept; 0: a prime near ten times hz */
};

/* Loads the programs. `error` (KERNEL_MAX_TEXT) tells in one line what is missing and what to do.
 * 0 or -errno. */
#define KERNEL_MAX_TEXT 400
int kernel_load(const char *btf, struct kernel_clock clock, struct kernel **ret, char *error);
void kernel_free(struct kernel *k);
DEFINE_CLEANUP(struct kernel, kernel_free)

void kernel_sizes(const struct kernel *k, struct kernel_sizes *ret);
/* Borrowed descriptor. */
int kernel_map(const struct kernel *k, enum pp_map map);
/* The outer map of the slabs; borrowed. */
int kernel_slabs(const struct kernel *k);
/* A new slab of unwind rows, in its place in the outer map: descriptor or -errno. */
int kernel_slab(struct kernel *k, uint32_t index);

/* Fills in what only the kernel knows of a process. 0, -ESRCH, -errno. */
int kernel_identify(struct kernel *k, struct process *p);

/* A process is no target any more: its number is not looked up, if it is this slot's. */
void kernel_forget(struct kernel *k, uint32_t host_tgid, uint32_t slot);

/* Makes another object, opened and not loaded, use our tables and settings. 0 or -errno. */
struct bpf_object;
int kernel_adopt(const struct kernel *k, struct bpf_object *o);
/* Tells an object's pp_query, loaded, in which namespace threads' numbers are wanted: ours. */
int kernel_set_namespace(struct bpf_object *o);
/* Between two ticks of the clocks of CPU samples. */
uint64_t kernel_clock_period_ns(const struct kernel *k);
/* As clocks_look, of those of PP_CPU, if that is armed; what they missed is a statistic. */
int kernel_look_at_clocks(struct kernel *k);
/* The kernel type information that was named to us, or NULL. */
const char *kernel_btf(const struct kernel *k);

/* What looks at the process's threads; its descriptors are the caller's. Loads what it needs the first time.
 * 0 or -errno; `error` as above. */
struct kernel_threads {
	int link, program;
};
int kernel_threads(struct kernel *k, const struct process *p, struct kernel_threads *ret, char *error);
/* A descriptor that gives, when it is read, struct pp_thread of each; or two, that each give that of one, by its
 * number in our PID namespace. -errno. From any thread. */
int kernel_iterate(const struct kernel_threads *t);
int kernel_iterate_one(const struct kernel_threads *t, uint32_t tid, int ret_fds[2]);

/* Loads what PP_GROWTH needs, which takes a moment: another thread may do it, once, before it is armed. */
int kernel_prepare_growth(struct kernel *k);

/* A descriptor of the table of who created a thread, a new one; -EINVAL: PP_CREATE is not armed. */
int kernel_created(struct kernel *k);

/* Attaches or detaches a collector's programs. 0 or -errno, with `error` as above. */
int kernel_arm(struct kernel *k, enum pp_collector c, char *error);
void kernel_disarm(struct kernel *k, enum pp_collector c);
