/* SPDX-License-Identifier: Apache-2.0 */
#include "base/emulated_x86.h"

#include <string.h>

struct form {
	uint8_t first[2], mask[2]; /* of the first two bytes */
	uint8_t n;		   /* bytes in all */
	uint8_t kind;
};

static const struct form forms[] = {
	{ { 0x50, 0 }, { 0xf8, 0 }, 1, EMULATED_PUSH },
	{ { 0x41, 0x50 }, { 0xff, 0xf8 }, 2, EMULATED_PUSH },
	{ { 0xeb, 0 }, { 0xff, 0 }, 2, EMULATED_JMP },
	{ { 0xe9, 0 }, { 0xff, 0 }, 5, EMULATED_JMP },
	{ { 0xe8, 0 }, { 0xff, 0 }, 5, EMULATED_CALL },
	{ { 0x70, 0 }, { 0xf0, 0 }, 2, EMULATED_JCC },
	{ { 0x0f, 0x80 }, { 0xff, 0xf0 }, 6, EMULATED_JCC },
	{ { 0x90, 0 }, { 0xff, 0 }, 1, EMULATED_NOP },
};

enum emulated emulated_x86(const uint8_t *code, size_t n, unsigned *ret_length)
{
	static const uint8_t nop5[] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		const struct form *f = &forms[i];

		if (n < f->n || (code[0] & f->mask[0]) != f->first[0] ||
		    (f->mask[1] && (code[1] & f->mask[1]) != f->first[1]))
			continue;
		*ret_length = f->n;
		return (enum emulated)f->kind;
	}
	if (n < sizeof(nop5) || memcmp(code, nop5, sizeof(nop5)) != 0)
		return EMULATED_NOT;
	*ret_length = sizeof(nop5);
	return EMULATED_NOP5;
}

bool stepped_x86(const uint8_t *code, size_t n)
{
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	bool wide = n && (code[0] & 0xf0) == 0x40; /* a REX prefix */

	if (n < 8)
		return n && code[0] == 0xc3;
	if (code[0] == 0xc3 || !memcmp(code, endbr64, sizeof(endbr64)))
		return true;
	code += wide;
	if (code[0] >= 0xb8 && code[0] <= 0xbf) /* mov $constant,%register */
		return true;
	if (code[0] == 0x83 && code[1] == 0xec) /* sub $constant,%rsp */
		return wide;
	return (code[0] == 0x89 || code[0] == 0x8b || code[0] == 0x31 || code[0] == 0x33) && code[1] >= 0xc0;
}
