/* SPDX-License-Identifier: Apache-2.0 */

/* CFI as files have it: sections, entries, what linkers leave out, and what no linker would make.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cfi_world.h"

static void test_short_padding_is_folded_and_long_gaps_are_kept(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });

	fde(x, cie, 0, 20, PROGRAM(DW_CFA_def_cfa_offset, 16));
	fde(x, cie, 35, 29, PROGRAM(DW_CFA_def_cfa_offset, 24)); /* 15 bytes on: padding */
	fde(x, cie, 80, 16, PROGRAM(DW_CFA_def_cfa_offset, 32)); /* 16 bytes on: a gap */
	build(x);
	assert_int_equal(rule(x, 19).cfa_offset, 16);
	assert_int_equal(rule(x, 34).cfa_offset, 16);
	assert_int_equal(rule(x, 35).cfa_offset, 24);
	assert_int_equal(rule(x, 63).cfa_offset, 24);
	KIND(x, 64, UNWIND_GAP);
	KIND(x, 79, UNWIND_GAP);
	assert_int_equal(rule(x, 80).cfa_offset, 32);
	KIND(x, 96, UNWIND_GAP);
}

static void test_before_the_first_function_is_a_gap(void **state)
{
	struct fixture *x = *state;

	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 64, 64, NULL, 0);
	build(x);
	KIND(x, 0, UNWIND_GAP);
	KIND(x, 63, UNWIND_GAP);
	KIND(x, 64, UNWIND_SP);
	KIND(x, IMAGE_N_TEXT - 1, UNWIND_GAP);
	assert_null(cfi_find(&x->c, IMAGE_TEXT - 1));
	assert_null(cfi_find(&x->c, IMAGE_TEXT + IMAGE_N_TEXT));
}

static void test_functions_in_any_order(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });

	fde(x, cie, 512, 256, PROGRAM(DW_CFA_def_cfa_offset, 48));
	fde(x, cie, 0, 256, PROGRAM(DW_CFA_def_cfa_offset, 16));
	fde(x, cie, 256, 256, PROGRAM(DW_CFA_def_cfa_offset, 32));
	build(x);
	for (unsigned i = 0; i < 768; i++)
		assert_int_equal(rule(x, i).cfa_offset, 16 + i / 256 * 16);
}

static void test_of_overlapping_functions_the_first_wins(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });

	fde(x, cie, 0, 100, PROGRAM(DW_CFA_def_cfa_offset, 16));
	fde(x, cie, 50, 100,
	    PROGRAM(DW_CFA_def_cfa_offset, 32, ADVANCE(10), DW_CFA_def_cfa_offset, 40,
		    DW_CFA_advance_loc1, 80, DW_CFA_def_cfa_offset, 48));
	fde(x, cie, 20, 30, PROGRAM(DW_CFA_def_cfa_offset, 56)); /* inside the first */
	build(x);
	assert_int_equal(rule(x, 30).cfa_offset, 16);
	assert_int_equal(rule(x, 99).cfa_offset, 16);
	assert_int_equal(rule(x, 100).cfa_offset, 40); /* as it is by then */
	assert_int_equal(rule(x, 139).cfa_offset, 40);
	assert_int_equal(rule(x, 140).cfa_offset, 48);
	KIND(x, 150, UNWIND_GAP);
}

static void test_functions_that_are_not_in_the_file_are_dropped(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ .encoding = DW_EH_PE_absptr |
										0x4 /* udata8 */ });

	for (int i = 0; i < 3; i++) {
		static const uint64_t at[] = { 0, IMAGE_TEXT + IMAGE_N_TEXT, IMAGE_TEXT };

		image_fde(&x->m.eh_frame, &(struct image_fde){ .cie = cie,
							       .start = at[i],
							       .n = 64,
							       .encoding = DW_EH_PE_udata8 });
	}
	build(x);
	assert_int_equal(x->c.n_fdes, 3);
	assert_int_equal(x->c.n_bad_fdes, 0);
	KIND(x, 0, UNWIND_SP);
	KIND(x, 64, UNWIND_GAP);
}

static void test_a_function_may_reach_past_the_text(void **state)
{
	struct fixture *x = *state;

	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), IMAGE_N_TEXT - 64, 0x7fffffff,
	    PROGRAM(DW_CFA_advance_loc4, 0, 0, 0, 1, DW_CFA_def_cfa_offset, 16));
	build(x);
	KIND(x, IMAGE_N_TEXT - 65, UNWIND_GAP);
	KIND(x, IMAGE_N_TEXT - 1, UNWIND_SP);
	assert_int_equal(x->c.rows.n, 2);
}

