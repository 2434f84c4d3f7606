/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/* heap.bpf.c - who allocates, and who holds what was allocated?
 *
 * A probe stands on each entry point of an allocator. Most calls only count down to the next sample; of
 * a sampled one the return is seen too, where the pointer is known and the walk begins at the
 * caller. Three ways of attaching lead to the same code: a session (entry, and the return when
 * the entry wants it), entry and return apart, and probes that a process fires for its own samples. */

#include "argument.bpf.h"
#include "emit.bpf.h"
#include "live.bpf.h"
#include "sample.bpf.h"

PP_ARRAY(pp_probe, PP_MAX_PROBES, BPF_F_MMAPABLE, struct pp_probe);
PP_ARRAY(pp_heap, PP_MAX_PROCESSES, BPF_F_MMAPABLE, struct pp_heap);
PP_ARRAY(pp_heap_cpu, PP_MAX_PROCESSES, BPF_F_MMAPABLE, struct pp_heap_cpu); /* times CPUs */

/* A sampled call between its entry and its return. Known by the stack pointer too: the entry of a call
 * that a longjmp left must not be taken for another's. */
struct pp_pending_key {
	u32 tid, pad;
	u64 sp;
};

struct pp_pending {
	u64 size, old_pointer, where;
	u32 function, sampled; /* enum pp_draw_result */
	struct pp_live old; /* born 0: none */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct pp_pending_key);
	__type(value, struct pp_pending);
} pp_pending SEC(".maps");

/* What an event is about. */
struct pp_call {
	struct pp_process *process;
	struct pp_probe *probe;
	struct pp_heap *heap;
	struct pp_heap_cpu *cpu;
	u32 slot;
};

/* 1: the probe is of a process of ours; c is filled. */
PP_INLINE int pp_call_of(struct pt_regs *ctx, struct pp_call *c)
{
	u32 number = bpf_get_attach_cookie(ctx), cpu;

	c->probe = bpf_map_lookup_elem(&pp_probe, &number);
	if (!c->probe)
		return 0;
	c->slot = c->probe->slot & (PP_MAX_PROCESSES - 1);
	c->process = pp_target_at(c->slot); /* not a child's that has inherited the probes */
	if (!c->process)
		return 0;
	cpu = bpf_get_smp_processor_id() * PP_MAX_PROCESSES + c->slot;
	c->heap = bpf_map_lookup_elem(&pp_heap, &c->slot);
	c->cpu = bpf_map_lookup_elem(&pp_heap_cpu, &cpu);
	return c->heap && c->cpu;
}

/* Counts a hit, which has cost the target its time whatever we do now; 0: too many, do nothing. */
PP_INLINE int pp_hit(struct pp_call *c)
{
	struct pp_heap *h = c->heap;
	u64 ns;

	if (!(++c->cpu->n_hits & (PP_HEAP_BATCH - 1))) {
		ns = PP_HEAP_BATCH * PP_READ_ONCE(h->hit_ns);
		__sync_fetch_and_add(&h->n_hits, PP_HEAP_BATCH);
		ns += __sync_fetch_and_add(&h->spent_ns, ns);
		if (ns >= h->notify_at && PP_READ_ONCE(h->noted) != h->notify_at &&
		    __sync_lock_test_and_set(&h->noted, h->notify_at) != h->notify_at &&
		    pp_notice(PP_NOTICE_HEAP, c->process->target, c->slot))
			__sync_lock_test_and_set(&h->noted, 0);
	}
	return PP_READ_ONCE(h->spent_ns) < h->stop_at;
}

/* A sample costs its second trap, the return's, and the time since it began. */
PP_INLINE void pp_charge(struct pp_heap *h, u64 began)
{
	u64 ns = bpf_ktime_get_ns() - began;

	if (ns > PP_MAX_WALK_NS)
		ns = PP_MAX_WALK_NS;
	__sync_fetch_and_add(&h->spent_ns, ns + PP_READ_ONCE(h->hit_ns));
}

enum pp_draw_result { PP_DRAW_NONE, PP_DRAW_SAMPLE, PP_DRAW_WINDOW };

