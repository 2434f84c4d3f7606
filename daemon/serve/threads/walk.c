/* SPDX-License-Identifier: Apache-2.0 */
#define PP_NATIVE "daemon/serve/threads/native.h"
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-variable" /* of what native.h makes nothing of */
#include "bpf/unwind.bpf.h"
#pragma GCC diagnostic pop

#include "base/address.h"
#include "daemon/serve/threads/walk.h"

/* One stack of the thread that is being walked, as far as it has been read. */
struct region {
	uint64_t base;
	const uint8_t *bytes;
	uint32_t n, wanted; /* wanted: bytes that would have been needed */
	bool ends;	    /* behind n there is nothing */
};

/* The one that it is on; and the one that it was on when a signal came. */
struct memory {
	const struct walk_input *in;
	struct pt_regs registers;
	struct region regions[2];
	uint64_t from; /* where the second one's stack pointer stands */
};

static __thread struct memory *memory;

static void __attribute__((constructor)) set(void)
{
	config.address_mask = address_mask();
}

static void *slab_word(const struct tables *t, uint32_t slab, uint32_t chunk)
{
	if (slab >= t->n_slabs || chunk >= 1u << PP_SLAB_BITS)
		return NULL;
	return t->slabs[slab] + ((size_t)chunk << PP_CHUNK_BITS);
}

/* pp_slabs gives an inner map, whose element is asked for next: its number stands for it. */
static void *bpf_map_lookup_elem(const void *map, const void *key)
{
	const struct tables *t = memory->in->tables;
	uint32_t k = *(const uint32_t *)key;
	uintptr_t inner = (uintptr_t)map;

	if (map == &pp_mapping)
		return k ? NULL : t->mappings;
	if (map == &pp_rule)
		return k < PP_MAX_RULES ? &t->rules[k] : NULL;
	if (map == &pp_slabs)
		return k < t->n_slabs ? (void *)(uintptr_t)(k + 1) : NULL;
	if (inner && inner <= PP_MAX_SLABS)
		return slab_word(t, (uint32_t)inner - 1, k);
	return NULL;
}

static bool read_at(const struct region *g, uint64_t at, void *to, uint32_t n)
{
	uint64_t offset = at - g->base;

	if (!g->base || offset > g->n || n > g->n - offset)
		return false;
	memcpy(to, g->bytes + offset, n);
	return true;
}

static void note_wanted(struct region *g, uint64_t at, uint32_t n)
{
	uint64_t offset = at - g->base;

	if (g->base && !g->ends && offset <= WALK_MAX_STACK - n && offset + n > g->wanted)
		g->wanted = (uint32_t)offset + n;
}

/* Another stack has been found: it may be the one of which there are bytes. */
static void found_other(struct memory *m, uint64_t from, uint64_t base)
{
	const struct pp_thread *t = m->in->thread;
	bool known = m->in->other && from == m->in->from;

	m->from = from;
	m->regions[1] = (struct region){ .base = base, .bytes = m->in->other, .n = known ? t->n_other : 0,
					 .ends = known && t->ends & PP_ENDS_OTHER };
}

static long bpf_probe_read_user(void *to, uint32_t n, const void *from)
{
	struct region *g = memory->regions;
	uint64_t at = (uintptr_t)from;

	if (!read_at(&g[0], at, to, n) && !read_at(&g[1], at, to, n)) {
		note_wanted(&g[0], at, n);
		note_wanted(&g[1], at, n);
		memset(to, 0, n);
		return -14; /* EFAULT, as in the kernel */
	}
	/* The registers of a signal frame are what the walk reads in one piece of this size: the stack pointer among
	 * them may be that of another stack. */
	if (n == PP_SIGNAL_WORDS * 8 && !g[1].base) {
		uint64_t base;

		memcpy(&base, (uint8_t *)to + PP_SIGNAL_SP * 8, 8);
		found_other(memory, at + PP_SIGNAL_SP * 8, base);
	}
	return 0;
}

static struct task_struct *bpf_get_current_task_btf(void)
{
	return NULL; /* bpf_task_pt_regs does not look at it */
}

static long bpf_task_pt_regs(struct task_struct *t)
{
	return (long)(uintptr_t)&memory->registers;
}

uint32_t walk_thread(const struct walk_input *in, uint64_t words[PP_MAX_WORDS], struct walk_more *ret_more)
{
	struct memory m = { .in = in };
	struct pp_walk w = { .window_at = PP_NOWHERE };
	struct pp_start s;
	uint32_t n = 0;
	int last = 0;

	m.regions[0] = (struct region){ .base = in->thread->registers[PP_THREAD_SP], .bytes = in->stack,
					.n = in->thread->n_stack, .ends = in->thread->ends & PP_ENDS_STACK };
	memory = &m;
	pp_set_registers(&m.registers, in->thread->registers);
	pp_start_registers(&s);
	pp_start(&w, &s);
	w.first = w.mapping = PP_LIST_FIRST(in->list);
	w.n = PP_LIST_N(in->list);
	w.end = PP_END_UNREADABLE;
	while (n < PP_MAX_FRAMES && !last) {
		last = pp_step(&w);
		words[n++] = w.frame;
	}
	if (!last)
		w.end = PP_END_TRUNCATED;
	if (w.end > PP_END_ZERO)
		words[n++] = PP_MARKER(w.end, w.object);
	memory = NULL;
	/* a walk that came to its end has missed nothing: it reads ahead where it can */
	*ret_more = (struct walk_more){ 0 };
	if (w.end > PP_END_ZERO && w.end != PP_END_TRUNCATED)
		*ret_more = (struct walk_more){ m.regions[0].wanted, m.regions[1].wanted, m.from };
	return n;
}
