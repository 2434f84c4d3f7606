/* SPDX-License-Identifier: Apache-2.0 */

/* CFI instruction by instruction: which rule comes of it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cfi_world.h"

static void test_push_mov_frame(void **state)
{
	struct fixture *x = *state;

	one(x, PROGRAM(ADVANCE(1), DW_CFA_def_cfa_offset, 16, OFFSET(RBP), 2, ADVANCE(3),
		       DW_CFA_def_cfa_register, RBP, DW_CFA_advance_loc1, 200, DW_CFA_def_cfa, RSP,
		       8));
	IS(x, 0, .kind = UNWIND_SP, .cfa_offset = 8);
	IS(x, 1, .kind = UNWIND_SP, .cfa_offset = 16, .fp_saved = UNWIND_AT_CFA, .fp_offset = -16);
	IS(x, 3, .kind = UNWIND_SP, .cfa_offset = 16, .fp_saved = UNWIND_AT_CFA, .fp_offset = -16);
	IS(x, 4, .kind = UNWIND_FP, .cfa_offset = 16, .fp_saved = UNWIND_AT_CFA, .fp_offset = -16);
	IS(x, 203, .kind = UNWIND_FP, .cfa_offset = 16, .fp_saved = UNWIND_AT_CFA,
	   .fp_offset = -16);
	IS(x, 204, .kind = UNWIND_SP, .cfa_offset = 8, .fp_saved = UNWIND_AT_CFA, .fp_offset = -16);
	IS(x, 255, .kind = UNWIND_SP, .cfa_offset = 8, .fp_saved = UNWIND_AT_CFA, .fp_offset = -16);
	KIND(x, 256, UNWIND_GAP);
}

static void test_advances_of_every_size(void **state)
{
	struct fixture *x = *state;

	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 0, 0x1000,
	    PROGRAM(DW_CFA_advance_loc1, 200, DW_CFA_def_cfa_offset, 1, DW_CFA_advance_loc2, 0, 1,
		    DW_CFA_def_cfa_offset, 2, DW_CFA_advance_loc4, 0, 2, 0, 0,
		    DW_CFA_def_cfa_offset, 3, ADVANCE(63), DW_CFA_def_cfa_offset, 4));
	build(x);
	for (uint64_t i = 0; i < 5; i++) {
		static const uint64_t from[] = { 0, 200, 456, 968, 1031, 0x1000 };

		assert_int_equal(rule(x, from[i]).cfa_offset, i ? i : 8);
		assert_int_equal(rule(x, from[i + 1] - 1).cfa_offset, i ? i : 8);
	}
}

static void test_advance_is_scaled_by_the_code_alignment(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ .code_align = 4 });

	fde(x, cie, 0, 256, PROGRAM(ADVANCE(3), DW_CFA_def_cfa_offset, 32));
	build(x);
	assert_int_equal(rule(x, 11).cfa_offset, 8);
	assert_int_equal(rule(x, 12).cfa_offset, 32);
}

static void test_rows_past_the_end_of_the_function_are_not_told(void **state)
{
	struct fixture *x = *state;

	one(x, PROGRAM(DW_CFA_advance_loc2, 0, 1, DW_CFA_def_cfa_offset, 64, ADVANCE(1),
		       DW_CFA_def_cfa_offset, 72));
	assert_int_equal(rule(x, 255).cfa_offset, 8);
	KIND(x, 256, UNWIND_GAP);
	KIND(x, 300, UNWIND_GAP);
}

static void test_signed_and_extended_forms(void **state)
{
	struct fixture *x = *state;

	one(x, PROGRAM(DW_CFA_def_cfa_sf, RSP, 0x7e,		   /* -2 * -8 */
		       ADVANCE(1), DW_CFA_def_cfa_offset_sf, 0x7d, /* -3 * -8 */
		       ADVANCE(1), DW_CFA_offset_extended, RBP, 4, ADVANCE(1),
		       DW_CFA_offset_extended_sf, RBX, 5, ADVANCE(1),
		       DW_CFA_GNU_negative_offset_extended, RBP, 2));
	IS(x, 0, .kind = UNWIND_SP, .cfa_offset = 16);
	IS(x, 1, .kind = UNWIND_SP, .cfa_offset = 24);
	IS(x, 2, .kind = UNWIND_SP, .cfa_offset = 24, .fp_saved = UNWIND_AT_CFA, .fp_offset = -32);
	IS(x, 3, .kind = UNWIND_SP, .cfa_offset = 24, .fp_saved = UNWIND_AT_CFA, .fp_offset = -32,
	   .bx_saved = UNWIND_AT_CFA, .bx_offset = -40);
	IS(x, 4, .kind = UNWIND_SP, .cfa_offset = 24, .fp_saved = UNWIND_AT_CFA, .fp_offset = 16,
	   .bx_saved = UNWIND_AT_CFA, .bx_offset = -40);
}

