/* SPDX-License-Identifier: Apache-2.0 */

/* Where the BPF walker stops and why; how it reads the stack; the frame pointer as a fallback. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/walk_world.h"

static void test_gap_is_crossed_by_the_frame_pointer(void **state)
{
	struct world *w = *state;

	CODE(w, 0, .kind = PP_RULE_GAP);
	CODE(w, 0x100, OUTERMOST);
	*at(w, STACK + 0x20) = JUNK;
	*at(w, STACK + 0x28) = TEXT + 0x110;
	walk(w, TEXT + 5, STACK, STACK + 0x20);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 5, TEXT + 0x110);
}

static void test_gap_without_a_usable_frame_pointer_is_named(void **state)
{
	static const uint64_t bad[] = {
		STACK - 8 + 0x100,	       /* below the stack pointer */
		STACK + 0x124,		       /* not aligned */
		STACK + 0x100 + (1 << 20) + 8, /* too far to believe */
		STACK + N_STACK - 8,	       /* half of it is not there */
		1,
		JUNK,
		UINT64_MAX & ~7ull,
	};
	struct world *w = *state;

	CODE(w, 0, .kind = PP_RULE_GAP);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		walk(w, TEXT + 5, STACK + 0x100, bad[i]);
		EXPECT(w, PP_END_GAP, 1, TEXT + 5);
	}
}

static void test_frame_pointer_0_in_a_record_is_complete(void **state)
{
	struct world *w = *state;

	*at(w, STACK + 0x20) = 0;
	*at(w, STACK + 0x28) = JIT + 0x10;
	walk(w, JIT + 5, STACK, STACK + 0x20);
	EXPECT(w, PP_END_ZERO, 0, JIT + 5, JIT + 0x10);
}

/* Code that uses it for something else, and has no rows: nothing says that nobody called it. */
static void test_frame_pointer_0_in_the_register_is_not(void **state)
{
	struct world *w = *state;

	walk(w, JIT + 5, STACK, 0);
	EXPECT(w, PP_END_BAD_FRAME_POINTER, 0, JIT + 5);
	CODE(w, 0, SP(8));
	*at(w, STACK) = PLAIN + 0x10;
	walk(w, TEXT + 5, STACK, 0);
	EXPECT(w, PP_END_BAD_FRAME_POINTER, 2, TEXT + 5, PLAIN + 0x10);
}

static void test_code_without_rows_goes_by_frame_records(void **state)
{
	struct world *w = *state;

	CODE(w, 0, OUTERMOST);
	*at(w, STACK + 0x20) = STACK + 0x60;
	*at(w, STACK + 0x28) = PLAIN + 0x10;
	*at(w, STACK + 0x60) = STACK + 0xa0;
	*at(w, STACK + 0x68) = JIT + 0x20;
	*at(w, STACK + 0xa0) = 0;
	*at(w, STACK + 0xa8) = TEXT + 0x30;
	walk(w, JIT + 5, STACK, STACK + 0x20);
	EXPECT(w, PP_END_OUTERMOST, 0, JIT + 5, PLAIN + 0x10, JIT + 0x20, TEXT + 0x30);
}

static void test_broken_chain_of_frame_records_is_named(void **state)
{
	struct world *w = *state;

	*at(w, STACK + 0x20) = STACK + 0x21;
	*at(w, STACK + 0x28) = PLAIN + 0x10;
	walk(w, JIT + 5, STACK, STACK + 0x20);
	EXPECT(w, PP_END_BAD_FRAME_POINTER, 2, JIT + 5, PLAIN + 0x10);
}

static void test_file_that_could_not_be_read_ends_the_walk(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(8));
	*at(w, STACK) = OPAQUE + 0x10;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_NO_TABLE, 3, TEXT + 5, OPAQUE + 0x10);
}

