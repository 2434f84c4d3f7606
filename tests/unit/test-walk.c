/* SPDX-License-Identifier: Apache-2.0 */

/* How the BPF walker follows each kind of rule. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/walk_world.h"

static void test_stack_pointer_frames_to_the_outermost(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(8));
	CODE(w, 0x100, SP(64));
	CODE(w, 0x200, OUTERMOST);
	*at(w, STACK) = TEXT + 0x110;
	*at(w, STACK + 8 + 56) = TEXT + 0x210;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 5, TEXT + 0x110, TEXT + 0x210);
}

static void test_return_address_0_is_complete(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(8));
	*at(w, STACK) = 0;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_ZERO, 0, TEXT + 5);
}

static void test_a_call_at_the_end_of_a_function_is_that_functions(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(8));
	CODE(w, 0x100, SP(16));
	CODE(w, 0x180, OUTERMOST); /* where the call would return to, if it did */
	*at(w, STACK) = TEXT + 0x180;
	*at(w, STACK + 16) = 0;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_ZERO, 0, TEXT + 5, TEXT + 0x180);
}

static void test_row_search_at_the_edges_of_granules(void **state)
{
	struct world *w = *state;

	CODE(w, 0x000, SP(8));
	CODE(w, 0x1ff, SP(16));
	CODE(w, 0x200, SP(24));
	CODE(w, 0x3ff, SP(32)); /* the next granule has no row of its own */
	CODE(w, 0x600, SP(40));
	lay_out(w);
	for (uint32_t pc = 0; pc < 0x700; pc++) {
		uint32_t wanted = pc < 0x1ff ? 8 :
				  pc < 0x200 ? 16 :
				  pc < 0x3ff ? 24 :
				  pc < 0x600 ? 32 :
					       40;
		int rule = pp_find_rule(100 + (pc >> PP_GRANULE_BITS), pc & 511);

		assert_true(rule >= 0);
		assert_int_equal(w->rules[rule].cfa_offset, wanted);
	}
}

static void test_rows_in_no_slab_are_a_gap(void **state)
{
	struct world *w = *state;

	w->mappings.m[1].hint = 5u << (PP_CHUNK_BITS + PP_SLAB_BITS);
	walk(w, TEXT + 5, STACK, STACK + 8);
	EXPECT(w, PP_END_NO_MAPPING, 0, TEXT + 5, JUNK + 2);
	w->mappings.m[1].hint = 2u << PP_CHUNK_BITS; /* a chunk that is not there */
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_GAP, 1, TEXT + 5);
}

static void test_pc_behind_the_last_granule_is_a_gap(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(8));
	w->mappings.m[1].n_granules = 1;
	walk(w, TEXT + 0x200, STACK, JUNK);
	EXPECT(w, PP_END_GAP, 1, TEXT + 0x200);
}

static void test_frame_pointer_rule(void **state)
{
	struct world *w = *state;

	CODE(w, 0, FP(16), FP_AT(-16));
	CODE(w, 0x100, OUTERMOST);
	*at(w, STACK + 0x40) = STACK + 0x100;
	*at(w, STACK + 0x48) = TEXT + 0x10;
	*at(w, STACK + 0x100) = 0;
	*at(w, STACK + 0x108) = TEXT + 0x110;
	walk(w, TEXT + 5, STACK, STACK + 0x40);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 5, TEXT + 0x10, TEXT + 0x110);
}

/* A saved register is read when a rule needs it and not before. */
static void test_frame_pointer_that_nobody_needs_may_be_anywhere(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(8), FP_AT(0x100000));
	CODE(w, 0x100, SP(16), .fp_saved = PP_SAVED_LOST, .bx_saved = PP_SAVED_LOST);
	CODE(w, 0x200, OUTERMOST);
	*at(w, STACK) = TEXT + 0x110;
	*at(w, STACK + 16) = TEXT + 0x210;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 5, TEXT + 0x110, TEXT + 0x210);
}

static void test_frame_pointer_is_found_where_an_inner_frame_saved_it(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(32), FP_AT(-16));
	CODE(w, 0x100, SP(48)); /* leaves it alone */
	CODE(w, 0x200, FP(16));
	CODE(w, 0x300, OUTERMOST);
	*at(w, STACK + 16) = STACK + 0x80;
	*at(w, STACK + 24) = TEXT + 0x110;
	*at(w, STACK + 32 + 40) = TEXT + 0x210;
	*at(w, STACK + 0x88) = TEXT + 0x310;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 5, TEXT + 0x110, TEXT + 0x210, TEXT + 0x310);
}

static void test_unreadable_frame_pointer_ends_the_walk_that_needs_it(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(8), FP_AT(0x100000));
	CODE(w, 0x100, FP(16));
	*at(w, STACK) = TEXT + 0x110;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_BAD_FRAME_POINTER, 1, TEXT + 5, TEXT + 0x110);
}