static void test_empty_and_backward_functions_are_bad(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ .encoding = DW_EH_PE_udata8 });

	for (int i = 0; i < 3; i++) {
		static const uint64_t n[] = { 0, UINT64_MAX, 64 };

		image_fde(&x->m.eh_frame, &(struct image_fde){ .cie = cie,
							       .start = IMAGE_TEXT + 64,
							       .n = n[i],
							       .encoding = DW_EH_PE_udata8 });
	}
	build(x);
	assert_int_equal(x->c.n_fdes, 3);
	assert_int_equal(x->c.n_bad_fdes, 2);
	KIND(x, 64, UNWIND_SP);
}

static void test_terminator_in_the_middle(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });

	fde(x, cie, 0, 64, NULL, 0);
	bytes_add(&x->m.eh_frame, "\0\0\0", 4);
	fde(x, cie, 64, 64, PROGRAM(DW_CFA_def_cfa_offset, 16));
	build(x);
	assert_int_equal(x->c.n_fdes, 2);
	assert_int_equal(rule(x, 127).cfa_offset, 16);
}

static void test_64_bit_lengths(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ .wide = true });
	size_t narrow = image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });

	image_fde(&x->m.eh_frame,
		  &(struct image_fde){ .cie = cie, .start = IMAGE_TEXT, .n = 64, .wide = true });
	fde(x, narrow, 64, 64, NULL, 0);
	image_fde(&x->m.eh_frame,
		  &(struct image_fde){
			  .cie = narrow, .start = IMAGE_TEXT + 128, .n = 64, .wide = true });
	build(x);
	assert_int_equal(x->c.n_fdes, 3);
	assert_int_equal(x->c.n_bad_fdes, 0);
	KIND(x, 0, UNWIND_SP);
	KIND(x, 191, UNWIND_SP);
	KIND(x, 192, UNWIND_GAP);
}

static void test_cie_versions(void **state)
{
	struct fixture *x = *state;

	for (uint8_t version = 1; version <= 5; version++) {
		size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ .version = version });

		fde(x, cie, version * 256u, 256, NULL, 0);
	}
	build(x);
	for (unsigned version = 1; version <= 5; version++)
		KIND(x, version * 256, version == 2 || version == 5 ? UNWIND_GAP : UNWIND_SP);
	assert_int_equal(x->c.n_bad_fdes, 2);
}

static void test_augmentations(void **state)
{
	static const char *const letters[] = { "zPLR", "zR", "zRB", "zLR", "zR?", "eh", "?", "zS" };
	struct fixture *x = *state;

	for (unsigned i = 0; i < 8; i++) {
		size_t cie = image_cie(&x->m.eh_frame,
				       &(struct image_cie){ .augmentation = letters[i] });
		uint8_t encoding = i == 7 ? DW_EH_PE_udata8 : 0;

		image_fde(&x->m.eh_frame, &(struct image_fde){ .cie = cie,
							       .start = IMAGE_TEXT + i * 256,
							       .n = 256,
							       .encoding = encoding });
	}
	build(x);
	for (unsigned i = 0; i < 5; i++)
		KIND(x, i * 256, UNWIND_SP);
	KIND(x, 5 * 256, UNWIND_GAP);
	KIND(x, 6 * 256, UNWIND_GAP);
	KIND(x, 7 * 256, UNWIND_SIGNAL);
	assert_int_equal(x->c.n_bad_fdes, 2);
}

static void test_cie_with_a_bad_program_or_alignment_is_not_used(void **state)
{
	static const uint8_t unknown[] = { DW_CFA_def_cfa, 7, 8, 0x3f };
	const struct image_cie bad[] = { { .program = unknown, .n = sizeof(unknown) },
					 { .code_align = 256 } };
	struct fixture *x = *state;

	for (unsigned i = 0; i < 2; i++)
		fde(x, image_cie(&x->m.eh_frame, &bad[i]), i * 256, 256, NULL, 0);
	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 512, 256, NULL, 0);
	build(x);
	KIND(x, 0, UNWIND_GAP);
	KIND(x, 256, UNWIND_GAP);
	KIND(x, 512, UNWIND_SP);
	assert_int_equal(x->c.n_bad_fdes, 2);
}

