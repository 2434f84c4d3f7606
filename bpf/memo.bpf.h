/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* memo.bpf.h - a stack that is still as it was is not walked again.
 *
 * A thread that blocks in a loop does so under one stack, and walking it costs several times what comparing it does.
 * What a walk hangs on is noted while it goes: the registers that it begins with, each return address and saved frame pointer
 * that it reads, and where. If all of these are as before, and the process's mappings too, another walk would
 * give the same. Walks that hang on anything else (a signal frame, a realigned stack, another register) and those
 * that do not end at the root are not kept. To be included before emit.bpf.h; not for programs that are interrupted by others that use it. */

#include "maps.bpf.h"
#include "unwind.bpf.h"

#define PP_MEMO_BITS 12 /* stacks that are kept, of all threads */
#define PP_MEMO_NOTES 16
#define PP_MEMO_WORDS 256 /* of the stack, from the stack pointer on */

struct pp_notes {
	u64 base, sp;	/* the stack pointer, at first and after the last step */
	u32 n;
	u32 n_words;	/* of the stack that the notes reach over */
	u32 needs_fp;	/* the frame pointer register was used */
	u32 fp_known;	/* not any more: what it holds was read from the stack */
	u64 value[PP_MEMO_NOTES];
	u16 at[PP_MEMO_NOTES]; /* words from the stack pointer */
};

struct pp_memo_key {
	u64 ip, sp, fp, list, epoch;
	u64 tid;
};

struct pp_memo {
	u64 taken;
	struct pp_memo_key key;
	u64 row; /* as of the stack table, + 1 */
	struct pp_notes notes;
};

struct pp_memo_window {
	u64 w[PP_MEMO_WORDS];
};

PP_ARRAY(pp_memo, 1 << PP_MEMO_BITS, 0, struct pp_memo);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct pp_memo_window);
} pp_memo_window SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct pp_notes);
} pp_notes SEC(".maps");

PP_INLINE void pp_note(struct pp_walk *w, struct pp_notes *n, u64 at, u64 value)
{
	u64 k = at - n->base, i = n->n;

	if (k & 7 || k >= PP_MEMO_WORDS * 8 || i >= PP_MEMO_NOTES) {
		w->odd = 1;
		return;
	}
	k >>= 3;
	PP_MASK(i, PP_MEMO_NOTES);
	n->at[i] = k;
	n->value[i] = value;
	n->n = i + 1;
	if (k >= n->n_words)
		n->n_words = k + 1;
}

PP_INLINE struct pp_notes *pp_notes_here(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&pp_notes, &zero);
}

PP_INLINE void pp_note_begin(struct pp_walk *w)
{
	struct pp_notes *n = pp_notes_here();

	w->noted = 1;
	if (!n)
		return;
	n->base = n->sp = w->sp;
	n->n = n->n_words = n->needs_fp = n->fp_known = 0;
}

/* What the last step has read. */
PP_GLOBAL int pp_note_step(struct pp_walk *w)
{
	struct pp_notes *n = pp_notes_here();

	if (!n || !w)
		return 0;
	if (w->fp_read == PP_NOWHERE) {
		n->needs_fp |= !n->fp_known;
	} else if (w->fp_read) { /* a frame record was where it pointed */
		pp_note(w, n, w->fp_read, w->record ? w->sp - 16 : w->fp);
		n->fp_known = 1;
	}
	w->fp_read = 0;
	if (w->sp == n->sp) /* it was the end */
		return 0;
	n->sp = w->sp;
	if (PP_LINK_REGISTER)
		pp_note(w, n, w->ra_at, w->ra_word);
	else
		pp_note(w, n, w->sp - 8, w->ip);
	if (w->record) {
		pp_note(w, n, w->sp - 16, w->fp);
		n->fp_known = 1;
	}
	return 0;
}

PP_INLINE struct pp_memo *pp_memo_take(const struct pp_memo_key *k)
{
	u64 h = (k->tid ^ k->ip ^ k->sp << 7) * 0x9fb21c651e98df25ull;
	u32 at = h >> (64 - PP_MEMO_BITS);
	struct pp_memo *m = bpf_map_lookup_elem(&pp_memo, &at);

	return m && !__sync_val_compare_and_swap(&m->taken, 0, 1) ? m : NULL;
}

/* Whether the stack is as noted. */
PP_INLINE int pp_memo_holds(const struct pp_memo *m, const struct pp_memo_key *k)
{
	u32 zero = 0, n = m->notes.n_words * 8;
	struct pp_memo_window *window = bpf_map_lookup_elem(&pp_memo_window, &zero);
	u64 differ = 0;

	if (!window || !n || n > sizeof(*window) || m->key.tid != k->tid || m->key.ip != k->ip || m->key.sp != k->sp ||
	    m->key.list != k->list || m->key.epoch != k->epoch || (m->notes.needs_fp && m->key.fp != k->fp))
		return 0;
	if (bpf_probe_read_user(window, n, (void *)k->sp))
		return 0;
	for (u32 i = 0; i < PP_MEMO_NOTES && i < m->notes.n; i++) {
		u64 at = m->notes.at[i];

		PP_MASK(at, PP_MEMO_WORDS);
		differ |= window->w[at] ^ m->notes.value[i];
	}
	return !differ;
}

/* The row of the stack; 0: it has to be walked. */
PP_GLOBAL int pp_memo_find(const struct pp_memo_key *k)
{
	struct pp_memo *m;
	u32 row = 0;

	if (!k)
		return 0;
	m = pp_memo_take(k);
	if (!m)
		return 0;
	if (pp_memo_holds(m, k))
		row = m->row;
	__sync_lock_test_and_set(&m->taken, 0);
	return row;
}

PP_INLINE void pp_memo_keep(const struct pp_memo_key *k, const struct pp_walk *w, u32 row)
{
	struct pp_notes *n = pp_notes_here();
	struct pp_memo *m;

	if (!row || !n || w->odd || w->end > PP_END_ZERO)
		return;
	m = pp_memo_take(k);
	if (!m)
		return;
	m->key = *k;
	m->row = row;
	m->notes = *n;
	__sync_lock_test_and_set(&m->taken, 0);
}

#define PP_NOTE_BEGIN(walk, key)                                                                   \
	do {                                                                                       \
		(walk)->noted = 0;                                                                 \
		if (key)                                                                           \
			pp_note_begin(walk);                                                       \
	} while (0)
#define PP_NOTE_STEP(walk)                                                                         \
	do {                                                                                       \
		if ((walk)->noted)                                                                 \
			pp_note_step(walk);                                                        \
	} while (0)
#define PP_NOTE_END(walk, key, row)                                                                \
	do {                                                                                       \
		if (key)                                                                           \
			pp_memo_keep(key, walk, row);                                              \
	} while (0)