static void test_pc_in_no_mapping_is_kept_raw(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(8));
	*at(w, STACK) = 0x12345678;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_NO_MAPPING, 0, TEXT + 5, 0x12345678);
	walk(w, TEXT + N_TEXT, STACK, JUNK);
	assert_int_equal(w->got->w[0], PP_RAW(TEXT + N_TEXT));
	assert_int_equal(w->end, PP_END_NO_MAPPING);
}

static void test_mappings_of_other_processes_are_not_looked_at(void **state)
{
	struct world *w = *state;

	walk(w, 0x1000, STACK, JUNK); /* in the mapping before our list */
	EXPECT(w, PP_END_NO_MAPPING, 0, 0x1000);
	w->process->list = PP_LIST(1, 0, 2);
	walk(w, JIT + 5, STACK, JUNK); /* in one behind it */
	EXPECT(w, PP_END_NO_MAPPING, 0, JIT + 5);
}

static void test_mapping_search_finds_every_mapping(void **state)
{
	struct world *w = *state;

	for (uint32_t n = 1; n <= PP_MAX_MAPPINGS; n = n < 40 ? n + 1 : n * 2 + 3) {
		for (uint32_t i = 0; i < n; i++)
			w->mappings.m[i] =
				mapping(0x10000 + i * 0x2000, 0x1000, i + 1, PP_MAPPING_OPAQUE);
		for (uint32_t i = 0; i < n; i++) {
			uint64_t start = 0x10000 + i * 0x2000;

			assert_int_equal(pp_find_mapping(0, n, start), i);
			assert_int_equal(pp_find_mapping(0, n, start + 0xfff), i);
			assert_int_equal(pp_find_mapping(0, n, start + 0x1000), -1);
		}
		assert_int_equal(pp_find_mapping(0, n, 0xffff), -1);
	}
	assert_int_equal(pp_find_mapping(0, 0, 0x10000), -1);
	assert_int_equal(pp_find_mapping(PP_MAX_MAPPINGS - 1, 1, 0x10000), -1);
}

static void test_unsupported_rule_is_named(void **state)
{
	struct world *w = *state;

	CODE(w, 0, .kind = PP_RULE_UNSUPPORTED);
	CODE(w, 0x100, .kind = 200);
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_BAD_CFA, 1, TEXT + 5);
	walk(w, TEXT + 0x105, STACK, JUNK);
	EXPECT(w, PP_END_BAD_CFA, 1, TEXT + 0x105);
}

static void test_rule_that_is_not_there_ends_the_walk(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(8));
	w->rows[0].rule = 5000;
	walk(w, TEXT + 5, STACK, JUNK);
	assert_int_equal(w->got->n, 2);
	assert_true(w->end > PP_END_TRUNCATED);
}

static void test_stack_that_does_not_go_up_is_named(void **state)
{
	struct world *w = *state;

	CODE(w, 0, SP(8));
	CODE(w, 0x100, FP(16));
	*at(w, STACK + 0x100) = TEXT + 0x110;
	*at(w, STACK + 0x28) = TEXT + 0x110;
	walk(w, TEXT + 5, STACK + 0x100, STACK + 0x20);
	EXPECT(w, PP_END_BACKWARDS, 1, TEXT + 5, TEXT + 0x110);
	/* nor does it stay */
	walk(w, TEXT + 5, STACK + 0x100, STACK + 0x108 - 16);
	EXPECT(w, PP_END_BACKWARDS, 1, TEXT + 5, TEXT + 0x110);
}

static void test_innermost_frame_may_have_its_cfa_anywhere(void **state)
{
	struct world *w = *state;

	CODE(w, 0, FP(16)); /* leave; ... with sp above fp: a coroutine's switch */
	*at(w, STACK + 0x28) = 0;
	walk(w, TEXT + 5, STACK + 0x100, STACK + 0x20);
	EXPECT(w, PP_END_ZERO, 0, TEXT + 5);
}

