/* SPDX-License-Identifier: Apache-2.0 */

/* How the BPF walker follows arm64's rules: the return address in a register, records anywhere in a frame, signed addresses. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define __TARGET_ARCH_arm64
#include "tests/unit/walk_world.h"

#define SIGNED (0x5aull << 48) /* what pointer authentication leaves above an address of 48 bits */
#define RECORD(fp) FP_AT(fp), BX_AT((fp) + 8)

static void walk_link(struct world *w, uint64_t ip, uint64_t sp, uint64_t fp, uint64_t lr)
{
	walk_at_most(w, (struct registers){ ip, sp, fp, lr }, PP_MAX_FRAMES);
}

static void test_leaf_returns_through_its_register(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(0));
	CODE(w, 0x100, SP(32), BX_AT(-16));
	CODE(w, 0x200, OUTERMOST);
	*at(w, STACK + 16) = TEXT + 0x210;
	walk_link(w, TEXT + 4, STACK, JUNK, TEXT + 0x110);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 4, TEXT + 0x110, TEXT + 0x210);
}

static void test_register_is_known_in_the_innermost_frame_only(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(0));
	walk_link(w, TEXT + 4, STACK, JUNK, TEXT + 0x10);
	EXPECT(w, PP_END_LEAF_REGISTER, 1, TEXT + 4, TEXT + 0x10);
}

static void test_records_are_restored_by_rules(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(48), RECORD(-48));
	CODE(w, 0x100, FP(64), RECORD(-64));
	CODE(w, 0x200, OUTERMOST);
	*at(w, STACK) = STACK + 0x200; /* the caller's fp */
	*at(w, STACK + 8) = TEXT + 0x110;
	*at(w, STACK + 0x200) = 0;
	*at(w, STACK + 0x208) = TEXT + 0x210;
	walk_link(w, TEXT + 4, STACK, STACK, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 4, TEXT + 0x110, TEXT + 0x210);
}

static void test_return_address_behind_a_far_fp(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(0x7000), FP_AT(-0x7000), .bx_saved = PP_SAVED_FP);
	CODE(w, 0x100, OUTERMOST);
	*at(w, STACK + 8) = TEXT + 0x110;
	walk_link(w, TEXT + 4, STACK, JUNK, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 4, TEXT + 0x110);
}

static void test_signatures_are_taken_off(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(0));
	CODE(w, 0x100, SP(16), RECORD(-16));
	CODE(w, 0x200, OUTERMOST);
	*at(w, STACK) = STACK + 0x40;
	*at(w, STACK + 8) = TEXT + 0x210 + SIGNED;
	walk_link(w, TEXT + 4, STACK, JUNK, TEXT + 0x110 + SIGNED);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 4, TEXT + 0x110, TEXT + 0x210);
	/* not what no signature looks like */
	walk_link(w, TEXT + 4, STACK, JUNK, TEXT + 0x110 + (0x1ffull << 55));
	assert_int_equal(w->end, PP_END_NO_MAPPING);
}

/* A kernel whose page tables leave the signature more bits. */
static void test_longer_signatures(void **state)
{
	struct world *w = *state;

	config.address_mask = (1ull << 39) - 1;
	CODE(w, 0, SP(48), RECORD(-48));
	CODE(w, 0x100, OUTERMOST);
	*at(w, STACK + 8) = TEXT + 0x110 + (0xaa55ull << 39);
	walk_link(w, TEXT + 4, STACK, STACK, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 4, TEXT + 0x110);
}

static void test_records_without_rules(void **state)
{
	struct world *w = *state;

	CODE(w, 0, OUTERMOST);
	*at(w, STACK + 0x40) = STACK + 0x80;
	*at(w, STACK + 0x48) = JIT + 0x20 + SIGNED;
	*at(w, STACK + 0x80) = STACK + 0x100;
	*at(w, STACK + 0x88) = TEXT + 0x10;
	walk_link(w, JIT + 8, STACK, STACK + 0x40, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, JIT + 8, JIT + 0x20, TEXT + 0x10);
}