static void test_lost_frame_pointer_is_not_taken_from_an_earlier_walk(void **state)
{
	struct world *w = *state;

	/* a large frame: its return address is read by itself, the window stays unread */
	CODE(w, 0, SP(0x400), .fp_saved = PP_SAVED_LOST);
	CODE(w, 0x100, FP(16));
	*at(w, STACK + 0x3f8) = TEXT + 0x110;
	walk(w, TEXT + 5, STACK, STACK + 0x500);
	EXPECT(w, PP_END_BAD_FRAME_POINTER, 1, TEXT + 5, TEXT + 0x110);
}

static void test_stack_at_the_bottom_of_memory_is_not_taken_from_an_earlier_walk(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(8));
	for (uint64_t sp = 1; sp < 0x100; sp++) {
		walk(w, TEXT + 5, sp, JUNK);
		EXPECT(w, PP_END_UNREADABLE, 1, TEXT + 5);
	}
}

static void test_rbx_is_followed_like_the_frame_pointer(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(24), BX_AT(-16));
	CODE(w, 0x100, .kind = PP_RULE_BX, .cfa_offset = 16); /* _dl_runtime_resolve */
	CODE(w, 0x200, OUTERMOST);
	*at(w, STACK + 8) = STACK + 0x200;
	*at(w, STACK + 16) = TEXT + 0x110;
	*at(w, STACK + 0x208) = TEXT + 0x210;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 5, TEXT + 0x110, TEXT + 0x210);
}

static void test_rbx_of_the_innermost_frame(void **state)
{
	struct world *w = *state;

	CODE(w, 0, .kind = PP_RULE_BX, .cfa_offset = 16);
	*at(w, STACK + 0x208) = 0;
	walk_at_most(w, (struct registers){ TEXT + 5, STACK, JUNK, STACK + 0x200 }, 255);
	EXPECT(w, PP_END_ZERO, 0, TEXT + 5);
}

static void test_lost_rbx_ends_the_walk_that_needs_it(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(8), .bx_saved = PP_SAVED_LOST);
	CODE(w, 0x100, .kind = PP_RULE_BX, .cfa_offset = 16);
	*at(w, STACK) = TEXT + 0x110;
	walk_at_most(w, (struct registers){ TEXT + 5, STACK, JUNK, STACK + 0x200 }, 255);
	EXPECT(w, PP_END_UNREADABLE, 1, TEXT + 5, TEXT + 0x110);
}

static void test_rbx_behind_a_frame_pointer_frame_is_lost(void **state)
{
	struct world *w = *state;

	CODE(w, 0x100, .kind = PP_RULE_BX, .cfa_offset = 16);
	*at(w, STACK + 8) = 0;
	*at(w, STACK + 16) = TEXT + 0x110;
	walk_at_most(w, (struct registers){ JIT + 5, STACK, STACK + 8, STACK + 0x200 }, 255);
	EXPECT(w, PP_END_UNREADABLE, 1, JIT + 5, TEXT + 0x110);
}

static void test_lazy_binding_stub_on_both_sides_of_its_push(void **state)
{
	struct world *w = *state;

	CODE(w, 0, .kind = PP_RULE_PLT, .aux = 11);
	CODE(w, 0x100, OUTERMOST);
	*at(w, STACK) = TEXT + 0x110;
	*at(w, STACK + 8) = TEXT + 0x120;
	for (unsigned i = 0; i < 32; i++) {
		walk(w, TEXT + i, STACK, JUNK);
		EXPECT(w, PP_END_OUTERMOST, 0, TEXT + i,
		       (i & 15) >= 11 ? TEXT + 0x120 : TEXT + 0x110);
	}
}

static void test_cfa_by_memory(void **state)
{
	struct world *w = *state;

	/* DRAP: *(rbp - 8), rbp by *(rbp); then OpenSSL's *(rsp + 24) + 8 */
	CODE(w, 0, .kind = PP_RULE_DEREF_FP, .cfa_offset = -8, .fp_saved = PP_SAVED_FP);
	CODE(w, 0x100, .kind = PP_RULE_DEREF_SP, .cfa_offset = 24, .aux = 8);
	CODE(w, 0x200, FP(16));
	*at(w, STACK + 0x38) = STACK + 0x80;
	*at(w, STACK + 0x40) = STACK + 0x300;
	*at(w, STACK + 0x78) = TEXT + 0x110;
	*at(w, STACK + 0x80 + 24) = STACK + 0x200;
	*at(w, STACK + 0x200) = TEXT + 0x210;
	*at(w, STACK + 0x308) = 0;
	walk(w, TEXT + 5, STACK, STACK + 0x40);
	EXPECT(w, PP_END_ZERO, 0, TEXT + 5, TEXT + 0x110, TEXT + 0x210);
}