static void test_restore_goes_back_to_the_cie(void **state)
{
	struct fixture *x = *state;
	const uint8_t initial[] = { DW_CFA_def_cfa, RSP, 8, OFFSET(RA), 1, OFFSET(RBX), 7 };
	size_t cie = image_cie(&x->m.eh_frame,
			       &(struct image_cie){ .program = initial, .n = sizeof(initial) });

	fde(x, cie, 0, 256,
	    PROGRAM(OFFSET(RBP), 2, DW_CFA_undefined, RBX, ADVANCE(1), RESTORE(RBP),
		    DW_CFA_restore_extended, RBX));
	build(x);
	IS(x, 0, .kind = UNWIND_SP, .cfa_offset = 8, .fp_saved = UNWIND_AT_CFA, .fp_offset = -16,
	   .bx_saved = UNWIND_LOST);
	IS(x, 1, .kind = UNWIND_SP, .cfa_offset = 8, .bx_saved = UNWIND_AT_CFA, .bx_offset = -56);
}

static void test_remembered_states_nest(void **state)
{
	struct fixture *x = *state;

	one(x, PROGRAM(DW_CFA_def_cfa_offset, 16, DW_CFA_remember_state, ADVANCE(1),
		       DW_CFA_def_cfa_offset, 32, OFFSET(RBP), 2, DW_CFA_remember_state, ADVANCE(1),
		       DW_CFA_def_cfa, RBP, 64, ADVANCE(1), DW_CFA_restore_state, ADVANCE(1),
		       DW_CFA_restore_state));
	IS(x, 0, .kind = UNWIND_SP, .cfa_offset = 16);
	IS(x, 1, .kind = UNWIND_SP, .cfa_offset = 32, .fp_saved = UNWIND_AT_CFA, .fp_offset = -16);
	IS(x, 2, .kind = UNWIND_FP, .cfa_offset = 64, .fp_saved = UNWIND_AT_CFA, .fp_offset = -16);
	IS(x, 3, .kind = UNWIND_SP, .cfa_offset = 32, .fp_saved = UNWIND_AT_CFA, .fp_offset = -16);
	IS(x, 4, .kind = UNWIND_SP, .cfa_offset = 16);
}

static void test_sixteen_remembered_states_and_no_more(void **state)
{
	struct fixture *x = *state;
	uint8_t program[64];

	memset(program, DW_CFA_remember_state, sizeof(program));
	program[16] = ADVANCE(8);
	program[17] = DW_CFA_restore_state;
	program[18] = ADVANCE(8);
	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 0, 256, program, 20);
	fde(x, 0, 256, 256, program, 21);
	build(x);
	KIND(x, 16, UNWIND_SP);
	KIND(x, 255, UNWIND_SP);
	assert_int_equal(x->c.n_bad_fdes, 1);
	KIND(x, 256 + 15, UNWIND_SP);
	KIND(x, 256 + 16, UNWIND_GAP);
}

static void test_restore_without_remember_is_bad(void **state)
{
	struct fixture *x = *state;

	one(x, PROGRAM(DW_CFA_restore_state));
	assert_int_equal(x->c.n_bad_fdes, 1);
	KIND(x, 0, UNWIND_GAP);
}

static void test_what_a_bad_program_told_stands(void **state)
{
	struct fixture *x = *state;

	one(x, PROGRAM(ADVANCE(1), DW_CFA_def_cfa_offset, 16, ADVANCE(3), DW_CFA_def_cfa_offset, 24,
		       ADVANCE(8), 0x3f /* unknown */, ADVANCE(8)));
	assert_int_equal(x->c.n_bad_fdes, 1);
	assert_int_equal(rule(x, 0).cfa_offset, 8);
	assert_int_equal(rule(x, 1).cfa_offset, 16);
	assert_int_equal(rule(x, 11).cfa_offset, 24);
	KIND(x, 12, UNWIND_GAP);
	KIND(x, 255, UNWIND_GAP);
}

