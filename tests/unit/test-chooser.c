/* SPDX-License-Identifier: Apache-2.0 */

/* The chooser on code written by hand: what it takes, what it refuses, and where the arguments are.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "symbolizer/chooser.h"

#define ADDRESS 0x401000ull
#define NO SYMBOLIZER_NO_REGISTER
enum { RAX, RDX, RCX, RBX, RSI, RDI, RBP, RSP, R8 }; /* DWARF's */

/* In a buffer of exactly this size, for the sanitizer. */
static enum symbolizer_probe_status choose(const char *code, size_t n, unsigned arguments,
					   struct choice *ret)
{
	uint8_t *copy = malloc(n ? n : 1);
	enum symbolizer_probe_status status;

	assert_non_null(copy);
	memcpy(copy, code, n);
	memset(ret, 0x5a, sizeof(*ret));
	status = chooser_choose(&(struct chooser_code){ copy, n, ADDRESS }, arguments, ret);
	free(copy);
	return status;
}

#define CHOOSE(code, arguments, ret) choose(code, sizeof(code) - 1, arguments, ret)

static void fine_(const char *code, size_t n, size_t offset, enum emulated kind, const uint8_t *r)
{
	unsigned arguments = (r[0] != NO) | (r[1] != NO) << 1 | (r[2] != NO) << 2;
	struct choice c;

	assert_int_equal(choose(code, n, arguments, &c), PROBE_FINE);
	assert_int_equal(c.offset, offset);
	assert_int_equal(c.instruction, kind);
	assert_memory_equal(c.registers, r, SYMBOLIZER_N_ARGUMENTS);
}

#define FINE(code, offset, kind, ...)                                                              \
	fine_(code, sizeof(code) - 1, offset, kind, (const uint8_t[]){ __VA_ARGS__ })

static void refused_(const char *code, size_t n, unsigned arguments,
		     enum symbolizer_probe_status status)
{
	struct choice c, untouched;

	memset(&untouched, 0x5a, sizeof(untouched));
	assert_int_equal(choose(code, n, arguments, &c), status);
	assert_memory_equal(&c, &untouched, sizeof(c));
}

#define REFUSED(code, arguments, status) refused_(code, sizeof(code) - 1, arguments, status)

static void test_each_emulated_instruction_is_taken_at_the_entry(void **state)
{
	FINE("\x55\xc3", 0, EMULATED_PUSH, RDI, NO, NO);
	FINE("\x41\x54\xc3", 0, EMULATED_PUSH, RDI, RSI, RDX);
	FINE("\xeb\x10", 0, EMULATED_JMP, RDI, NO, NO);
	FINE("\xe9\0\1\0\0", 0, EMULATED_JMP, RDI, NO, NO);
	FINE("\xe8\0\1\0\0\xc3", 0, EMULATED_CALL, RDI, NO, NO);
	FINE("\x74\x01\x90\xc3", 0, EMULATED_JCC, RDI, NO, NO);
	FINE("\x0f\x85\0\1\0\0\xc3", 0, EMULATED_JCC, RDI, NO, NO);
	FINE("\x90\xc3", 0, EMULATED_NOP, RDI, NO, NO);
	FINE("\x0f\x1f\x44\0\0\xc3", 0, EMULATED_NOP5, RDI, NO, NO);
}

static void test_the_first_one_behind_harmless_instructions(void **state)
{
	FINE("\xf3\x0f\x1e\xfa\x55\xc3", 4, EMULATED_PUSH, RDI, RSI, RDX);  /* endbr64 */
	FINE("\x48\x85\xff\x74\x01\x90\xc3", 3, EMULATED_JCC, RDI, NO, NO); /* test */
	FINE("\x66\x90\x55\xc3", 2, EMULATED_PUSH, RDI, NO, NO);	    /* xchg ax */
	FINE("\xf3\x90\x55\xc3", 2, EMULATED_PUSH, RDI, NO, NO);	    /* pause */
	FINE("\x0f\x1f\x40\0\x55\xc3", 4, EMULATED_PUSH, RDI, NO, NO);	    /* nopl, 4 */
	FINE("\xf3\x0f\x1e\xfa\x0f\x1f\x44\0\0\x55\xc3", 9, EMULATED_PUSH, RDI, NO, NO);
}

