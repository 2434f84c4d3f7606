/* SPDX-License-Identifier: Apache-2.0 */

/* CFI of arm64: which rule comes of it, and what code without any is told of. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cfi_world.h"

#include "symbolizer/leaves.h"

enum { X29 = 29, X30 = 30, XSP = 31 };

/* Words of code, little-endian. */
#define CODE(x, at, ...)                                                                           \
	memcpy((x)->m.text + (at), (const uint32_t[]){ __VA_ARGS__ }, sizeof((const uint32_t[]){ __VA_ARGS__ }))

static size_t cie_of(struct fixture *x, const char *augmentation)
{
	static const uint8_t initial[] = { DW_CFA_def_cfa, XSP, 0 };

	return image_cie(&x->m.eh_frame, &(struct image_cie){ .augmentation = augmentation, .code_align = 4, .ra = X30,
							      .program = initial, .n = sizeof(initial) });
}

static struct elf_file *reopen(struct image *m)
{
	struct elf_file *f = NULL;

	return elf_file_open_memory(m->file.data, m->file.n, &f) < 0 ? NULL : f;
}

static void build_arm64(struct fixture *x)
{
	image_finish(&x->m);
	image_ehdr(&x->m)->e_machine = EM_AARCH64;
	x->f = reopen(&x->m);
	assert_non_null(x->f);
	x->r = cfi_build(x->f, &x->c);
	if (x->r == 0)
		check_rows(&x->c);
}

static void one_arm64(struct fixture *x, const void *program, size_t n)
{
	fde(x, cie_of(x, NULL), 0, 256, program, n);
	build_arm64(x);
	assert_int_equal(x->r, 0);
}

static void test_frame_with_a_record(void **state)
{
	struct fixture *x = *state;

	/* stp x29, x30, [sp, #-48]!; mov x29, sp; ...; ldp; ret */
	one_arm64(x, PROGRAM(ADVANCE(1), DW_CFA_def_cfa_offset, 48, OFFSET(X29), 6, OFFSET(X30), 5, ADVANCE(40),
			     DW_CFA_def_cfa_register, X29, ADVANCE(10), DW_CFA_def_cfa, XSP, 0, RESTORE(X29), RESTORE(X30)));
	IS(x, 0, .kind = UNWIND_SP);
	IS(x, 4, .kind = UNWIND_SP, .cfa_offset = 48, .fp_saved = UNWIND_AT_CFA, .fp_offset = -48,
	   .bx_saved = UNWIND_AT_CFA, .bx_offset = -40);
	IS(x, 164, .kind = UNWIND_FP, .cfa_offset = 48, .fp_saved = UNWIND_AT_CFA, .fp_offset = -48,
	   .bx_saved = UNWIND_AT_CFA, .bx_offset = -40);
	IS(x, 204, .kind = UNWIND_SP);
}

static void test_only_the_return_address_is_saved(void **state)
{
	struct fixture *x = *state;

	one_arm64(x, PROGRAM(ADVANCE(1), DW_CFA_def_cfa_offset, 16, OFFSET(X30), 2));
	IS(x, 4, .kind = UNWIND_SP, .cfa_offset = 16, .bx_saved = UNWIND_AT_CFA, .bx_offset = -16);
}

static void test_signed_return_addresses_change_no_rule(void **state)
{
	struct fixture *x = *state;

	/* paciasp; stp. 0x2c, with the pc, is newer */
	one_arm64(x, PROGRAM(ADVANCE(1), DW_CFA_GNU_window_save, ADVANCE(1), DW_CFA_def_cfa_offset, 16, OFFSET(X29), 2,
			     OFFSET(X30), 1, ADVANCE(1), 0x2c));
	IS(x, 0, .kind = UNWIND_SP);
	IS(x, 4, .kind = UNWIND_SP);
	IS(x, 8, .kind = UNWIND_SP, .cfa_offset = 16, .fp_saved = UNWIND_AT_CFA, .fp_offset = -16,
	   .bx_saved = UNWIND_AT_CFA, .bx_offset = -8);
	assert_int_equal(x->c.n_bad_fdes, 0);
}

static void test_a_record_far_from_the_cfa(void **state)
{
	struct fixture *x = *state;

	/* 65552 bytes: fp at -65552, x30 8 behind it; then x30 as far, alone */
	one_arm64(x, PROGRAM(DW_CFA_def_cfa_offset, 0x90, 0x80, 0x04, OFFSET(X29), 0x82, 0x40, OFFSET(X30), 0x81, 0x40,
			     ADVANCE(1), RESTORE(X29)));
	IS(x, 0, .kind = UNWIND_SP, .cfa_offset = 65552, .fp_saved = UNWIND_AT_CFA, .fp_offset = -65552,
	   .bx_saved = UNWIND_AT_FP);
	KIND(x, 4, UNWIND_UNSUPPORTED);
}

static void test_return_address_elsewhere(void **state)
{
	struct fixture *x = *state;

	one_arm64(x, PROGRAM(DW_CFA_register, X30, 9, ADVANCE(1), DW_CFA_undefined, X30, ADVANCE(1), DW_CFA_def_cfa, 28, 16,
			     OFFSET(X30), 1));
	IS(x, 0, .kind = UNWIND_SP, .reg = UNWIND_RA_REGISTER, .aux = 9);
	KIND(x, 4, UNWIND_OUTERMOST);
	IS(x, 8, .kind = UNWIND_REGISTER, .reg = 28, .cfa_offset = 16, .bx_saved = UNWIND_AT_CFA, .bx_offset = -8);
}

