/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/* wait.bpf.c - where do threads wait, and who makes them wait?
 *
 * A thread that leaves its CPU leaves a record: when, where (its stack, walked then and there), what for. Back
 * on a CPU, its record is counted and goes. Whoever wakes it out of a futex is charged, under its own
 * stack, with what all waiters of that lock have waited since it was last released: what Go calls the mutex
 * profile. Only scheduler events are looked at, so a lock that nobody waits for costs nothing.
 *
 * Whether a wait is looked at is decided before its stack is walked (a coin of 1 in 1 << shift, its weight
 * 1 << shift), by an account for each CPU and process: it grows with the time that the process runs, and
 * every wait that is looked at draws on it what it took. */

#include "emit.bpf.h"
#include "file.bpf.h"
#include "lock.bpf.h"
#include "pace.bpf.h"

PP_ARRAY(pp_wait_key, 1 << PP_WAIT_BUCKET_BITS, BPF_F_MMAPABLE, struct pp_wait_bucket);
PP_ARRAY(pp_wait, PP_WAIT_WAYS << PP_WAIT_BUCKET_BITS, BPF_F_MMAPABLE, struct pp_wait);
PP_ARRAY(pp_wait_state, PP_MAX_PROCESSES, BPF_F_MMAPABLE, struct pp_wait_state);
PP_ARRAY(pp_wait_cpu, PP_MAX_PROCESSES, BPF_F_MMAPABLE, struct pp_wait_cpu); /* times CPUs */

#define PP_TASK_UNINTERRUPTIBLE 2 /* include/linux/sched.h */
#define PP_TASK_STOPPED (4 | 8)	  /* and traced */
#define PP_TASK_DEAD 0x80

#define PP_FUTEX_PRIVATE 128 /* linux/futex.h */
/* wake, requeue, cmp_requeue, wake_op, unlock_pi, wake_bitset, cmp_requeue_pi */
#define PP_FUTEX_WAKES (1u << 1 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 7 | 1u << 10 | 1u << 12)

/* What an event is about. */
struct pp_about {
	struct pp_process *process;
	struct pp_wait_state *state;
	u32 slot;
};

/* The process of a thread, if it is a target's. */
PP_INLINE int pp_about(struct task_struct *t, struct pp_about *a)
{
	u32 zero = 0, tgid = t->tgid, *slot;
	struct pp_wait_filter *f = bpf_map_lookup_elem(&pp_wait_filter, &zero);
	struct pp_state *s;
	u64 k;

	if (!f)
		return 0;
	k = f->slot[tgid & 0xffff];
	if (!k)
		return 0;
	k--;
	if (k == PP_WAIT_SEVERAL - 1) {
		slot = bpf_map_lookup_elem(&pp_targets, &tgid);
		if (!slot)
			return 0;
		k = *slot;
	}
	PP_MASK(k, PP_MAX_PROCESSES);
	a->slot = k;
	s = bpf_map_lookup_elem(&pp_state, &zero);
	a->state = bpf_map_lookup_elem(&pp_wait_state, &a->slot);
	if (!s || !a->state)
		return 0;
	a->process = &s->processes[k];
	return a->process->target && t->group_leader->start_boottime == a->process->start_boottime;
}

/* How many threads of this number's kind have an open record; NULL never comes. */
PP_INLINE u32 *pp_wait_open(u32 tid)
{
	u32 zero = 0;
	struct pp_wait_filter *f = bpf_map_lookup_elem(&pp_wait_filter, &zero);

	return f ? &f->open[tid & ((1 << 14) - 1)] : NULL;
}

PP_INLINE struct pp_wait_cpu *pp_wait_here(u32 slot)
{
	u32 k = bpf_get_smp_processor_id() * PP_MAX_PROCESSES + slot;

	return bpf_map_lookup_elem(&pp_wait_cpu, &k);
}

PP_INLINE u32 pp_wait_bucket_of(u32 tid, u32 which)
{
	u64 h = PP_WAIT_HASH(tid);

	return h >> (which ? 64 - PP_WAIT_BUCKET_BITS : 32) & ((1 << PP_WAIT_BUCKET_BITS) - 1);
}