static void test_arguments_are_followed(void **state)
{
	/* mov rax, rdi; mov rdi, 1; jz */
	FINE("\x48\x89\xf8\xbf\1\0\0\0\x74\0\xc3", 8, EMULATED_JCC, RAX, NO, NO);
	FINE("\x48\x89\xf8\x74\0\xc3", 3, EMULATED_JCC, RDI, NO,
	     NO); /* its own, while it is there */
	/* mov rsi, rdi; mov rdx, rsi; xor edi, edi; jmp: both arguments, the old rsi is gone */
	FINE("\x48\x89\xfe\x48\x89\xf2\x31\xff\xeb\x20", 8, EMULATED_JMP, RDX, NO, NO);
	/* mov rdx, rsi; mov rsi, rdi; mov rdi, [rip]; jmp */
	FINE("\x48\x89\xf2\x48\x89\xfe\x48\x8b\x3d\0\0\0\0\xeb\x20", 13, EMULATED_JMP, RSI, RDX,
	     NO);
	FINE("\x48\x87\xfe\x55", 3, EMULATED_PUSH, RSI, RDI, NO);	/* xchg rdi, rsi */
	FINE("\x49\x89\xf8\x31\xff\x55", 5, EMULATED_PUSH, R8, NO, NO); /* mov r8, rdi */
	FINE("\x89\xfa\x55", 2, EMULATED_PUSH, RDI, RSI, NO); /* mov edx, edi: not needed */
}

static void test_arguments_that_are_gone(void **state)
{
	REFUSED("\x89\xff\x55", 1, PROBE_ARGUMENT);		/* mov edi, edi */
	REFUSED("\x40\x0f\xb6\xff\x55", 1, PROBE_ARGUMENT);	/* movzx edi, dil */
	REFUSED("\x40\xb7\1\x55", 1, PROBE_ARGUMENT);		/* mov dil, 1 */
	REFUSED("\x66\xbf\1\0\x55", 1, PROBE_ARGUMENT);		/* mov di, 1 */
	REFUSED("\x48\x89\xf2\x55", 7, PROBE_ARGUMENT);		/* mov rdx, rsi */
	REFUSED("\x48\xf7\xe7\x55", 7, PROBE_ARGUMENT);		/* mul rdi: rdx */
	REFUSED("\x48\x0f\x44\xfe\x55", 1, PROBE_ARGUMENT);	/* cmovz rdi, rsi */
	REFUSED("\x48\xff\xc7\x55", 1, PROBE_ARGUMENT);		/* inc rdi */
	REFUSED("\xf3\xa4\x55", 1, PROBE_ARGUMENT);		/* rep movsb */
	REFUSED("\x87\xfe\x55", 1, PROBE_ARGUMENT);		/* xchg edi, esi */
	REFUSED("\x48\x8d\x3f\x55", 1, PROBE_ARGUMENT);		/* lea rdi, [rdi] */
	REFUSED("\x48\x0f\xc1\xf7\x55", 1, PROBE_ARGUMENT);	/* xadd rdi, rsi */
	REFUSED("\x88\xf8\x48\x89\xc7\x55", 1, PROBE_ARGUMENT); /* mov al, bh; mov rdi, rax */
	REFUSED("\x48\x89\xf8\x88\xe8\x31\xff\x55", 1, PROBE_ARGUMENT); /* rax = rdi; al = ch */
	REFUSED("\x48\x89\xf8\xb4\1\x31\xff\x55", 1, PROBE_ARGUMENT);	/* rax = rdi; ah = 1 */
}