static void test_cfa_by_unreadable_memory(void **state)
{
	struct world *w = *state;

	CODE(w, 0, .kind = PP_RULE_DEREF_SP, .cfa_offset = 0x100000);
	CODE(w, 0x100, .kind = PP_RULE_DEREF_FP, .cfa_offset = -8);
	CODE(w, 0x200, SP(8), FP_AT(0x100000));
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_UNREADABLE, 1, TEXT + 5);
	walk(w, TEXT + 0x105, STACK, JUNK);
	EXPECT(w, PP_END_UNREADABLE, 1, TEXT + 0x105);
	*at(w, STACK) = TEXT + 0x110;
	walk(w, TEXT + 0x205, STACK, JUNK);
	EXPECT(w, PP_END_BAD_FRAME_POINTER, 1, TEXT + 0x205, TEXT + 0x110);
}

static void test_cfa_of_0_is_named(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(-8));
	walk(w, TEXT + 5, 8, JUNK);
	EXPECT(w, PP_END_UNREADABLE, 1, TEXT + 5);
}

/* By DWARF number; sp is not asked this way. */
static void set_register(struct pt_regs *g, unsigned n, uint64_t v)
{
	unsigned long *const all[16] = { &g->ax,  &g->dx,  &g->cx,  &g->bx, &g->si,  &g->di,
					 &g->bp,  &g->sp,  &g->r8,  &g->r9, &g->r10, &g->r11,
					 &g->r12, &g->r13, &g->r14, &g->r15 };

	*all[n] = v;
}

static void test_any_register_of_the_innermost_frame(void **state)
{
	struct world *w = *state;

	for (unsigned n = 0; n < 16; n++) {
		if (n == 7)
			continue;
		w->n_rows = w->n_rules = 0;
		CODE(w, 0, .kind = PP_RULE_REGISTER, .reg = (uint8_t)n, .cfa_offset = 8);
		CODE(w, 0x100, OUTERMOST);
		memset(&native.registers, 0x11, sizeof(native.registers));
		set_register(&native.registers, n, STACK + 0x80);
		*at(w, STACK + 0x80) = TEXT + 0x110;
		walk_at_most(w,
			     (struct registers){ TEXT + 5, STACK, n == 6 ? STACK + 0x80 : JUNK,
						 n == 3 ? STACK + 0x80 : JUNK },
			     255);
		EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 5, TEXT + 0x110);
	}
}

static void test_register_of_an_outer_frame_is_not_known(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(8));
	CODE(w, 0x100, .kind = PP_RULE_REGISTER, .reg = 10);
	CODE(w, 0x200, SP(8), .reg = PP_RA_REGISTER, .aux = 5);
	*at(w, STACK) = TEXT + 0x110;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_LEAF_REGISTER, 1, TEXT + 5, TEXT + 0x110);
	*at(w, STACK) = TEXT + 0x210;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_LEAF_REGISTER, 1, TEXT + 5, TEXT + 0x210);
}

static void test_return_address_in_a_register(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(0), .reg = PP_RA_REGISTER, .aux = 5); /* vfork: rdi */
	CODE(w, 0x100, SP(8));
	native.registers.di = TEXT + 0x110;
	*at(w, STACK) = 0;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_ZERO, 0, TEXT + 5, TEXT + 0x110);
}

/* A signal frame at `sp`, as rt_sigframe has it behind the return address. */
static void signal_frame(uint64_t *frame, const uint64_t registers[17])
{
	static const uint8_t order[17] = {
		8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16
	};

	for (unsigned i = 0; i < 17; i++)
		frame[5 + i] = registers[order[i]];
}

static void test_signal_frame_gives_every_register_back(void **state)
{
	struct world *w = *state;
	uint64_t r[17];

	CODE(w, 0, SP(16)); /* the handler */
	CODE(w, 0x100, .kind = PP_RULE_SIGNAL);
	CODE(w, 0x200, .kind = PP_RULE_REGISTER, .reg = 12, .cfa_offset = 8, FP_AT(-16));
	CODE(w, 0x300, FP(16));
	CODE(w, 0x400, OUTERMOST);
	for (unsigned i = 0; i < 17; i++)
		r[i] = JUNK;
	r[7] = STACK + 0x800;
	r[12] = STACK + 0x900;
	r[16] = TEXT + 0x200;		  /* interrupted at its first instruction: exact, not - 1 */
	*at(w, STACK + 8) = TEXT + 0x101; /* a call returns here: - 1 is the trampoline's */
	signal_frame(at(w, STACK + 16), r);
	*at(w, STACK + 0x900) = TEXT + 0x310;
	*at(w, STACK + 0x8f8) = STACK + 0xa00;
	*at(w, STACK + 0xa08) = TEXT + 0x410;
	walk(w, TEXT + 5, STACK, JUNK);
	assert_int_equal(w->got->n, 5);
	assert_int_equal(w->end, PP_END_OUTERMOST);
	assert_int_equal(w->got->w[1], frame(TEXT + 0x101)); /* as the debugger shows it */
	assert_int_equal(w->got->w[2], frame(TEXT + 0x200));
	assert_int_equal(w->got->w[3], frame(TEXT + 0x30f));
	assert_int_equal(w->got->w[4], frame(TEXT + 0x40f));
}

