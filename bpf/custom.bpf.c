/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/* custom.bpf.c - which values has a program added to its own profiles, and who did?
 *
 * Probes stand where preload/pprofd.h was used, or on functions that were named to us. A value is held from
 * Add to Remove, in one slot of two buckets, with the hash of the stack that added it; user space reads the
 * array in place. */

#include "argument.bpf.h"
#include "custom.h"
#include "emit.bpf.h"

PP_ARRAY(pp_custom_probe, PP_MAX_CUSTOM_PROBES, 0, struct pp_custom_probe);
PP_ARRAY(pp_custom, PP_MAX_PROCESSES, BPF_F_MMAPABLE, struct pp_custom);
PP_ARRAY(pp_custom_name, PP_MAX_PROCESSES * PP_MAX_CUSTOM, BPF_F_MMAPABLE, struct pp_custom_profile);
PP_ARRAY(pp_held_key, 1 << PP_HELD_BUCKET_BITS, BPF_F_MMAPABLE, struct pp_held_bucket);
PP_ARRAY(pp_held, PP_HELD_WAYS << PP_HELD_BUCKET_BITS, BPF_F_MMAPABLE, struct pp_held);

struct pp_entry_key {
	u32 tid, pad;
	u64 sp;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct pp_entry_key);
	__type(value, u64);
} pp_entered SEC(".maps");

/* What an event is about. */
struct pp_custom_call {
	struct pp_process *process;
	struct pp_custom_probe *probe;
	struct pp_custom *state;
	struct pp_custom_profile *profile;
	u64 value, key;
	u32 slot, row;
};

/* Words, so that the hash reads them as such. */
struct pp_name {
	u64 word[PP_CUSTOM_NAME / 8];
};

PP_INLINE u32 pp_held_bucket_of(u64 key, u32 which)
{
	u64 h = pp_mix(config.seed, key);

	return which & 1 ? h >> (64 - PP_HELD_BUCKET_BITS) : h & ((1 << PP_HELD_BUCKET_BITS) - 1);
}

/* Slot number + 1 of the key. It is not there: 0, or -1 if the second bucket is the emptier one. */
PP_GLOBAL int pp_held_find(u64 key)
{
	int used[2] = { 0 };

	for (u32 which = 0; which < 2; which++) {
		u32 b = pp_held_bucket_of(key, which);
		struct pp_held_bucket *k = bpf_map_lookup_elem(&pp_held_key, &b);

		if (!k)
			return 0;
		for (u32 i = 0; i < PP_HELD_WAYS; i++) {
			u64 one = PP_READ_ONCE(k->key[i]);

			if (one == key)
				return b * PP_HELD_WAYS + i + 1;
			used[which] += one != 0;
		}
	}
	return used[1] < used[0] ? -1 : 0;
}

/* A free slot, of this bucket rather than of the other, taken; number + 1, or 0: both are full. */
PP_GLOBAL int pp_held_claim(u64 key, u32 first)
{
	for (u32 which = 0; which < 2; which++) {
		u32 b = pp_held_bucket_of(key, which ^ first);
		struct pp_held_bucket *k = bpf_map_lookup_elem(&pp_held_key, &b);

		if (!k)
			return 0;
		for (u32 i = 0; i < PP_HELD_WAYS; i++)
			if (!PP_READ_ONCE(k->key[i]) && !__sync_val_compare_and_swap(&k->key[i], 0, key))
				return b * PP_HELD_WAYS + i + 1;
	}
	return 0;
}

/* 1: it was there, and is gone. */
PP_GLOBAL int pp_held_take(u64 key)
{
	int at = pp_held_find(key);
	struct pp_held_bucket *k;
	struct pp_held *e;
	u32 slot, bucket;
	u64 way;

	if (at <= 0)
		return 0;
	slot = at - 1;
	bucket = slot / PP_HELD_WAYS;
	way = slot;
	PP_MASK(way, PP_HELD_WAYS);
	e = bpf_map_lookup_elem(&pp_held, &slot);
	k = bpf_map_lookup_elem(&pp_held_key, &bucket);
	if (!e || !k || !__sync_lock_test_and_set(&e->born, 0))
		return 0; /* another CPU is writing it or taking it away */
	__sync_val_compare_and_swap(&k->key[way], key, 0);
	return 1;
}

