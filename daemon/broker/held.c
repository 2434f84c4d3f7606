/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/held.h"

#include <errno.h>
#include <stdbool.h>

#include "base/hash.h"
#include "bpf/event.h"

struct looking {
	const struct held *h;
	struct pp_heap *heap;
	uint64_t now, then; /* this look, and the last one */
	uint32_t slot;
	held_read_fn *reads;
	void *context;
	bool over; /* the process has ended: what was held is held, for its last word */
};

/* Of both ends, PP_PRINT_TAKEN; PP_PRINT_NONE: all zeros; 0: they cannot be read. */
static uint32_t print_of(struct looking *l, uint64_t pointer, uint64_t size)
{
	uint64_t w[2 * HELD_END_BYTES / 8] = { 0 }, hash = l->h->seed, any = 0;
	unsigned n = size < HELD_END_BYTES ? (unsigned)size : HELD_END_BYTES;
	int r = n ? l->reads(l->context, pointer, size, w, n) : -EFAULT;

	l->over |= r == -ESRCH;
	if (r < 0)
		return 0;
	for (unsigned i = 0; i < sizeof(w) / sizeof(w[0]); i++) {
		hash = hash_u64(hash, w[i]);
		any |= w[i];
	}
	return any ? (uint32_t)(hash >> 32 & ~3ull) | PP_PRINT_TAKEN : PP_PRINT_NONE;
}

/* Old objects are looked at less often: four times while their age doubles. What has been swapped out
 * comes back in by being looked at. */
static bool is_time(const struct looking *l, uint64_t born)
{
	return l->then <= born || pp_size_class((l->now - born) >> 24) >> 2 !=
					  pp_size_class((l->then - born) >> 24) >> 2;
}

static bool is_held(struct looking *l, struct pp_live *e, uint64_t pointer, uint64_t born)
{
	uint32_t was = __atomic_load_n(&e->print, __ATOMIC_RELAXED), is;

	if (was == PP_PRINT_NONE && born < __atomic_load_n(&l->heap->window_ns, __ATOMIC_RELAXED))
		return false; /* its window has ended before it was looked at: it may be gone by now */
	if (was == PP_PRINT_NONE &&
	    __atomic_load_n(&l->heap->flags, __ATOMIC_RELAXED) & PP_HEAP_WINDOW)
		return true; /* not yet: its owner has only just got it */
	if (was != PP_PRINT_NONE && !is_time(l, born))
		return true;
	is = print_of(l, pointer, __atomic_load_n(&e->size, __ATOMIC_RELAXED));
	if (l->over)
		return true;
	if (is == PP_PRINT_NONE && was == PP_PRINT_NONE)
		l->heap->n_blank++;
	if (is == PP_PRINT_NONE || !is)
		return false;
	if (was != PP_PRINT_NONE && (was | PP_PRINT_SEEN) != (is | PP_PRINT_SEEN))
		return false;
	__atomic_store_n(&e->print, was == PP_PRINT_NONE ? is : is | PP_PRINT_SEEN, __ATOMIC_RELAXED);
	return true;
}

/* As pp_turn_add of the kernel's. */
static void count_changed(const struct looking *l, uint64_t stack)
{
	for (uint32_t t = 0; t < PP_TURN_TRIES; t++) {
		struct pp_turn *e = &l->h->turns[PP_TURN_ROW(l->slot, stack, t)];
		__u64 was = 0;

		if (!__atomic_compare_exchange_n(&e->stack, &was, stack, false, __ATOMIC_SEQ_CST,
						 __ATOMIC_SEQ_CST) &&
		    was != stack)
			continue;
		__atomic_add_fetch(&e->n_changed, 1, __ATOMIC_RELAXED);
		return;
	}
}

static bool look_at(struct looking *l, __u64 *key, struct pp_live *e)
{
	__u64 k = __atomic_load_n(key, __ATOMIC_ACQUIRE), born, was;
	uint64_t stack;
	uint32_t print;

	if (!k || (k >> 1) % PP_MAX_PROCESSES != l->slot)
		return false;
	born = was = __atomic_load_n(&e->born, __ATOMIC_ACQUIRE);
	print = __atomic_load_n(&e->print, __ATOMIC_RELAXED);
	stack = __atomic_load_n(&e->stack, __ATOMIC_RELAXED);
	if (!born || !print)
		return false;
	if (is_held(l, e, k >> PP_LIVE_SHIFT, born))
		return true;
	if (!__atomic_compare_exchange_n(&e->born, &was, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return false; /* it has been freed just now */
	__atomic_compare_exchange_n(key, &k, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	if ((print & PP_PRINT_SEEN) == PP_PRINT_SEEN)
		count_changed(l, stack);
	l->heap->n_changed++;
	return false;
}

void held_look(const struct held *h, uint32_t slot, uint64_t now_ns, held_read_fn *reads, void *context)
{
	struct pp_heap *heap = &h->heaps[slot];
	struct looking l = { h, heap, now_ns, heap->looked_ns, slot, reads, context, false };
	uint64_t n = 0;

	for (uint32_t b = 0; b < 1u << PP_LIVE_BUCKET_BITS && !l.over; b++)
		for (unsigned i = 0; i < PP_LIVE_WAYS; i++)
			n += look_at(&l, &h->keys[b].key[i], &h->live[b * PP_LIVE_WAYS + i]);
	if (l.over)
		return;
	__atomic_store_n(&heap->n_held, n, __ATOMIC_RELAXED);
	heap->looked_ns = now_ns;
}
