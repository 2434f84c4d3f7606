/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/* trace.bpf.c - what does each thread do, when?
 *
 * One record for each switch, wake-up, creation, end and tick of the clock, and if asked for, system call, of
 * processes that are traced now, to a ring of its own. Attached only while a trace is open. */

#include "memo.bpf.h"
#include "argument.bpf.h"
#include "custom.h"
#include "emit.bpf.h"
#include "file.bpf.h"
#include "identity.h"
#include "number.bpf.h"
#include "trace.h"

#include PP_INTERRUPT_MACHINE

PP_ARRAY(pp_trace_filter, 1, BPF_F_MMAPABLE, struct pp_trace_filter);
PP_ARRAY(pp_trace_state, PP_MAX_PROCESSES, BPF_F_MMAPABLE, struct pp_trace_state);
PP_ARRAY(pp_query, 1, 0, struct pp_identity_query);

/* The ring is there only while a trace is open; the template tells its kind, and from 7.2 on its size. */
struct pp_trace_ring_template {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, PP_TRACE_RING);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, struct pp_trace_ring_template);
} pp_trace_rings SEC(".maps");

#define PP_INITIAL_NAMESPACE 0xeffffffcu /* linux/nsfs.h: PID_NS_INIT_INO */

#define PP_TASK_UNINTERRUPTIBLE 2 /* include/linux/sched.h */
#define PP_TASK_STOPPED (4 | 8)	  /* and traced */
#define PP_TASK_DEAD 0x80

/* What an event is about. */
struct pp_traced {
	struct pp_process *process;
	struct pp_trace_state *state;
	u64 wants;
	u32 slot;
};

/* The process of a thread, if it is traced. */
PP_INLINE int pp_traced(struct task_struct *t, struct pp_traced *a)
{
	u32 zero = 0, tgid = t->tgid, *slot;
	struct pp_trace_filter *f = bpf_map_lookup_elem(&pp_trace_filter, &zero);
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
	a->state = bpf_map_lookup_elem(&pp_trace_state, &a->slot);
	if (!s || !a->state)
		return 0;
	a->process = &s->processes[k];
	a->wants = PP_READ_ONCE(a->state->wants);
	return a->wants && a->process->target &&
	       t->group_leader->start_boottime == a->process->start_boottime;
}

/* As whoever asks for a trace calls it. */
PP_INLINE u32 pp_trace_number(struct task_struct *t)
{
	u32 zero = 0;
	struct pp_identity_query *q = bpf_map_lookup_elem(&pp_query, &zero);

	if (!q)
		return 0;
	return q->namespace_inode == PP_INITIAL_NAMESPACE ? (u32)t->pid : pp_number_in(t, q->namespace_inode);
}

PP_INLINE void pp_trace_init(struct pp_trace_record *r, const struct pp_traced *a, u32 kind, u64 now)
{
	__builtin_memset(r, 0, sizeof(*r));
	r->time = now;
	r->cpu = bpf_get_smp_processor_id();
	r->kind = kind;
	r->slot = a->slot;
}

