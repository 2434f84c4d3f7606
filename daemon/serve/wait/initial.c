/* SPDX-License-Identifier: Apache-2.0 */

/* initial.c - threads that were waiting already when the programs were attached.
 *
 * The kernel's programs see a wait begin. For those that had begun, a dump of all threads tells where they
 * are, and serve writes their records itself, as from now on. A second dump takes back what was wrong by
 * then: a thread that has come to a CPU in between. They are charged to nobody when they are woken. */

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/threads/dump.h"
#include "daemon/serve/wait/wait.h"

#define STOPPED (4 | 8) /* include/linux/sched.h */
#define UNINTERRUPTIBLE 2

/* As the kernel's side does for those that it sees begin. */
uint32_t wait_item(const struct pp_thread *t)
{
	uint32_t item = t->call < PP_WAIT_NO_CALL ? (uint32_t)t->call : PP_WAIT_NO_CALL;

	if (t->call == SYS_futex)
		item |= (uint32_t)(t->registers[PP_THREAD_SECOND] & 0x7f) << PP_WAIT_OP_SHIFT;
	if (t->state & STOPPED)
		return item | PP_WAIT_STOPPED;
	if (t->state & UNINTERRUPTIBLE)
		return item | (t->in_iowait ? PP_WAIT_DISK : PP_WAIT_KERNEL);
	return item | (t->file & 7) << PP_WAIT_FILE_SHIFT;
}

static uint64_t hash_of(const struct core *c, const struct dump *d, const struct dump_thread *t)
{
	/* not the kernel's hash of the same stack: its rows are apart until captures add them up */
	return hash_bytes(c->secret ^ d->image, d->words.data + t->first, t->n * 8ul) | 1;
}

/* The slot, + 1, that is the thread's now; 0: the kernel has a record of it, or there is no room. */
static uint32_t claim(struct waits *w, uint32_t host_tid)
{
	__u64 key = host_tid | 1ull << 32, h = PP_WAIT_HASH(host_tid);
	uint32_t buckets[2];

	for (int i = 0; i < 2; i++) {
		buckets[i] = h >> (i ? 64 - PP_WAIT_BUCKET_BITS : 32) & ((1 << PP_WAIT_BUCKET_BITS) - 1);
		for (uint32_t way = 0; way < PP_WAIT_WAYS; way++)
			if (__atomic_load_n(&w->keys[buckets[i]].key[way], __ATOMIC_SEQ_CST) == key)
				return 0;
	}
	for (uint32_t k = 0; k < 2 * PP_WAIT_WAYS; k++) {
		__u64 *at = &w->keys[buckets[k / PP_WAIT_WAYS]].key[k % PP_WAIT_WAYS], none = 0;

		if (__atomic_compare_exchange_n(at, &none, key, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return buckets[k / PP_WAIT_WAYS] * PP_WAIT_WAYS + k % PP_WAIT_WAYS + 1;
	}
	return 0;
}

/* Its stack gets a row of the totals, by which the kernel's count of it will be known. */
static bool keep_stack(struct core *c, const struct dump *d, const struct dump_thread *t,
		       const struct pp_wait *w)
{
	uint64_t name[2] = { w->stack, w->named };
	uint32_t row;

	pthread_mutex_lock(&c->lock);
	row = totals_item_row(&c->kept, d->image, PP_WAIT, w->item, d->words.data + t->first, t->n,
			      (const char *)name);
	pthread_mutex_unlock(&c->lock);
	return row != HASH_NONE;
}

static __u32 *open_count(struct core *c, uint32_t host_tid)
{
	return &c->waits.filter->open[host_tid % (sizeof(c->waits.filter->open) / sizeof(__u32))];
}

static bool put(struct core *c, const struct target *target, const struct dump *d,
		const struct dump_thread *t)
{
	struct pp_wait w = { .began = (uint64_t)d->began_ns, .row = PP_NO_STACK(PP_END_BY_HASH),
			     .item = wait_item(&t->t), .target = d->image, .weight = 1, .slot = target->index,
			     .tid = t->t.host_tid, .ran = t->t.ran,
			     .labels = t->labels ? PP_LABELS_KEPT | (t->labels - 1) : 0 };
	struct pp_wait *to;
	uint32_t slot;

	w.stack = hash_of(c, d, t);
	if (t->t.call == SYS_futex && wait_data_watched(&c->waits.states[target->index], t->t.argument))
		w.named = t->t.argument;
	if (!keep_stack(c, d, t, &w))
		return false;
	slot = claim(&c->waits, t->t.host_tid);
	if (!slot)
		return false;
	to = &c->waits.open[slot - 1];
	w.began = 0;
	*to = w;
	__atomic_add_fetch(open_count(c, w.tid), 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&to->began, (uint64_t)d->began_ns, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&c->waits.states[target->index].n_open, 1, __ATOMIC_SEQ_CST);
	return true;
}

static void take_back(struct core *c, const struct target *target, const struct dump *d, uint32_t host_tid)
{
	for (uint32_t slot = 0; slot < POOL_N_WAITS; slot++) {
		struct pp_wait *w = &c->waits.open[slot];
		__u64 began = (uint64_t)d->began_ns;

		if (w->tid != host_tid || !__atomic_compare_exchange_n(&w->began, &began, 0, false,
								       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			continue;
		__atomic_sub_fetch(open_count(c, host_tid), 1, __ATOMIC_SEQ_CST);
		__atomic_store_n(&c->waits.keys[slot / PP_WAIT_WAYS].key[slot % PP_WAIT_WAYS], 0,
				 __ATOMIC_SEQ_CST);
		__atomic_sub_fetch(&c->waits.states[target->index].n_open, 1, __ATOMIC_SEQ_CST);
	}
}

static bool still_waits(const struct dump *now, const struct dump_thread *was)
{
	for (size_t i = 0; i < now->threads.n; i++) {
		const struct pp_thread *t = &now->threads.data[i].t;

		if (t->host_tid == was->t.host_tid)
			return t->started == was->t.started && t->n_switches == was->t.n_switches &&
			       !t->running && t->state;
	}
	return false;
}

void wait_initial(struct core *c, struct target *t)
{
	struct dump d = { 0 }, now = { 0 };
	int r = dump_read(c, t, BROKER_THREADS_STACKS, &d);

	for (size_t i = 0; i < d.threads.n; i++) {
		struct dump_thread *k = &d.threads.data[i];

		if (k->n && (!k->t.state || !put(c, t, &d, k)))
			k->n = 0;
	}
	if (r == 0)
		r = dump_read(c, t, BROKER_THREADS_LIST, &now);
	for (size_t i = 0; i < d.threads.n; i++)
		if (d.threads.data[i].n && (r < 0 || !still_waits(&now, &d.threads.data[i])))
			take_back(c, t, &d, d.threads.data[i].t.host_tid);
	dump_deinit(&d);
	dump_deinit(&now);
}
