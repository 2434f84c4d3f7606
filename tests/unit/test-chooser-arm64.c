/* SPDX-License-Identifier: Apache-2.0 */

/* Where probes can stand in arm64's code, and how notes name arguments there. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "symbolizer/chooser.h"
#include "symbolizer/usdt.h"
#include "base/emulated_arm64.h"

#define AT 0x10000ull
#define FUNCTION(...) { (const uint8_t *)(const uint32_t[]){ __VA_ARGS__ }, sizeof((const uint32_t[]){ __VA_ARGS__ }), AT }

static enum emulated kind_of(uint32_t word)
{
	unsigned length = 0;
	enum emulated r = emulated_arm64((const uint8_t *)&word, 4, &length);

	assert_true(r == EMULATED_NOT || length == 4);
	return r;
}

static void test_kinds_of_instructions(void **state)
{
	static const struct {
		uint32_t word;
		enum emulated kind;
	} all[] = {
		{ 0xd503201f, EMULATED_NOP },	  { 0xd503233f, EMULATED_STEPPED }, /* nop, paciasp */
		{ 0xd503245f, EMULATED_STEPPED }, { 0xd503203f, EMULATED_NOT },	    /* bti c, yield */
		{ 0xa9bf7bfd, EMULATED_STEPPED }, { 0xd10083ff, EMULATED_STEPPED }, /* stp; sub sp, sp, #32 */
		{ 0xaa0003f3, EMULATED_STEPPED }, { 0xb4000040, EMULATED_JCC },	    /* mov x19, x0; cbz */
		{ 0x36000040, EMULATED_JCC },	  { 0x54000040, EMULATED_JCC },	    /* tbz, b.eq */
		{ 0x14000004, EMULATED_JMP },	  { 0x94000004, EMULATED_CALL },    /* b, bl */
		{ 0x90000010, EMULATED_STEPPED }, { 0xf9400000, EMULATED_STEPPED }, /* adrp, ldr */
		{ 0xc85f7c00, EMULATED_NOT },	  { 0xc8007c01, EMULATED_NOT },	    /* ldxr, stxr */
		{ 0xd4000001, EMULATED_NOT },	  { 0xd4200000, EMULATED_NOT },	    /* svc, brk */
		{ 0xd53bd040, EMULATED_NOT },	  { 0x00000000, EMULATED_NOT },	    /* mrs, udf */
		{ 0xd65f03c0, EMULATED_NOT },	  { 0xd61f0220, EMULATED_NOT },	    /* ret, br x17 */
	};
	unsigned length;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (kind_of(all[i].word) != all[i].kind)
			fail_msg("%#x is %d", all[i].word, kind_of(all[i].word));
	assert_int_equal(emulated_arm64((const uint8_t *)&all[0].word, 3, &length), EMULATED_NOT);
}

static void test_branches_by_an_offset(void **state)
{
	static const struct {
		uint32_t word;
		int64_t by;
	} all[] = {
		{ 0x14000004, 16 }, { 0x17ffffff, -4 }, { 0x96000000, -(1ll << 27) }, { 0x54000040, 8 },
		{ 0x54ffffe1, -4 }, { 0xb4000040, 8 },	{ 0x35ffffe0, -4 },	      { 0x36000040, 8 }, { 0x3707ffe0, -4 },
	};
	uint32_t ret = 0xd65f03c0;
	int64_t by;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		assert_true(branch_arm64((const uint8_t *)&all[i].word, 4, &by));
		assert_int_equal(by, all[i].by);
	}
	assert_false(branch_arm64((const uint8_t *)&ret, 4, &by));
	assert_true(return_arm64((const uint8_t *)&ret, 4));
	assert_false(return_arm64((const uint8_t *)&ret, 3));
}

static void test_first_instruction_is_chosen(void **state)
{
	const struct chooser_code f = FUNCTION(0xa9be7bfd, 0x910003fd, 0xa8c27bfd, 0xd65f03c0),
				  none = FUNCTION(0xd65f03c0), trap = FUNCTION(0xd4200000);
	struct choice c = { .offset = 9 };

	assert_int_equal(chooser_choose(&f, 5, &c), PROBE_FINE);
	assert_int_equal(c.offset, 0);
	assert_int_equal(c.instruction, EMULATED_STEPPED);
	assert_int_equal(c.registers[0], 0);
	assert_int_equal(c.registers[1], SYMBOLIZER_NO_REGISTER);
	assert_int_equal(c.registers[2], 2);
	assert_int_equal(chooser_choose(&none, 1, &c), PROBE_BRANCH_FIRST);
	assert_int_equal(chooser_choose(&trap, 1, &c), PROBE_NO_PLACE);
}

struct exits {
	struct chooser_exit all[16];
	unsigned n;
};