static void test_fde_of_no_cie_is_bad(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });

	fde(x, cie, 0, 64, NULL, 0);
	fde(x, cie + 4, 64, 64, NULL, 0);
	build(x);
	assert_int_equal(x->c.n_bad_fdes, 1);
	KIND(x, 64, UNWIND_GAP);
}

static void test_pointer_encodings(void **state)
{
	static const uint8_t encodings[] = {
		DW_EH_PE_udata8,
		DW_EH_PE_sdata8,
		DW_EH_PE_udata4,
		DW_EH_PE_sdata4,
		DW_EH_PE_uleb128,
		DW_EH_PE_sleb128,
		DW_EH_PE_pcrel | DW_EH_PE_udata8,
		DW_EH_PE_pcrel | DW_EH_PE_sdata8,
		DW_EH_PE_pcrel | DW_EH_PE_sdata4,
		DW_EH_PE_pcrel | DW_EH_PE_sleb128,
	};
	struct fixture *x = *state;
	unsigned n = sizeof(encodings);

	for (unsigned i = 0; i < n; i++) {
		size_t cie =
			image_cie(&x->m.eh_frame, &(struct image_cie){ .encoding = encodings[i] });

		image_fde(&x->m.eh_frame, &(struct image_fde){ .cie = cie,
							       .start = IMAGE_TEXT + i * 64,
							       .n = 64,
							       .encoding = encodings[i],
							       .program = "\x0e\x10",
							       .n_program = 2 });
	}
	build(x);
	for (unsigned i = 0; i < n * 64; i++)
		assert_int_equal(rule(x, i).cfa_offset, 16);
	KIND(x, n * 64, UNWIND_GAP);
}

static void test_16_bit_pointers(void **state)
{
	struct cursor c = cursor_over("\xfe\xff\xfe\xff", 4);

	assert_true(cfi_pointer(&c, DW_EH_PE_udata2, 0) == 0xfffe);
	assert_true(cfi_pointer(&c, DW_EH_PE_sdata2 | DW_EH_PE_pcrel, 0x1000) == 0xffe);
	assert_false(c.bad);
}

static void test_encodings_without_a_base_are_bad(void **state)
{
	static const uint8_t encodings[] = { DW_EH_PE_omit,
					     DW_EH_PE_textrel,
					     DW_EH_PE_datarel,
					     DW_EH_PE_funcrel,
					     DW_EH_PE_aligned,
					     0x80 | 0x1b,
					     0x05,
					     0x0d };

	for (size_t i = 0; i < sizeof(encodings); i++) {
		struct cursor c = cursor_over("12345678", 8);

		assert_true(cfi_pointer(&c, encodings[i], 0) == 0);
		assert_true(c.bad);
	}
}

static void test_debug_frame_fills_what_eh_frame_leaves(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });

	fde(x, cie, 0, 64, PROGRAM(DW_CFA_def_cfa_offset, 16));
	for (unsigned wide = 0; wide < 2; wide++) {
		cie = image_cie(&x->m.debug_frame, &(struct image_cie){ .debug_frame = true,
									.wide = wide,
									.version = wide ? 4 : 3 });
		image_fde(&x->m.debug_frame,
			  &(struct image_fde){ .cie = cie,
					       .start = IMAGE_TEXT + 64 + wide * 64,
					       .n = 64,
					       .program = "\x0e\x18",
					       .n_program = 2,
					       .debug_frame = true,
					       .wide = wide });
	}
	build(x);
	assert_int_equal(x->c.n_fdes, 3);
	assert_int_equal(x->c.n_bad_fdes, 0);
	assert_int_equal(rule(x, 63).cfa_offset, 16);
	assert_int_equal(rule(x, 64).cfa_offset, 24);
	assert_int_equal(rule(x, 191).cfa_offset, 24);
	KIND(x, 192, UNWIND_GAP);
}

static void test_debug_frame_alone(void **state)
{
	struct fixture *x = *state;

	image_cie(&x->m.debug_frame, &(struct image_cie){ .debug_frame = true });
	image_fde(&x->m.debug_frame,
		  &(struct image_fde){ .start = IMAGE_TEXT, .n = 64, .debug_frame = true });
	build(x);
	assert_int_equal(x->r, 0);
	KIND(x, 0, UNWIND_SP);
}