/* Whether the object that is about to be allocated is a sample. */
PP_INLINE u32 pp_draw(const struct pp_heap *h, struct pp_heap_cpu *c, u64 size)
{
	u64 window = (PP_READ_ONCE(h->flags) & PP_HEAP_WINDOW) != 0;
	u64 rate = window ? config.heap_rate * PP_HEAP_WINDOW_RATE / PP_HEAP_RATE : config.heap_rate;
	s64 *left = window ? &c->left[1] : &c->left[0];

	c->n_allocs++;
	c->n_bytes += size;
	if (!*left)
		*left = pp_exponential(bpf_get_prandom_u32(), rate);
	if (size >> 48) /* nobody has so much: it will fail */
		return PP_DRAW_NONE;
	*left -= size;
	if (*left > 0)
		return PP_DRAW_NONE;
	*left = pp_exponential(bpf_get_prandom_u32(), rate);
	c->n_sampled++;
	return window ? PP_DRAW_WINDOW : PP_DRAW_SAMPLE;
}

/* The sample's count row; the hash of its stack, and of the labels, is left in e: it finds the row of an object that is
 * still there. */
PP_INLINE void pp_heap_count(struct pt_regs *ctx, struct pp_call *c, struct pp_event *e, u64 item)
{
	struct pp_control *control = pp_controls();
	struct pp_key key = { .target = c->process->target, .collector = PP_HEAP };

	if (!control)
		return;
	key.epoch = PP_READ_ONCE(control->epoch);
	key.half = key.epoch & 1;
	key.v[0] = e->v[0];
	key.v[1] = e->v[1];
	key.stack = pp_stack_for(ctx, c->process, e, key.epoch);
	if (key.stack >= PP_NO_STACK(0))
		e->hash = key.stack;
	key.labels = e->labels;
	if (e->labels)
		e->hash = pp_mix(e->hash, e->label_hash) | 1;
	key.name[0] = e->hash;
	key.name[1] = item;
	pp_count_add(&key);
}

/* Roughly what a live sample stands for: enough to know a peak by. */
PP_INLINE s64 pp_stands_for(const struct pp_live *v)
{
	return v->weight ? v->weight : v->size > config.heap_rate ? v->size : config.heap_rate;
}

/* A new peak is told of when it is a sixteenth above the last one. What windows have kept is no level. */
PP_INLINE void pp_remember(struct pp_call *c, u64 pointer, const struct pp_live *v)
{
	struct pp_heap *h = c->heap;
	s64 now, at;

	if (v->print && PP_READ_ONCE(h->n_held) >= PP_MAX_HELD) {
		__sync_fetch_and_add(&h->n_held_full, 1);
		return;
	}
	if (pp_live_put(PP_LIVE_KEY(pointer, c->slot), v)) {
		__sync_fetch_and_add(&h->n_live_full, 1);
		return;
	}
	if (v->print) {
		__sync_fetch_and_add(&h->n_held, 1); /* or it was there: the next look counts them */
		return;
	}
	now = __sync_fetch_and_add(&h->live_bytes, pp_stands_for(v)) + pp_stands_for(v);
	at = PP_READ_ONCE(h->peak_at);
	if (now > at && __sync_bool_compare_and_swap(&h->peak_at, at, now + (now >> 4)))
		pp_notice(PP_NOTICE_PEAK, c->process->target, c->slot);
}

/* It is not there any more. */
PP_INLINE void pp_forget(struct pp_call *c, const struct pp_live *was)
{
	if (!was->print) {
		__sync_fetch_and_add(&c->heap->live_bytes, -pp_stands_for(was));
		return;
	}
	__sync_fetch_and_add(&c->heap->n_held, -1);
	if ((was->print & PP_PRINT_SEEN) == PP_PRINT_SEEN)
		pp_turn_add(c->slot, was->stack, 0);
}

/* An object as a sample: counted, and remembered until it is freed. pointer 0: cannot be known. */
PP_INLINE void pp_heap_add(struct pt_regs *ctx, struct pp_call *c, u64 pointer,
			   u64 size, u32 sampled, const struct pp_start *start)
{
	struct pp_event e = { .collector = PP_HEAP, .max_frames = PP_MAX_FRAMES, .labelled = PP_LABELLED,
			      .v = { 1, size }, .start = start, .called = 1 };
	struct pp_live v = { .born = bpf_ktime_get_ns(), .size = size };
	u64 item = pp_size_class(size);

	if (!pointer)
		item |= PP_SIZE_UNKNOWN;
	if (sampled == PP_DRAW_WINDOW) {
		item |= PP_SIZE_WINDOW;
		v.print = PP_PRINT_NONE;
	}
	pp_heap_count(ctx, c, &e, item);
	pp_charge(c->heap, v.born);
	if (!pointer) {
		__sync_fetch_and_add(&c->heap->n_unknown, 1);
		return;
	}
	if (!(PP_READ_ONCE(c->heap->flags) & PP_HEAP_FREES))
		return;
	v.stack = e.hash;
	v.target = c->process->target;
	pp_remember(c, pointer, &v);
}

