/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* unwind.bpf.h - from registers to the frames of a user stack.
 *
 * Reads rows that the symbolizer made of .eh_frame (hints by granule of text, then rows, then an
 * interned rule); falls back to the frame pointer where no row covers the code. Never guesses: a
 * walk that cannot go on says why in struct pp_walk.end. Owns no memory: the state stands in the
 * caller's scratch, because the 512 bytes of BPF stack would not hold it. */

#include "maps.bpf.h"

#include PP_UNWIND_MACHINE

/* A frame record further than this above the stack pointer is not believed. */
#define PP_MAX_FRAME_RECORD (1ull << 20)
#define PP_NOWHERE 1ull /* an address that cannot be read */
#define PP_WINDOW 32	/* words */
#define PP_SMALL_FRAME 128

struct pp_walk {
	u64 ip, sp, fp, bx;
	u64 fp_at, bx_at; /* not 0: the register was saved there and has not been read yet */
	u64 frame;	  /* out: the frame that step() left */
	u64 instance;	  /* of the uprobe return instances, the next one to use */
	u32 first, n;	  /* the process's mappings */
	u32 mapping;	  /* where the last frame was found */
	u32 object;	  /* of that mapping, 0: none */
	u32 end;	  /* enum pp_end */
	u8 adjust;	  /* 1: ip is a return address, look up the call before it */
	u8 leaf;	  /* the innermost frame, or the one that a signal interrupted */
	u8 record;	  /* fp was read from a frame record, by the step before this one */
	u8 probed;	  /* the kernel may have done half of the push that is at ip */
	u8 no_sp;	  /* with a link register: sp is not known, only that it is at least this */
	u64 signal_at;	  /* registers of the latter; 0: the task's own */
	/* for who wants to know what the walk hangs on (memo.bpf.h), set here and never cleared: */
	u64 fp_read;	  /* where fp was read from last; PP_NOWHERE: it was used as it was */
	u32 odd;	  /* on more than return addresses and fp */
	u32 noted;	  /* its own */
	u64 ra_at, ra_word; /* with a link register: where the return address was read, and what stood there */
	u64 window_at; /* address of window[0]; 1: nothing read yet */
	u64 window[PP_WINDOW];
};

/* A word of the user's stack. Most frames are small, and a read of user memory costs 70 ns whether it
 * is of one word or of thirty: so one read serves several frames. A large frame is read by itself.
 * 0, or not readable. */
PP_INLINE int pp_read_word(struct pp_walk *w, u64 at, u64 *ret)
{
	u64 k = at - w->window_at;

	if (k >= sizeof(w->window) || ((k | at) & 7)) { /* an unread window has an odd address */
		if (at - w->sp > PP_SMALL_FRAME || (at & 7) ||
		    bpf_probe_read_user(w->window, sizeof(w->window), (void *)at)) {
			w->window_at = PP_NOWHERE;
			return bpf_probe_read_user(ret, 8, (void *)at);
		}
		w->window_at = at;
		k = 0;
	}
	k >>= 3;
	PP_MASK(k, PP_WINDOW);
	*ret = w->window[k];
	return 0;
}

/* Position in the list, or -1. */
PP_GLOBAL int pp_find_mapping(u32 first, u32 n, u64 pc)
{
	u32 zero = 0;
	struct pp_mapping_list *l = bpf_map_lookup_elem(&pp_mapping, &zero);
	u64 low = first, left = n;

	if (!l)
		return -1;
	for (int i = 0; i < 14 && left > 1; i++) {
		u64 half = left >> 1, middle = low + half;

		PP_MASK(middle, PP_MAX_MAPPINGS);
		if (l->m[middle].start <= pc)
			low = middle;
		left -= half;
	}
	PP_MASK(low, PP_MAX_MAPPINGS);
	if (!n || pc < l->m[low].start || pc >= l->m[low].end)
		return -1;
	return low;
}

PP_INLINE struct pp_chunk *pp_chunk_of(u32 word)
{
	u32 slab = word >> (PP_CHUNK_BITS + PP_SLAB_BITS);
	u32 chunk = word >> PP_CHUNK_BITS & ((1 << PP_SLAB_BITS) - 1);
	void *inner = bpf_map_lookup_elem(&pp_slabs, &slab);

	return inner ? bpf_map_lookup_elem(inner, &chunk) : NULL;
}

