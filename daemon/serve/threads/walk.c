/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#define __TARGET_ARCH_x86
#define PP_NATIVE "daemon/serve/threads/native.h"
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-variable" /* of what native.h makes nothing of */
#include "bpf/unwind.bpf.h"
#pragma GCC diagnostic pop

#include "daemon/serve/threads/walk.h"

#define MAX_STACK (1u << 20) /* bytes above the stack pointer that are looked at */

/* One stack of the thread that is being walked, as far as it has been read. */
struct region {
	uint64_t base, from; /* from: as in walk_more_fn */
	const uint8_t *first;
	uint32_t n_first;
	uint8_t *deep; /* more of it, in pieces that follow the first bytes */
	uint32_t n_deep;
	bool ended;
};

/* The one that it is on; and the one that it was on when a signal came. */
struct memory {
	const struct walk_input *in;
	struct pt_regs registers;
	struct region regions[2];
};

static __thread struct memory *memory;

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

/* Reads on at the end of what there is. */
static bool read_more(const struct walk_input *in, struct region *g)
{
	uint64_t offset = (uint64_t)g->n_first + g->n_deep;
	uint32_t n;
	uint8_t *p;

	if (g->ended || !in->more || offset >= MAX_STACK)
		return false;
	p = realloc(g->deep, g->n_deep + PP_THREAD_STACK);
	if (!p)
		return false;
	g->deep = p;
	n = in->more(in->context, in->thread, g->from, offset, p + g->n_deep);
	g->n_deep += n <= PP_THREAD_STACK ? n : 0;
	g->ended = !n;
	return n;
}

static bool read_at(const struct walk_input *in, struct region *g, uint64_t at, uint8_t *to, uint32_t n)
{
	uint64_t offset = at - g->base;

	if (!g->base || offset >= MAX_STACK)
		return false;
	while (offset + n > g->n_first + g->n_deep)
		if (!read_more(in, g))
			return false;
	for (uint32_t i = 0; i < n; i++)
		to[i] = offset + i < g->n_first ? g->first[offset + i] : g->deep[offset + i - g->n_first];
	return true;
}

/* The registers of a signal frame, bp to ip, are what the walk reads in one piece of this size: the stack
 * pointer among them may be that of another stack. */
#define SIGNAL_WORDS 7
#define SIGNAL_SP 5

static long bpf_probe_read_user(void *to, uint32_t n, const void *from)
{
	struct region *g = memory->regions;
	uint64_t at = (uintptr_t)from;

	if (!read_at(memory->in, &g[0], at, to, n) && !read_at(memory->in, &g[1], at, to, n)) {
		memset(to, 0, n);
		return -14; /* EFAULT, as in the kernel */
	}
	if (n == SIGNAL_WORDS * 8 && !g[1].base) {
		memcpy(&g[1].base, (uint8_t *)to + SIGNAL_SP * 8, 8);
		g[1].from = at + SIGNAL_SP * 8;
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

static void set_registers(struct pt_regs *g, const __u64 *r)
{
	*g = (struct pt_regs){ .ax = r[0], .dx = r[1], .cx = r[2], .bx = r[3], .si = r[4], .di = r[5],
			       .bp = r[6], .sp = r[7], .r8 = r[8], .r9 = r[9], .r10 = r[10], .r11 = r[11],
			       .r12 = r[12], .r13 = r[13], .r14 = r[14], .r15 = r[15], .ip = r[16] };
}

uint32_t walk_thread(const struct walk_input *in, uint64_t words[PP_MAX_WORDS])
{
	struct memory m = { .in = in };
	struct region *own = &m.regions[0];
	struct pp_walk w = { .window_at = PP_NOWHERE };
	struct pp_start s;
	uint32_t n = 0;
	int last = 0;

	*own = (struct region){ .base = in->thread->registers[7], .first = in->stack,
				.n_first = in->thread->n_stack };
	memory = &m;
	set_registers(&m.registers, in->thread->registers);
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
	free(m.regions[0].deep);
	free(m.regions[1].deep);
	return n;
}
