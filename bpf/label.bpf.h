/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* label.bpf.h - which labels does the current thread have?
 *
 * Copies what stands in variables of the thread (event.h says which) into one set of words and stores it as a
 * stack is. Serve makes keys and values of it. The thread is interrupted, so it writes nothing meanwhile;
 * what it was just writing is left out by the writer's own marks. Everything read is bounded and nothing
 * of it is believed. */

#include "maps.bpf.h"
#include "pool.bpf.h"

#include PP_LABEL_MACHINE

#define PP_LABEL_FEW 2 /* labels that are read along with their number */
#define PP_LABEL_AT_MASK 256 /* first word of a block; the largest has 1 + 64 words */
_Static_assert(PP_LABEL_AT_MASK + PP_LABEL_MAX * PP_LABEL_SIZE / 8 <= PP_MAX_WORDS, "a last block fits");
_Static_assert(4 + PP_LABEL_ATTRIBUTES / 8 <= 1 + PP_LABEL_MAX * PP_LABEL_SIZE / 8, "none is larger");

PP_INLINE u64 pp_label_found(const struct pp_label_source *s, u64 module, u64 offset)
{
	if (module > 0xffff || (s64)offset != (s32)offset)
		return 0;
	return (u64)s->serial << 48 | module << 32 | (u32)offset;
}

/* What the dynamic linker has decided; 0: nothing yet, or nothing we understand. */
PP_GLOBAL u64 pp_label_look_up(struct pp_label_source *s)
{
	u64 slot[2] = { 0 }, found = 0;

	if (!s)
		return 0;
	if (s->where == PP_LABELS_AT_OFFSET) {
		found = pp_label_found(s, 0, (s64)s->offset);
	} else if (bpf_probe_read_user(slot, sizeof(slot), (void *)s->slot)) {
		return 0;
	} else if (s->where == PP_LABELS_SLOT_OFFSET) {
		found = slot[0] ? pp_label_found(s, 0, slot[0]) : 0;
	} else if (s->where == PP_LABELS_SLOT_DESCRIPTOR && PP_TLS_IS_OFFSET(slot[1])) {
		found = pp_label_found(s, 0, slot[1]);
	} else {
		if (s->where == PP_LABELS_SLOT_DESCRIPTOR &&
		    (!slot[1] || bpf_probe_read_user(slot, sizeof(slot), (void *)slot[1])))
			return 0;
		if (s->where == PP_LABELS_SLOT_MODULE)
			slot[1] = (s64)s->offset;
		found = slot[0] ? pp_label_found(s, slot[0], slot[1]) : 0;
	}
	if (found)
		*(volatile u64 *)&s->found = found;
	return found;
}

/* Address of the source's variable in the current thread; 0: it has none, or not yet. */
PP_GLOBAL u64 pp_label_address(struct pp_label_source *s, u32 musl)
{
	u64 thread = pp_thread_pointer(), found, module, vector, n = 0, block = 0;

	if (!s || !thread)
		return 0;
	found = PP_READ_ONCE(s->found);
	if (found >> 48 != s->serial)
		found = pp_label_look_up(s);
	if (!found)
		return 0;
	module = found >> 32 & 0xffff;
	if (!module)
		return thread + (s64)(s32)found;
	if (bpf_probe_read_user(&vector, 8, (void *)(thread + PP_VECTOR_AT(musl))) ||
	    bpf_probe_read_user(&n, 8, (void *)(vector - (musl ? 0 : 16))) || module > n ||
	    bpf_probe_read_user(&block, 8, (void *)(vector + module * (musl ? 8 : 16))))
		return 0;
	if (!block || block == ~0ull) /* this thread has not used it yet */
		return 0;
	return block + (s64)(s32)found;
}

/* Labels of eight words each, from word `at` on, become as long as their texts: fewer words to hash, to compare and
 * to keep. How many words are left. */
