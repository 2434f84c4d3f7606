/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* marks.h - which live objects are samples: an exact set, without locks, that free can ask cheaply.
 *
 * A sample's address has a form that few addresses have: at the start of a page, or 16 bytes into
 * it (where glibc puts what it maps). So free tests the address, then one byte of a counting
 * filter, and looks into the set only then. What is freed behind our back stays in the set until
 * the same address is a sample again. Refuses: more than MARKS_SLOTS objects, or MARKS_WINDOW in
 * one neighbourhood. */

#include <stdbool.h>
#include <stdint.h>

#define MARKS_LOG2 17
#define MARKS_SLOTS ((size_t)1 << MARKS_LOG2)
#define MARKS_WINDOW 16
#define MARKS_FILTER_LOG2 12
#define PAGE_BYTES 4096

enum marks_result {
	MARKS_ADDED,
	MARKS_REPLACED, /* it was there: an object that somebody freed without telling us */
	MARKS_FULL,
};

extern uint8_t marks_filter[1 << MARKS_FILTER_LOG2] __attribute__((visibility("hidden")));

static inline uint64_t marks_hash(const void *p)
{
	return ((uintptr_t)p >> 12) * 0x9e3779b97f4a7c15ull;
}

/* Has p the form of a sample's address? */
static inline bool marks_form(const void *p)
{
	return ((uintptr_t)p & (PAGE_BYTES - 1) & ~(uintptr_t)0x10) == 0;
}

/* May p be a sample? Never wrong when it says no. NULL may be told apart later. */
static inline bool marks_maybe(const void *p)
{
	return __builtin_expect(marks_form(p), 0) &&
	       marks_filter[marks_hash(p) >> (64 - MARKS_FILTER_LOG2)];
}

/* p is a live object that belongs to the caller alone. */
enum marks_result marks_add(const void *p);

/* True if p was there. Of several callers one is told so. */
bool marks_remove(const void *p);

/* Makes marks_maybe(p) true for good, without p being a sample. */
void marks_hint(const void *p);
