/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* emit.bpf.h - the one way out of the kernel.
 *
 * A collector asks pp_target() whether the current process is one of ours, then calls pp_add():
 * it walks the stack, stores it once and adds the values to its row. An event of a target is
 * never dropped for want of a stack: a marker frame stands in and says why. */

#include "label.bpf.h"
#include "maps.bpf.h"
#include "pool.bpf.h"
#include "unwind.bpf.h"

#ifndef PP_NOTE_STEP /* memo.bpf.h has one: after each step */
#define PP_NOTE_BEGIN(walk, key)
#define PP_NOTE_STEP(walk)
#define PP_NOTE_END(walk, key, row)
struct pp_memo_key;
#endif

#define PP_N_SCRATCH 8 /* a CPU: programs do not migrate, only preempted ones pile up */
#define PP_N_SPILL 64
#define PP_N_FRAMES_MAX (PP_MAX_WORDS - 1)

/* Not one buffer a CPU: an interrupt's program would overwrite that of a uprobe it interrupts
 * (seen: 1,500 corrupt stacks of 16,384; with slots none). */
struct pp_scratch {
	u64 taken;
	struct pp_walk walk;
	struct pp_words words;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PP_N_SCRATCH);
	__type(key, u32);
	__type(value, struct pp_scratch);
} pp_scratch SEC(".maps");

PP_ARRAY(pp_spill, PP_N_SPILL, 0, struct pp_scratch);

/* Which of the current thread's labels are asked for. What is counted for as long as a target lives is told apart by
 * what comes again, and no trace does. */
enum pp_labelled { PP_LABELLED_NOT, PP_LABELLED, PP_LABELLED_WITH_IDS };

/* What happened: to be added up under the current task's stack. */
struct pp_event {
	u32 collector;
	u32 kernel; /* take the kernel's frames too: the event interrupted the kernel */
	s64 v[2];
	u32 max_frames;
	u32 called;	   /* `start.ip` is a return address */
	u32 labelled;	   /* enum pp_labelled */
	u32 labels;	   /* out: their row + 1; 0: none */
	u64 label_hash;	   /* out: of these, in whatever epoch */
	const struct pp_start *start; /* not NULL: walk from here, not from the task's registers */
	const struct pp_memo_key *memo; /* not NULL: the walk is noted there */
	u64 hash;	   /* out: of the stack; never 0 */
};

/* Row k, if it is a target's and the current task is of that process still. */
PP_INLINE struct pp_process *pp_target_at(u64 k)
{
	u32 zero = 0;
	struct task_struct *t;
	struct pp_process *p;
	struct pp_state *s = bpf_map_lookup_elem(&pp_state, &zero);

	if (!s)
		return NULL;
	PP_MASK(k, PP_MAX_PROCESSES);
	p = &s->processes[k];
	if (!p->target)
		return NULL;
	t = bpf_get_current_task_btf();
	if (t->group_leader->start_boottime != p->start_boottime)
		return NULL;
	return p;
}

/* The process row of the current task, if it is a target's and the same process still. */
PP_INLINE struct pp_process *pp_target(void)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	u32 *slot = bpf_map_lookup_elem(&pp_targets, &tgid);

	return slot ? pp_target_at(*slot) : NULL;
}

/* One notice until user space has looked. */
PP_INLINE void pp_stale(struct pp_process *p, u32 type, u64 value)
{
	if (PP_READ_ONCE(p->noted) || __sync_lock_test_and_set(&p->noted, 1))
		return;
	if (pp_notice(type, p->target, value))
		__sync_lock_test_and_set(&p->noted, 0);
}

PP_INLINE u32 pp_scratch_take(void)
{
	for (u32 i = 0; i < PP_N_SCRATCH; i++) {
		u32 k = i;
		struct pp_scratch *s = bpf_map_lookup_elem(&pp_scratch, &k);

		if (s && !__sync_val_compare_and_swap(&s->taken, 0, 1))
			return i;
	}
	pp_bump(PP_STAT_SPILLED);
	for (u32 i = 0; i < PP_N_SPILL; i++) {
		u32 k = i;
		struct pp_scratch *s = bpf_map_lookup_elem(&pp_spill, &k);

		if (s && !__sync_val_compare_and_swap(&s->taken, 0, 1))
			return PP_N_SCRATCH + i;
	}
	return PP_N_SCRATCH + PP_N_SPILL;
}

PP_INLINE void pp_push(struct pp_words *s, u64 frame)
{
	u64 n = s->n;

	if (n >= PP_MAX_WORDS)
		return;
	s->w[n] = frame;
	s->n = n + 1;
	s->hash = pp_mix(s->hash, frame);
}

/* Appends the user frames of the walk and, when it is not complete, the marker that says why. */
PP_GLOBAL int pp_walk_stack(struct pp_scratch *s, u32 max_frames)
{
	struct pp_walk *w;
	int last = 0;

	if (!s)
		return 0;
	w = &s->walk;
	w->end = PP_END_UNREADABLE; /* unless pp_step says better: a CFA of 0 */
	for (u32 i = 0; i < PP_MAX_FRAMES && i < max_frames; i++) {
		last = pp_step(w);
		PP_NOTE_STEP(w);
		pp_push(&s->words, w->frame);
		if (last)
			break;
	}
	/* Not by the number of frames: the verifier would follow each of them to the end by itself. */
	if (!last)
		w->end = PP_END_TRUNCATED;
	if (w->end > PP_END_ZERO)
		pp_push(&s->words, PP_MARKER(w->end, w->object));
	return 0;
}

