/* SPDX-License-Identifier: Apache-2.0 */

/* Rows followed out of code written by hand, in files without any FDE. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/cfi_world.h"

#define F 0x40 /* the function that the entry point calls */
#define G 0x80 /* and, when that returns, this one */
#define CODE(x, at, bytes) memcpy((x)->m.text + (at), bytes, sizeof(bytes) - 1)

static void follow(struct fixture *x)
{
	static const uint8_t entry[] = { 0x31, 0xed,	      /* xor ebp, ebp */
					 0xe8, 0x39, 0, 0, 0, /* call F */
					 0xe8, 0x74, 0, 0, 0, /* call G */
					 0xf4 };	      /* hlt */

	memcpy(x->m.text, entry, sizeof(entry));
	x->m.entry = IMAGE_TEXT;
	build(x);
	assert_int_equal(x->r, 0);
}

/* Everything that a test does not write stops at once. */
static int setup_code(void **state)
{
	int r = setup(state);

	if (r == 0)
		memset(((struct fixture *)*state)->m.text, 0xcc, IMAGE_N_TEXT);
	return r;
}

static void test_pushes_and_locals(void **state)
{
	struct fixture *x = *state;

	/* push rbp; push rbx; sub rsp,24; mov rbp,rdi; mov ebx,esi; add rsp,24; pop rbx; pop rbp;
	 * ret */
	CODE(x, F, "\x55\x53\x48\x83\xec\x18\x48\x89\xfd\x89\xf3\x48\x83\xc4\x18\x5b\x5d\xc3");
	follow(x);
	KIND(x, 0, UNWIND_OUTERMOST);
	KIND(x, 6, UNWIND_OUTERMOST);
	IS(x, F, .kind = UNWIND_SP, .cfa_offset = 8);
	IS(x, F + 1, .kind = UNWIND_SP, .cfa_offset = 16);
	IS(x, F + 2, .kind = UNWIND_SP, .cfa_offset = 24);
	IS(x, F + 6, .kind = UNWIND_SP, .cfa_offset = 48);
	IS(x, F + 9, .kind = UNWIND_SP, .cfa_offset = 48, .fp_saved = UNWIND_AT_CFA,
	   .fp_offset = -16);
	IS(x, F + 11, .kind = UNWIND_SP, .cfa_offset = 48, .fp_saved = UNWIND_AT_CFA,
	   .fp_offset = -16, .bx_saved = UNWIND_AT_CFA, .bx_offset = -24);
	IS(x, F + 16, .kind = UNWIND_SP, .cfa_offset = 16, .fp_saved = UNWIND_AT_CFA,
	   .fp_offset = -16);
	IS(x, F + 17, .kind = UNWIND_SP, .cfa_offset = 8);
	KIND(x, F + 18, UNWIND_GAP);
}

static void test_a_frame_pointer(void **state)
{
	struct fixture *x = *state;

	/* push rbp; mov rbp,rsp; and rsp,-32; sub rsp,rax; lea rsp,[rbp-8]; leave; ret */
	CODE(x, F, "\x55\x48\x89\xe5\x48\x83\xe4\xe0\x48\x29\xc4\x48\x8d\x65\xf8\xc9\xc3");
	follow(x);
	for (unsigned at = 4; at <= 15; at++)
		IS(x, F + at, .kind = UNWIND_FP, .cfa_offset = 16, .fp_saved = UNWIND_AT_CFA,
		   .fp_offset = -16);
	IS(x, F + 16, .kind = UNWIND_SP, .cfa_offset = 8);
}

static void test_a_stack_of_unknown_height_has_no_row(void **state)
{
	struct fixture *x = *state;

	/* mov rdx,rsp; and rsp,-16; nop; mov rsp,rdx; ret */
	CODE(x, F, "\x48\x89\xe2\x48\x83\xe4\xf0\x90\x48\x89\xd4\xc3");
	follow(x);
	IS(x, F + 3, .kind = UNWIND_SP, .cfa_offset = 8);
	KIND(x, F + 7, UNWIND_GAP);
	KIND(x, F + 11, UNWIND_GAP);
}

static void test_ways_that_differ_have_no_row(void **state)
{
	struct fixture *x = *state;

	/* test edi,edi; je 1f; push rax; 1: nop; mov rsp,rdx; jmp rcx */
	CODE(x, F, "\x85\xff\x74\x01\x50\x90\x48\x89\xd4\xff\xe1");
	follow(x);
	IS(x, F + 4, .kind = UNWIND_SP, .cfa_offset = 8);
	KIND(x, F + 5, UNWIND_GAP);
}

static void test_a_function_that_returns_wrongly_has_no_row(void **state)
{
	struct fixture *x = *state;

	CODE(x, F, "\x50\xc3"); /* push rax; ret */
	CODE(x, G, "\x50\x58\xc3");
	follow(x);
	KIND(x, F, UNWIND_GAP);
	KIND(x, F + 1, UNWIND_GAP);
	IS(x, G + 1, .kind = UNWIND_SP, .cfa_offset = 16);
}

static void test_nothing_follows_a_call_that_never_returns(void **state)
{
	struct fixture *x = *state;

	/* push rax; call G; 1: ret, with another height; G: hlt */
	CODE(x, F, "\x50\xe8\x3a\0\0\0\xc3");
	CODE(x, G, "\xf4");
	follow(x);
	IS(x, F + 1, .kind = UNWIND_SP, .cfa_offset = 16);
	KIND(x, F + 6, UNWIND_GAP);
	KIND(x, 7, UNWIND_GAP); /* nor the call of F */
}

