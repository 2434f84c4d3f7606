/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* life.h - hears from the kernel which processes come and go (bpf/life.bpf.c).
 *
 * Owns the program, its links and its ring. Nothing of a process is looked at here. */

#include <stdint.h>

#include "base/cleanup.h"
#include "bpf/life.h"

struct life;

/* 0 or -errno, with one line in `error` (KERNEL_MAX_TEXT). */
typedef void life_fn(void *context, const struct pp_life *l);
int life_start(const char *btf, life_fn *tell, void *context, struct life **ret, char *error);
void life_free(struct life *l);
DEFINE_CLEANUP(struct life, life_free)

/* Readable when there is something; borrowed. */
int life_fd(const struct life *l);
/* Tells what there is. */
void life_read(struct life *l);
/* Records that found no room, since the start. */
uint64_t life_lost(const struct life *l);
