/* SPDX-License-Identifier: Apache-2.0 */

/* thread.c - see thread.h. */

#include <time.h>

#include "preload/probe.h"
#include "preload/real.h"
#include "preload/sampling.h"
#include "preload/thread.h"

/* How often a thread looks whether somebody has attached. */
#define IDLE_BYTES ((uint64_t)4 << 20)

__thread struct thread_state thread_state;
uint64_t thread_rate;

static void seed(struct thread_state *t)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &now);
	t->random = (uintptr_t)t ^ (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec;
	t->random = random_next(&t->random) | 1;
}

static uint64_t draw(struct thread_state *t)
{
	if (!t->random)
		seed(t);
	return sampling_draw(random_next(&t->random), thread_rate);
}

bool thread_take(size_t n)
{
	struct thread_state *t = &thread_state;

	t->left += n; /* it has wrapped */
	if (__builtin_expect(t->testing, 0)) {
		t->testing = false;
		return false;
	}
	if (!pprofd_alloc_semaphore || !thread_rate) {
		t->sampling = false;
		t->left = thread_rate ? IDLE_BYTES : 0;
		return false;
	}
	/* The first after somebody attached: its own chance is the same as any other's. */
	if (!t->sampling) {
		t->sampling = true;
		t->left = draw(t);
		if (!thread_charge(n))
			return false;
	}
	t->left = draw(t);
	return true;
}

bool thread_comes_back(void *(*allocate)(const void *argument), const void *argument)
{
	struct thread_state *t = &thread_state;
	uint64_t left = t->left;
	bool back;

	t->left = 0;
	t->testing = true;
	real.free(allocate(argument));
	back = !t->testing;
	t->testing = false;
	t->left = left;
	return back;
}
