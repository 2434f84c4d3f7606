/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* arming.h - what counts as long as a target lives: heap, waits, who creates threads, growth.
 *
 * Armed from the start where --pid names a process; else when the first request wants one of them, until nobody has wanted any for
 * the time of a lease. Programs stay loaded. arming_lock orders all that; it is taken before the lease_lock. */

#include "daemon/serve/core.h"

/* The processes of --pid: scanned, and all that counts from the start on. */
void arming_start(struct core *c);
/* The heap's part of it. */
void arming_heap(struct core *c);
void arming_growth(struct core *c);
/* Scanned once. TARGET_*, or -errno. */
int arming_scan(struct core *c, struct target *t);
/* A held target counts from now on. */
void arming_keep(struct core *c, struct target *t);
/* Nobody does. */
void arming_stop(struct core *c);