PP_GLOBAL int pp_labels_pack(struct pp_words *s, u64 at, u32 n)
{
	u64 from = at, to = at;

	if (!s)
		return 0;
	for (u32 i = 0; i < PP_LABEL_MAX && i < n; i++) {
		u64 first = from;
		u32 words;

		PP_MASK(first, PP_MAX_WORDS);
		words = PP_LABEL_TEXT_WORDS(s->w[first]);
		for (u32 k = 0; to != from && k < PP_LABEL_SIZE / 8 && k < words; k++) {
			u64 a = from + k, b = to + k;

			PP_MASK(a, PP_MAX_WORDS);
			PP_MASK(b, PP_MAX_WORDS);
			s->w[b] = s->w[a];
		}
		from += PP_LABEL_SIZE / 8;
		to += words;
	}
	return to - at;
}

/* Each of these leaves a block at word `at` and answers how many words it has; 0: no labels. */
PP_GLOBAL int pp_labels_ours(struct pp_words *s, u64 at, u64 from)
{
	u32 n;

	PP_MASK(at, PP_LABEL_AT_MASK);
	if (!s || bpf_probe_read_user(&s->w[at], 8 + PP_LABEL_FEW * PP_LABEL_SIZE, (void *)from))
		return 0;
	n = s->w[at];
	if (!n || n > PP_LABEL_MAX)
		return 0;
	if (n > PP_LABEL_FEW &&
	    bpf_probe_read_user(&s->w[at + 1], PP_LABEL_MAX * PP_LABEL_SIZE, (void *)(from + 8)))
		return 0;
	n = pp_labels_pack(s, at + 1, n) & 0x7f;
	s->w[at] = PP_LABEL_BLOCK(PP_LABELS_OURS, n, 0);
	return n + 1;
}

struct pp_otel_record {
	u64 trace[2], span;
	u8 valid, flags;
	u16 n_attributes;
	u32 attributes;
};

PP_GLOBAL int pp_labels_otel(struct pp_words *s, u64 at, u64 from, u32 ids)
{
	struct pp_otel_record r = { 0 };
	u64 n, last;

	PP_MASK(at, PP_LABEL_AT_MASK);
	if (!s || bpf_probe_read_user(&from, 8, (void *)from) || !from ||
	    bpf_probe_read_user(&r, 28, (void *)from) || r.valid != 1)
		return 0;
	n = r.n_attributes < PP_LABEL_ATTRIBUTES ? r.n_attributes : PP_LABEL_ATTRIBUTES - 1;
	if (!ids)
		r.trace[0] = r.trace[1] = r.span = 0;
	if (!n && !(r.trace[0] | r.trace[1] | r.span))
		return 0;
	PP_MASK(n, PP_LABEL_ATTRIBUTES);
	last = n >> 3;
	PP_MASK(last, PP_LABEL_ATTRIBUTES / 8);
	s->w[at + 4 + last] = 0;
	if (n && bpf_probe_read_user(&s->w[at + 4], n, (void *)(from + 28)))
		n = 0;
	s->w[at + 1] = r.trace[0];
	s->w[at + 2] = r.trace[1];
	s->w[at + 3] = r.span;
	last = 3 + ((n + 7) >> 3);
	s->w[at] = PP_LABEL_BLOCK(PP_LABELS_OTEL, last, n);
	return last + 1;
}

struct pp_custom_set {
	u64 storage, n;
};

struct pp_custom_label {
	u64 n_key, key, n_value, value;
};

/* One label into eight words, which it fills; 0: it is none. */
PP_GLOBAL int pp_label_custom(struct pp_words *s, u64 at, u64 from)
{
	struct pp_custom_label l;
	u64 n_key, n_value;
	char *text;

	if (!s || at > PP_MAX_WORDS - PP_LABEL_SIZE / 8 - 4 || bpf_probe_read_user(&l, sizeof(l), (void *)from) ||
	    !l.key || !l.value || !l.n_key)
		return 0;
	for (int i = 0; i < PP_LABEL_SIZE / 8; i++)
		s->w[at + i] = 0;
	n_key = l.n_key < 32 ? l.n_key : 31;
	n_value = sizeof(((struct pp_label *)0)->text) - n_key;
	n_value = l.n_value < n_value ? l.n_value : n_value;
	PP_MASK(n_key, 32);
	PP_MASK(n_value, 64);
	text = (char *)&s->w[at];
	text[0] = n_key;
	text[1] = n_value;
	if (bpf_probe_read_user(text + 2, n_key, (void *)l.key) ||
	    (n_value && bpf_probe_read_user(text + 2 + n_key, n_value, (void *)l.value)))
		return 0;
	return 1;
}

