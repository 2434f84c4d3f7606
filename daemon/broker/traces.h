/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* traces.h - the programs that tell what every thread does, while somebody wants a trace.
 *
 * Owns the object and its maps; and while it is armed, the ring (PP_TRACE_RING bytes), the links and the clock. */

#include "bpf/trace.h"
#include "daemon/broker/kernel.h"

struct traces;

/* Loads in a thread of its own, as waits_begin does. */
int traces_begin(struct kernel *k, struct traces **ret);
/* -EAGAIN until it is done; `error` (KERNEL_MAX_TEXT) as for kernel_load. */
int traces_loaded(struct traces *t, char *error);
/* Whether freeing it would wait for the kernel's verifier. */
bool traces_are_loading(const struct traces *t);
void traces_free(struct traces *t);
DEFINE_CLEANUP(struct traces, traces_free)

/* A ring for the next trace, unless there is one. Loaded. 0 or -errno. */
int traces_make_ring(struct traces *t);
/* Borrowed descriptor; there is a ring. */
int traces_map(const struct traces *t, enum pp_trace_map map);

/* Everything but system calls; or, with `calls`, those alone. 0 or -errno, with `error` as above. */
int traces_arm(struct traces *t, bool calls, char *error);
/* Uprobes where a program says what it does, as customs_probe; off with all that is armed. */
int traces_probe(struct traces *t, const struct process *p, int fd, const struct broker_probes *q,
		 const struct broker_custom_probe *probes, char *error);
/* Of everything: the ring goes as well. */
void traces_disarm(struct traces *t, bool calls);
/* As clocks_look, if it is armed. */
int traces_look_at_clocks(struct traces *t);
