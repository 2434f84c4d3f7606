/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* lock.bpf.h - the locks that somebody waits for, by address and process.
 *
 * Whoever releases a lock answers for all that its waiters have waited since it was last released: so a
 * short holder that happens to wake a thread is not charged with what a long one did (Go's rule; charging
 * each waiter's whole wait to its waker moves a quarter of it). Only waits that are looked at are in here,
 * with their weight.
 *
 * A bucket is changed under a lock of its own, taken with interrupts off, by a bounded number of
 * tries: past them the wait is not charged to anybody, and counted. One that was in the bucket would stay
 * there for ever, and be charged with every release: so the bucket is forgotten by whoever takes it next. */

#include "maps.bpf.h"
#include "pool.bpf.h"
#include "wait.h"

#define PP_LOCK_TRIES 64

struct pp_lock {
	u64 key;   /* 0: free */
	u64 last;  /* when it was last released */
	u64 n;	   /* weight of its waiters, */
	u64 sum;   /* and of their starts, or `last` where that is later; modulo 2^64 */
	u64 stack; /* of a waiter: its hash, and its item, tell what kind of lock it is */
	u64 item;
};

struct pp_lock_bucket {
	u64 busy;
	u64 missed; /* a waiter could not be taken out */
	struct pp_lock way[PP_LOCK_WAYS];
};

PP_ARRAY(pp_wait_filter, 1, BPF_F_MMAPABLE, struct pp_wait_filter);
PP_ARRAY(pp_lock, 1 << PP_LOCK_BUCKET_BITS, 0, struct pp_lock_bucket);

/* What a release answers for. */
struct pp_charge {
	u64 ns;
	u64 stack; /* of a waiter */
	u32 item;  /* likewise */
	u32 n;	   /* waits that it ends */
};

enum pp_lock_change { PP_LOCK_ENTER, PP_LOCK_LEAVE, PP_LOCK_RELEASE };

struct pp_lock_question {
	u64 key;
	u64 stack;
	u64 at;	/* ENTER, LEAVE: when the wait began; RELEASE: now */
	u32 weight;
	u32 what; /* enum pp_lock_change */
	u32 item; /* of ENTER */
	u32 forgotten; /* out: weight of waiters that are not charged to anybody */
	struct pp_charge charge; /* out, of RELEASE */
};

PP_INLINE void pp_lock_change(struct pp_lock *l, struct pp_lock_question *q)
{
	u64 since = q->at > l->last ? q->at : l->last, ns;

	if (q->what == PP_LOCK_ENTER) {
		l->key = q->key;
		l->n += q->weight;
		l->sum += since * q->weight;
		l->stack = q->stack;
		l->item = q->item;
		return;
	}
	if (q->what == PP_LOCK_LEAVE) {
		l->n -= q->weight;
		l->sum -= since * q->weight;
	} else {
		ns = l->n * q->at - l->sum;
		q->charge.ns = (s64)ns > 0 ? ns : 0;
		q->charge.stack = l->stack;
		q->charge.item = l->item;
		q->charge.n = q->weight;
		l->n -= q->weight;
		l->sum = l->n * q->at;
		l->last = q->at;
	}
	if (!l->n || l->n >> 63) { /* below 0: cannot be */
		l->key = 0;
		l->n = l->sum = l->last = 0;
	}
}

PP_INLINE void pp_lock_forget(struct pp_lock_bucket *b, struct pp_lock_question *q)
{
	for (u32 i = 0; i < PP_LOCK_WAYS; i++) {
		struct pp_lock *l = &b->way[i];

		q->forgotten += l->n;
		l->key = l->n = l->sum = l->last = 0;
	}
}

/* 0: done; 1: it is not there, or there is no room; 2: busy. */
PP_GLOBAL int pp_lock_ask(struct pp_lock_question *q)
{
	struct pp_lock_bucket *b;
	struct pp_lock *l = NULL;
	u32 k, i;
	int r = 1;

	if (!q)
		return 1;
	k = pp_mix(config.seed, q->key) >> (64 - PP_LOCK_BUCKET_BITS);
	b = bpf_map_lookup_elem(&pp_lock, &k);
	if (!b)
		return 1;
	for (i = 0; i < PP_LOCK_TRIES; i++)
		if (!__sync_val_compare_and_swap(&b->busy, 0, 1))
			break;
	if (i == PP_LOCK_TRIES) {
		q->forgotten = q->weight;
		if (q->what != PP_LOCK_ENTER && q->weight)
			__sync_lock_test_and_set(&b->missed, 1);
		return 2;
	}
	if (PP_READ_ONCE(b->missed) && __sync_lock_test_and_set(&b->missed, 0))
		pp_lock_forget(b, q);
	for (i = 0; i < PP_LOCK_WAYS; i++)
		if (b->way[i].key == q->key)
			l = &b->way[i];
	for (i = 0; q->what == PP_LOCK_ENTER && i < PP_LOCK_WAYS && !l; i++)
		if (!b->way[i].key)
			l = &b->way[i];
	if (l) {
		pp_lock_change(l, q);
		r = 0;
	}
	__sync_lock_test_and_set(&b->busy, 0);
	return r;
}

/* Never 0. Neighbouring words of one lock are one: readers and writers of glibc's rwlock wait on words of
 * their own. Of the image, so that who gets a slot finds nothing of him who had it. */
PP_INLINE u64 pp_lock_key(u32 image, u64 lock)
{
	return lock >> 3 << 20 | (image & 0x7ffff) << 1 | 1;
}

PP_INLINE void pp_lock_lost(struct pp_wait_state *s, const struct pp_lock_question *q)
{
	if (q->forgotten)
		__sync_fetch_and_add(&s->n_lock_busy, q->forgotten);
}

PP_INLINE u32 *pp_lock_waiters(u64 lock)
{
	u32 zero = 0;
	struct pp_wait_filter *f = bpf_map_lookup_elem(&pp_wait_filter, &zero);

	return f ? &f->locks[lock >> 3 & ((1 << 12) - 1)] : NULL;
}

PP_INLINE void pp_lock_waiter(u64 lock, u32 change)
{
	u32 *n = pp_lock_waiters(lock);

	if (n)
		__sync_fetch_and_add(n, change);
}

/* Most locks that are released have no waiter that is looked at. */
PP_INLINE int pp_lock_may_have(u64 lock)
{
	u32 *n = pp_lock_waiters(lock);

	return n && PP_READ_ONCE(*n);
}

PP_INLINE void pp_lock_enter(struct pp_wait_state *s, const struct pp_wait *w)
{
	struct pp_lock_question q = { .key = pp_lock_key(w->target, w->lock), .stack = w->stack, .at = w->began,
				      .weight = w->weight, .item = w->item, .what = PP_LOCK_ENTER };
	int r;

	r = pp_lock_ask(&q);
	if (r == 0)
		pp_lock_waiter(w->lock, 1);
	if (r == 1)
		__sync_fetch_and_add(&s->n_lock_full, w->weight);
	pp_lock_lost(s, &q);
}

PP_INLINE void pp_lock_leave(struct pp_wait_state *s, u32 image, u64 lock, u32 weight, u64 began)
{
	struct pp_lock_question q = { .key = pp_lock_key(image, lock), .at = began, .weight = weight,
				      .what = PP_LOCK_LEAVE };

	if (pp_lock_ask(&q) == 0)
		pp_lock_waiter(lock, -1);
	pp_lock_lost(s, &q);
}

/* 1: there were waiters. weight 0: the one that is woken is not among those that are looked at. */
PP_INLINE int pp_lock_release(struct pp_wait_state *s, u32 image, u64 lock, u32 weight, u64 now,
			      struct pp_charge *ret)
{
	struct pp_lock_question q = { .key = pp_lock_key(image, lock), .at = now, .weight = weight,
				      .what = PP_LOCK_RELEASE };
	int r = pp_lock_ask(&q);

	if (r == 0 && weight)
		pp_lock_waiter(lock, -1);
	pp_lock_lost(s, &q);
	*ret = q.charge;
	return r == 0;
}