static void test_blocks_of_a_jump_table(void **state)
{
	struct fixture *x = *state;

	/* push rbx; sub rsp,16; jmp rax; A: add rsp,16; pop rbx; ret; B: xor eax,eax; jmp A; C: hlt
	 */
	CODE(x, F, "\x53\x48\x83\xec\x10\xff\xe0\x48\x83\xc4\x10\x5b\xc3\x31\xc0\xeb\xf6\xf4");
	CODE(x, G, "\xc3");
	follow(x);
	IS(x, F + 7, .kind = UNWIND_SP, .cfa_offset = 32);
	IS(x, F + 11, .kind = UNWIND_SP, .cfa_offset = 16);
	IS(x, F + 13, .kind = UNWIND_SP, .cfa_offset = 32);
	KIND(x, F + 17, UNWIND_GAP); /* nothing tells */
}

static void test_a_new_thread_has_no_caller(void **state)
{
	struct fixture *x = *state;

	/* mov eax,56; syscall; test eax,eax; jne 1f; xor ebp,ebp; pop rdi; call r9; hlt; 1: ret */
	CODE(x, F, "\xb8\x38\0\0\0\x0f\x05\x85\xc0\x75\x07\x31\xed\x5f\x41\xff\xd1\xf4\xc3");
	follow(x);
	IS(x, F + 7, .kind = UNWIND_SP, .cfa_offset = 8);
	KIND(x, F + 13, UNWIND_OUTERMOST);
	KIND(x, F + 16, UNWIND_OUTERMOST);
	IS(x, F + 18, .kind = UNWIND_SP, .cfa_offset = 8);
}

static void test_a_return_address_in_a_register(void **state)
{
	struct fixture *x = *state;

	/* pop rdx; syscall; push rdx; ret, as musl's vfork */
	CODE(x, F, "\x5a\x0f\x05\x52\xc3");
	follow(x);
	IS(x, F + 1, .kind = UNWIND_SP, .cfa_offset = 0, .reg = UNWIND_RA_REGISTER, .aux = 1);
	IS(x, F + 4, .kind = UNWIND_SP, .cfa_offset = 8);
}

static void test_an_address_is_a_function_if_it_returns_like_one(void **state)
{
	struct fixture *x = *state;

	/* lea rax,[0xc0]; lea rdx,[0xd0]; ret; 0xc0: push rcx; pop rcx; ret; 0xd0: push rcx; ret */
	CODE(x, F, "\x48\x8d\x05\x79\0\0\0\x48\x8d\x15\x82\0\0\0\xc3");
	CODE(x, 0xc0, "\x51\x59\xc3");
	CODE(x, 0xd0, "\x51\xc3");
	follow(x);
	IS(x, 0xc1, .kind = UNWIND_SP, .cfa_offset = 16);
	KIND(x, 0xd0, UNWIND_GAP);
	KIND(x, 0xd1, UNWIND_GAP);
}

static void test_a_label_that_an_empty_part_shares_is_not_its(void **state)
{
	struct fixture *x = *state;

	/* lea rax,[0xc0]; lea rdx,[0xd0]; ret; 0xc0, whose compiler knows that it never jumps: test edx,edx; jne 0xe0; ret;
	 * 0xd0: push rbp; push rbx; push r8; test edi,edi; jne 0xe0; pop rdx; pop rbx; pop rbp; ret; 0xe0, its other part:
	 * xor eax,eax; pop rdx; pop rbx; pop rbp; ret */
	CODE(x, F, "\x48\x8d\x05\x79\0\0\0\x48\x8d\x15\x82\0\0\0\xc3");
	CODE(x, 0xc0, "\x85\xd2\x0f\x85\x18\0\0\0\xc3");
	CODE(x, 0xd0, "\x55\x53\x41\x50\x85\xff\x0f\x85\x04\0\0\0\x5a\x5b\x5d\xc3");
	CODE(x, 0xe0, "\x31\xc0\x5a\x5b\x5d\xc3");
	follow(x);
	KIND(x, 0xc0, UNWIND_GAP);
	for (unsigned at = 0xe0; at <= 0xe2; at++)
		IS(x, at, .kind = UNWIND_SP, .cfa_offset = 32);
	IS(x, 0xdc, .kind = UNWIND_SP, .cfa_offset = 32);
}

static void test_fdes_are_believed(void **state)
{
	struct fixture *x = *state;

	CODE(x, F, "\x50\x50\x58\x58\xc3");
	CODE(x, G, "\x50\x58\xc3");
	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), F, 0x20, NULL, 0);
	follow(x);
	IS(x, F + 2, .kind = UNWIND_SP, .cfa_offset = 8);
	IS(x, G + 1, .kind = UNWIND_SP, .cfa_offset = 16);
}

static void test_go_is_left_to_its_frame_pointers(void **state)
{
	struct fixture *x = *state;

	CODE(x, F, "\x50\x58\xc3");
	image_section(&x->m, ".gopclntab", IMAGE_DATA, "", 1);
	x->m.entry = IMAGE_TEXT + F;
	build(x);
	assert_int_equal(x->r, -ENODATA);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_code, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_pushes_and_locals),
		TEST(test_a_frame_pointer),
		TEST(test_a_stack_of_unknown_height_has_no_row),
		TEST(test_ways_that_differ_have_no_row),
		TEST(test_a_function_that_returns_wrongly_has_no_row),
		TEST(test_nothing_follows_a_call_that_never_returns),
		TEST(test_blocks_of_a_jump_table),
		TEST(test_a_new_thread_has_no_caller),
		TEST(test_a_return_address_in_a_register),
		TEST(test_an_address_is_a_function_if_it_returns_like_one),
		TEST(test_a_label_that_an_empty_part_shares_is_not_its),
		TEST(test_fdes_are_believed),
		TEST(test_go_is_left_to_its_frame_pointers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