/* Row + 1 of the process's profile of this name, made if need be; 0: there is no room. The hash alone tells
 * names apart: 64 bits of it. */
PP_GLOBAL int pp_custom_row(const struct pp_name *name, u32 slot)
{
	struct pp_custom_profile *p;
	u64 hash, old;

	if (!name)
		return 0;
	hash = pp_custom_hash(name->word);
	for (u32 t = 0; t < PP_MAX_CUSTOM; t++) {
		u32 row = ((hash >> 8) + t) & (PP_MAX_CUSTOM - 1);
		u32 k = slot * PP_MAX_CUSTOM + row;

		p = bpf_map_lookup_elem(&pp_custom_name, &k);
		if (!p)
			return 0;
		old = PP_READ_ONCE(p->hash);
		if (!old) {
			old = __sync_val_compare_and_swap(&p->hash, 0, hash);
			if (!old) {
				for (int i = 0; i < PP_CUSTOM_NAME / 8; i++)
					p->name[i] = name->word[i];
				__sync_lock_test_and_set(&p->ready, 1);
				return row + 1;
			}
		}
		if (old == hash)
			return row + 1;
	}
	return 0;
}

/* Row + 1 of the profile whose name the process points to; 0: none, counted. */
PP_INLINE u32 pp_custom_named(struct pp_custom *state, u64 pointer, u32 slot)
{
	struct pp_name name = { 0 };
	long n = bpf_probe_read_user_str(&name, sizeof(name), (void *)pointer);
	int row;

	/* a NUL at the very end may be there because the name was cut; what follows the NUL is as it was: 0 */
	if (n <= 1 || n >= PP_CUSTOM_NAME + 1 ||
	    (n == PP_CUSTOM_NAME && !bpf_probe_read_user(&n, 1, (void *)(pointer + PP_CUSTOM_NAME - 1)) && (u8)n)) {
		__sync_fetch_and_add(&state->n_bad_names, 1);
		return 0;
	}
	row = pp_custom_row(&name, slot);
	if (row <= 0)
		__sync_fetch_and_add(&state->n_profiles_full, 1);
	return row;
}

/* 1: the probe is of a process of ours, as it is now; c is filled but for the value. */
PP_INLINE int pp_custom_call_of(struct pt_regs *ctx, struct pp_custom_call *c)
{
	struct task_struct *t = bpf_get_current_task_btf();
	u32 number = bpf_get_attach_cookie(ctx);

	c->probe = bpf_map_lookup_elem(&pp_custom_probe, &number);
	if (!c->probe || !c->probe->kind)
		return 0;
	c->slot = c->probe->slot & (PP_MAX_PROCESSES - 1);
	c->process = pp_target_at(c->slot); /* not a child's that has inherited the probes */
	c->state = bpf_map_lookup_elem(&pp_custom, &c->slot);
	if (!c->process || !c->state)
		return 0;
	if (t->self_exec_id == c->process->exec_id)
		return 1;
	__sync_fetch_and_add(&c->state->n_early, 1);
	pp_stale(c->process, PP_NOTICE_EXEC, t->self_exec_id);
	return 0;
}

/* The account of the process is at a mark. 1: it is empty. From then on nothing is looked at until serve has begun
 * anew, even if it allows more meanwhile: a call that is left out would be a value too many, or too few. */
PP_INLINE int pp_custom_over(const struct pp_custom_call *c, u64 spent)
{
	struct pp_custom *s = c->state;
	u64 mark = PP_READ_ONCE(s->notify_at);
	int over = spent >= PP_READ_ONCE(s->stop_at);

	if (over)
		__sync_val_compare_and_swap(&s->stopped_ns, 0, bpf_ktime_get_ns());
	if (PP_READ_ONCE(s->noted) != mark && __sync_lock_test_and_set(&s->noted, mark) != mark)
		pp_notice(PP_NOTICE_CUSTOM, c->process->target, c->slot);
	return over;
}

/* 1: this call is not looked at. */
PP_INLINE int pp_custom_pay(const struct pp_custom_call *c)
{
	struct pp_custom *s = c->state;
	u64 spent = __sync_fetch_and_add(&s->spent_ns, c->probe->cost_ns);
	int over = PP_READ_ONCE(s->stopped_ns) != 0;

	if (!over && spent < PP_READ_ONCE(s->notify_at))
		return 0;
	if (!over && !pp_custom_over(c, spent))
		return 0;
	/* the first notice may have been lost */
	if ((__sync_fetch_and_add(&s->n_unseen, 1) & 0xfff) == 0xfff)
		pp_notice(PP_NOTICE_CUSTOM, c->process->target, c->slot);
	return 1;
}