static void test_any_register_of_an_interrupted_frame(void **state)
{
	struct world *w = *state;
	uint64_t r[17];

	for (unsigned n = 0; n < 16; n++) {
		w->n_rows = w->n_rules = 0;
		CODE(w, 0x100, .kind = PP_RULE_SIGNAL);
		CODE(w, 0x200, .kind = PP_RULE_REGISTER, .reg = (uint8_t)n, .cfa_offset = 8);
		memset(r, 0x11, sizeof(r));
		r[16] = TEXT + 0x210;
		r[n] = STACK + 0x900;
		*at(w, STACK + 0x900) = 0;
		signal_frame(at(w, STACK), r);
		walk(w, TEXT + 0x100, STACK, JUNK);
		assert_int_equal(w->end, PP_END_ZERO);
		assert_int_equal(w->got->w[1], frame(TEXT + 0x210));
	}
}

static void test_signal_handler_may_have_had_its_own_stack(void **state)
{
	struct world *w = *state;
	uint64_t r[17] = { 0 };

	CODE(w, 0, SP(8));
	CODE(w, 0x100, .kind = PP_RULE_SIGNAL);
	CODE(w, 0x200, OUTERMOST);
	*at(w, STACK + 0x1000) = TEXT + 0x101;
	r[7] = ALTERNATE; /* below */
	r[16] = TEXT + 0x10;
	signal_frame(at(w, STACK + 0x1008), r);
	w->alternate[0] = TEXT + 0x210;
	walk(w, TEXT + 5, STACK + 0x1000, JUNK);
	assert_int_equal(w->end, PP_END_OUTERMOST);
	assert_int_equal(w->got->n, 4);
	assert_int_equal(w->got->w[2], frame(TEXT + 0x10));
	assert_int_equal(w->got->w[3], frame(TEXT + 0x20f));
}

static void test_unreadable_signal_frame(void **state)
{
	struct world *w = *state;

	CODE(w, 0x100, .kind = PP_RULE_SIGNAL);
	walk(w, TEXT + 0x100, STACK + N_STACK - 8 - 40 - 10 * 8, JUNK);
	EXPECT(w, PP_END_UNREADABLE, 1, TEXT + 0x100);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_stack_pointer_frames_to_the_outermost),
		TEST(test_return_address_0_is_complete),
		TEST(test_a_call_at_the_end_of_a_function_is_that_functions),
		TEST(test_row_search_at_the_edges_of_granules),
		TEST(test_rows_in_no_slab_are_a_gap),
		TEST(test_pc_behind_the_last_granule_is_a_gap),
		TEST(test_frame_pointer_rule),
		TEST(test_frame_pointer_that_nobody_needs_may_be_anywhere),
		TEST(test_frame_pointer_is_found_where_an_inner_frame_saved_it),
		TEST(test_unreadable_frame_pointer_ends_the_walk_that_needs_it),
		TEST(test_lost_frame_pointer_is_not_taken_from_an_earlier_walk),
		TEST(test_stack_at_the_bottom_of_memory_is_not_taken_from_an_earlier_walk),
		TEST(test_rbx_is_followed_like_the_frame_pointer),
		TEST(test_rbx_of_the_innermost_frame),
		TEST(test_lost_rbx_ends_the_walk_that_needs_it),
		TEST(test_rbx_behind_a_frame_pointer_frame_is_lost),
		TEST(test_lazy_binding_stub_on_both_sides_of_its_push),
		TEST(test_cfa_by_memory),
		TEST(test_cfa_by_unreadable_memory),
		TEST(test_cfa_of_0_is_named),
		TEST(test_any_register_of_the_innermost_frame),
		TEST(test_register_of_an_outer_frame_is_not_known),
		TEST(test_return_address_in_a_register),
		TEST(test_signal_frame_gives_every_register_back),
		TEST(test_any_register_of_an_interrupted_frame),
		TEST(test_signal_handler_may_have_had_its_own_stack),
		TEST(test_unreadable_signal_frame),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