PP_INLINE u64 pp_times(u64 a, u64 b) /* all ones: too much */
{
	return a >> 32 || b >> 32 ? (a && b ? ~0ull : 0) : a * b;
}

/* What the call asks for, by its arguments. */
PP_INLINE void pp_asked(const struct pt_regs *g, const struct pp_probe *probe, struct pp_pending *p)
{
	struct pp_registers r = pp_registers_of(g);
	u64 a[3];

	for (int i = 0; i < 3; i++)
		a[i] = pp_argument_of(&r, &probe->arguments[i]);
	p->function = probe->function;
	p->size = a[0];
	if (probe->function == PP_FUNCTION_CALLOC)
		p->size = pp_times(a[0], a[1]);
	if (probe->function == PP_FUNCTION_MEMALIGN || probe->function == PP_FUNCTION_REALLOC)
		p->size = a[1];
	if (probe->function == PP_FUNCTION_REALLOCARRAY)
		p->size = pp_times(a[1], a[2]);
	if (probe->function == PP_FUNCTION_POSIX_MEMALIGN) {
		p->size = a[2];
		p->where = a[0];
	}
	if (probe->function == PP_FUNCTION_REALLOC || probe->function == PP_FUNCTION_REALLOCARRAY)
		p->old_pointer = a[0];
}

PP_INLINE void pp_freed(struct pp_call *c, u64 pointer)
{
	struct pp_live was;

	c->cpu->n_frees++;
	if (pointer && pp_live_take(PP_LIVE_KEY(pointer, c->slot), &was))
		pp_forget(c, &was);
}

enum pp_enter_result { PP_ENTER_NOTHING, PP_ENTER_RETURN, PP_ENTER_NOW };

/* What is to come of the call: its return is of interest; or it is counted now, as it is: *size and *sampled. */
PP_INLINE int pp_enter(struct pt_regs *ctx, struct pp_call *c, u64 *size, u32 *sampled)
{
	struct pp_pending_key key = { .sp = ctx->sp };
	struct pp_pending p = { 0 };

	if (!pp_hit(c))
		return 0;
	pp_asked(ctx, c->probe, &p);
	if (c->probe->flags & PP_PROBE_TAIL && !p.old_pointer)
		return 0;
	p.sampled = pp_draw(c->heap, c->cpu, p.size);
	if (p.old_pointer) {
		c->cpu->n_frees++;
		if (pp_live_take(PP_LIVE_KEY(p.old_pointer, c->slot), &p.old))
			pp_forget(c, &p.old);
	}
	if (!p.sampled && !p.old.born)
		return 0;
	if (c->probe->flags & PP_PROBE_ENTRY_ONLY) {
		*size = p.size;
		*sampled = p.sampled;
		return PP_ENTER_NOW;
	}
	key.tid = bpf_get_current_pid_tgid();
	if (bpf_map_update_elem(&pp_pending, &key, &p, BPF_ANY)) {
		__sync_fetch_and_add(&c->heap->n_pending_full, 1);
		return PP_ENTER_NOTHING;
	}
	return PP_ENTER_RETURN;
}

/* 1: the return is of interest. In two functions, so that what one has on the stack is gone when the other walks. */
PP_INLINE int pp_entered(struct pt_regs *ctx, struct pp_call *c)
{
	struct pp_start s;
	u32 sampled = 0;
	u64 size = 0;
	int r = pp_enter(ctx, c, &size, &sampled);

	if (r != PP_ENTER_NOW)
		return r == PP_ENTER_RETURN;
	if (!pp_start_caller(ctx, &s))
		pp_heap_add(ctx, c, 0, size, sampled, &s);
	return 0;
}

/* realloc leaves the object alone when it fails or makes it smaller where it stands. */
PP_INLINE int pp_unchanged(const struct pp_pending *p, u64 pointer)
{
	if (!pointer)
		return p->size != 0;
	return pointer == p->old_pointer && p->old.born && p->size <= p->old.size;
}

PP_INLINE void pp_finish(struct pt_regs *ctx, struct pp_call *c, const struct pp_pending *p)
{
	struct pp_start s = pp_start_here(ctx);
	u64 pointer = pp_result(ctx);

	if (p->function == PP_FUNCTION_POSIX_MEMALIGN) {
		if ((u32)pointer)
			return;
		pointer = 0;
		bpf_probe_read_user(&pointer, 8, (void *)p->where);
	}
	if (p->old_pointer && pp_unchanged(p, pointer)) {
		if (p->old.born)
			pp_remember(c, p->old_pointer, &p->old);
		return;
	}
	if (pointer && p->sampled)
		pp_heap_add(ctx, c, pointer, p->size, p->sampled, &s);
}

