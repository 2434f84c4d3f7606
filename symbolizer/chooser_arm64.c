/* SPDX-License-Identifier: Apache-2.0 */

/* chooser_arm64.c - chooser.h for arm64 (AAPCS64): the first instruction, where arguments are in x0 to x2. The kernel steps
 * over nearly all of them out of line, so none is cheaper than another. */

#include "base/emulated_arm64.h"
#include "symbolizer/chooser.h"

enum symbolizer_probe_status chooser_choose(const struct chooser_code *code, unsigned arguments,
					    struct choice *ret)
{
	struct choice c = { 0 };
	unsigned length;

	c.instruction = emulated_arm64(code->data, code->n, &length);
	if (c.instruction == EMULATED_NOT)
		return return_arm64(code->data, code->n) ? PROBE_BRANCH_FIRST : PROBE_NO_PLACE;
	for (unsigned i = 0; i < SYMBOLIZER_N_ARGUMENTS; i++)
		c.registers[i] = arguments >> i & 1 ? (uint8_t)i : SYMBOLIZER_NO_REGISTER;
	*ret = c;
	return PROBE_FINE;
}

/* Does it leave the function, and how? */
static bool exit_of(const struct chooser_code *code, size_t at, struct chooser_exit *e, bool *ret_control)
{
	const uint8_t *p = code->data + at;
	uint32_t w = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
	unsigned length;
	int64_t by;

	*ret_control = true;
	if (return_arm64(p, 4)) {
		e->kind = EXIT_RETURN;
		return true;
	}
	if (branch_arm64(p, 4, &by)) {
		enum emulated how = emulated_arm64(p, 4, &length);
		int64_t to = (int64_t)at + by;

		e->kind = how == EMULATED_CALL ? EXIT_CALL : how == EMULATED_JMP ? EXIT_JUMP : EXIT_BRANCH;
		e->target = code->address + (uint64_t)to;
		return e->kind == EXIT_CALL || to <= 0 || (uint64_t)to >= code->n;
	}
	*ret_control = (w & 0xfe000000) == 0xd6000000; /* by a register */
	e->kind = (w & 0x00200000) ? EXIT_CALL_ANY : EXIT_JUMP_ANY;
	return *ret_control;
}

enum symbolizer_probe_status chooser_exits(const struct chooser_code *code, chooser_exit_fn *leave,
					   void *context)
{
	bool first = true, control;

	for (size_t at = 0; code->n - at >= 4; at += 4) {
		struct chooser_exit e = { .thunk = first, .address = code->address + at };

		if (exit_of(code, at, &e, &control))
			leave(context, &e);
		first &= !control;
	}
	return PROBE_FINE;
}

bool chooser_leads_into(const struct chooser_code *part, uint64_t low, uint64_t high)
{
	for (size_t at = 0; part->n - at >= 4; at += 4) {
		struct chooser_exit e = { 0 };
		bool control;

		exit_of(part, at, &e, &control);
		if (!control)
			continue;
		if (e.kind != EXIT_CALL && e.target && e.target - low - 1 < high - low)
			return true;
		if (e.kind == EXIT_JUMP || e.kind == EXIT_JUMP_ANY || e.kind == EXIT_RETURN)
			return false;
	}
	return false;
}