static void test_what_is_skipped_takes_no_row(void **state)
{
	struct fixture *x = *state;

	one(x,
	    PROGRAM(DW_CFA_nop, DW_CFA_GNU_args_size, 0x80, 1, DW_CFA_GNU_window_save, ADVANCE(4),
		    DW_CFA_val_offset, RAX, 1, DW_CFA_val_offset_sf, RAX, 1, DW_CFA_val_expression,
		    RAX, 2, DW_OP_breg7, 0, DW_CFA_expression, RAX, 2, DW_OP_breg7, 0,
		    DW_CFA_register, RAX, RBX, DW_CFA_same_value, RAX, DW_CFA_undefined, RAX));
	IS(x, 0, .kind = UNWIND_SP, .cfa_offset = 8);
	assert_int_equal(x->c.n_bad_fdes, 0);
	assert_int_equal(x->c.rows.n, 2); /* the function, and the gap behind it */
}

static void test_frame_pointer_by_other_means_is_lost(void **state)
{
	struct fixture *x = *state;

	one(x,
	    PROGRAM(DW_CFA_val_offset, RBP, 2, ADVANCE(1), DW_CFA_same_value, RBP, ADVANCE(1),
		    DW_CFA_val_offset_sf, RBP, 2, ADVANCE(1), DW_CFA_register, RBP, RAX, ADVANCE(1),
		    DW_CFA_val_expression, RBP, 2, DW_OP_breg6, 0, ADVANCE(1), DW_CFA_expression,
		    RBP, 3, DW_OP_breg6, 0, DW_OP_deref, ADVANCE(1), DW_CFA_undefined, RBP));
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(rule(x, i).fp_saved, i == 1 ? UNWIND_SAME : UNWIND_LOST);
}

static void test_realigned_stack_pair(void **state)
{
	struct fixture *x = *state;

	/* GCC's DRAP: lea 8(%rsp),%r10; and $-32,%rsp; pushq -8(%r10); push %rbp; mov %rsp,%rbp;
	 * push %r10 */
	one(x, PROGRAM(ADVANCE(5), DW_CFA_def_cfa, R10, 0, ADVANCE(13), DW_CFA_expression, RBP, 2,
		       DW_OP_breg6, 0, ADVANCE(5), DW_CFA_def_cfa_expression, 3, DW_OP_breg6, 0x78,
		       DW_OP_deref, ADVANCE(5), DW_CFA_expression, RBP, 2, DW_OP_breg6, 0x70));
	IS(x, 28, .kind = UNWIND_DEREF_FP, .cfa_offset = -8, .fp_saved = UNWIND_AT_FP,
	   .fp_offset = -16);
	IS(x, 0, .kind = UNWIND_SP, .cfa_offset = 8);
	IS(x, 5, .kind = UNWIND_REGISTER, .reg = R10);
	IS(x, 18, .kind = UNWIND_REGISTER, .reg = R10, .fp_saved = UNWIND_AT_FP);
	IS(x, 23, .kind = UNWIND_DEREF_FP, .cfa_offset = -8, .fp_saved = UNWIND_AT_FP);
}

static void test_cfa_by_memory(void **state)
{
	struct fixture *x = *state;

	one(x,
	    PROGRAM(DW_CFA_def_cfa_expression, 5, DW_OP_breg7, 24, DW_OP_deref, DW_OP_plus_uconst,
		    8, ADVANCE(1), DW_CFA_def_cfa_expression, 5, DW_OP_breg6, 0x70,
		    DW_OP_plus_uconst, 32, DW_OP_deref, ADVANCE(1), DW_CFA_def_cfa, RBX, 16));
	IS(x, 0, .kind = UNWIND_DEREF_SP, .cfa_offset = 24, .aux = 8);
	IS(x, 1, .kind = UNWIND_DEREF_FP, .cfa_offset = 16);
	IS(x, 2, .kind = UNWIND_BX, .cfa_offset = 16);
}

static void test_plt_threshold_is_read_from_the_expression(void **state)
{
	struct fixture *x = *state;

	one(x, PROGRAM(PLT(11), ADVANCE(16), PLT(10), ADVANCE(16), PLT(0), ADVANCE(16), PLT(15)));
	IS(x, 0, .kind = UNWIND_PLT, .aux = 11);
	IS(x, 16, .kind = UNWIND_PLT, .aux = 10);
	IS(x, 32, .kind = UNWIND_PLT, .aux = 0);
	IS(x, 48, .kind = UNWIND_PLT, .aux = 15);
}

