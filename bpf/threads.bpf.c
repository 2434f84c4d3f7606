/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/* threads.bpf.c - where is each thread of a process now?
 *
 * An iterator over the threads of one process, which it does not stop: it writes their registers, as they
 * were saved when they entered the kernel, and the top of their stacks. Whoever reads walks them. */

#include "file.bpf.h"
#include "identity.h"
#include "number.bpf.h"
#include "threads.h"
#include "unwind-x86_64.bpf.h"

#define PP_PAGE 4096
#define PP_N_BUFFERS 8 /* dumps at once; one more goes without stacks, which are then read one by one */

struct pp_thread_buffer {
	u64 taken;
	struct pp_thread head;
	char stack[PP_THREAD_STACK];
};

PP_ARRAY(pp_thread_buffer, PP_N_BUFFERS, 0, struct pp_thread_buffer);
PP_ARRAY(pp_query, 1, 0, struct pp_identity_query);

/* The thread's number in the namespace that asks. */
PP_INLINE u32 pp_number_of(struct task_struct *t)
{
	u32 zero = 0;
	struct pp_identity_query *query = bpf_map_lookup_elem(&pp_query, &zero);

	return query ? pp_number_in(t, query->namespace_inode) : 0;
}

/* What tells whether it ran meanwhile is read before everything else, and again after it. */
PP_INLINE void pp_describe(struct task_struct *t, struct pp_thread *h)
{
	h->running = PP_READ_ONCE(t->on_cpu);
	h->n_switches = PP_READ_ONCE(t->nvcsw) + PP_READ_ONCE(t->nivcsw);
	PP_BARRIER();
	pp_all_registers(t, h->registers, &h->call, &h->argument);
	h->started = t->start_boottime;
	h->arrived = t->sched_info.last_arrival;
	h->ran = t->se.sum_exec_runtime;
	h->exec_id = t->self_exec_id;
	h->host_tid = t->pid;
	h->tid = pp_number_of(t);
	h->own_tid = pp_own_number(t);
	h->state = t->__state;
	h->exit_state = t->exit_state;
	h->file = pp_is_read_write(h->call) ? pp_wait_file(t, h->argument) : PP_FILE_OTHER;
	h->in_iowait = BPF_CORE_READ_BITFIELD(t, in_iowait);
	bpf_probe_read_kernel(h->comm, sizeof(h->comm), &t->comm);
	h->n_stack = 0;
	h->lock[0] = h->lock[1] = 0;
	h->has_lock = pp_is_futex(h->call) &&
		      !bpf_copy_from_user_task(h->lock, sizeof(h->lock), (void *)h->argument, t, 0);
}

/* Registers and stack are of one moment only if it has not run since. */
PP_INLINE void pp_look_again(struct task_struct *t, struct pp_thread *h)
{
	PP_BARRIER();
	if (PP_READ_ONCE(t->on_cpu) || PP_READ_ONCE(t->nvcsw) + PP_READ_ONCE(t->nivcsw) != h->n_switches)
		h->running = 1;
}

/* To the end of the page, then one page more: a read that passes the end of the stack gives nothing. */
PP_INLINE void pp_copy_stack(struct task_struct *t, struct pp_thread_buffer *b)
{
	u64 sp = b->head.registers[7];
	u32 first = PP_PAGE - (sp & (PP_PAGE - 1));

	if (!first || first > PP_PAGE || bpf_copy_from_user_task(b->stack, first, (void *)sp, t, 0))
		return;
	b->head.n_stack = first;
	if (!bpf_copy_from_user_task(b->stack + first, PP_PAGE, (void *)(sp + first), t, 0))
		b->head.n_stack = first + PP_PAGE;
}

PP_INLINE void pp_write(struct seq_file *to, struct pp_thread_buffer *b)
{
	u64 n = sizeof(b->head) + b->head.n_stack;

	if (n <= sizeof(b->head) + sizeof(b->stack))
		bpf_seq_write(to, &b->head, n);
}

SEC("iter.s/task")
int pp_threads(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct pp_thread_buffer *b = NULL;
	struct pp_thread alone;

	if (!t || !t->mm)
		return 0;
	for (u32 i = 0; i < PP_N_BUFFERS && !b; i++) {
		u32 k = i;

		b = bpf_map_lookup_elem(&pp_thread_buffer, &k);
		if (b && __sync_val_compare_and_swap(&b->taken, 0, 1))
			b = NULL;
	}
	if (!b) {
		pp_describe(t, &alone);
		pp_look_again(t, &alone);
		bpf_seq_write(ctx->meta->seq, &alone, sizeof(alone));
		return 0;
	}
	pp_describe(t, &b->head);
	if (!b->head.running)
		pp_copy_stack(t, b);
	pp_look_again(t, &b->head);
	if (b->head.running)
		b->head.n_stack = 0;
	pp_write(ctx->meta->seq, b);
	__sync_lock_test_and_set(&b->taken, 0);
	return 0;
}

/* More of one thread's stack, if it is still where it was. */
PP_ARRAY(pp_more, 1, 0, struct pp_more);

/* Where the stack that is asked for begins; 0: it may not be read. A thread that handles a signal on a stack
 * of its own for that has left its stack pointer there. */
PP_INLINE u64 pp_stack_base(struct task_struct *t, const struct pp_more *m)
{
	u64 base = 0;

	if (!m->from)
		return m->sp;
	if (m->sp - t->sas_ss_sp >= t->sas_ss_size || m->from - t->sas_ss_sp >= t->sas_ss_size || m->from < m->sp)
		return 0;
	return bpf_copy_from_user_task(&base, sizeof(base), (void *)m->from, t, 0) ? 0 : base;
}

SEC("iter.s/task")
int pp_stack_more(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct pp_thread_buffer *b;
	u32 zero = 0, first;
	struct pp_more *m = bpf_map_lookup_elem(&pp_more, &zero);
	u64 at;

	b = bpf_map_lookup_elem(&pp_thread_buffer, &zero);
	if (!t || !t->mm || !m || !b || __sync_val_compare_and_swap(&b->taken, 0, 1))
		return 0;
	pp_describe(t, &b->head);
	at = b->head.running || b->head.registers[7] != m->sp ? 0 : pp_stack_base(t, m);
	if (at) {
		at += m->offset;
		first = PP_PAGE - (at & (PP_PAGE - 1));
		if (first && first <= PP_PAGE && !bpf_copy_from_user_task(b->stack, first, (void *)at, t, 0))
			pp_look_again(t, &b->head);
		else
			b->head.running = 1;
		if (!b->head.running)
			bpf_seq_write(ctx->meta->seq, b->stack, first);
	}
	__sync_lock_test_and_set(&b->taken, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