static void test_255_frames_are_complete(void **state)
{
	struct world *w = *state;

	recursion(w, 255);
	walk(w, TEXT + 5, STACK, JUNK);
	assert_int_equal(w->end, PP_END_OUTERMOST);
	assert_int_equal(w->got->n, 255);
	assert_int_equal(w->got->w[254], frame(TEXT + 0x10f));
}

static void test_256_frames_are_truncated(void **state)
{
	struct world *w = *state;

	recursion(w, 256);
	walk(w, TEXT + 5, STACK, JUNK);
	assert_int_equal(w->end, PP_END_TRUNCATED);
	assert_int_equal(w->got->n, 256);
	assert_int_equal(w->got->w[255], PP_MARKER(PP_END_TRUNCATED, 1));
}

static void test_callers_limit_truncates(void **state)
{
	struct world *w = *state;

	recursion(w, 11);
	walk_at_most(w, (struct registers){ TEXT + 5, STACK, 0, 0 }, 10);
	assert_int_equal(w->end, PP_END_TRUNCATED);
	assert_int_equal(w->got->n, 11);
	walk_at_most(w, (struct registers){ TEXT + 5, STACK, 0, 0 }, 11);
	assert_int_equal(w->end, PP_END_OUTERMOST);
	assert_int_equal(w->got->n, 11);
}

static void test_one_read_serves_several_small_frames(void **state)
{
	struct world *w = *state;

	recursion(w, 33);
	native.n_reads = 0;
	walk(w, TEXT + 5, STACK, JUNK);
	assert_int_equal(w->end, PP_END_OUTERMOST);
	assert_int_equal(native.n_reads, 1);
}

static void test_window_that_is_not_all_there(void **state)
{
	struct world *w = *state;

	/* the last words of the stack: the window fails, the words are read one by one */
	CODE(w, 0, SP(8));
	for (unsigned n = 1; n <= 40; n++) {
		uint64_t sp = STACK + N_STACK - n * 8;

		for (unsigned i = 0; i < n; i++)
			*at(w, sp + i * 8) = i == n - 1 ? 0 : TEXT + 0x10;
		walk(w, TEXT + 5, sp, JUNK);
		assert_int_equal(w->end, PP_END_ZERO);
		assert_int_equal(w->got->n, n);
	}
	*at(w, STACK + N_STACK - 8) = TEXT + 0x10;
	walk(w, TEXT + 5, STACK + N_STACK - 8, JUNK);
	EXPECT(w, PP_END_UNREADABLE, 1, TEXT + 5, TEXT + 0x10);
}

static void test_window_is_not_used_outside_itself(void **state)
{
	struct world *w = *state;

	/* small frame, then large ones up and down, then one inside the first window again */
	CODE(w, 0, SP(8), FP_AT(0x100));
	CODE(w, 0x100, SP(0x1000));
	CODE(w, 0x200, FP(16));
	CODE(w, 0x300, OUTERMOST);
	*at(w, STACK) = TEXT + 0x110;
	*at(w, STACK + 8 + 0xff8) = TEXT + 0x210;
	*at(w, STACK + 8 + 0x100) = STACK + 0x2000;
	*at(w, STACK + 0x2008) = TEXT + 0x310;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 5, TEXT + 0x110, TEXT + 0x210, TEXT + 0x310);
}

static void test_stack_that_is_not_aligned_is_read_all_the_same(void **state)
{
	struct world *w = *state;
	uint64_t caller = TEXT + 0x110;

	CODE(w, 0, SP(8));
	CODE(w, 0x100, OUTERMOST);
	for (unsigned k = 1; k < 8; k++) {
		memcpy((char *)w->stack + 64 + k, &caller, 8);
		walk(w, TEXT + 5, STACK + 64 + k, JUNK);
		EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 5, TEXT + 0x110);
	}
}

#define TRAMPOLINE 0x800000ull