PP_GLOBAL int pp_labels_custom(struct pp_words *s, u64 at, u64 from)
{
	u64 slot, storage, n_set;
	u32 n = 0;

	/* the words are where the label comes to stand: 512 bytes of stack are for the whole chain of calls */
	PP_MASK(at, PP_LABEL_AT_MASK);
	if (!s || bpf_probe_read_user(&s->w[at], 8, (void *)from) || !s->w[at] ||
	    bpf_probe_read_user(&s->w[at], sizeof(struct pp_custom_set), (void *)s->w[at]))
		return 0;
	storage = s->w[at];
	n_set = s->w[at + 1];
	for (u32 i = 0; i < PP_LABEL_MAX && i < n_set; i++) {
		slot = at + 1 + n;
		if (!pp_label_custom(s, slot, storage + i * sizeof(struct pp_custom_label)))
			continue;
		PP_MASK(slot, PP_MAX_WORDS);
		n += PP_LABEL_TEXT_WORDS(s->w[slot]);
	}
	s->w[at] = PP_LABEL_BLOCK(PP_LABELS_CUSTOM, n & 0xff, 0);
	return n ? n + 1 : 0;
}

/* Half of what a process may store is for labels that come again. */
PP_INLINE u32 pp_labels_few(const struct pp_labels *l, u32 half)
{
	if (l->n_sets[half & 1] < config.n_stacks / 32)
		return 1;
	pp_bump(PP_STAT_LABEL_IDS);
	return 0;
}

/* The words of source k behind those that are there. */
PP_GLOBAL int pp_labels_from(struct pp_words *s, u32 k, u32 before)
{
	u32 zero = 0;
	struct pp_label_list *l = bpf_map_lookup_elem(&pp_labels, &zero);
	struct pp_label_source *source;
	u64 p, address, at;
	u32 kind;

	if (!s || !l)
		return 0;
	p = s->labels - 1;
	PP_MASK(p, PP_MAX_PROCESSES);
	at = k;
	PP_MASK(at, PP_LABEL_SOURCES);
	source = &l->p[p].sources[at];
	kind = source->kind;
	if (!kind) /* a read that faults would cost a microsecond */
		return 0;
	address = pp_label_address(source, l->p[p].musl);
	if (!address || address == s->hash) /* the same variable, found by another file */
		return 0;
	s->hash = address;
	if (kind == PP_LABELS_OURS)
		return pp_labels_ours(s, before, address);
	if (kind == PP_LABELS_OTEL)
		return pp_labels_otel(s, before, address, s->ids && pp_labels_few(&l->p[p], s->half));
	if (kind == PP_LABELS_CUSTOM)
		return pp_labels_custom(s, before, address);
	return 0;
}

/* The words of the current thread's labels, 0: it has none. s: half, epoch and labels are set. */
PP_GLOBAL int pp_labels_collect(struct pp_words *s)
{
	u32 zero = 0, at = 0, n;
	struct pp_label_list *l = bpf_map_lookup_elem(&pp_labels, &zero);
	u64 p;

	if (!s || !l)
		return 0;
	p = s->labels - 1;
	PP_MASK(p, PP_MAX_PROCESSES);
	n = l->p[p].n;
	s->hash = 0;
	for (u32 k = 0; k < PP_LABEL_SOURCES && k < n && at < PP_LABEL_AT_MASK; k++)
		at += pp_labels_from(s, k, at) & 0x7f;
	return at;
}

/* Row + 1 of them, 0: none, or no room. */
PP_GLOBAL int pp_labels_of(struct pp_words *s)
{
	u32 at = s ? pp_labels_collect(s) : 0;

	if (!s || !at)
		return 0;
	s->n = at;
	s->hash = config.seed ^ s->labels;
	for (u32 i = 0; i < PP_MAX_WORDS && i < at; i++)
		s->hash = pp_mix(s->hash, s->w[i]);
	return pp_stack_put(s);
}