/* Slot + 1 of the thread's record, 0: it has none. `free`: else of a slot that is now its own. */
PP_GLOBAL int pp_wait_slot(u32 tid, u32 free)
{
	u64 key = tid | 1ull << 32;

	for (u32 which = 0; which < 2; which++) {
		u32 b = pp_wait_bucket_of(tid, which);
		struct pp_wait_bucket *k = bpf_map_lookup_elem(&pp_wait_key, &b);

		if (!k)
			return 0;
		for (u32 i = 0; i < PP_WAIT_WAYS; i++)
			if (PP_READ_ONCE(k->key[i]) == key)
				return b * PP_WAIT_WAYS + i + 1;
	}
	for (u32 which = 0; free && which < 2; which++) {
		u32 b = pp_wait_bucket_of(tid, which);
		struct pp_wait_bucket *k = bpf_map_lookup_elem(&pp_wait_key, &b);

		if (!k)
			return 0;
		for (u32 i = 0; i < PP_WAIT_WAYS; i++)
			if (!PP_READ_ONCE(k->key[i]) &&
			    !__sync_val_compare_and_swap(&k->key[i], 0, key))
				return b * PP_WAIT_WAYS + i + 1;
	}
	return 0;
}

PP_INLINE struct pp_wait *pp_wait_of(u32 tid)
{
	u32 *open = pp_wait_open(tid), slot;
	int at;

	if (!open || !PP_READ_ONCE(*open))
		return NULL;
	at = pp_wait_slot(tid, 0);
	slot = at - 1;

	return at > 0 ? bpf_map_lookup_elem(&pp_wait, &slot) : NULL;
}

/* The record goes: its thread may have another. */
PP_GLOBAL int pp_wait_drop(u32 tid)
{
	int at = pp_wait_slot(tid, 0);
	struct pp_wait_bucket *k;
	struct pp_wait *w;
	u32 *open;
	u32 slot = at - 1, bucket = slot / PP_WAIT_WAYS;
	u64 way = slot;

	if (at <= 0)
		return 0;
	PP_MASK(way, PP_WAIT_WAYS);
	w = bpf_map_lookup_elem(&pp_wait, &slot);
	k = bpf_map_lookup_elem(&pp_wait_key, &bucket);
	if (!w || !k)
		return 0;
	open = pp_wait_open(tid);
	__sync_lock_test_and_set(&w->began, 0);
	__sync_lock_test_and_set(&k->key[way], 0);
	if (open)
		__sync_fetch_and_add(open, -1);
	return 1;
}

/* What the current thread leaves its CPU for. Fills in the lock, if it is one. */
PP_INLINE u32 pp_wait_item(struct task_struct *t, struct pp_wait *w, u32 preempted, u32 state)
{
	struct pp_system_call call;
	u32 item;

	pp_call_registers(t, &call);
	item = call.number < PP_WAIT_NO_CALL ? call.number : PP_WAIT_NO_CALL;
	if (call.number == PP_CALL_FUTEX)
		item |= (u32)(call.a[1] & 0x7f) << PP_WAIT_OP_SHIFT;
	if (preempted)
		return item | PP_WAIT_PREEMPTED;
	if (!state)
		return item | PP_WAIT_YIELDED;
	if (state & PP_TASK_STOPPED)
		return item | PP_WAIT_STOPPED;
	if (state & PP_TASK_UNINTERRUPTIBLE)
		return item | (BPF_CORE_READ_BITFIELD(t, in_iowait) ? PP_WAIT_DISK : PP_WAIT_KERNEL);
	if (pp_is_futex(call.number))
		w->lock = call.a[0];
	else if (pp_is_read_write(call.number))
		item |= pp_wait_file(t, call.a[0]) << PP_WAIT_FILE_SHIFT;
	return item;
}