/* The rule of the last row at or before `low` in the granule whose hint is word `hint`, or -1. */
PP_GLOBAL int pp_find_rule(u32 hint, u32 low)
{
	u32 key = low << PP_RULE_BITS | ((1u << PP_RULE_BITS) - 1);
	struct pp_chunk *c = pp_chunk_of(hint);
	u64 at, left, i = hint;
	u32 next;

	if (!c)
		return -1;
	PP_MASK(i, 1 << PP_CHUNK_BITS);
	at = c->w[i];
	if (++i >> PP_CHUNK_BITS) {
		c = pp_chunk_of(hint + 1);
		if (!c)
			return -1;
	}
	PP_MASK(i, 1 << PP_CHUNK_BITS);
	next = c->w[i];
	left = next - (u32)at;
	c = pp_chunk_of(at);
	if (!c)
		return -1;
	PP_MASK(at, 1 << PP_CHUNK_BITS);
	for (int t = 0; t < 11 && left > 1; t++) {
		u64 half = left >> 1, middle = at + half;

		PP_MASK(middle, 1 << PP_CHUNK_BITS);
		if (c->w[middle] <= key)
			at = middle;
		left -= half;
		asm volatile("" : "+r"(left));
		PP_MASK(at, 1 << PP_CHUNK_BITS);
	}
	return c->w[at] & ((1u << PP_RULE_BITS) - 1);
}

/* Reads a saved register when a rule needs it, not before: in code without frame pointers most
 * are never needed. 1: it is there. */
PP_GLOBAL int pp_need_fp(struct pp_walk *w)
{
	u64 v;

	if (!w)
		return 0;
	if (!w->fp_at) {
		w->fp_read = w->fp_read ? w->fp_read : PP_NOWHERE;
		return 1;
	}
	w->fp_read = w->fp_at;
	if (pp_read_word(w, w->fp_at, &v))
		return 0;
	w->fp = v;
	w->fp_at = 0;
	return 1;
}

PP_INLINE int pp_need_bx(struct pp_walk *w)
{
	w->odd = 1;
	if (w->bx_at && bpf_probe_read_user(&w->bx, 8, (void *)w->bx_at))
		return 0;
	w->bx_at = 0;
	return 1;
}

PP_INLINE int pp_stop(struct pp_walk *w, u32 end)
{
	w->end = end;
	return 1;
}

/* One frame record up: code without rows (a JIT's, assembler, a file without .eh_frame). */
PP_GLOBAL int pp_step_frame_pointer(struct pp_walk *w, u32 otherwise)
{
	u64 record[2];

	if (!w)
		return 1;
	if (!pp_need_fp(w))
		return pp_stop(w, otherwise);
	if (!w->fp) /* the psABI's mark of the outermost frame; without a record, just a register of 0 */
		return pp_stop(w, w->record ? PP_END_ZERO : otherwise);
	if (w->fp < w->sp || (w->fp & 7) || w->fp - w->sp > PP_MAX_FRAME_RECORD ||
	    bpf_probe_read_user(record, sizeof(record), (void *)w->fp))
		return pp_stop(w, otherwise);
	w->sp = w->fp + 16;
	if (PP_LINK_REGISTER) {
		w->no_sp = 1;
		w->ra_at = w->fp + 8;
		w->ra_word = record[1];
	}
	w->fp = record[0];
	w->ip = pp_unsigned(record[1], config.address_mask);
	w->bx_at = PP_NOWHERE; /* who knows what this code did with it */
	w->adjust = 1;
	w->leaf = 0;
	w->record = 1;
	return w->ip ? 0 : pp_stop(w, PP_END_ZERO);
}

#define PP_TRAMPOLINE_WORDS 3 /* that the trampoline may have pushed */

/* The pc itself is in the trampoline: the function has returned, its probes are about to run or have run. The first
 * instance is of this return if its function's stack ended here. Those below the stack pointer were left by longjmp.
 * 1: w->sp is the caller's, and w->instance the one to use; 2: w->ip, too. 0: not known. */
