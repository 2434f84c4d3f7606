/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* thread.h - each thread's countdown to the next sample. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct thread_state {
	uint64_t
		left; /* bytes to go; while nobody is attached, to the next look at the semaphore */
	uint64_t random; /* 0: not seeded */
	bool sampling;	 /* `left` was drawn, and was not merely put off */
	bool testing;	 /* see thread_comes_back() */
	bool booting;	 /* see real_booting() */
};

extern __thread struct thread_state thread_state
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Mean bytes between samples; 0 until our constructor has run: until then nothing is sampled. */
extern uint64_t thread_rate;

/* Counts n bytes as allocated; true if they are more than were to go. Then thread_take(n) must be
 * asked. Sizes no allocator can give (beyond SSIZE_MAX) count like any other. */
static inline bool thread_charge(size_t n)
{
	return __builtin_expect(__builtin_sub_overflow(thread_state.left, (uint64_t)n,
						       &thread_state.left),
				0);
}

/* After thread_charge(n) said true: is this allocation a sample? */
bool thread_take(size_t n);

/* Calls an allocating function of the real allocator's and tells whether it ended in one of our
 * functions that count (as libstdc++'s operator new ends in malloc): such a one must not be counted
 * itself. `free` gets what it returned. */
bool thread_comes_back(void *(*allocate)(const void *argument), const void *argument);