static void on_exit_of(void *context, const struct chooser_exit *e)
{
	struct exits *x = context;

	assert_true(x->n < 16);
	x->all[x->n++] = *e;
}

static void test_ways_out(void **state)
{
	const struct chooser_code f = FUNCTION(0xd503245f, /* 0: bti c */
					       0x54000040, /* 4: b.eq 12, inside */
					       0x94000100, /* 8: bl */
					       0xd63f0020, /* 12: blr x1 */
					       0xd61f0220, /* 16: br x17 */
					       0x17fffffb, /* 20: b 0 */
					       0xb4000400, /* 24: cbz, outside */
					       0x14000100, /* 28: b, outside */
					       0xd65f0bff); /* 32: retaa */
	static const struct {
		enum chooser_exit_kind kind;
		bool thunk;
		uint64_t target, address;
	} wanted[] = {
		{ EXIT_CALL, false, AT + 8 + 0x400, AT + 8 }, { EXIT_CALL_ANY, false, 0, AT + 12 },
		{ EXIT_JUMP_ANY, false, 0, AT + 16 },	      { EXIT_JUMP, false, AT, AT + 20 },
		{ EXIT_BRANCH, false, AT + 24 + 0x80, AT + 24 }, { EXIT_JUMP, false, AT + 28 + 0x400, AT + 28 },
		{ EXIT_RETURN, false, 0, AT + 32 },
	};
	const struct chooser_code thunk = FUNCTION(0x14000100);
	struct exits x = { 0 };

	assert_int_equal(chooser_exits(&f, on_exit_of, &x), PROBE_FINE);
	assert_int_equal(x.n, sizeof(wanted) / sizeof(wanted[0]));
	for (unsigned i = 0; i < x.n; i++) {
		assert_int_equal(x.all[i].kind, wanted[i].kind);
		assert_int_equal(x.all[i].thunk, wanted[i].thunk);
		assert_int_equal(x.all[i].target, wanted[i].target);
		assert_int_equal(x.all[i].address, wanted[i].address);
	}
	x.n = 0;
	chooser_exits(&thunk, on_exit_of, &x);
	assert_true(x.n == 1 && x.all[0].thunk && x.all[0].kind == EXIT_JUMP);
}

static void test_arguments_of_notes(void **state)
{
	static const struct {
		const char *text;
		struct symbolizer_argument a;
	} all[] = {
		{ "8@x0", { .kind = SYMBOLIZER_REGISTER, .reg = 0, .size = 8 } },
		{ "-4@w19", { .kind = SYMBOLIZER_REGISTER, .reg = 19, .size = -4 } },
		{ "4@x30", { .kind = SYMBOLIZER_REGISTER, .reg = 30, .size = 4 } },
		{ "8@sp", { .kind = SYMBOLIZER_REGISTER, .reg = 31, .size = 8 } },
		{ "-4@0", { .kind = SYMBOLIZER_CONSTANT, .size = -4 } },
		{ "8@-17", { .kind = SYMBOLIZER_CONSTANT, .value = -17, .size = 8 } },
		{ "8@[sp, 16]", { .kind = SYMBOLIZER_MEMORY, .reg = 31, .index = 0xff, .value = 16, .size = 8 } },
		{ "2@[x29,-8]", { .kind = SYMBOLIZER_MEMORY, .reg = 29, .index = 0xff, .value = -8, .size = 2 } },
		{ "8@[x1]", { .kind = SYMBOLIZER_MEMORY, .reg = 1, .index = 0xff, .size = 8 } },
		{ "8@[x1, x2]", { .kind = SYMBOLIZER_MEMORY, .reg = 1, .index = 2, .scale = 1, .size = 8 } },
		{ "8@[x1, x2, lsl 3]", { .kind = SYMBOLIZER_MEMORY, .reg = 1, .index = 2, .scale = 8, .size = 8 } },
	};
	static const char *const bad[] = { "",	  "8",	      "8@",	   "3@x0",     "8@x31",	   "8@w0",  "8@v0", "8@%x0",
					   "8@[", "8@[w0]", "8@[x0, 99999999999]", "8@[x0, sp]", "8@[x0, x1, lsl 4]", "8@x0x",
					   "8@[x0] ", "8@x-1", "8@99999999999999999999" };
	struct symbolizer_argument a;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!usdt_read_arm64(all[i].text, all[i].text + strlen(all[i].text), &a))
			fail_msg("%s is not read", all[i].text);
		assert_memory_equal(&a, &all[i].a, sizeof(a));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (usdt_read_arm64(bad[i], bad[i] + strlen(bad[i]), &a))
			fail_msg("%s is read", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds_of_instructions),	cmocka_unit_test(test_branches_by_an_offset),
		cmocka_unit_test(test_first_instruction_is_chosen), cmocka_unit_test(test_ways_out),
		cmocka_unit_test(test_arguments_of_notes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