PP_GLOBAL int pp_in_trampoline(struct pp_walk *w)
{
	struct task_struct *t = (void *)bpf_get_current_task();
	struct return_instance *i;
	u64 above, ip, sp;
	int words;

	if (!w)
		return 0;
	sp = w->sp;
	w->odd = 1;
	i = BPF_CORE_READ(t, utask, return_instances);
	for (int k = 0; k < 8 && i; k++) {
		above = BPF_CORE_READ(i, stack) + PP_RETURN_POPS - sp;
		if (above <= PP_TRAMPOLINE_WORDS * 8) {
			w->instance = (u64)i;
			w->sp = sp + above;
			return 1;
		}
		if ((s64)above > 0)
			break;
		i = BPF_CORE_READ(i, next);
	}
	words = pp_trampoline_words(w->ip & 4095);
	if (words < 0 || bpf_probe_read_user(&ip, 8, (void *)(sp + words * 8)))
		return 0;
	w->ip = ip;
	w->instance = (u64)i;
	w->sp = sp + words * 8 + PP_RETURN_POPS;
	return 2;
}

/* A return address inside the uprobes' trampoline page: the true one is in the task's list of
 * return instances. 1: w->ip is the caller's now. */
PP_GLOBAL int pp_leave_trampoline(struct pp_walk *w)
{
	struct task_struct *t = (void *)bpf_get_current_task();
	struct return_instance *i;
	u64 page, ip = 0;

	if (!w || !bpf_core_type_exists(struct return_instance) ||
	    !bpf_core_type_exists(struct xol_area))
		return 0;
	page = BPF_CORE_READ(t, mm, uprobes_state.xol_area, vaddr);
	if (!page || (w->ip & ~4095ull) != page)
		return 0;
	if (!w->adjust) {
		int inside = pp_in_trampoline(w);

		if (!inside)
			return 0;
		w->leaf = 0;
		w->adjust = 1;
		if (inside == 2 && (w->ip & ~4095ull) != page)
			return 1;
	}
	i = (void *)w->instance;
	if (!i)
		i = BPF_CORE_READ(t, utask, return_instances);
	for (int k = 0; k < 8 && i; k++) {
		ip = BPF_CORE_READ(i, orig_ret_vaddr);
		i = BPF_CORE_READ(i, next);
		if ((ip & ~4095ull) != page) /* else chained: the next one knows */
			break;
	}
	w->instance = (u64)i;
	if (!ip || (ip & ~4095ull) == page)
		return 0;
	w->ip = ip;
	w->adjust = 1;
	w->odd = 1;
	return 1;
}

/* Finds w->mapping for the pc and sets w->frame; 0 when no mapping holds it. */
PP_GLOBAL int pp_locate(struct pp_walk *w)
{
	int k;

	if (!w)
		return 0;
	k = pp_find_mapping(w->first, w->n, w->ip - w->adjust);
	if (k < 0 && pp_leave_trampoline(w))
		k = pp_find_mapping(w->first, w->n, w->ip - 1);
	if (k < 0) {
		w->object = 0;
		w->frame = PP_RAW(w->ip - w->adjust);
		return 0;
	}
	w->mapping = k;
	return 1;
}

/* A walk by frame records lost the stack pointer, where a record may be anywhere in its frame. In code that keeps one
 * the rule tells how far from the CFA it is; and it is where fp points. */
PP_INLINE u64 pp_cfa_by_record(struct pp_walk *w, const struct pp_rule *q)
{
	w->odd = 1;
	if (q->fp_saved == PP_SAVED_CFA && pp_need_fp(w))
		return w->fp - (s64)q->fp_offset;
	pp_stop(w, PP_END_BAD_FRAME_POINTER);
	return 0;
}

