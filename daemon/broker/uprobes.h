/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* uprobes.h - the heap's programs, and the uprobes that they stand on.
 *
 * Owns the object, its maps and every link; libbpf is seen by uprobes.c and kernel.c alone. Links are never
 * pinned: they end with this process, however it ends. Refuses to probe an instruction that
 * the kernel would have to step over out of line. */

#include "daemon/broker/kernel.h"

struct uprobes;

/* `error` (KERNEL_MAX_TEXT) as for kernel_load. 0 or -errno. */
int uprobes_load(const struct kernel *k, struct uprobes **ret, char *error);

/* The same in a thread of its own, with the growth programs and the measurement of a hit's cost: the
 * verifier takes half a second, and the broker has others to answer; `several`: processes will share files. `ret` is set by uprobes_loaded,
 * which says -EAGAIN until it is done. */
struct uprobes_loading;
int uprobes_begin(struct kernel *k, bool several, struct uprobes_loading **ret);
int uprobes_loaded(struct uprobes_loading *l, struct uprobes **ret, char *error);
/* Waits for it, if need be. */
void uprobes_loading_free(struct uprobes_loading *l);
/* Whether freeing it would wait for the kernel's verifier: seconds, where the CPUs are busy. */
bool uprobes_are_loading(const struct uprobes_loading *l);
void uprobes_free(struct uprobes *h);
DEFINE_CLEANUP(struct uprobes, uprobes_free)

/* Borrowed descriptor. */
int uprobes_map(const struct uprobes *h, enum pp_heap_map map);
bool uprobes_has_sessions(const struct uprobes *h);
uint32_t uprobes_n_cpus(void);
/* CPU time that one hit costs a process, ns, where so many others probe the same place; measured once. */
uint32_t uprobes_hit_ns(struct uprobes *h, uint32_t n_others);

/* Attaches to the file behind `fd` (borrowed), for the process alone: all n or none; with BROKER_SIDE_AGAIN
 * takes what is attached there out of processes that have inherited it. 0; -EINVAL: an
 * instruction or a number that we do not take; -errno. */
int uprobes_probe(struct uprobes *h, const struct process *p, int fd, const struct broker_probes *q,
	       const struct broker_probe *probes, char *error);
/* Looks at what windows have left in the live table, in a thread of its own: a target's memory may make its
 * reader wait. 0; -EAGAIN: the last time is not over; -errno. */
int uprobes_look(struct uprobes *h, const struct process *p, uint32_t target);
/* Detaching waits for the kernel, up to a second: a thread of its own does it. */
void uprobes_unprobe(struct uprobes *h, uint32_t target, uint32_t sides);