/* The interrupted kernel's frames, innermost first, as the kernel's own unwinder sees them. */
PP_INLINE void pp_kernel_stack(void *ctx, struct pp_words *s)
{
	int n = bpf_get_stack(ctx, s->w, PP_MAX_KERNEL * sizeof(u64), 0);

	if (n < 0)
		return;
	s->n = n / sizeof(u64);
	for (u32 i = 0; i < PP_MAX_KERNEL && i < s->n; i++)
		s->hash = pp_mix(s->hash, s->w[i]);
}

PP_INLINE void pp_walk_init(struct pp_walk *w, const struct pp_process *p, const struct pp_event *e)
{
	u64 list = PP_READ_ONCE(p->list);
	struct pp_start s;

	if (e->start) {
		pp_start(w, e->start);
		w->adjust = e->called;
	} else {
		pp_start_registers(&s);
		pp_start(w, &s);
		if (e->kernel)
			w->probed = pp_is_breakpoint(s.ip);
	}
	w->signal_at = 0;
	w->fp_read = 0;
	w->odd = 0;
	w->instance = 0;
	w->window_at = PP_NOWHERE;
	w->first = PP_LIST_FIRST(list);
	w->n = PP_LIST_N(list);
	w->mapping = w->first;
	w->object = 0;
}

/* Walks and stores; the stack row + 1, or a marker of its own where there is no stack. */
PP_INLINE u32 pp_stack_of(void *ctx, struct pp_process *p, struct pp_event *e, u64 epoch)
{
	u32 k = pp_scratch_take(), row;
	struct pp_scratch *s;

	if (k < PP_N_SCRATCH) {
		s = bpf_map_lookup_elem(&pp_scratch, &k);
	} else {
		k -= PP_N_SCRATCH;
		s = bpf_map_lookup_elem(&pp_spill, &k);
	}
	if (!s) {
		pp_bump(PP_STAT_NO_SCRATCH);
		return PP_NO_STACK(PP_END_NO_SCRATCH);
	}
	s->words.epoch = epoch;
	s->words.half = epoch & 1;
	s->words.labels = p->labels;
	s->words.ids = e->labelled == PP_LABELLED_WITH_IDS;
	if (e->labelled && p->labels) {
		e->labels = pp_labels_of(&s->words);
		e->label_hash = s->words.hash;
	}
	s->words.labels = 0;
	s->words.hash = config.seed ^ p->target;
	s->words.n = 0;
	if (e->kernel)
		pp_kernel_stack(ctx, &s->words);
	pp_walk_init(&s->walk, p, e);
	PP_NOTE_BEGIN(&s->walk, e->memo);
	pp_walk_stack(s, e->max_frames);
	if (s->walk.end == PP_END_NO_MAPPING) /* writable code is not in exec_vm */
		pp_stale(p, PP_NOTICE_MAPPINGS, p->exec_vm);
	row = pp_stack_put(&s->words);
	PP_NOTE_END(&s->walk, e->memo, row);
	e->hash = s->words.hash | 1;
	__sync_lock_test_and_set(&s->taken, 0);
	return row ? row : PP_NO_STACK(PP_END_TABLE_FULL);
}

/* Whether tables and process fit: 0, or a marker of its own. */
PP_INLINE u32 pp_stack_misfit(struct pp_process *p)
{
	struct task_struct *t = bpf_get_current_task_btf();
	u64 exec_vm = t->mm->exec_vm;

	__sync_fetch_and_add(&p->n_events, 1);
	if (t->self_exec_id != p->exec_id) {
		pp_stale(p, PP_NOTICE_EXEC, t->self_exec_id);
		return PP_NO_STACK(PP_END_EXEC);
	}
	if (exec_vm != p->exec_vm || PP_READ_ONCE(p->n_mapped) != p->n_mapped_seen) {
		__sync_fetch_and_add(&p->n_stale, 1);
		pp_stale(p, PP_NOTICE_MAPPINGS, exec_vm);
	}
	return 0;
}

/* The stack of the event for a key: a row, or a marker of its own. */
PP_INLINE u32 pp_stack_for(void *ctx, struct pp_process *p, struct pp_event *e, u64 epoch)
{
	u32 misfit = pp_stack_misfit(p);

	return misfit ? misfit : pp_stack_of(ctx, p, e, epoch);
}

PP_INLINE int pp_add(void *ctx, struct pp_process *p, struct pp_event *e)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct pp_control *c = pp_controls();
	struct pp_key key = { .target = p->target, .collector = e->collector };
	u64 began = bpf_ktime_get_ns();

	if (!c)
		return 0;
	key.epoch = PP_READ_ONCE(c->epoch);
	key.half = key.epoch & 1;
	key.v[0] = e->v[0];
	key.v[1] = e->v[1];
	key.stack = pp_stack_for(ctx, p, e, key.epoch);
	key.labels = e->labels;
	key.name[0] = *(u64 *)&t->comm[0];
	key.name[1] = *(u64 *)&t->comm[8];
	pp_count_add(&key);
	__sync_fetch_and_add(&p->spent_ns, bpf_ktime_get_ns() - began);
	return 0;
}