static void test_entry_point_without_fde_is_the_outermost_frame(void **state)
{
	struct fixture *x = *state;

	x->m.entry = IMAGE_TEXT + 0x100;
	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 0x120, 64, NULL, 0);
	build(x);
	KIND(x, 0xff, UNWIND_GAP);
	KIND(x, 0x100, UNWIND_OUTERMOST);
	KIND(x, 0x11f, UNWIND_OUTERMOST);
	KIND(x, 0x120, UNWIND_SP);
}

static void test_entry_point_of_a_library_with_an_fde_keeps_it(void **state)
{
	struct fixture *x = *state;

	x->m.entry = IMAGE_TEXT + 16;
	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 0, 64, NULL, 0);
	build(x);
	KIND(x, 16, UNWIND_SP);
	assert_int_equal(x->c.rows.n, 2);
}

/* Zig's _start has an FDE that takes argc for a return address. */
static void test_entry_point_of_a_program_is_the_outermost_frame(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });

	x->m.program = true;
	x->m.entry = IMAGE_TEXT + 64;
	fde(x, cie, 0, 64, NULL, 0);
	fde(x, cie, 64, 32, NULL, 0);
	fde(x, cie, 96, 64, NULL, 0);
	build(x);
	KIND(x, 63, UNWIND_SP);
	KIND(x, 64, UNWIND_OUTERMOST);
	KIND(x, 95, UNWIND_OUTERMOST);
	KIND(x, 96, UNWIND_SP);
}

static void test_entry_points_far_out_change_nothing(void **state)
{
	static const uint64_t entries[] = { 1, UINT64_MAX, UINT64_MAX - 63, IMAGE_TEXT - 1,
					    IMAGE_TEXT + IMAGE_N_TEXT };
	struct fixture *x = *state;

	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 0, 64, NULL, 0);
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		struct cfi c;

		bytes_clear(&x->m.file);
		x->m.n_sections = 0;
		x->m.entry = entries[i];
		elf_file_close(x->f);
		x->f = image_open(&x->m);
		assert_int_equal(cfi_build(x->f, &c), 0);
		assert_int_equal(c.rows.n, 2);
		cfi_deinit(&c);
	}
}

static void test_entry_point_at_the_end_of_the_text(void **state)
{
	struct fixture *x = *state;

	x->m.entry = IMAGE_TEXT + IMAGE_N_TEXT - 1;
	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 0, 64, NULL, 0);
	build(x);
	KIND(x, IMAGE_N_TEXT - 2, UNWIND_GAP);
	KIND(x, IMAGE_N_TEXT - 1, UNWIND_OUTERMOST);
}

static void test_stubs_of_lld_without_cfi(void **state)
{
	struct fixture *x = *state;

	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 0, 64, NULL, 0);
	image_section(&x->m, ".plt", IMAGE_TEXT + 0x100, NULL, 64);
	image_section(&x->m, ".plt.got", IMAGE_TEXT + 0x200, NULL, 16);
	build(x);
	KIND(x, 0xff, UNWIND_GAP);
	IS(x, 0x100, .kind = UNWIND_SP, .cfa_offset = 16); /* its header: something is pushed */
	IS(x, 0x106, .kind = UNWIND_SP, .cfa_offset = 24);
	IS(x, 0x110, .kind = UNWIND_PLT, .aux = 11);
	IS(x, 0x13f, .kind = UNWIND_PLT, .aux = 11);
	KIND(x, 0x140, UNWIND_GAP);
	IS(x, 0x200, .kind = UNWIND_SP, .cfa_offset = 8);
	KIND(x, 0x210, UNWIND_GAP);
}

static void test_stubs_with_cfi_keep_it(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });

	fde(x, cie, 0x100, 64, PROGRAM(PLT(10)));
	image_section(&x->m, ".plt", IMAGE_TEXT + 0x100, NULL, 64);
	build(x);
	IS(x, 0x100, .kind = UNWIND_PLT, .aux = 10);
	IS(x, 0x13f, .kind = UNWIND_PLT, .aux = 10);
}

static void test_sections_whose_addresses_lie(void **state)
{
	struct fixture *x = *state;

	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 0, 64, NULL, 0);
	image_section(&x->m, ".plt", IMAGE_TEXT + IMAGE_N_TEXT - 8, "0123456789abcdefghij", 20);
	image_section(&x->m, ".plt.sec", UINT64_MAX - 3, "01234567", 8);
	image_section(&x->m, ".iplt", 0, "01234567", 8);
	build(x);
	KIND(x, IMAGE_N_TEXT - 9, UNWIND_GAP);
	IS(x, IMAGE_N_TEXT - 8, .kind = UNWIND_SP, .cfa_offset = 16);
	IS(x, IMAGE_N_TEXT - 1, .kind = UNWIND_SP, .cfa_offset = 24);
}

