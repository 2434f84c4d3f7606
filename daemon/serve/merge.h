/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* merge.h - captures of several processes, added up in one: each sample with a label that tells whose it is.
 *
 * Owns the sum and its names. Frames of files are the same words in all of them (bpf/event.h), so equal code is one
 * location; code without a file is each process's own. Knows nothing of targets and requests. */

#include <pthread.h>
#include <stdint.h>

#include "daemon/serve/capture.h"
#include "daemon/serve/naming.h"

#define MERGE_MAX 256 /* parts */

struct merge {
	pthread_mutex_t lock; /* guards what follows */
	struct capture *sum;  /* NULL: nothing yet */
	struct naming names;
	struct hash_index functions; /* of names.functions, by what they say */
	uint32_t n; /* parts */
};

#define MERGE_INIT { .lock = PTHREAD_MUTEX_INITIALIZER }

/* Adds a copy of a capture that has its names. From any thread. 0; -ENOMEM; -E2BIG. */
int merge_add(struct merge *m, const struct capture *from, const struct naming *names, int32_t pid);
void merge_deinit(struct merge *m);