/* Nobody is woken: the reader looks some hundred times a second while a trace is open. */
PP_INLINE void pp_trace_put(const struct pp_traced *a, struct pp_trace_record *r, u32 size)
{
	u32 zero = 0;
	void *ring = bpf_map_lookup_elem(&pp_trace_rings, &zero);

	if (!ring || bpf_ringbuf_output(ring, r, size, BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&a->state->n_lost, 1);
}

/* The current thread's stack, which is in the tables of this epoch. */
PP_INLINE void pp_trace_stack(void *ctx, const struct pp_traced *a, struct pp_event *e, struct pp_trace_record *r)
{
	struct pp_control *c = pp_controls();
	u64 epoch;

	if (!c || !(a->wants & PP_TRACE_WANT_STACKS))
		return;
	epoch = PP_READ_ONCE(c->epoch);
	r->stack = pp_stack_for(ctx, a->process, e, epoch);
	r->epoch = epoch;
}

/* The same where a thread is under the same stack again and again. Interrupts are off, or it is no other thread's CPU
 * before the program has ended. */
PP_INLINE void pp_trace_stack_again(void *ctx, const struct pp_traced *a, struct pp_event *e, struct pp_trace_record *r)
{
	struct pp_control *c = pp_controls();
	struct pp_memo_key k = { .tid = (u32)bpf_get_current_pid_tgid() };
	struct pp_start s;

	if (!c || !(a->wants & PP_TRACE_WANT_STACKS))
		return;
	k.epoch = PP_READ_ONCE(c->epoch);
	r->epoch = k.epoch;
	r->stack = pp_stack_misfit(a->process);
	if (r->stack)
		return;
	k.list = PP_READ_ONCE(a->process->list);
	pp_start_registers(&s);
	k.ip = s.ip;
	k.sp = s.sp;
	k.fp = s.fp;
	r->stack = pp_memo_find(&k);
	if (r->stack)
		return;
	e->memo = &k;
	r->stack = pp_stack_of(ctx, a->process, e, k.epoch);
}

PP_INLINE void pp_trace_name(struct pp_trace_record *r, struct task_struct *t)
{
	*(u64 *)&r->name[0] = *(u64 *)&t->comm[0];
	*(u64 *)&r->name[8] = *(u64 *)&t->comm[8];
}

/* What the current thread leaves its CPU for. */
PP_INLINE u32 pp_trace_item(struct task_struct *t, u32 preempted, u32 state)
{
	struct pp_system_call call;
	u32 item;

	if (state & PP_TASK_DEAD)
		return PP_WAIT_NO_CALL | PP_TRACE_DEAD;
	pp_call_registers(t, &call);
	item = call.number < PP_WAIT_NO_CALL ? call.number : PP_WAIT_NO_CALL;
	if (preempted)
		return item | PP_WAIT_PREEMPTED;
	if (!state)
		return item | PP_WAIT_YIELDED;
	if (state & PP_TASK_STOPPED)
		return item | PP_WAIT_STOPPED;
	if (state & PP_TASK_UNINTERRUPTIBLE)
		return item | PP_WAIT_KERNEL;
	if (pp_is_read_write(call.number))
		item |= pp_wait_file(t, call.a[0]) << PP_WAIT_FILE_SHIFT;
	return item;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(pp_trace_switch, int preempted, struct task_struct *prev, struct task_struct *next, unsigned int state)
{
	struct pp_event e = { .collector = PP_WAIT, .max_frames = PP_TRACE_FRAMES };
	struct pp_traced out = { 0 }, in = { 0 };
	int leaves = pp_traced(prev, &out), comes = pp_traced(next, &in);
	struct pp_trace_record r;
	u64 now;

	if (!leaves && !comes)
		return 0;
	now = bpf_ktime_get_ns();
	if (leaves) {
		pp_trace_init(&r, &out, PP_TRACE_SWITCH, now);
		r.tid = pp_trace_number(prev);
		r.item = pp_trace_item(prev, preempted, state);
		if (comes && in.slot == out.slot)
			r.other = pp_trace_number(next);
		if (r.item < PP_WAIT_PREEMPTED || r.item & PP_WAIT_KERNEL)
			pp_trace_stack_again(ctx, &out, &e, &r);
		pp_trace_put(&out, &r, PP_TRACE_SHORT);
		if (r.other)
			return 0;
	}
	if (comes) {
		pp_trace_init(&r, &in, PP_TRACE_IN, now);
		r.tid = pp_trace_number(next);
		pp_trace_put(&in, &r, PP_TRACE_SHORT);
	}
	return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(pp_trace_waking, struct task_struct *p)
{
	struct pp_event e = { .collector = PP_WAIT, .max_frames = PP_TRACE_FRAMES };
	struct task_struct *me = bpf_get_current_task_btf();
	struct pp_trace_record r;
	struct pp_traced a;

	if (!pp_traced(p, &a))
		return 0;
	pp_trace_init(&r, &a, PP_TRACE_WAKING, bpf_ktime_get_ns());
	r.tid = pp_trace_number(p);
	if (pp_in_interrupt(ctx, me, p)) {
		r.item = 1;
		pp_trace_put(&a, &r, PP_TRACE_SHORT);
	} else if (me->tgid == p->tgid) {
		r.other = pp_trace_number(me);
		pp_trace_stack_again(ctx, &a, &e, &r);
		pp_trace_put(&a, &r, PP_TRACE_SHORT);
	} else {
		pp_trace_name(&r, me);
		pp_trace_put(&a, &r, sizeof(r));
	}
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(pp_trace_fork, struct task_struct *parent, struct task_struct *child)
{
	struct pp_event e = { .collector = PP_CREATE, .max_frames = PP_MAX_FRAMES };
	struct pp_trace_record r;
	struct pp_traced a;

	if (parent->tgid != child->tgid || !pp_traced(parent, &a))
		return 0;
	pp_trace_init(&r, &a, PP_TRACE_NEW, bpf_ktime_get_ns());
	r.tid = pp_trace_number(child);
	r.other = pp_trace_number(parent);
	pp_trace_name(&r, child);
	pp_trace_stack(ctx, &a, &e, &r);
	pp_trace_put(&a, &r, sizeof(r));
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(pp_trace_exit, struct task_struct *p)
{
	struct pp_trace_record r;
	struct pp_traced a;

	if (!pp_traced(p, &a))
		return 0;
	pp_trace_init(&r, &a, PP_TRACE_EXIT, bpf_ktime_get_ns());
	r.tid = pp_trace_number(p);
	pp_trace_put(&a, &r, PP_TRACE_SHORT);
	return 0;
}

/* A thread that is not the leader has taken the leader's number by now; what its own was is told as the host
 * calls it. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(pp_trace_exec, struct task_struct *p, int old)
{
	struct pp_trace_record r;
	struct pp_traced a;

	if (!pp_traced(p, &a))
		return 0;
	pp_trace_init(&r, &a, PP_TRACE_EXEC, bpf_ktime_get_ns());
	r.tid = pp_trace_number(p);
	r.other = old == p->pid ? r.tid : r.tid == p->pid ? old : 0;
	pp_trace_name(&r, p);
	pp_trace_put(&a, &r, sizeof(r));
	return 0;
}

SEC("tp_btf/task_rename")
int BPF_PROG(pp_trace_rename, struct task_struct *t, const char *name)
{
	struct pp_trace_record r;
	struct pp_traced a;

	if (!pp_traced(t, &a))
		return 0;
	pp_trace_init(&r, &a, PP_TRACE_NAME, bpf_ktime_get_ns());
	r.tid = pp_trace_number(t);
	bpf_probe_read_kernel_str(r.name, sizeof(r.name), name);
	pp_trace_put(&a, &r, sizeof(r));
	return 0;
}

/* Attached only if somebody asks: these slow every system call of the machine. */
SEC("tp_btf/sys_enter")
int BPF_PROG(pp_trace_enter, struct pt_regs *registers, long call)
{
	struct pp_event e = { .collector = PP_WAIT, .max_frames = PP_TRACE_FRAMES };
	struct task_struct *t = bpf_get_current_task_btf();
	struct pp_trace_record r;
	struct pp_traced a;

	if (!pp_traced(t, &a) || !(a.wants & PP_TRACE_WANT_CALLS))
		return 0;
	pp_trace_init(&r, &a, PP_TRACE_ENTER, bpf_ktime_get_ns());
	r.tid = pp_trace_number(t);
	r.item = call;
	pp_trace_stack(ctx, &a, &e, &r);
	pp_trace_put(&a, &r, PP_TRACE_SHORT);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(pp_trace_leave, struct pt_regs *registers, long value)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct pp_trace_record r;
	struct pp_traced a;

	if (!pp_traced(t, &a) || !(a.wants & PP_TRACE_WANT_CALLS))
		return 0;
	pp_trace_init(&r, &a, PP_TRACE_LEAVE, bpf_ktime_get_ns());
	r.tid = pp_trace_number(t);
	pp_trace_put(&a, &r, PP_TRACE_SHORT);
	return 0;
}

/* The clock of cpu.bpf.c, and its coin. */
SEC("perf_event")
int pp_trace_tick(struct bpf_perf_event_data *ctx)
{
	struct pp_event e = { .collector = PP_CPU, .max_frames = PP_MAX_FRAMES };
	struct task_struct *t = bpf_get_current_task_btf();
	struct pp_trace_record r;
	struct pp_traced a;

	if (bpf_get_prandom_u32() >= config.keep || !pp_traced(t, &a))
		return 0;
	pp_trace_init(&r, &a, PP_TRACE_TICK, bpf_ktime_get_ns());
	r.tid = pp_trace_number(t);
	e.kernel = pp_in_kernel(ctx);
	pp_trace_stack(ctx, &a, &e, &r);
	pp_trace_put(&a, &r, PP_TRACE_SHORT);
	return 0;
}

PP_ARRAY(pp_trace_site, PP_MAX_TRACE_SITES, 0, struct pp_custom_probe);

/* What the program says itself, where preload/pprofd.h has been used. */
SEC("uprobe")
int pp_trace_said(struct pt_regs *ctx)
{
	struct pp_event e = { .collector = PP_WAIT, .max_frames = PP_TRACE_FRAMES };
	struct task_struct *t = bpf_get_current_task_btf();
	u32 number = bpf_get_attach_cookie(ctx);
	struct pp_custom_probe *site = bpf_map_lookup_elem(&pp_trace_site, &number);
	struct pp_registers g = pp_registers_of(ctx);
	struct pp_trace_note n;
	struct pp_traced a;
	u64 second;

	if (!site || !site->kind || !pp_traced(t, &a) || site->slot != a.slot)
		return 0;
	__builtin_memset(&n, 0, sizeof(n));
	pp_trace_init(&n.r, &a, site->kind, bpf_ktime_get_ns());
	n.r.tid = pp_trace_number(t);
	n.r.item = site->row;
	n.task = pp_argument(&g, &site->arguments[0]);
	second = pp_argument(&g, &site->arguments[1]);
	if (!site->row)
		bpf_probe_read_user_str(n.name, sizeof(n.name), (void *)pp_argument(&g, &site->arguments[2]));
	if (site->kind == PP_TRACE_LOG)
		bpf_probe_read_user_str(n.message, sizeof(n.message), (void *)second);
	else
		n.parent = second;
	pp_trace_stack(ctx, &a, &e, &n.r);
	if (!site->row || site->kind == PP_TRACE_LOG)
		pp_trace_put(&a, &n.r, sizeof(n));
	else
		pp_trace_put(&a, &n.r, PP_TRACE_NOTE_SHORT);
	return 0;
}

/* Never attached, as pp_custom_session. */
SEC("uprobe")
int pp_trace_session(struct pt_regs *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