/* The CFA by a rule; 0 with w->end set when it cannot be had. */
PP_INLINE u64 pp_cfa(struct pp_walk *w, const struct pp_rule *q)
{
	s64 offset = q->cfa_offset;
	u64 at;

	switch (q->kind) {
	case PP_RULE_SP:
		if (PP_LINK_REGISTER && w->no_sp)
			return pp_cfa_by_record(w, q);
		return w->sp + offset;
	case PP_RULE_FP:
		if (pp_need_fp(w))
			return w->fp + offset;
		pp_stop(w, PP_END_BAD_FRAME_POINTER);
		return 0;
	case PP_RULE_PLT:
		return w->sp + 8 + ((w->ip & 15) >= (u64)q->aux ? 8 : 0);
	case PP_RULE_DEREF_FP:
	case PP_RULE_DEREF_SP:
		w->odd = 1;
		at = w->sp;
		if (q->kind == PP_RULE_DEREF_FP) {
			if (!pp_need_fp(w)) {
				pp_stop(w, PP_END_BAD_FRAME_POINTER);
				return 0;
			}
			at = w->fp;
		}
		if (!bpf_probe_read_user(&at, 8, (void *)(at + offset)))
			return at + (s64)q->aux;
		pp_stop(w, PP_END_UNREADABLE);
		return 0;
	case PP_RULE_BX:
		if (pp_need_bx(w))
			return w->bx + offset;
		pp_stop(w, PP_END_UNREADABLE);
		return 0;
	case PP_RULE_REGISTER:
		w->odd = 1;
		if (w->leaf && !pp_leaf_register(w->signal_at, q->reg, &at))
			return at + offset;
		pp_stop(w, PP_END_LEAF_REGISTER);
		return 0;
	}
	pp_stop(w, PP_END_BAD_CFA);
	return 0;
}

/* Where the caller's fp and rbx are, by the rule. A lost one stops the walk only if it is needed. */
PP_INLINE int pp_restore(struct pp_walk *w, const struct pp_rule *q, u64 cfa)
{
	if (PP_LINK_REGISTER) /* that was the return address */
		;
	else if (q->bx_saved == PP_SAVED_CFA)
		w->bx_at = cfa + (s64)q->bx_offset;
	else if (q->bx_saved == PP_SAVED_LOST)
		w->bx_at = PP_NOWHERE;
	if (q->fp_saved == PP_SAVED_CFA) {
		w->fp_at = cfa + (s64)q->fp_offset;
	} else if (q->fp_saved == PP_SAVED_FP) {
		if (!pp_need_fp(w))
			return pp_stop(w, PP_END_BAD_FRAME_POINTER);
		w->fp_at = w->fp + (s64)q->fp_offset;
	} else if (q->fp_saved == PP_SAVED_LOST) {
		w->fp_at = PP_NOWHERE;
	}
	return 0;
}

PP_INLINE void pp_start(struct pp_walk *w, const struct pp_start *s)
{
	w->ip = s->ip;
	w->sp = s->sp;
	w->fp = s->fp;
	w->bx = s->bx;
	w->fp_at = w->bx_at = 0;
	w->adjust = 0;
	w->leaf = 1;
	w->record = 0;
	w->probed = 0;
	w->no_sp = 0;
}

/* A tick while the kernel emulates a probed `push` finds the stack pointer moved and the pc not. Where a
 * function has just been entered, what is on top of its stack tells: it is the return address, or what was
 * pushed. */
PP_GLOBAL int pp_undo_push(struct pp_walk *w, u64 cfa)
{
	u64 ra;

	if (w)
		w->odd = 1;
	if (!w || pp_read_word(w, cfa - 8, &ra) || pp_find_mapping(w->first, w->n, ra - 1) >= 0)
		return 0;
	if (pp_read_word(w, cfa, &ra) || pp_find_mapping(w->first, w->n, ra - 1) < 0)
		return 0;
	return 8;
}

PP_GLOBAL int pp_step_signal(struct pp_walk *w)
{
	struct pp_start s;

	if (!w)
		return 1;
	w->odd = 1;
	w->signal_at = pp_signal_registers(w->sp, &s);
	if (!w->signal_at)
		return pp_stop(w, PP_END_UNREADABLE);
	pp_start(w, &s); /* any stack pointer is believed: the handler may have had its own stack */
	return 0;
}

/* Where the caller goes on. Not 0: it cannot be had, and w->end says why. */
PP_INLINE int pp_return_address(struct pp_walk *w, const struct pp_rule *q, u64 cfa, u64 *ra)
{
	u64 at = cfa - 8;

	if (q->reg & PP_RA_REGISTER) {
		w->odd = 1;
		return w->leaf && !pp_leaf_register(w->signal_at, q->aux, ra) ? 0 : pp_stop(w, PP_END_LEAF_REGISTER);
	}
	if (PP_LINK_REGISTER) {
		if (q->bx_saved == PP_SAVED_SAME) { /* x30 still holds it: nothing has been called */
			w->odd = 1;
			*ra = w->bx;
			return w->leaf ? 0 : pp_stop(w, PP_END_LEAF_REGISTER);
		}
		at = cfa + (s64)q->bx_offset;
		if (q->bx_saved == PP_SAVED_FP) /* in a frame record, behind fp */
			at = cfa + (s64)q->fp_offset + 8;
	}
	if (pp_read_word(w, at, ra))
		return pp_stop(w, PP_END_UNREADABLE);
	if (PP_LINK_REGISTER) {
		w->ra_at = at;
		w->ra_word = *ra;
	}
	return 0;
}