PP_INLINE u64 pp_custom_key(const struct pp_custom_call *c)
{
	return pp_mix(pp_mix(config.seed, (u64)c->slot << 32 | c->row), c->value) | 1;
}

/* Which profile; 1: c is whole. */
PP_INLINE int pp_custom_find(const struct pt_regs *ctx, struct pp_custom_call *c, const struct pp_registers *r,
			     u64 value)
{
	u32 row = c->probe->row, k;

	if (!row)
		row = pp_custom_named(c->state, pp_argument_in(ctx, r, &c->probe->arguments[2]), c->slot);
	if (!row)
		return 0;
	c->row = (row - 1) & (PP_MAX_CUSTOM - 1);
	k = c->slot * PP_MAX_CUSTOM + c->row;
	c->profile = bpf_map_lookup_elem(&pp_custom_name, &k);
	c->value = value;
	c->key = pp_custom_key(c);
	return c->profile != NULL;
}

/* The count row of the stack that adds: by it user space knows the stack; its hash. */
PP_INLINE u64 pp_custom_stack(struct pt_regs *ctx, struct pp_custom_call *c)
{
	struct pp_event e = { .collector = PP_CUSTOM, .max_frames = PP_MAX_FRAMES };
	struct pp_key key = { .collector = PP_CUSTOM, .target = c->process->target, .v = { 1, 0 } };
	struct pp_control *control = pp_controls();

	if (!control)
		return 0;
	key.epoch = PP_READ_ONCE(control->epoch);
	key.half = key.epoch & 1;
	key.stack = pp_stack_for(ctx, c->process, &e, key.epoch);
	key.name[0] = key.stack >= PP_NO_STACK(0) ? key.stack : e.hash;
	pp_count_add(&key);
	return key.name[0];
}

PP_INLINE void pp_custom_add(struct pt_regs *ctx, struct pp_custom_call *c, u64 skip)
{
	struct pp_held *e;
	u64 stack, began, now;
	u32 slot;
	int at = pp_held_find(c->key), first = at < 0;

	if (at > 0) {
		__sync_fetch_and_add(&c->profile->n_twice, 1);
		return;
	}
	began = bpf_ktime_get_ns();
	stack = pp_custom_stack(ctx, c);
	now = bpf_ktime_get_ns();
	__sync_fetch_and_add(&c->state->spent_ns, now - began < PP_MAX_WALK_NS ? now - began : PP_MAX_WALK_NS);
	at = PP_READ_ONCE(c->state->n_held) < PP_MAX_HELD_VALUES ? pp_held_claim(c->key, first) : 0;
	slot = at - 1;
	e = at > 0 ? bpf_map_lookup_elem(&pp_held, &slot) : NULL;
	if (!e) {
		__sync_fetch_and_add(&c->profile->n_lost, 1);
		return;
	}
	e->value = c->value;
	e->stack = stack;
	e->target = c->process->target;
	e->profile = c->slot * PP_MAX_CUSTOM + c->row;
	e->skip = skip > PP_MAX_SKIP ? PP_MAX_SKIP : skip;
	__sync_lock_test_and_set(&e->born, now);
	__sync_fetch_and_add(&c->state->n_held, 1);
	__sync_fetch_and_add(&c->profile->n_added, 1);
}

PP_INLINE void pp_custom_remove(struct pp_custom_call *c)
{
	if (pp_held_take(c->key) <= 0) {
		__sync_fetch_and_add(&c->profile->n_absent, 1);
		return;
	}
	__sync_fetch_and_add(&c->state->n_held, -1);
	__sync_fetch_and_add(&c->profile->n_removed, 1);
}

/* A pointer that the function was given, and what has been stored there by its return: known by thread and stack
 * pointer, because an entry that was left by an exception never returns. */
PP_INLINE void pp_custom_enter(struct pt_regs *ctx, u64 pointer)
{
	struct pp_entry_key key = { .tid = bpf_get_current_pid_tgid(), .sp = ctx->sp };

	bpf_map_update_elem(&pp_entered, &key, &pointer, BPF_ANY);
}