static void test_branches_that_come_first(void **state)
{
	REFUSED("\xc3\x55", 0, PROBE_BRANCH_FIRST);
	REFUSED("\xff\xe0\x55", 0, PROBE_BRANCH_FIRST);		    /* jmp rax */
	REFUSED("\xff\x25\0\0\0\0\x55", 0, PROBE_BRANCH_FIRST);	    /* jmp [rip] */
	REFUSED("\xff\xd0\x55", 0, PROBE_BRANCH_FIRST);		    /* call rax */
	REFUSED("\xe3\x01\x90\x55", 0, PROBE_BRANCH_FIRST);	    /* jrcxz */
	REFUSED("\xe2\x01\x90\x55", 0, PROBE_BRANCH_FIRST);	    /* loop */
	REFUSED("\x0f\x05\x55", 0, PROBE_BRANCH_FIRST);		    /* syscall */
	REFUSED("\xcc\x55", 0, PROBE_BRANCH_FIRST);		    /* int3 */
	REFUSED("\x0f\x0b\x55", 0, PROBE_BRANCH_FIRST);		    /* ud2 */
	REFUSED("\xf4\x55", 0, PROBE_BRANCH_FIRST);		    /* hlt */
	REFUSED("\xc7\xf8\0\0\0\0\x55", 0, PROBE_BRANCH_FIRST);	    /* xbegin */
	REFUSED("\xf2\xe9\0\1\0\0\x55", 0, PROBE_BRANCH_FIRST);	    /* bnd jmp */
	REFUSED("\x3e\x74\0\x55", 0, PROBE_BRANCH_FIRST);	    /* with a hint */
	REFUSED("\x66\xe9\0\1\0\0\x55\x55", 0, PROBE_BRANCH_FIRST); /* data16 */
	REFUSED("\x66\x48\xe8\0\1\0\0\x55", 0, PROBE_BRANCH_FIRST);
}

static void test_the_stack_pointer_has_moved(void **state)
{
	REFUSED("\x48\x83\xec\x08\x55", 0, PROBE_STACK_MOVED);	   /* sub rsp, 8 */
	REFUSED("\x48\x8d\x64\x24\xf8\x55", 0, PROBE_STACK_MOVED); /* lea rsp, [rsp - 8] */
	REFUSED("\x58\x55", 0, PROBE_STACK_MOVED);		   /* pop rax */
	REFUSED("\xff\x37\x55", 0, PROBE_STACK_MOVED);		   /* push [rdi] */
	REFUSED("\x6a\1\x55", 0, PROBE_STACK_MOVED);		   /* push 1 */
	REFUSED("\x48\x50\x55", 0, PROBE_STACK_MOVED);		   /* push with REX.W */
	REFUSED("\x66\x50\x55", 0, PROBE_STACK_MOVED);		   /* push ax */
	REFUSED("\xc9\x55", 0, PROBE_STACK_MOVED);		   /* leave */
	REFUSED("\xc8\0\0\0\x55", 0, PROBE_STACK_MOVED);	   /* enter */
	REFUSED("\x48\x87\xe0\x55", 0, PROBE_STACK_MOVED);	   /* xchg rsp, rax */
	REFUSED("\x9c\x55", 0, PROBE_STACK_MOVED);		   /* pushf */
	REFUSED("\x89\xe4\x55", 0, PROBE_STACK_MOVED);		   /* mov esp, esp */
}

static void test_loops_that_lead_back(void **state)
{
	/* test rdi, rdi; jz +0; ...; jmp to the test's second half, the jz, the nop behind it */
	FINE("\x90\x48\x85\xff\x74\x00\xeb\xfb", 0, EMULATED_NOP, RDI, NO, NO);
	REFUSED("\x48\x85\xff\x74\x00\xeb\xfc", 0, PROBE_LOOP); /* to +3 */
	REFUSED("\x48\x85\xff\x74\x00\xeb\xfb", 0, PROBE_LOOP); /* to +2 */
	REFUSED("\x48\x85\xff\x74\x00\xeb\xfa", 0, PROBE_LOOP); /* to +1 */
	FINE("\x48\x85\xff\x74\x00\xeb\xf9", 3, EMULATED_JCC, RDI, NO,
	     NO); /* to the entry: a call */
	FINE("\x48\x85\xff\x74\x00\xeb\xfe", 3, EMULATED_JCC, RDI, NO, NO); /* to itself, behind */
	REFUSED("\x48\x85\xff\x74\xfe", 0, PROBE_LOOP);			    /* to itself */
	REFUSED("\x48\x85\xff\x74\x00\x0f\x84\xf7\xff\xff\xff", 0, PROBE_LOOP);
	REFUSED("\x48\x85\xff\x74\x00\xe8\xf9\xff\xff\xff", 0, PROBE_LOOP); /* a call to +3 */
	FINE("\x48\x85\xff\x74\x00\xff\xe0", 3, EMULATED_JCC, RDI, NO, NO); /* a jump table */
}