/* 64 bytes of an entry point, or a section, that would go on behind the last address. */
static void at_the_end(struct fixture *x, bool with_stubs)
{
	const uint64_t text = 0ull - 0x1001; /* so that it ends with the last byte but one */
	static const char stubs[0x1000];
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ .encoding = DW_EH_PE_udata8 });

	image_fde(&x->m.eh_frame,
		  &(struct image_fde){
			  .cie = cie, .start = text, .n = 64, .encoding = DW_EH_PE_udata8 });
	if (with_stubs)
		image_section(&x->m, ".plt.sec", text + 0x800, stubs, sizeof(stubs));
	x->m.entry = UINT64_MAX - 0x10;
	image_finish(&x->m);
	image_phdr(&x->m, 0)->p_vaddr = text;
	image_phdr(&x->m, 0)->p_memsz = 0x1000;
	assert_int_equal(elf_file_open_memory(x->m.file.data, x->m.file.n, &x->f), 0);
	assert_int_equal(cfi_build(x->f, &x->c), 0);
	check_rows(&x->c);
}

static void test_section_that_wraps_around_the_address_space(void **state)
{
	struct fixture *x = *state;

	at_the_end(x, true);
	assert_int_equal(cfi_find(&x->c, x->c.low + 0x7ff)->kind, UNWIND_GAP);
	assert_int_equal(cfi_find(&x->c, x->c.low + 0x800)->cfa_offset, 8);
	assert_int_equal(cfi_find(&x->c, UINT64_MAX - 2)->cfa_offset, 8);
}

static void test_entry_point_at_the_end_of_the_address_space(void **state)
{
	struct fixture *x = *state;

	at_the_end(x, false);
	assert_int_equal(cfi_find(&x->c, UINT64_MAX - 0x11)->kind, UNWIND_GAP);
	assert_int_equal(cfi_find(&x->c, UINT64_MAX - 0x10)->kind, UNWIND_OUTERMOST);
	assert_int_equal(cfi_find(&x->c, UINT64_MAX - 2)->kind, UNWIND_OUTERMOST);
}

static const uint8_t trampoline[] = { 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05 };

static void test_signal_trampoline_without_fde(void **state)
{
	struct fixture *x = *state;

	memcpy(x->m.text + 0x200, trampoline, sizeof(trampoline));
	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 0, 64, NULL, 0);
	build(x);
	KIND(x, 0x1fe, UNWIND_GAP);
	KIND(x, 0x1ff, UNWIND_SIGNAL); /* a caller's look-up is one byte before it */
	KIND(x, 0x208, UNWIND_SIGNAL);
	KIND(x, 0x209, UNWIND_GAP);
}

static void test_signal_trampoline_at_the_edges_of_its_gap(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });

	memcpy(x->m.text + 64, trampoline, sizeof(trampoline));
	fde(x, cie, 0, 64, NULL, 0);
	fde(x, cie, 64 + 16, 64, NULL, 0);
	build(x);
	KIND(x, 63, UNWIND_SP);
	KIND(x, 64, UNWIND_SIGNAL);
	KIND(x, 64 + 8, UNWIND_SIGNAL);
	KIND(x, 64 + 9, UNWIND_GAP);
	KIND(x, 64 + 16, UNWIND_SP);
}

static void test_trampoline_bytes_inside_a_function_are_its_own(void **state)
{
	struct fixture *x = *state;

	memcpy(x->m.text + 16, trampoline, sizeof(trampoline));
	one(x, NULL, 0);
	KIND(x, 16, UNWIND_SP);
}