/* The CFA of each expression is one that the walker cannot compute. */
static void test_other_expressions_are_unsupported_and_counted(void **state)
{
	struct fixture *x = *state;

	one(x, PROGRAM(DW_CFA_def_cfa_expression, 7, DW_OP_breg7, 8, DW_OP_breg9, 8, DW_OP_plus,
		       DW_OP_deref, DW_OP_nop, ADVANCE(1),			 /* libcrypto's */
		       DW_CFA_def_cfa_expression, 2, DW_OP_breg7, 8, ADVANCE(1), /* a sum */
		       DW_CFA_def_cfa_expression, 3, DW_OP_breg0, 8, DW_OP_deref, ADVANCE(1),
		       DW_CFA_def_cfa_expression, 4, DW_OP_breg7, 8, DW_OP_deref, DW_OP_deref,
		       ADVANCE(1), DW_CFA_def_cfa_expression, 0, ADVANCE(1),
		       DW_CFA_def_cfa_expression, 1, DW_OP_breg7, ADVANCE(1), DW_CFA_def_cfa, 16, 8,
		       ADVANCE(1), DW_CFA_def_cfa, 40, 8));
	for (unsigned i = 0; i < 8; i++)
		IS(x, i, .kind = UNWIND_UNSUPPORTED);
	assert_int_equal(x->c.n_unsupported, 8);
	assert_int_equal(x->c.n_bad_fdes, 0);
}

static void test_numbers_too_large_for_a_rule_are_unsupported(void **state)
{
	struct fixture *x = *state;
	/* uleb128 2^32, 2^63 - 1; sleb128 2^63 - 1; 2^15 */
#define BIG 0x80, 0x80, 0x80, 0x80, 0x10
#define HUGE 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f
#define SHUGE 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00
	one(x,
	    PROGRAM(DW_CFA_def_cfa_offset, BIG, ADVANCE(1), DW_CFA_def_cfa_offset, HUGE, ADVANCE(1),
		    DW_CFA_def_cfa_expression, 8, DW_OP_breg7, 8, DW_OP_plus_uconst, 0x80, 0x80,
		    0x80, 0x80, 0x10 /* no deref: a sum */, ADVANCE(1), DW_CFA_def_cfa_expression,
		    9, DW_OP_breg7, 8, DW_OP_deref, DW_OP_plus_uconst, BIG, ADVANCE(1),
		    DW_CFA_def_cfa_expression, 9, DW_OP_breg7, 8, DW_OP_plus_uconst, BIG,
		    DW_OP_deref, ADVANCE(1), DW_CFA_def_cfa_expression, 14, DW_OP_breg7, SHUGE,
		    DW_OP_plus_uconst, 8, DW_OP_deref, ADVANCE(1), DW_CFA_def_cfa_expression, 7,
		    DW_OP_breg7, 8, DW_OP_deref, DW_OP_plus_uconst, 0x80, 0x80, 0x02));
	for (unsigned i = 0; i < 7; i++)
		IS(x, i, .kind = UNWIND_UNSUPPORTED);
}

static void test_saved_registers_out_of_reach_are_lost(void **state)
{
	struct fixture *x = *state;

	one(x, PROGRAM(OFFSET(RBP), HUGE, OFFSET(RBX), 0x80, 0x80, 1 /* * -8: past 16 bits */,
		       ADVANCE(1), DW_CFA_offset_extended_sf, RBP, 0x80, 0x80, 0x80, 0x80, 0x78,
		       ADVANCE(1), DW_CFA_GNU_negative_offset_extended, RBP, 0x80, 0x80, 0x80, 0x80,
		       0x80, 0x80, 0x80, 0x80, 0x10));
	for (unsigned i = 0; i < 3; i++)
		IS(x, i, .kind = UNWIND_SP, .cfa_offset = 8, .fp_saved = UNWIND_LOST,
		   .bx_saved = UNWIND_LOST);
}

static void test_undefined_return_address_is_the_outermost_frame(void **state)
{
	struct fixture *x = *state;

	one(x, PROGRAM(DW_CFA_undefined, RA, OFFSET(RBP), 2));
	IS(x, 0, .kind = UNWIND_OUTERMOST);
}

