/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* traces.h - the programs that tell what every thread does, while somebody wants a trace.
 *
 * Owns the object, its maps (a ring of PP_TRACE_RING bytes), its links and its clock, all of which go when the
 * last trace has ended. */

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

/* Borrowed descriptor; loaded. */
int traces_map(const struct traces *t, enum pp_trace_map map);

/* Everything but system calls; or, with `calls`, those alone. 0 or -errno, with `error` as above. */
int traces_arm(struct traces *t, bool calls, char *error);
void traces_disarm_calls(struct traces *t);