/* make_fcontext of Boost.Context: push rbp; jmp rbx; what the function returns to: xor rdi, rdi; call; hlt */
static void test_where_a_fiber_begins(void **state)
{
	static const uint8_t plain[] = { 0x55, 0xff, 0xe3, 0x48, 0x31, 0xff, 0xe8, 0, 0, 0, 0, 0xf4 };
	static const uint8_t endbr64[] = { 0x55, 0xff, 0xe3, 0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x31, 0xff, 0xe8, 0, 0, 0, 0 };
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });

	memcpy(x->m.text + 0x200, plain, sizeof(plain));
	memcpy(x->m.text + 0x300, endbr64, sizeof(endbr64));
	fde(x, cie, 0, 64, NULL, 0);
	fde(x, cie, 0x280, 64, NULL, 0);
	build(x);
	KIND(x, 0x201, UNWIND_GAP);
	IS(x, 0x202, .kind = UNWIND_OUTERMOST, .aux = 1); /* the look-up is one byte before */
	IS(x, 0x206, .kind = UNWIND_OUTERMOST, .aux = 1);
	KIND(x, 0x207, UNWIND_GAP);
	IS(x, 0x302, .kind = UNWIND_OUTERMOST, .aux = 1);
	KIND(x, 0x30b, UNWIND_GAP);
}

static void test_stripped_section_headers(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });
	size_t at = x->m.eh_frame.n;

	x->m.stripped = true;
	fde(x, cie, 0, 64, PROGRAM(DW_CFA_def_cfa_offset, 16));
	image_header(&x->m, (const uint64_t[]){ IMAGE_TEXT }, &at, 1);
	build(x);
	assert_int_equal(x->r, 0);
	assert_int_equal(x->c.n_fdes, 1);
	assert_int_equal(rule(x, 0).cfa_offset, 16);
	KIND(x, 64, UNWIND_GAP);
}

static void test_stripped_and_without_header_has_no_rows(void **state)
{
	struct fixture *x = *state;

	x->m.stripped = true;
	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 0, 64, NULL, 0);
	build(x);
	assert_int_equal(x->r, -ENODATA);
}

static void test_no_fde_at_all(void **state)
{
	struct fixture *x = *state;

	image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });
	build(x);
	assert_int_equal(x->r, -ENODATA);
}

static void test_nothing_executable(void **state)
{
	struct fixture *x = *state;

	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 0, 64, NULL, 0);
	image_finish(&x->m);
	image_phdr(&x->m, 0)->p_flags = PF_R;
	assert_int_equal(elf_file_open_memory(x->m.file.data, x->m.file.n, &x->f), 0);
	assert_int_equal(cfi_build(x->f, &x->c), -ENOEXEC);
}

static void test_more_text_than_offsets_can_tell(void **state)
{
	struct fixture *x = *state;

	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 0, 64, NULL, 0);
	image_finish(&x->m);
	image_phdr(&x->m, 0)->p_memsz = 1ull << 32;
	assert_int_equal(elf_file_open_memory(x->m.file.data, x->m.file.n, &x->f), 0);
	assert_int_equal(cfi_build(x->f, &x->c), -ENOEXEC);
}

/* Every length in the section, and every cut of it, is an answer. */
static void test_every_cut_of_the_section_is_survived(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ .augmentation = "zPLR" }), n;

	fde(x, cie, 0, 64,
	    PROGRAM(OFFSET(RBP), 2, DW_CFA_def_cfa_expression, 3, DW_OP_breg6, 0x78, DW_OP_deref,
		    ADVANCE(4), DW_CFA_remember_state));
	fde(x, cie, 64, 64, PROGRAM(DW_CFA_advance_loc4, 1, 0, 0, 0, DW_CFA_restore_state));
	image_finish(&x->m);
	n = x->m.eh_frame.n;
	for (size_t cut = 0; cut <= n + 4; cut++) {
		struct elf_file *f;
		struct cfi c;

		image_shdr(&x->m, ".eh_frame")->sh_size = cut;
		assert_int_equal(elf_file_open_memory(x->m.file.data, x->m.file.n, &f), 0);
		if (cfi_build(f, &c) == 0) {
			check_rows(&c);
			cfi_deinit(&c);
		}
		elf_file_close(f);
	}
}

static void test_every_byte_of_the_section_may_be_wrong(void **state)
{
	static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ .augmentation = "zPLR" });
	char *bytes;

	fde(x, cie, 0, 64,
	    PROGRAM(OFFSET(RBP), 2, DW_CFA_def_cfa_expression, 3, DW_OP_breg6, 0x78, DW_OP_deref,
		    ADVANCE(4), DW_CFA_remember_state));
	fde(x, cie, 64, 64, PROGRAM(ADVANCE(1), DW_CFA_restore_state));
	image_finish(&x->m);
	bytes = x->m.file.data + image_shdr(&x->m, ".eh_frame")->sh_offset;
	for (size_t i = 0; i < x->m.eh_frame.n * sizeof(values); i++) {
		char old = bytes[i / sizeof(values)];
		struct elf_file *f;
		struct cfi c;

		bytes[i / sizeof(values)] = (char)values[i % sizeof(values)];
		assert_int_equal(elf_file_open_memory(x->m.file.data, x->m.file.n, &f), 0);
		if (cfi_build(f, &c) == 0) {
			check_rows(&c);
			cfi_deinit(&c);
		}
		elf_file_close(f);
		bytes[i / sizeof(values)] = old;
	}
}

