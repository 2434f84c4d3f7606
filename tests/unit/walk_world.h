/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* walk_world.h - the BPF side as ordinary C, and a synthetic process for it to walk: four mappings,
 * rules and rows that the test writes, a stack. Every walk starts on scratch memory full of another
 * walk's leavings. Included by one file of a test program, behind cmocka.h. */

#ifndef __TARGET_ARCH_arm64
#define __TARGET_ARCH_x86 /* whatever the machine is */
#endif
#define PP_NATIVE "tests/unit/bpf_native.h"
#include "bpf/emit.bpf.h"

#define TEXT 0x400000ull /* a file with rows: object 1, address in the file = pc - TEXT + FILE */
#define FILE_AT 0x1000ull
#define N_TEXT 0x2000u
#define PLAIN 0x500000ull  /* a file without: object 2 */
#define JIT 0x600000ull	   /* anonymous */
#define OPAQUE 0x700000ull /* a file that could not be read: object 3 */
#define N_OTHER 0x1000u
#define STACK 0x7fff0000ull
#define N_STACK 0x8000ull /* bytes */
#define ALTERNATE 0x10000ull
#define JUNK 0xdeadbeefcafe0000ull

#define N_STACKS 64u
#define N_COUNTS 128u
#define N_POOL 1u
#define N_ROWS 64

struct world {
	struct pp_mapping_list mappings;
	struct pp_rule rules[256];
	unsigned n_rules;
	struct pp_chunk chunks[2];
	struct native_map slab;
	void *slabs[PP_MAX_SLABS];
	struct pp_state state;
	struct pp_stack stacks[2 * N_STACKS];
	struct pp_pool_chunk words[2 * N_POOL];
	struct pp_count counts[2 * N_COUNTS];
	struct pp_scratch scratch[PP_N_SCRATCH], spill[PP_N_SPILL];
	uint32_t target_slot;
	uint64_t stack[N_STACK / 8], alternate[512];
	struct {
		uint32_t at, rule;
	} rows[N_ROWS];
	unsigned n_rows;
	struct mm_struct mm;
	struct xol_area xol;
	struct uprobe_task utask;
	struct pp_process *process;
	struct pp_words *got;
	unsigned end;
};

static inline struct pp_mapping mapping(uint64_t start, uint32_t n, uint32_t object, uint32_t kind)
{
	return (struct pp_mapping){ .start = start,
				    .end = start + n,
				    .bias = object ? start - FILE_AT : 0,
				    .object = object,
				    .kind = kind };
}

static inline void make_maps(struct world *w)
{
	NATIVE_MAP(pp_mapping, &w->mappings, 1);
	NATIVE_MAP(pp_rule, w->rules, 256);
	NATIVE_MAP(pp_state, &w->state, 1);
	NATIVE_MAP(pp_stack, w->stacks, 2 * N_STACKS);
	NATIVE_MAP(pp_word, w->words, 2 * N_POOL);
	NATIVE_MAP(pp_count, w->counts, 2 * N_COUNTS);
	NATIVE_MAP(pp_scratch, w->scratch, PP_N_SCRATCH);
	NATIVE_MAP(pp_spill, w->spill, PP_N_SPILL);
	NATIVE_MAP(pp_targets, &w->target_slot, 64);
	w->slab = (struct native_map){ &w->slab, w->chunks, sizeof(w->chunks[0]), 2, false };
	w->slabs[0] = &w->slab;
	native_map(&pp_slabs, w->slabs, sizeof(void *), PP_MAX_SLABS);
	native.maps[native.n_maps - 1].of_maps = true;
}

static inline void make_task(struct world *w)
{
	native.task = (struct task_struct){ .comm = "worker",
					    .start_boottime = 77,
					    .self_exec_id = 5,
					    .group_leader = &native.task,
					    .mm = &w->mm,
					    .utask = &w->utask };
	w->mm.exec_vm = 100;
	w->process = &w->state.processes[0];
	*w->process = (struct pp_process){ .list = 1ull << 32 | 4,
					   .start_boottime = 77,
					   .exec_id = 5,
					   .exec_vm = 100,
					   .target = 9 };
	native_region(STACK, w->stack, N_STACK);
	native_region(ALTERNATE, w->alternate, sizeof(w->alternate));
	for (size_t i = 0; i < N_STACK / 8; i++)
		w->stack[i] = JUNK + i;
}

static inline int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	memset(&native, 0, sizeof(native));
	config = (struct pp_config){
		.seed = 1, .n_stacks = N_STACKS, .n_counts = N_COUNTS, .n_pool_chunks = N_POOL
	};
	w->mappings.m[0] = mapping(0, 0x400000, 99, PP_MAPPING_OPAQUE); /* another process's */
	w->mappings.m[1] = mapping(TEXT, N_TEXT, 1, PP_MAPPING_TABLE);
	w->mappings.m[1].base = TEXT;
	w->mappings.m[1].n_granules = N_TEXT >> PP_GRANULE_BITS;
	w->mappings.m[1].hint = 100;
	w->mappings.m[2] = mapping(PLAIN, N_OTHER, 2, PP_MAPPING_FRAME_POINTER);
	w->mappings.m[3] = mapping(JIT, N_OTHER, 0, PP_MAPPING_ANONYMOUS);
	w->mappings.m[4] = mapping(OPAQUE, N_OTHER, 3, PP_MAPPING_OPAQUE);
	make_maps(w);
	make_task(w);
	*state = w;
	return 0;
}