static void test_return_probe_trampoline_is_left_by_the_tasks_list(void **state)
{
	struct return_instance outer = { STACK + 8, TEXT + 0x210, NULL };
	struct return_instance chained = { STACK, TRAMPOLINE, &outer }; /* two probes on one function */
	struct return_instance inner = { STACK, TEXT + 0x110, &chained };
	struct world *w = *state;

	w->xol.vaddr = TRAMPOLINE;
	w->mm.uprobes_state.xol_area = &w->xol;
	w->utask.return_instances = &inner;
	CODE(w, 0, SP(8));
	CODE(w, 0x200, OUTERMOST);
	*at(w, STACK) = TRAMPOLINE;
	*at(w, STACK + 8) = TRAMPOLINE;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 5, TEXT + 0x110, TEXT + 0x210);
}

static void test_thread_without_a_user_part_is_complete(void **state)
{
	struct world *w = *state;

	walk(w, 0, 0, JUNK); /* as the kernel makes io_uring's workers */
	assert_int_equal(w->end, PP_END_ZERO);
	assert_int_equal(w->got->n, 1);
	assert_int_equal(w->got->w[0], PP_RAW(0));
	walk(w, 0, STACK, JUNK); /* a call of a null pointer */
	assert_int_equal(w->end, PP_END_NO_MAPPING);
}

static void in_the_trampoline(struct world *w, struct return_instance *list)
{
	w->xol.vaddr = TRAMPOLINE;
	w->mm.uprobes_state.xol_area = &w->xol;
	w->utask.return_instances = list;
	CODE(w, 0x100, SP(16));
	CODE(w, 0x200, OUTERMOST);
	*at(w, STACK + 32) = TEXT + 0x215; /* what the caller, whose frame begins at STACK + 24, returns to */
}

/* The return has taken the address at STACK + 16; of the three registers some are pushed. */
static void test_pc_in_the_trampoline_before_its_probes_ran(void **state)
{
	struct return_instance outer = { STACK + 80, TEXT + 0x310, NULL };
	struct return_instance mine = { STACK + 16, TEXT + 0x115, &outer };
	struct return_instance left = { STACK - 64, TEXT + 0x315, &mine }; /* by longjmp */
	struct world *w = *state;

	in_the_trampoline(w, &left);
	for (unsigned k = 0; k <= 3; k++) {
		walk(w, TRAMPOLINE + (k == 3 ? 13 : 0), STACK + 24 - 8 * k, JUNK);
		EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 0x114, TEXT + 0x215);
	}
}

static void test_pc_in_the_trampoline_after_its_probes_ran(void **state)
{
	struct return_instance outer = { STACK + 80, TEXT + 0x310, NULL };
	struct world *w = *state;

	in_the_trampoline(w, &outer);
	*at(w, STACK + 16) = TEXT + 0x115; /* the kernel puts the way back where rax was */
	walk(w, TRAMPOLINE + 13, STACK, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 0x114, TEXT + 0x215);
	walk(w, TRAMPOLINE + 15, STACK + 8, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 0x114, TEXT + 0x215);
	walk(w, TRAMPOLINE + 16, STACK + 16, JUNK);
	EXPECT(w, PP_END_OUTERMOST, 0, TEXT + 0x114, TEXT + 0x215);
	walk(w, TRAMPOLINE + 14, STACK, JUNK);
	EXPECT(w, PP_END_NO_MAPPING, 0, TRAMPOLINE + 14);
}

