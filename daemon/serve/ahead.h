/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* ahead.h - asks for names while a window lasts, so that its end waits for few.
 *
 * Owns a thread for each of at most AHEAD_MAX open windows; one that finds no place asks at its end, as all would without
 * this. The thread looks at what was sampled a few times, the last time shortly before the end, and asks
 * about AHEAD_BATCH words at a time; between two batches it is idle for a while, and for as long as
 * anybody else has names to ask for. Answers go into the namer's cache, nothing else comes of it. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"

#define AHEAD_MAX 4
#define AHEAD_BATCH 32
#define AHEAD_MAX_WORDS 16384 /* asked about in one look */

struct core;

struct ahead_words {
	VEC(uint64_t) all;
};

/* Adds the frame words that were seen so far, in any order, each any number of times. Takes the core's lock. 0 or
 * -errno. */
typedef int ahead_collect_fn(void *context, struct ahead_words *to);

struct ahead {
	struct core *core;
	ahead_collect_fn *collect;
	void *context;
	int64_t began_ns, window_ns;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock; /* guards stop */
	pthread_cond_t changed;
	bool stop;
};

int ahead_add(struct ahead_words *to, const uint64_t *words, uint32_t n);
/* Where it cannot begin it does nothing; ahead_end is called in any case. `a` was zero. */
void ahead_begin(struct ahead *a);
/* Waits for the batch that is being asked about, if any. */
void ahead_end(struct ahead *a);
