/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* waits.h - the programs that see threads leave their CPUs and come back.
 *
 * Owns the object, its maps and its links, which end with this process. Attached only between waits_arm and
 * waits_disarm. */

#include "bpf/wait.h"
#include "daemon/broker/kernel.h"

struct waits;

/* Loads in a thread of its own: the verifier takes a moment, and the broker has others to answer.
 * waits_loaded: -EAGAIN until it is done; `error` (KERNEL_MAX_TEXT) as for kernel_load. */
int waits_begin(struct kernel *k, enum broker_wait_mode mode, struct waits **ret);
int waits_loaded(struct waits *w, char *error);
/* Whether freeing it would wait for the kernel's verifier. */
bool waits_are_loading(const struct waits *w);
void waits_free(struct waits *w);
DEFINE_CLEANUP(struct waits, waits_free)

/* Borrowed descriptor; loaded. */
int waits_map(const struct waits *w, enum pp_wait_map map);
uint32_t waits_n_cpus(void);

/* BROKER_WAIT_STRICT: for the threads of these processes, and all that they will have. */
int waits_arm(struct waits *w, const struct process *processes, unsigned n, char *error);
void waits_disarm(struct waits *w);
/* BROKER_WAIT_STRICT: one of them is looked at no more. */
void waits_release(struct waits *w, pid_t pid);