static void test_stack_pointer_is_found_again_by_the_record(void **state)
{
	struct world *w = *state;

	/* the JIT's record does not tell where its frame ends; the caller's rule is of sp */
	CODE(w, 0, SP(0x60), RECORD(-0x50));
	CODE(w, 0x100, SP(16), BX_AT(-8));
	CODE(w, 0x200, OUTERMOST);
	*at(w, STACK + 0x40) = STACK + 0x80;
	*at(w, STACK + 0x48) = TEXT + 0x10;
	*at(w, STACK + 0x80) = STACK + 0x300; /* CFA: STACK + 0x80 + 0x50 */
	*at(w, STACK + 0x88) = TEXT + 0x110;
	*at(w, STACK + 0xd8) = TEXT + 0x210;
	walk_link(w, JIT + 8, STACK, STACK + 0x40, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, JIT + 8, TEXT + 0x10, TEXT + 0x110, TEXT + 0x210);
}

static void test_stack_pointer_that_is_lost_is_not_guessed(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(0x60), BX_AT(-8)); /* keeps no record */
	*at(w, STACK + 0x40) = STACK + 0x80;
	*at(w, STACK + 0x48) = TEXT + 0x10;
	walk_link(w, JIT + 8, STACK, STACK + 0x40, JUNK);
	EXPECT(w, PP_END_BAD_FRAME_POINTER, 1, JIT + 8, TEXT + 0x10);
}

static void test_signal_frame_gives_every_register_back(void **state)
{
	struct world *w = *state;
	uint64_t *frame;

	CODE(w, 0, SP(16), RECORD(-16)); /* the handler */
	CODE(w, 0x100, .kind = PP_RULE_SIGNAL);
	CODE(w, 0x200, SP(0)); /* interrupted in a leaf */
	CODE(w, 0x300, .kind = PP_RULE_REGISTER, .reg = 19, .cfa_offset = 16, BX_AT(-8));
	CODE(w, 0x400, OUTERMOST);
	*at(w, STACK + 8) = TEXT + 0x101;
	frame = at(w, STACK + 16) + 312 / 8;
	for (unsigned i = 0; i < 33; i++)
		frame[i] = JUNK;
	frame[30] = TEXT + 0x410;
	frame[31] = STACK + 0x900;
	frame[32] = TEXT + 0x200; /* its first instruction: exact, not - 1 */
	walk_link(w, TEXT + 4, STACK, JUNK, JUNK);
	assert_int_equal(w->got->n, 4);
	assert_int_equal(w->end, PP_END_OUTERMOST);
	assert_int_equal(w->got->w[2], PP_FRAME(1, 0x200 + FILE_AT));
	assert_int_equal(w->got->w[3], PP_FRAME(1, 0x40f + FILE_AT));
	frame[19] = STACK + 0x800;
	frame[32] = TEXT + 0x300;
	*at(w, STACK + 0x808) = TEXT + 0x410;
	walk_link(w, TEXT + 4, STACK, JUNK, JUNK);
	assert_int_equal(w->got->n, 4);
	assert_int_equal(w->end, PP_END_OUTERMOST);
}

static void test_return_address_in_another_register(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(0), .reg = PP_RA_REGISTER, .aux = 9);
	CODE(w, 0x100, OUTERMOST);
	native.registers.regs[9] = TEXT + 0x110 + SIGNED;
	walk_link(w, TEXT + 4, STACK, JUNK, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 4, TEXT + 0x110);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_leaf_returns_through_its_register, setup, teardown),
		cmocka_unit_test_setup_teardown(test_register_is_known_in_the_innermost_frame_only, setup, teardown),
		cmocka_unit_test_setup_teardown(test_records_are_restored_by_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(test_return_address_behind_a_far_fp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_signatures_are_taken_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_longer_signatures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_records_without_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stack_pointer_is_found_again_by_the_record, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stack_pointer_that_is_lost_is_not_guessed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_signal_frame_gives_every_register_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_return_address_in_another_register, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
