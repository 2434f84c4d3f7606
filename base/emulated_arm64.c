/* SPDX-License-Identifier: Apache-2.0 */
#include "base/emulated_arm64.h"

static uint32_t word_of(const uint8_t *code)
{
	return code[0] | (uint32_t)code[1] << 8 | (uint32_t)code[2] << 16 | (uint32_t)code[3] << 24;
}

static bool is(uint32_t w, uint32_t mask, uint32_t value)
{
	return (w & mask) == value;
}

/* Hints: nop; of the rest the signing of addresses, and landing pads. */
static enum emulated hint(uint32_t op)
{
	if (!op)
		return EMULATED_NOP;
	return op == 7 || op == 8 || op == 10 || op == 12 || op == 14 || (op >= 24 && op <= 31) ||
			       (op >= 32 && op <= 38 && !(op & 1)) ?
		       EMULATED_STEPPED :
		       EMULATED_NOT;
}

enum emulated emulated_arm64(const uint8_t *code, size_t n, unsigned *ret_length)
{
	uint32_t w;

	if (n < 4)
		return EMULATED_NOT;
	w = word_of(code);
	*ret_length = 4;
	if (is(w, 0xfffff01f, 0xd503201f))
		return hint(w >> 5 & 0x7f);
	if (is(w, 0xfc000000, 0x14000000))
		return EMULATED_JMP;
	if (is(w, 0xfc000000, 0x94000000))
		return EMULATED_CALL;
	if (is(w, 0xff000010, 0x54000000) || is(w, 0x7c000000, 0x34000000)) /* b.cond; cbz, cbnz, tbz, tbnz */
		return EMULATED_JCC;
	if (is(w, 0x1c000000, 0x10000000)) /* arithmetic with constants, addresses */
		return EMULATED_STEPPED;
	if (is(w, 0x0e000000, 0x0a000000) || is(w, 0x0e000000, 0x0e000000)) /* between registers; vectors */
		return EMULATED_STEPPED;
	if (is(w, 0x0a000000, 0x08000000) && !is(w, 0x3f000000, 0x08000000)) /* loads and stores, not exclusive */
		return EMULATED_STEPPED;
	return EMULATED_NOT;
}

bool return_arm64(const uint8_t *code, size_t n)
{
	uint32_t w = n < 4 ? 0 : word_of(code);

	return w == 0xd65f03c0 || w == 0xd65f0bff || w == 0xd65f0fff; /* ret, retaa, retab */
}

bool branch_arm64(const uint8_t *code, size_t n, int64_t *ret_offset)
{
	uint32_t w;
	unsigned bits, from = 5;

	if (n < 4)
		return false;
	w = word_of(code);
	if (is(w, 0x7c000000, 0x14000000)) /* b, bl */
		bits = 26, from = 0;
	else if (is(w, 0xff000010, 0x54000000) || is(w, 0x7e000000, 0x34000000))
		bits = 19;
	else if (is(w, 0x7e000000, 0x36000000))
		bits = 14;
	else
		return false;
	*ret_offset = ((int64_t)((uint64_t)w << (64 - bits - from)) >> (64 - bits)) * 4;
	return true;
}
