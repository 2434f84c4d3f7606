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

/* The stack of the thread that is being walked, as far as it has been read. */
struct memory {
	const struct walk_input *in;
	struct pt_regs registers;
	uint8_t *deep; /* more of it, in pieces that follow thread->n_stack */
	uint32_t n_deep;
	bool ended;
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
static bool read_more(struct memory *m)
{
	const struct pp_thread *t = m->in->thread;
	uint64_t offset = (uint64_t)t->n_stack + m->n_deep;
	uint32_t n;
	uint8_t *p;

	if (m->ended || !m->in->more || offset >= MAX_STACK)
		return false;
	p = realloc(m->deep, m->n_deep + PP_THREAD_STACK);
	if (!p)
		return false;
	m->deep = p;
	n = m->in->more(m->in->context, t, offset, p + m->n_deep);
	m->n_deep += n <= PP_THREAD_STACK ? n : 0;
	m->ended = !n;
	return n;
}

static bool read_at(struct memory *m, uint64_t offset, uint8_t *to, uint32_t n)
{
	uint32_t n_first = m->in->thread->n_stack;

	while (offset + n > n_first + m->n_deep)
		if (!read_more(m))
			return false;
	for (uint32_t i = 0; i < n; i++)
		to[i] = offset + i < n_first ? m->in->stack[offset + i] : m->deep[offset + i - n_first];
	return true;
}

static long bpf_probe_read_user(void *to, uint32_t n, const void *from)
{
	uint64_t offset = (uintptr_t)from - memory->in->thread->registers[7];

	if (offset < MAX_STACK && read_at(memory, offset, to, n))
		return 0;
	memset(to, 0, n);
	return -14; /* EFAULT, as in the kernel */
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
	struct pp_walk w = { .window_at = PP_NOWHERE };
	struct pp_start s;
	uint32_t n = 0;
	int last = 0;

	memory = &m;
	set_registers(&m.registers, in->thread->registers);
	pp_start_registers(&s);
	pp_start(&w, &s);
	w.first = w.mapping = (uint32_t)(in->list >> 32);
	w.n = (uint32_t)in->list;
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
	free(m.deep);
	return n;
}