PP_INLINE u64 pp_custom_entered(struct pt_regs *ctx)
{
	struct pp_entry_key key = { .tid = bpf_get_current_pid_tgid(), .sp = ctx->sp };
	u64 *found = bpf_map_lookup_elem(&pp_entered, &key), pointer;

	if (!found)
		return 0;
	pointer = *found;
	bpf_map_delete_elem(&pp_entered, &key);
	return pointer;
}

/* The new value of a descriptor, whose last one may have been closed unseen. */
PP_INLINE void pp_custom_descriptor(struct pt_regs *ctx, struct pp_custom_call *c, u32 fd)
{
	c->value = fd;
	c->key = pp_custom_key(c);
	if (pp_held_take(c->key) > 0)
		__sync_fetch_and_add(&c->state->n_held, -1);
	pp_custom_add(ctx, c, 0);
}

/* On a return instruction. */
PP_INLINE void pp_custom_result(struct pt_regs *ctx, struct pp_custom_call *c)
{
	u64 value = pp_result(ctx), pointer;
	u32 pair[2] = { 0 };

	if (c->probe->kind == PP_CUSTOM_RESULT) {
		if (value && value <= -4096ull)
			pp_custom_add(ctx, c, 0);
	} else if (c->probe->kind == PP_CUSTOM_DESCRIPTOR) {
		if ((s32)value >= 0)
			pp_custom_descriptor(ctx, c, value);
	} else {
		pointer = pp_custom_entered(ctx);
		if ((u32)value || !pointer)
			return;
		if (c->probe->kind == PP_CUSTOM_OUT) {
			if (bpf_probe_read_user(&c->value, 8, (void *)pointer))
				return;
			c->key = pp_custom_key(c);
			pp_custom_add(ctx, c, 0);
		} else if (!bpf_probe_read_user(pair, sizeof(pair), (void *)pointer)) {
			for (u32 i = 0; i < 2; i++)
				pp_custom_descriptor(ctx, c, pair[i]);
		}
	}
}

SEC("uprobe")
int pp_custom_hit(struct pt_regs *ctx)
{
	struct pp_registers r = pp_registers_of(ctx);
	struct pp_custom_call c;
	u64 value;

	if (!pp_custom_call_of(ctx, &c) || pp_custom_pay(&c))
		return 0;
	value = pp_argument_in(ctx, &r, &c.probe->arguments[0]);
	if (c.probe->kind == PP_CUSTOM_ENTER) {
		pp_custom_enter(ctx, value);
		return 0;
	}
	if (!pp_custom_find(ctx, &c, &r, c.probe->kind == PP_CUSTOM_RESULT ? pp_result(ctx) : value))
		return 0;
	if (c.probe->kind == PP_CUSTOM_ADD)
		pp_custom_add(ctx, &c, pp_argument_in(ctx, &r, &c.probe->arguments[1]));
	else if (c.probe->kind == PP_CUSTOM_REMOVE)
		pp_custom_remove(&c);
	else
		pp_custom_result(ctx, &c);
	return 0;
}

/* Never attached: a kernel that takes it (6.13) filters links of many probes by process, not by thread. */
SEC("uprobe")
int pp_custom_session(struct pt_regs *ctx)
{
	return 0;
}

/* A child's memory has the breakpoints of its parent's. Serve has them taken out. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(pp_custom_fork, struct task_struct *parent, struct task_struct *child)
{
	struct pp_custom *h;
	struct pp_process *p;
	u32 tgid, *slot;

	if (!parent || !child || !child->mm || child->mm == parent->mm)
		return 0;
	tgid = parent->tgid;
	slot = bpf_map_lookup_elem(&pp_targets, &tgid);
	p = slot ? pp_target_at(*slot) : NULL;
	h = p ? bpf_map_lookup_elem(&pp_custom, slot) : NULL;
	if (!h || !PP_READ_ONCE(h->probed))
		return 0;
	__sync_fetch_and_add(&h->n_forks, 1);
	if (!__sync_lock_test_and_set(&h->fork_noted, 1) && pp_notice(PP_NOTICE_CUSTOM_FORK, p->target, *slot))
		__sync_lock_test_and_set(&h->fork_noted, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