/* As musl's table for clone has it: pop %rdi; call *%r9, with rbp cleared. vfork pops it, too, and comes back. */
static void test_popped_return_address_without_a_frame_pointer_is_the_outermost_frame(void **state)
{
	struct fixture *x = *state;

	one(x, PROGRAM(ADVANCE(1), DW_CFA_def_cfa_offset, 0, ADVANCE(1), DW_CFA_undefined, RBP, ADVANCE(1), DW_CFA_def_cfa_offset, 8));
	KIND(x, 0, UNWIND_SP);
	IS(x, 1, .kind = UNWIND_SP, .cfa_offset = 0);
	IS(x, 2, .kind = UNWIND_OUTERMOST);
	KIND(x, 3, UNWIND_SP);
}

static void test_return_address_elsewhere(void **state)
{
	struct fixture *x = *state;

	/* vfork keeps it in a register; a place other than CFA - 8 is not followed */
	one(x,
	    PROGRAM(DW_CFA_register, RA, 5, ADVANCE(1), OFFSET(RA), 2, ADVANCE(1), DW_CFA_register,
		    RA, 16, ADVANCE(1), DW_CFA_same_value, RA, ADVANCE(1), DW_CFA_expression, RA, 2,
		    DW_OP_breg7, 8, ADVANCE(1), DW_CFA_val_offset, RA, 1, ADVANCE(1), RESTORE(RA)));
	IS(x, 0, .kind = UNWIND_SP, .cfa_offset = 8, .reg = UNWIND_RA_REGISTER, .aux = 5);
	for (unsigned i = 1; i < 6; i++)
		IS(x, i, .kind = UNWIND_UNSUPPORTED);
	KIND(x, 6, UNWIND_SP);
}

static void test_return_address_in_a_register_where_aux_is_taken(void **state)
{
	struct fixture *x = *state;

	one(x, PROGRAM(DW_CFA_register, RA, 5, DW_CFA_def_cfa_expression, 5, DW_OP_breg7, 24,
		       DW_OP_deref, DW_OP_plus_uconst, 8, ADVANCE(1), DW_CFA_def_cfa_expression, 3,
		       DW_OP_breg7, 24, DW_OP_deref, ADVANCE(1), PLT(11), ADVANCE(1), PLT(0),
		       ADVANCE(1), DW_CFA_def_cfa, R10, 8));
	for (unsigned i = 0; i < 4; i++)
		IS(x, i, .kind = UNWIND_UNSUPPORTED);
	IS(x, 4, .kind = UNWIND_REGISTER, .cfa_offset = 8, .reg = R10 | UNWIND_RA_REGISTER,
	   .aux = 5);
}

static void test_return_address_column_must_be_rip(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ .ra = 14 });

	fde(x, cie, 0, 256, NULL, 0);
	build(x);
	IS(x, 0, .kind = UNWIND_UNSUPPORTED);
}

static void test_signal_frame_by_its_augmentation(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ .augmentation = "zRS" });

	fde(x, cie, 15, 10, PROGRAM(DW_CFA_def_cfa_expression, 1, DW_OP_breg7));
	build(x);
	IS(x, 15, .kind = UNWIND_SIGNAL);
	IS(x, 24, .kind = UNWIND_SIGNAL);
	KIND(x, 25, UNWIND_GAP);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_push_mov_frame),
		TEST(test_advances_of_every_size),
		TEST(test_advance_is_scaled_by_the_code_alignment),
		TEST(test_rows_past_the_end_of_the_function_are_not_told),
		TEST(test_signed_and_extended_forms),
		TEST(test_restore_goes_back_to_the_cie),
		TEST(test_remembered_states_nest),
		TEST(test_sixteen_remembered_states_and_no_more),
		TEST(test_restore_without_remember_is_bad),
		TEST(test_what_a_bad_program_told_stands),
		TEST(test_what_is_skipped_takes_no_row),
		TEST(test_frame_pointer_by_other_means_is_lost),
		TEST(test_realigned_stack_pair),
		TEST(test_cfa_by_memory),
		TEST(test_plt_threshold_is_read_from_the_expression),
		TEST(test_other_expressions_are_unsupported_and_counted),
		TEST(test_numbers_too_large_for_a_rule_are_unsupported),
		TEST(test_saved_registers_out_of_reach_are_lost),
		TEST(test_undefined_return_address_is_the_outermost_frame),
		TEST(test_popped_return_address_without_a_frame_pointer_is_the_outermost_frame),
		TEST(test_return_address_elsewhere),
		TEST(test_return_address_in_a_register_where_aux_is_taken),
		TEST(test_return_address_column_must_be_rip),
		TEST(test_signal_frame_by_its_augmentation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