static void test_equal_rules_are_one(void **state)
{
	struct fixture *x = *state;
	size_t cie = image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });

	for (unsigned i = 0; i < 100; i++)
		fde(x, cie, i * 64, 64, PROGRAM(ADVANCE(1), DW_CFA_def_cfa_offset, 16));
	build(x);
	assert_int_equal(x->c.rows.n, 201);
	assert_int_equal(x->c.rules.n, 3); /* gap, sp + 8, sp + 16 */
}

/* Each byte of the text with a rule of its own, told three times by functions that overlap. */
static void test_rules_are_bounded(void **state)
{
	struct fixture *x = *state;
	unsigned n = 0;

	image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });
	for (unsigned k = 0; k < 3; k++) {
		struct bytes program = BYTES_INIT;

		for (unsigned i = 0; i < IMAGE_N_TEXT; i++, n++) {
			const uint8_t step[] = { DW_CFA_def_cfa_offset, (uint8_t)(n & 127) | 128,
						 (uint8_t)(n >> 7 & 127) | 128,
						 (uint8_t)(n >> 14 & 127), ADVANCE(1) };

			bytes_add(&program, step, sizeof(step));
		}
		fde(x, 0, 0, IMAGE_N_TEXT + k, program.data, program.n);
		bytes_deinit(&program);
	}
	assert_true(n > CFI_MAX_RULES);
	x->f = image_open(&x->m);
	assert_int_equal(cfi_build(x->f, &x->c), -E2BIG);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_short_padding_is_folded_and_long_gaps_are_kept),
		TEST(test_before_the_first_function_is_a_gap),
		TEST(test_functions_in_any_order),
		TEST(test_of_overlapping_functions_the_first_wins),
		TEST(test_functions_that_are_not_in_the_file_are_dropped),
		TEST(test_a_function_may_reach_past_the_text),
		TEST(test_empty_and_backward_functions_are_bad),
		TEST(test_terminator_in_the_middle),
		TEST(test_64_bit_lengths),
		TEST(test_cie_versions),
		TEST(test_augmentations),
		TEST(test_cie_with_a_bad_program_or_alignment_is_not_used),
		TEST(test_fde_of_no_cie_is_bad),
		TEST(test_pointer_encodings),
		TEST(test_16_bit_pointers),
		TEST(test_encodings_without_a_base_are_bad),
		TEST(test_debug_frame_fills_what_eh_frame_leaves),
		TEST(test_debug_frame_alone),
		TEST(test_entry_point_without_fde_is_the_outermost_frame),
		TEST(test_entry_point_of_a_library_with_an_fde_keeps_it),
		TEST(test_entry_point_of_a_program_is_the_outermost_frame),
		TEST(test_entry_points_far_out_change_nothing),
		TEST(test_entry_point_at_the_end_of_the_text),
		TEST(test_stubs_of_lld_without_cfi),
		TEST(test_stubs_with_cfi_keep_it),
		TEST(test_sections_whose_addresses_lie),
		TEST(test_section_that_wraps_around_the_address_space),
		TEST(test_entry_point_at_the_end_of_the_address_space),
		TEST(test_signal_trampoline_without_fde),
		TEST(test_signal_trampoline_at_the_edges_of_its_gap),
		TEST(test_trampoline_bytes_inside_a_function_are_its_own),
		TEST(test_where_a_fiber_begins),
		TEST(test_stripped_section_headers),
		TEST(test_stripped_and_without_header_has_no_rows),
		TEST(test_no_fde_at_all),
		TEST(test_nothing_executable),
		TEST(test_more_text_than_offsets_can_tell),
		TEST(test_every_cut_of_the_section_is_survived),
		TEST(test_every_byte_of_the_section_may_be_wrong),
		TEST(test_equal_rules_are_one),
		TEST(test_rules_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