static void test_code_that_is_no_code_or_too_short(void **state)
{
	static const char many[300] = { 0 };

	REFUSED("", 0, PROBE_NO_PLACE);
	REFUSED("\x48\x85\xff", 0, PROBE_NO_PLACE);
	REFUSED("\x48\x85", 0, PROBE_UNDECODABLE); /* cut */
	REFUSED("\xe9\0\0\0", 0, PROBE_UNDECODABLE);
	REFUSED("\x41", 0, PROBE_UNDECODABLE);
	REFUSED("\x0f\x1f\x44\0", 0, PROBE_UNDECODABLE);
	REFUSED("\x06\x55", 0, PROBE_UNDECODABLE);
	REFUSED("\x55\x06", 0, PROBE_UNDECODABLE);	 /* later in the function */
	REFUSED("\x55\xe8\0\0", 0, PROBE_UNDECODABLE);	 /* its end is in the way */
	refused_(many, sizeof(many), 0, PROBE_NO_PLACE); /* add [rax], al */
}

struct exits {
	struct chooser_exit e[16];
	unsigned n;
};

static void on_exit_(void *context, const struct chooser_exit *e)
{
	struct exits *x = context;

	assert_true(x->n < 16);
	x->e[x->n++] = *e;
}

static void test_ways_out(void **state)
{
	static const uint8_t code[] =
		"\x74\x01\x90"		       /* within */
		"\xe8\x00\x01\x00\x00"	       /* call */
		"\xff\x15\x10\0\0\0"	       /* call [rip + 0x10] */
		"\x0f\x84\0\1\0\0"	       /* jz */
		"\xff\xd0\xff\x60\x08\xff\xe0" /* call rax; jmp [rax + 8]; jmp rax */
		"\xff\x25\xf0\xff\xff\xff"     /* jmp [rip - 0x10] */
		"\xeb\xdb\xc3\xe9\0\0\0\0";    /* to the entry; ret; behind the end */
	static const struct chooser_exit expected[] = {
		{ EXIT_CALL, false, ADDRESS + 8 + 0x100, ADDRESS + 3 },
		{ EXIT_CALL_SLOT, false, ADDRESS + 14 + 0x10, ADDRESS + 8 },
		{ EXIT_BRANCH, false, ADDRESS + 20 + 0x100, ADDRESS + 14 },
		{ EXIT_CALL_ANY, false, 0, ADDRESS + 20 },
		{ EXIT_JUMP_ANY, false, 0, ADDRESS + 22 },
		{ EXIT_JUMP_ANY, false, 0, ADDRESS + 25 },
		{ EXIT_JUMP_SLOT, false, ADDRESS + 33 - 0x10, ADDRESS + 27 },
		{ EXIT_JUMP, false, ADDRESS - 2, ADDRESS + 33 },
		{ EXIT_RETURN, false, 0, ADDRESS + 35 },
		{ EXIT_JUMP, false, ADDRESS + sizeof(code) - 1, ADDRESS + 36 },
	};
	struct chooser_code c = { code, sizeof(code) - 1, ADDRESS };
	struct exits x = { .n = 0 };

	assert_int_equal(chooser_exits(&c, on_exit_, &x), PROBE_FINE);
	assert_int_equal(x.n, sizeof(expected) / sizeof(expected[0]));
	for (unsigned i = 0; i < x.n; i++) {
		assert_int_equal(x.e[i].kind, expected[i].kind);
		assert_int_equal(x.e[i].thunk, expected[i].thunk);
		assert_int_equal(x.e[i].target, expected[i].target);
		assert_int_equal(x.e[i].address, expected[i].address);
	}
}