PP_GLOBAL int pp_step_rule(struct pp_walk *w, u32 rule)
{
	struct pp_rule *q = bpf_map_lookup_elem(&pp_rule, &rule);
	u64 cfa, ra;

	if (!w || !q)
		return 1;
	if (q->kind == PP_RULE_GAP)
		return pp_step_frame_pointer(w, PP_END_GAP);
	if (q->kind == PP_RULE_OUTERMOST) {
		w->frame += w->adjust & q->aux; /* nothing called that either */
		return pp_stop(w, PP_END_OUTERMOST);
	}
	if (q->kind == PP_RULE_SIGNAL) {
		w->frame += w->adjust; /* nothing called the trampoline: its pc is exact */
		if (PP_LINK_REGISTER && w->no_sp) { /* the kernel has put a record of the interrupted code there */
			w->odd = 1;
			return pp_step_frame_pointer(w, PP_END_BAD_FRAME_POINTER);
		}
		return pp_step_signal(w);
	}
	cfa = pp_cfa(w, q);
	if (!cfa)
		return 1;
	if (w->probed && q->kind == PP_RULE_SP && q->cfa_offset == 8)
		cfa += pp_undo_push(w, cfa) & 8;
	w->probed = 0;
	if (pp_return_address(w, q, cfa, &ra) || pp_restore(w, q, cfa))
		return 1;
	ra = pp_unsigned(ra, config.address_mask);
	if (cfa <= w->sp && !w->leaf)
		return pp_stop(w, PP_END_BACKWARDS);
	w->sp = cfa;
	w->no_sp = 0;
	w->ip = ra;
	w->adjust = 1;
	w->leaf = 0;
	w->record = 0;
	return ra ? 0 : pp_stop(w, PP_END_ZERO);
}

/* One frame up: sets w->frame to the one left. Not 0: it was the last, w->end says why. */
PP_GLOBAL int pp_step(struct pp_walk *w)
{
	u32 zero = 0;
	struct pp_mapping_list *l = bpf_map_lookup_elem(&pp_mapping, &zero);
	u64 k, pc, granule;
	struct pp_mapping *m;
	int rule;

	if (!w || !l)
		return 1;
	k = w->mapping;
	PP_MASK(k, PP_MAX_MAPPINGS);
	pc = w->ip - w->adjust;
	if (pc < l->m[k].start || pc >= l->m[k].end) {
		if (!pp_locate(w))
			/* io_uring's workers and the like: threads of the process that the kernel gave no user part */
			return pp_stop(w, w->ip || w->sp || w->adjust ? PP_END_NO_MAPPING : PP_END_ZERO);
		k = w->mapping;
		PP_MASK(k, PP_MAX_MAPPINGS);
		pc = w->ip - w->adjust;
	}
	m = &l->m[k];
	w->object = m->object;
	w->frame = m->object ? PP_FRAME(m->object, pc - m->bias) : PP_RAW(pc);
	if (m->kind == PP_MAPPING_FRAME_POINTER || m->kind == PP_MAPPING_ANONYMOUS)
		return pp_step_frame_pointer(w, PP_END_BAD_FRAME_POINTER);
	if (m->kind != PP_MAPPING_TABLE)
		return pp_stop(w, PP_END_NO_TABLE);
	pc -= m->base;
	granule = pc >> PP_GRANULE_BITS;
	if (granule >= m->n_granules)
		return pp_step_frame_pointer(w, PP_END_GAP);
	rule = pp_find_rule(m->hint + granule, pc & ((1 << PP_GRANULE_BITS) - 1));
	if (rule < 0)
		return pp_step_frame_pointer(w, PP_END_GAP);
	return pp_step_rule(w, rule);
}