static void test_signal_frames_and_keys(void **state)
{
	struct fixture *x = *state;

	fde(x, cie_of(x, "zRS"), 0, 16, PROGRAM(DW_CFA_nop));
	fde(x, cie_of(x, "zRB"), 16, 16, PROGRAM(DW_CFA_nop));
	build_arm64(x);
	KIND(x, 0, UNWIND_SIGNAL);
	IS(x, 16, .kind = UNWIND_SP);
}

static void test_stubs(void **state)
{
	static const uint32_t push = 0xa9bf7bf0, pad = 0xd503245f;
	struct fixture *x = *state;

	for (unsigned i = 0; i < 2; i++) {
		if (i) {
			teardown(state);
			assert_int_equal(setup(state), 0);
			x = *state;
		}
		if (i)
			CODE(x, 0x400, pad, push);
		else
			CODE(x, 0x400, push);
		fde(x, cie_of(x, NULL), 0, 16, PROGRAM(DW_CFA_nop));
		image_section(&x->m, ".plt", IMAGE_TEXT + 0x400, NULL, 0x60);
		build_arm64(x);
		IS(x, 0x400 + 4 * i, .kind = UNWIND_SP);
		IS(x, 0x404 + 4 * i, .kind = UNWIND_SP, .cfa_offset = 16, .bx_saved = UNWIND_AT_CFA, .bx_offset = -8);
		IS(x, 0x41f, .kind = UNWIND_SP, .cfa_offset = 16, .bx_saved = UNWIND_AT_CFA, .bx_offset = -8);
		IS(x, 0x420, .kind = UNWIND_SP);
		IS(x, 0x45f, .kind = UNWIND_SP);
		KIND(x, 0x460, UNWIND_GAP);
	}
}

static void test_the_return_from_a_signal_is_known_by_its_code(void **state)
{
	struct fixture *x = *state;

	CODE(x, 0x200, 0xd503201f, 0xd2801168, 0xd4000001); /* nop; mov x8, #139; svc #0 */
	build_arm64(x); /* and it is enough for a table: the vDSO has no FDE */
	assert_int_equal(x->r, 0);
	KIND(x, 0x202, UNWIND_GAP);
	KIND(x, 0x203, UNWIND_SIGNAL);
	KIND(x, 0x20b, UNWIND_SIGNAL);
	KIND(x, 0x20c, UNWIND_GAP);
}

static void test_other_machines_have_no_rows(void **state)
{
	struct fixture *x = *state;

	fde(x, cie_of(x, NULL), 0, 16, PROGRAM(DW_CFA_nop));
	image_finish(&x->m);
	image_ehdr(&x->m)->e_machine = EM_RISCV;
	x->f = reopen(&x->m);
	assert_non_null(x->f);
	assert_int_equal(cfi_build(x->f, &x->c), -ENOEXEC);
}

static void test_functions_without_a_frame(void **state)
{
	static const struct {
		uint32_t code[3];
		bool is_one;
	} all[] = {
		{ { 0xd503233f, 0xd50323bf, 0xd65f03c0 }, true }, /* paciasp; autiasp; ret */
		{ { 0x71003c1f, 0x540005e8, 0xd65f03c0 }, true }, /* cmp w0, #15; b.hi; ret */
		{ { 0xf90003e0, 0xf94003e1, 0xd65f03c0 }, true }, /* str x0, [sp]; ldr x1, [sp]; ret */
		{ { 0x8b2463e4, 0xa9000026, 0xd65f03c0 }, true }, /* add x4, sp, x4; stp x6, x0, [x1]; ret */
		{ { 0xa9bf7bfd, 0xd503201f, 0xd65f03c0 }, false }, /* stp x29, x30, [sp, #-16]! */
		{ { 0xd10043ff, 0x910043ff, 0xd65f03c0 }, false }, /* sub sp, sp, #16; add sp, sp, #16 */
		{ { 0xf81f0fe0, 0xf84107e0, 0xd65f03c0 }, false }, /* str x0, [sp, #-16]!; ldr x0, [sp], #16 */
		{ { 0x94000010, 0xd503201f, 0xd65f03c0 }, false }, /* bl */
		{ { 0xd63f0020, 0xd503201f, 0xd65f03c0 }, false }, /* blr x1 */
		{ { 0xd73f0801, 0xd503201f, 0xd65f03c0 }, false }, /* blraa */
		{ { 0xaa1e03e9, 0xaa0903fe, 0xd65f03c0 }, false }, /* mov x9, x30; mov x30, x9 */
		{ { 0xf90007fe, 0xd503201f, 0xd65f03c0 }, false }, /* str x30, [sp, #8] */
		{ { 0x9100001f, 0xd503201f, 0xd65f03c0 }, false }, /* mov sp, x0 */
		{ { 0x927cec1f, 0xd503201f, 0xd65f03c0 }, false }, /* and sp, x0, #-16 */
		{ { 0xf27cec1f, 0xd503201f, 0xd65f03c0 }, true },  /* tst x0, #-16 */
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		assert_int_equal(leaves_is_one((const uint8_t *)all[i].code, 12), all[i].is_one);
	assert_false(leaves_is_one((const uint8_t *)all[0].code, 11));
	assert_false(leaves_is_one((const uint8_t *)all[0].code, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_frame_with_a_record, setup, teardown),
		cmocka_unit_test_setup_teardown(test_only_the_return_address_is_saved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_signed_return_addresses_change_no_rule, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_record_far_from_the_cfa, setup, teardown),
		cmocka_unit_test_setup_teardown(test_return_address_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_signal_frames_and_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stubs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_return_from_a_signal_is_known_by_its_code, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_machines_have_no_rows, setup, teardown),
		cmocka_unit_test(test_functions_without_a_frame),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