static void test_trampoline_without_an_instance_is_no_mapping(void **state)
{
	struct return_instance chained = { STACK, TRAMPOLINE, NULL };
	struct world *w = *state;

	w->xol.vaddr = TRAMPOLINE;
	CODE(w, 0, SP(8));
	*at(w, STACK) = TRAMPOLINE;
	walk(w, TEXT + 5, STACK, JUNK); /* the process has no such page */
	EXPECT(w, PP_END_NO_MAPPING, 0, TEXT + 5, TRAMPOLINE);
	w->mm.uprobes_state.xol_area = &w->xol;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_NO_MAPPING, 0, TEXT + 5, TRAMPOLINE);
	w->utask.return_instances = &chained;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_NO_MAPPING, 0, TEXT + 5, TRAMPOLINE);
	native.task.utask = NULL;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_NO_MAPPING, 0, TEXT + 5, TRAMPOLINE);
	native.no_return_instances = true;
	walk(w, TEXT + 5, STACK, JUNK);
	EXPECT(w, PP_END_NO_MAPPING, 0, TEXT + 5, TRAMPOLINE);
}

/* Random rules over random stacks: a walk ends, and says how. */
static void test_any_rules_over_any_stack_end_with_a_reason(void **state)
{
	struct world *w = *state;
	uint64_t x = 88172645463325252ull;

	for (unsigned round = 0; round < 300; round++) {
		w->n_rows = w->n_rules = 0;
		for (unsigned i = 0; i < 32; i++) {
			struct pp_rule q;

			for (size_t k = 0; k < sizeof(q) / 8; k++) {
				x ^= x << 13, x ^= x >> 7, x ^= x << 17;
				memcpy((char *)&q + k * 8, &x, 8);
			}
			q.kind %= 12;
			q.fp_saved %= 5;
			if (x & 1)
				q.cfa_offset &= 0x1f8, q.fp_offset &= 0xf8;
			code(w, i * 0x80, q);
		}
		for (size_t i = 0; i < N_STACK / 8; i++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			w->stack[i] = x % 3 ? TEXT + x % N_TEXT : STACK + (x % N_STACK & ~7ull);
		}
		walk_at_most(w,
			     (struct registers){ TEXT + x % 0x1000, STACK + (x % 0x4000 & ~7ull),
						 STACK + (x >> 20) % N_STACK, STACK },
			     255);
		assert_true(w->end < PP_N_ENDS && w->got->n >= 1 && w->got->n <= 256);
		assert_int_equal(w->end > PP_END_ZERO,
				 w->got->w[w->got->n - 1] >> 56 == PP_FRAME_MARKER);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_gap_is_crossed_by_the_frame_pointer),
		TEST(test_gap_without_a_usable_frame_pointer_is_named),
		TEST(test_frame_pointer_0_in_a_record_is_complete),
		TEST(test_frame_pointer_0_in_the_register_is_not),
		TEST(test_code_without_rows_goes_by_frame_records),
		TEST(test_broken_chain_of_frame_records_is_named),
		TEST(test_file_that_could_not_be_read_ends_the_walk),
		TEST(test_pc_in_no_mapping_is_kept_raw),
		TEST(test_mappings_of_other_processes_are_not_looked_at),
		TEST(test_mapping_search_finds_every_mapping),
		TEST(test_unsupported_rule_is_named),
		TEST(test_rule_that_is_not_there_ends_the_walk),
		TEST(test_stack_that_does_not_go_up_is_named),
		TEST(test_innermost_frame_may_have_its_cfa_anywhere),
		TEST(test_255_frames_are_complete),
		TEST(test_256_frames_are_truncated),
		TEST(test_callers_limit_truncates),
		TEST(test_one_read_serves_several_small_frames),
		TEST(test_window_that_is_not_all_there),
		TEST(test_window_is_not_used_outside_itself),
		TEST(test_stack_that_is_not_aligned_is_read_all_the_same),
		TEST(test_return_probe_trampoline_is_left_by_the_tasks_list),
		TEST(test_thread_without_a_user_part_is_complete),
		TEST(test_pc_in_the_trampoline_before_its_probes_ran),
		TEST(test_pc_in_the_trampoline_after_its_probes_ran),
		TEST(test_trampoline_without_an_instance_is_no_mapping),
		TEST(test_any_rules_over_any_stack_end_with_a_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