static inline int teardown(void **state)
{
	free(*state);
	return 0;
}

/* From TEXT + at on, this rule; in ascending order. */
static inline void code(struct world *w, uint32_t at, struct pp_rule q)
{
	w->rules[w->n_rules] = q;
	w->rows[w->n_rows].at = at;
	w->rows[w->n_rows++].rule = w->n_rules++;
}

#define CODE(w, at, ...) code(w, at, (struct pp_rule){ __VA_ARGS__ })

/* The rows as the symbolizer's would lie in the chunk: hints from word 100, rows from word 200. */
static inline void lay_out(struct world *w)
{
	uint32_t *words = w->chunks[0].w, at = 200;
	unsigned i = 0, current = 255; /* a gap */

	for (uint32_t g = 0; g < N_TEXT >> PP_GRANULE_BITS; g++) {
		words[100 + g] = at;
		if (i == w->n_rows || w->rows[i].at > g << PP_GRANULE_BITS)
			words[at++] = current;
		for (; i < w->n_rows && w->rows[i].at >> PP_GRANULE_BITS == g; i++) {
			current = w->rows[i].rule;
			words[at++] = (w->rows[i].at & 511) << PP_RULE_BITS | current;
		}
	}
	words[100 + (N_TEXT >> PP_GRANULE_BITS)] = at;
}

static inline uint64_t *at(struct world *w, uint64_t address)
{
	assert_true(address >= STACK && address < STACK + N_STACK && !(address & 7));
	return &w->stack[(address - STACK) / 8];
}

struct registers {
	uint64_t ip, sp, fp, bx;
};

static inline void walk_at_most(struct world *w, struct registers r, uint32_t max)
{
	struct pp_scratch *s = &w->scratch[0];

#if defined(__TARGET_ARCH_arm64)
	native.registers.pc = r.ip;
	native.registers.regs[29] = r.fp;
	native.registers.regs[30] = r.bx;
#else
	native.registers.ip = r.ip;
	native.registers.bp = r.fp;
	native.registers.bx = r.bx;
#endif
	native.registers.sp = r.sp;
	lay_out(w);
	memset(s, 0xa5, sizeof(*s)); /* what a walk before us left */
	for (int i = 0; i < PP_WINDOW; i++)
		s->walk.window[i] = TEXT + 0x123;
	s->words.n = 0;
	s->words.hash = 1;
	pp_walk_init(&s->walk, w->process, &(struct pp_event){ 0 });
	pp_walk_stack(s, max);
	w->got = &s->words;
	w->end = s->walk.end;
}

static inline void walk(struct world *w, uint64_t ip, uint64_t sp, uint64_t fp)
{
	walk_at_most(w, (struct registers){ ip, sp, fp, JUNK }, PP_MAX_FRAMES);
}

static inline uint64_t frame(uint64_t pc)
{
	return PP_FRAME(1, pc - TEXT + FILE_AT);
}

/* The innermost frame's pc, then return addresses; 0 ends. Then the marker, if not complete. */
static inline void expect(struct world *w, unsigned end, uint32_t object, const uint64_t *pcs)
{
	unsigned n = 0;

	for (; pcs[n]; n++) {
		uint64_t pc = pcs[n] - (n > 0);

		assert_true(n < w->got->n);
		if (pc >= TEXT && pc < TEXT + N_TEXT)
			assert_int_equal(w->got->w[n], frame(pc));
		else if (pc >= PLAIN && pc < PLAIN + N_OTHER)
			assert_int_equal(w->got->w[n], PP_FRAME(2, pc - PLAIN + FILE_AT));
		else if (pc >= OPAQUE && pc < OPAQUE + N_OTHER)
			assert_int_equal(w->got->w[n], PP_FRAME(3, pc - OPAQUE + FILE_AT));
		else
			assert_int_equal(w->got->w[n], PP_RAW(pc));
	}
	assert_int_equal(w->end, end);
	if (end > PP_END_ZERO)
		assert_int_equal(w->got->w[n++], PP_MARKER(end, object));
	assert_int_equal(w->got->n, n);
}

#define EXPECT(w, end, object, ...) expect(w, end, object, (const uint64_t[]){ __VA_ARGS__, 0 })

#define SP(n) .kind = PP_RULE_SP, .cfa_offset = (n)
#define FP(n) .kind = PP_RULE_FP, .cfa_offset = (n)
#define FP_AT(n) .fp_saved = PP_SAVED_CFA, .fp_offset = (n)
#define BX_AT(n) .bx_saved = PP_SAVED_CFA, .bx_offset = (n)
#define OUTERMOST .kind = PP_RULE_OUTERMOST

static inline void recursion(struct world *w, unsigned n)
{
	CODE(w, 0, SP(8));
	CODE(w, 0x100, OUTERMOST);
	for (unsigned i = 0; i < n - 2; i++)
		*at(w, STACK + i * 8) = TEXT + 0x10;
	*at(w, STACK + (n - 2) * 8) = TEXT + 0x110;
}