static void test_a_thunk_has_nothing_in_front(void **state)
{
	static const uint8_t code[] = "\xf3\x0f\x1e\xfa\x48\x89\xfe\xe9\0\1\0\0\xe9\0\1\0\0\x06";
	struct chooser_code c = { code, sizeof(code) - 1, ADDRESS };
	struct exits x = { .n = 0 };

	assert_int_equal(chooser_exits(&c, on_exit_, &x), PROBE_UNDECODABLE);
	assert_int_equal(x.n, 2);
	assert_true(x.e[0].thunk && !x.e[1].thunk);
}

static bool leads(const char *code, size_t n, uint64_t low, uint64_t high)
{
	return chooser_leads_into(&(struct chooser_code){ (const uint8_t *)code, n, ADDRESS }, low,
				  high);
}

#define LEADS(code, low, high) leads(code, sizeof(code) - 1, low, high)

static void test_parts_that_lead_back(void **state)
{
	assert_true(LEADS("\x90\xe9\xfa\xff\xff\xff", ADDRESS - 1, ADDRESS));  /* to ADDRESS */
	assert_false(LEADS("\x90\xe9\xfa\xff\xff\xff", ADDRESS, ADDRESS + 4)); /* low is not in */
	assert_true(LEADS("\x74\x02\x90\xc3", ADDRESS, ADDRESS + 4));	       /* high is */
	assert_false(LEADS("\x74\x03\x90\xc3", ADDRESS, ADDRESS + 4));
	assert_false(LEADS("\xc3\x74\x01", ADDRESS, ADDRESS + 4));	       /* ends before */
	assert_false(LEADS("\xe8\xfd\xff\xff\xff\xc3", ADDRESS, ADDRESS + 4)); /* a call */
	assert_false(LEADS("\x48\x85", ADDRESS, ADDRESS + 4));		       /* cut */
	assert_true(LEADS("\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", ADDRESS, ADDRESS + 4));
	assert_false(LEADS("\x74\x02", ADDRESS, ADDRESS)); /* nothing */
}

/* The bytes alone, of every opcode: no prefix, no longer push, no jump to 16 bits. */
static void test_emulated_forms(void **state)
{
	unsigned n_one = 0, n_two = 0, length;
	uint8_t code[6] = { 0 };

	for (unsigned i = 0; i < 256; i++) {
		code[0] = (uint8_t)i;
		n_one += i != 0x0f && i != 0x41 && emulated_x86(code, 6, &length) != EMULATED_NOT;
	}
	assert_int_equal(n_one, 8 + 16 + 3 + 1); /* push, jcc, jmp jmp call, nop */
	for (unsigned i = 0; i < 512; i++) {
		code[0] = i < 256 ? 0x0f : 0x41;
		code[1] = (uint8_t)i;
		n_two += emulated_x86(code, 6, &length) != EMULATED_NOT;
	}
	assert_int_equal(n_two, 16 + 8);
	for (size_t n = 0; n < 5; n++) {
		assert_int_equal(emulated_x86((const uint8_t *)"\xe8\0\0\0\0", n, &length),
				 EMULATED_NOT);
		assert_int_equal(emulated_x86((const uint8_t *)"\x0f\x1f\x44\0\0", n, &length),
				 EMULATED_NOT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_emulated_instruction_is_taken_at_the_entry),
		cmocka_unit_test(test_the_first_one_behind_harmless_instructions),
		cmocka_unit_test(test_arguments_are_followed),
		cmocka_unit_test(test_arguments_that_are_gone),
		cmocka_unit_test(test_branches_that_come_first),
		cmocka_unit_test(test_the_stack_pointer_has_moved),
		cmocka_unit_test(test_loops_that_lead_back),
		cmocka_unit_test(test_code_that_is_no_code_or_too_short),
		cmocka_unit_test(test_ways_out),
		cmocka_unit_test(test_a_thunk_has_nothing_in_front),
		cmocka_unit_test(test_parts_that_lead_back),
		cmocka_unit_test(test_emulated_forms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
