/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/* threads.bpf.c - where is each thread of a process now?
 *
 * An iterator over the threads of one process, which it does not stop: it writes their registers, as they
 * were saved when they entered the kernel, and what tells whether they have run since. It does not touch their
 * memory: a target decides how long a reader waits for that, and a program that sleeps here makes all of the
 * machine's uprobes wait. The broker reads the stacks. */

#include "file.bpf.h"
#include "identity.h"
#include "number.bpf.h"
#include "threads.h"

#include PP_LABEL_MACHINE
#include PP_UNWIND_MACHINE

PP_ARRAY(pp_query, 1, 0, struct pp_identity_query);

/* The thread's number in the namespace that asks. */
PP_INLINE u32 pp_number_of(struct task_struct *t)
{
	u32 zero = 0;
	struct pp_identity_query *query = bpf_map_lookup_elem(&pp_query, &zero);

	return query ? pp_number_in(t, query->namespace_inode) : 0;
}

/* An int; narrower from 7.3 on. */
PP_INLINE u32 pp_on_cpu(const struct task_struct *t)
{
	u32 on = BPF_CORE_READ_BITFIELD(t, on_cpu);

	PP_BARRIER();
	return on;
}

/* What tells whether it ran meanwhile is read before everything else, and again after it. */
PP_INLINE void pp_describe(struct task_struct *t, struct pp_thread *h)
{
	h->running = pp_on_cpu(t);
	h->n_switches = PP_READ_ONCE(t->nvcsw) + PP_READ_ONCE(t->nivcsw);
	PP_BARRIER();
	pp_all_registers(t, h->registers, &h->call, &h->argument);
	h->started = t->start_boottime;
	h->arrived = t->sched_info.last_arrival;
	h->ran = t->se.sum_exec_runtime;
	h->thread_pointer = pp_thread_pointer_of(t);
	h->exec_id = t->self_exec_id;
	h->host_tid = t->pid;
	h->tid = pp_number_of(t);
	h->own_tid = pp_own_number(t);
	h->state = t->__state;
	h->exit_state = t->exit_state;
	h->file = pp_is_read_write(h->call) ? pp_wait_file(t, h->argument) : PP_FILE_OTHER;
	h->in_iowait = BPF_CORE_READ_BITFIELD(t, in_iowait);
	bpf_probe_read_kernel(h->comm, sizeof(h->comm), &t->comm);
	h->signal_stack = t->sas_ss_sp;
	h->signal_size = t->sas_ss_size;
	h->has_lock = pp_is_futex(h->call);
}

PP_INLINE void pp_look_again(struct task_struct *t, struct pp_thread *h)
{
	PP_BARRIER();
	if (pp_on_cpu(t) || PP_READ_ONCE(t->nvcsw) + PP_READ_ONCE(t->nivcsw) != h->n_switches)
		h->running = 1;
}

#define PP_ITERATE_AGAIN 1 /* what bpf_iter_run_prog takes for EAGAIN: this thread is next, once more */

#if PP_THREAD_REGISTERS > 20
/* Too large for the stack: one a CPU. A reader that was preempted in here holds it; another one on that CPU is told to
 * come again (EAGAIN, or a short read), and loses nothing. */
struct pp_described {
	u64 taken;
	struct pp_thread thread;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct pp_described);
} pp_described SEC(".maps");

PP_INLINE int pp_say(struct seq_file *seq, struct task_struct *t)
{
	u32 zero = 0;
	struct pp_described *d = bpf_map_lookup_elem(&pp_described, &zero);

	if (!d || __sync_val_compare_and_swap(&d->taken, 0, 1))
		return PP_ITERATE_AGAIN;
	__builtin_memset(&d->thread, 0, sizeof(d->thread));
	pp_describe(t, &d->thread);
	pp_look_again(t, &d->thread);
	bpf_seq_write(seq, &d->thread, sizeof(d->thread));
	__sync_lock_test_and_set(&d->taken, 0);
	return 0;
}
#else
PP_INLINE int pp_say(struct seq_file *seq, struct task_struct *t)
{
	struct pp_thread h = { 0 };

	pp_describe(t, &h);
	pp_look_again(t, &h);
	bpf_seq_write(seq, &h, sizeof(h));
	return 0;
}
#endif

SEC("iter/task")
int pp_threads(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;

	return t && t->mm ? pp_say(ctx->meta->seq, t) : 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