/* The address, if it is in the data of a file: only of those is there a name. */
PP_INLINE u64 pp_wait_named(const struct pp_wait_state *s, u64 at)
{
	for (u32 i = 0; i < PP_WAIT_RANGES && i < s->n_ranges; i++)
		if (at >= s->ranges[i][0] && at < s->ranges[i][1])
			return at;
	return 0;
}

/* The thread has none yet. 0: no room. */
PP_GLOBAL int pp_wait_begin_put(const struct pp_wait *from)
{
	struct pp_wait *w;
	u32 slot, *open;
	int at;

	if (!from)
		return 0;
	at = pp_wait_slot(from->tid, 1);
	slot = at - 1;
	w = at > 0 ? bpf_map_lookup_elem(&pp_wait, &slot) : NULL;
	open = pp_wait_open(from->tid);
	if (!w || !open)
		return 0;
	__sync_fetch_and_add(open, 1);
	__sync_lock_test_and_set(&w->began, 0);
	w->woken = 0;
	w->ran = from->ran;
	w->lock = from->lock;
	w->named = from->named;
	w->stack = from->stack;
	w->epoch = from->epoch;
	w->row = from->row;
	w->item = from->item;
	w->target = from->target;
	w->weight = from->weight;
	w->labels = from->labels;
	w->slot = from->slot;
	w->tid = from->tid;
	w->ended = 0;
	w->walk = from->walk;
	w->held = 0;
	__sync_lock_test_and_set(&w->began, from->began);
	return 1;
}

enum pp_wait_how {
	PP_WAIT_BY_SWITCH,  /* an event tells when it comes back, another who wakes it */
	PP_WAIT_BY_LEAVING, /* none does */
};

PP_INLINE void pp_wait_begin(void *ctx, struct pp_about *a, u32 weight, u32 preempted, u32 state, u64 now,
			     enum pp_wait_how how)
{
	struct pp_event e = { .collector = PP_WAIT, .max_frames = PP_WAIT_FRAMES, .labelled = PP_LABELLED };
	struct task_struct *t = bpf_get_current_task_btf();
	struct pp_control *c = pp_controls();
	struct pp_wait w = { .weight = weight, .slot = a->slot, .ran = t->se.sum_exec_runtime }, *own;

	if (!c)
		return;
	w.tid = t->pid;
	w.target = a->process->target;
	w.epoch = PP_READ_ONCE(c->epoch);
	w.item = pp_wait_item(t, &w, preempted, state);
	w.named = w.lock ? pp_wait_named(a->state, w.lock) : 0;
	w.row = pp_stack_for(ctx, a->process, &e, w.epoch);
	w.stack = w.row >= PP_NO_STACK(0) ? w.row : e.hash;
	w.labels = e.labels;
	w.began = bpf_ktime_get_ns();
	w.walk = w.began - now;
	/* The lock first: whoever wakes this thread meanwhile takes those out that have a record. */
	if (how == PP_WAIT_BY_LEAVING)
		w.lock = 0;
	if (w.lock)
		pp_lock_enter(a->state, &w);
	if (!pp_wait_begin_put(&w)) {
		__sync_fetch_and_add(&a->state->n_full, weight);
		if (w.lock)
			pp_lock_leave(a->state, w.target, w.lock, weight, w.began);
		return;
	}
	__sync_fetch_and_add(&a->state->n_open, 1);
	own = pp_wait_of(w.tid);
	if (own)
		__sync_fetch_and_add(&own->held, (u32)(bpf_ktime_get_ns() - w.began));
}

/* Counted under the stack it began with, which is in the half of the tables that was current then. */
PP_GLOBAL int pp_wait_count(const struct pp_wait *w, u64 duration)
{
	struct pp_key key = { .collector = PP_WAIT };
	struct pp_control *c = pp_controls();
	u64 held;

	if (!w || !c)
		return 0;
	held = w->held < duration ? w->held : duration;
	key.target = w->target;
	key.item = w->item;
	key.epoch = PP_READ_ONCE(c->epoch);
	key.half = key.epoch & 1;
	key.stack = w->row < PP_NO_STACK(0) && key.epoch != w->epoch ? PP_NO_STACK(PP_END_BY_HASH) : w->row;
	key.labels = w->labels;
	key.name[0] = w->stack;
	key.name[1] = w->named;
	key.v[0] = w->weight;
	key.v[1] = (duration - held) * w->weight + w->walk + held;
	return pp_count_add(&key);
}

