/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* alloc.h - what the entry points share: making an object a sample, ending one, and the statistics.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Exported; each only grows, but for rate. */
struct pprofd_alloc_stats {
	uint64_t rate;	  /* mean bytes between samples; 0 until the library has started */
	uint64_t sampled; /* announced by otel_memory:alloc */
	uint64_t freed;	  /* announced by otel_memory:free */
	uint64_t stale;	  /* of freed: seen only when the address became a sample again */
	uint64_t dropped; /* chosen, but not announced: no room in the set, or no page for it */
	uint64_t lost;	  /* announced as freed, but alive: realloc failed */
};
extern struct pprofd_alloc_stats pprofd_alloc_stats;

/* Makes p, a new object of n > 0 bytes, a sample and returns what the program gets: p, or a page
 * that took its place with its first `keep` bytes, or its zeroes. NULL stays NULL. Keeps errno. */
void *alloc_sample(void *p, size_t n, size_t keep);
void *alloc_sample_zeroed(void *p, size_t n);

/* After marks_maybe(p): was it a sample? Then that ends here, and p is the caller's to free, by
 * alloc_free_sample, whatever it was about to be freed by: the size of a sized delete would be
 * wrong for it. */
bool alloc_forget(void *p);
void alloc_free_sample(void *p);

/* What free does after marks_maybe(p). */
void alloc_free_maybe(void *p);

/* Called once `real` is filled: the entry points that were waiting for it go to work. */
void alloc_enter(void);