/* No copy: 512 bytes of stack are for the whole chain of calls, of the walk and the labels. */
PP_INLINE void pp_returned(struct pt_regs *ctx, struct pp_call *c)
{
	struct pp_pending_key key = { .tid = bpf_get_current_pid_tgid(), .sp = ctx->sp - PP_RETURN_POPS };
	struct pp_pending *p = bpf_map_lookup_elem(&pp_pending, &key);

	if (!p)
		return;
	pp_finish(ctx, c, p);
	bpf_map_delete_elem(&pp_pending, &key);
}

/* Entry and, when this answers 0, return of one call: bpf_get_func_ip is the probed instruction in
 * both, and only at the entry we are there. */
SEC("uprobe")
int pp_heap_session(struct pt_regs *ctx)
{
	struct pp_call c;

	if (!pp_call_of(ctx, &c))
		return 1;
	if (pp_pc(ctx) != bpf_get_func_ip(ctx)) {
		pp_returned(ctx, &c);
		return 0;
	}
	return pp_entered(ctx, &c) ? 0 : 1;
}

SEC("uprobe")
int pp_heap_free(struct pt_regs *ctx)
{
	struct pp_registers r = pp_registers_of(ctx);
	struct pp_call c;

	if (pp_call_of(ctx, &c) && pp_hit(&c))
		pp_freed(&c, pp_argument_of(&r, &c.probe->arguments[0]));
	return 0;
}

SEC("uprobe")
int pp_heap_enter(struct pt_regs *ctx)
{
	struct pp_call c;

	if (pp_call_of(ctx, &c))
		pp_entered(ctx, &c);
	return 0;
}

SEC("uretprobe")
int pp_heap_return(struct pt_regs *ctx)
{
	struct pp_call c;

	if (pp_call_of(ctx, &c))
		pp_returned(ctx, &c);
	return 0;
}

/* otel_memory:alloc and :free: the process samples itself and says what a sample stands for. */
SEC("uprobe")
int pp_heap_told(struct pt_regs *ctx)
{
	struct pp_event e = { .collector = PP_HEAP, .max_frames = PP_MAX_FRAMES, .labelled = PP_LABELLED };
	struct pp_live v = { .born = bpf_ktime_get_ns() };
	struct pp_registers r = pp_registers_of(ctx);
	struct pp_call c;
	u64 pointer;

	if (!pp_call_of(ctx, &c) || !pp_hit(&c))
		return 0;
	pointer = pp_argument(&r, &c.probe->arguments[0]);
	if (c.probe->function == PP_FUNCTION_USDT_FREE) {
		pp_freed(&c, pointer);
		return 0;
	}
	v.size = pp_argument(&r, &c.probe->arguments[1]);
	v.weight = pp_argument(&r, &c.probe->arguments[2]);
	if (!v.size || !v.weight || v.weight >> 47)
		return 0;
	c.cpu->n_sampled++;
	e.v[0] = (v.weight << 16) / v.size;
	e.v[1] = v.weight;
	pp_heap_count(ctx, &c, &e, pp_size_class(v.size) | PP_SIZE_WEIGHED);
	v.stack = e.hash;
	v.target = c.process->target;
	if (pointer)
		pp_remember(&c, pointer, &v);
	return 0;
}

/* A child's memory has the breakpoints of its parent's, and nobody's program runs when it hits one: it pays
 * for nothing. Serve has them taken out. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(pp_on_fork, struct task_struct *parent, struct task_struct *child)
{
	u32 tgid, *slot;
	struct pp_heap *h;
	struct pp_process *p;

	if (!parent || !child || !child->mm || child->mm == parent->mm)
		return 0;
	tgid = parent->tgid;
	slot = bpf_map_lookup_elem(&pp_targets, &tgid);
	p = slot ? pp_target_at(*slot) : NULL;
	h = p ? bpf_map_lookup_elem(&pp_heap, slot) : NULL;
	if (!h || !(PP_READ_ONCE(h->flags) & PP_HEAP_PROBED))
		return 0;
	__sync_fetch_and_add(&h->n_forks, 1);
	if (!__sync_lock_test_and_set(&h->fork_noted, 1) && pp_notice(PP_NOTICE_FORK, p->target, *slot))
		__sync_lock_test_and_set(&h->fork_noted, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