/* ran: not 0: it has run that long since it came back. */
PP_INLINE void pp_wait_end(struct pp_about *a, u32 tid, u64 ran, enum pp_wait_how how)
{
	struct pp_wait *w = pp_wait_of(tid), copy;
	u64 waited, now;

	if (!w)
		return;
	now = bpf_ktime_get_ns();
	copy = *w;
	if (!copy.began || copy.slot != a->slot || copy.tid != tid)
		return;
	waited = now - copy.began;
	if (ran)
		waited -= ran - copy.ran < waited ? ran - copy.ran : waited;
	if (ran && how == PP_WAIT_BY_SWITCH)
		__sync_fetch_and_add(&a->state->n_unseen, 1);
	__sync_lock_test_and_set(&w->ended, 1);
	pp_wait_count(&copy, waited);
	if (copy.lock && !copy.woken)
		pp_lock_leave(a->state, copy.target, copy.lock, copy.weight, copy.began);
	pp_wait_drop(tid);
	__sync_fetch_and_add(&a->state->n_open, -1);
}

PP_INLINE void pp_wait_out(void *ctx, struct task_struct *prev, u32 preempted, u32 state, enum pp_wait_how how)
{
	struct pp_wait_cpu *c;
	struct pp_about a;
	u32 weight;
	u64 now;

	if (!pp_about(prev, &a))
		return;
	c = pp_wait_here(a.slot);
	/* A record that is still there: the event of its coming back was missed (some kernels skip those of a
	 * CPU that was idle), or there is none. What it did not run since, it waited. */
	pp_wait_end(&a, prev->pid, prev->se.sum_exec_runtime, how);
	if (!c || state & PP_TASK_DEAD)
		return;
	c->ran += prev->se.sum_exec_runtime - prev->se.prev_sum_exec_runtime;
	weight = pp_wait_coin(c);
	if (c->n_seen++ % PP_LOOK_EVERY && !weight)
		return;
	now = bpf_ktime_get_ns();
	if (!weight) { /* else a high weight would outlive what it was for */
		pp_wait_adjust(c, a.state, now);
		return;
	}
	c->n_taken++;
	pp_wait_adjust(c, a.state, now);
	pp_wait_begin(ctx, &a, weight, preempted, state, now, how);
	pp_wait_pay(c, now);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(pp_on_switch, int preempted, struct task_struct *prev, struct task_struct *next,
	     unsigned int state)
{
	struct pp_about a;

	if (prev->mm || state & PP_TASK_DEAD) /* the kernel's own threads have none; nor those that have ended */
		pp_wait_out(ctx, prev, preempted, state, PP_WAIT_BY_SWITCH);
	if (next->mm && pp_about(next, &a) && PP_READ_ONCE(a.state->n_open))
		pp_wait_end(&a, next->pid, 0, PP_WAIT_BY_SWITCH);
	return 0;
}

/* --wait=strict: an event of the target's own threads, each time that one leaves its CPU. When it came back is
 * told by the next. */
SEC("perf_event")
int pp_on_leave(struct bpf_perf_event_data *ctx)
{
	struct task_struct *t = bpf_get_current_task_btf();

	pp_wait_out(ctx, t, 0, BPF_CORE_READ(t, __state), PP_WAIT_BY_LEAVING);
	return 0;
}

/* The current thread has released a lock: its stack is charged. */
PP_INLINE void pp_released(void *ctx, struct pp_about *a, const struct pp_charge *charge, u64 lock,
			   struct pp_wait_cpu *c, u64 now)
{
	struct pp_event e = { .collector = PP_RELEASE, .max_frames = PP_WAIT_FRAMES, .labelled = PP_LABELLED };
	u32 weight = pp_wait_coin(c);
	struct pp_control *control = pp_controls();
	struct pp_key key = { .target = a->process->target, .collector = PP_RELEASE };

	if (!weight || !control)
		return;
	key.epoch = PP_READ_ONCE(control->epoch);
	key.half = key.epoch & 1;
	key.item = charge->item;
	key.v[0] = (u64)charge->n * weight;
	key.v[1] = charge->ns * weight;
	key.stack = pp_stack_for(ctx, a->process, &e, key.epoch);
	key.labels = e.labels;
	key.name[0] = charge->stack;
	key.name[1] = lock;
	pp_count_add(&key);
	pp_wait_adjust(c, a->state, now);
	pp_wait_pay(c, now);
}

/* Woken by a process that is none of ours. */
PP_INLINE void pp_released_elsewhere(const struct pp_about *a, const struct pp_charge *charge, u64 lock)
{
	struct pp_control *control = pp_controls();
	struct pp_key key = { .target = a->process->target, .collector = PP_RELEASE,
			      .item = charge->item, .stack = PP_NO_STACK(PP_END_ANOTHER) };

	if (!control)
		return;
	key.epoch = PP_READ_ONCE(control->epoch);
	key.half = key.epoch & 1;
	key.v[0] = charge->n;
	key.v[1] = charge->ns;
	key.name[0] = charge->stack;
	key.name[1] = lock;
	pp_count_add(&key);
}

/* 1: the current thread is in a system call that can release a lock of this process's (same) or of another,
 * with which it shares memory. One that waits itself was only interrupted by the timer that wakes the other. */
PP_INLINE int pp_releases(const struct pp_system_call *call, u32 same)
{
	if (!pp_is_futex(call->number))
		return same && pp_is_exit(call->number);
	if (call->number != PP_CALL_FUTEX)
		return !pp_is_futex_wait(call->number);
	return 1u << (call->a[1] & 31) & PP_FUTEX_WAKES && (same || !(call->a[1] & PP_FUTEX_PRIVATE));
}

PP_INLINE void pp_charge(void *ctx, struct task_struct *me, struct pp_about *waiter,
			 const struct pp_charge *charge, u64 lock, u64 now)
{
	u64 named = pp_wait_named(waiter->state, lock);
	struct pp_wait_cpu *c;
	struct pp_about waker;

	if (!pp_about(me, &waker)) {
		pp_released_elsewhere(waiter, charge, named);
		return;
	}
	c = pp_wait_here(waker.slot);
	if (c)
		pp_released(ctx, &waker, charge, named, c, now);
}

SEC("tp_btf/sched_waking")
int BPF_PROG(pp_on_waking, struct task_struct *p)
{
	struct task_struct *me = bpf_get_current_task_btf();
	struct pp_charge charge = { 0 };
	struct pp_system_call call;
	struct pp_about waiter;
	struct pp_wait *w;
	u64 lock, now;
	u32 same, weight = 0;

	if (!p->mm || !pp_about(p, &waiter) || !PP_READ_ONCE(waiter.state->n_open))
		return 0;
	pp_call_registers(me, &call);
	same = me->tgid == p->tgid;
	lock = call.a[0];
	w = pp_wait_of(p->pid);
	if (w && (!w->began || w->woken || w->slot != waiter.slot))
		w = NULL;
	if (!w && !(same && pp_lock_may_have(lock) && pp_releases(&call, 1))) /* nobody who is looked at */
		return 0;
	now = bpf_ktime_get_ns();
	if (w) {
		w->woken = now;
		lock = w->lock;
		if (!lock)
			return 0;
		weight = w->weight;
		if (!pp_releases(&call, same)) { /* a signal, or its time has run out */
			pp_lock_leave(waiter.state, waiter.process->target, lock, weight, w->began);
			return 0;
		}
	}
	if (!pp_lock_release(waiter.state, waiter.process->target, lock, weight, now, &charge))
		return 0;
	if (charge.ns)
		pp_charge(ctx, me, &waiter, &charge, lock, now);
	if (w)
		__sync_fetch_and_add(&w->held, (u32)(bpf_ktime_get_ns() - now));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
