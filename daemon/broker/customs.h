/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* customs.h - the programs of custom profiles, and the uprobes that they stand on.
 *
 * Owns the object, its maps and every link; what uprobes.h says of links and instructions holds here too.
 * Nothing is loaded before a process wants it. */

#include "daemon/broker/kernel.h"

struct customs;

/* Loads in a thread of its own. */
int customs_begin(struct kernel *k, struct customs **ret);
/* 0; -EAGAIN: not yet; -errno: it failed. `error` (KERNEL_MAX_TEXT) as for kernel_load. */
int customs_loaded(struct customs *c, char *error);
bool customs_are_loading(const struct customs *c);
/* Borrowed descriptor. */
int customs_map(const struct customs *c, enum pp_custom_map map);
/* As uprobes_probe. */
int customs_probe(struct customs *c, const struct process *p, int fd, const struct broker_probes *q,
		  struct broker_custom_probe *probes, char *error);
/* The same, as a request says it: struct broker_probes and so many struct broker_custom_probe. */
int customs_asked(struct customs *c, struct process *processes, uint32_t n_processes, const struct record *r,
		  char *error);
/* Of one target all. */
void customs_off(struct customs *c, uint32_t target);
/* Waits for the thread. */
void customs_free(struct customs *c);
