/* SPDX-License-Identifier: Apache-2.0 */

/* marks.c - see marks.h. An address is in one of the MARKS_WINDOW slots from its hash on; all of
 * them are looked at, so that removing one needs no tombstone. */

#include <stddef.h>

#include "preload/marks.h"

static uintptr_t slots[MARKS_SLOTS + MARKS_WINDOW];
uint8_t marks_filter[1 << MARKS_FILTER_LOG2];

static uintptr_t *window_of(const void *p)
{
	return slots + (marks_hash(p) >> (64 - MARKS_LOG2));
}

/* A counter that has reached its end stays there: it can no longer know. */
static void filter_step(const void *p, int step)
{
	uint8_t *counter = &marks_filter[marks_hash(p) >> (64 - MARKS_FILTER_LOG2)];
	uint8_t old = __atomic_load_n(counter, __ATOMIC_RELAXED);

	while (old != UINT8_MAX &&
	       !__atomic_compare_exchange_n(counter, &old, (uint8_t)(old + step), true,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		;
}

static bool swap(uintptr_t *slot, uintptr_t from, uintptr_t to)
{
	return __atomic_compare_exchange_n(slot, &from, to, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

static uintptr_t *slot_of(const void *p)
{
	uintptr_t *window = window_of(p);

	for (int i = 0; i < MARKS_WINDOW; i++) {
		if (__atomic_load_n(&window[i], __ATOMIC_RELAXED) == (uintptr_t)p)
			return &window[i];
	}
	return NULL;
}

void marks_hint(const void *p)
{
	filter_step(p, 1);
}

enum marks_result marks_add(const void *p)
{
	uintptr_t *window = window_of(p);

	if (slot_of(p))
		return MARKS_REPLACED;

	filter_step(p, 1);
	for (int i = 0; i < MARKS_WINDOW; i++) {
		if (!__atomic_load_n(&window[i], __ATOMIC_RELAXED) &&
		    swap(&window[i], 0, (uintptr_t)p))
			return MARKS_ADDED;
	}
	filter_step(p, -1);
	return MARKS_FULL;
}

bool marks_remove(const void *p)
{
	uintptr_t *slot = p ? slot_of(p) : NULL;

	if (!slot || !swap(slot, (uintptr_t)p, 0))
		return false;
	filter_step(p, -1);
	return true;
}
