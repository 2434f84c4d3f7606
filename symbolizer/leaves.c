/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/leaves.h"

#include <elf.h>

#include "symbolizer/symbol_scan.h"

#define LINK 30
#define SP 31

static bool is(uint32_t w, uint32_t mask, uint32_t value)
{
	return (w & mask) == value;
}

/* Writes the stack pointer, or reads or writes x30 other than by returning and signing; or calls. */
static bool is_frames(uint32_t w)
{
	uint32_t d = w & 31, n = w >> 5 & 31;
	bool pair = is(w, 0x3a000000, 0x28000000);

	if (is(w, 0xfc000000, 0x14000000)) /* b */
		return false;
	if (is(w, 0xfc000000, 0x94000000) || is(w, 0xfee00000, 0xd6200000)) /* bl, blr */
		return true;
	if (d == LINK || (pair && (w >> 10 & 31) == LINK))
		return true;
	if (d == SP && (is(w, 0x3f000000, 0x11000000) || is(w, 0x3fe00000, 0x0b200000) ||
			(is(w, 0x1f800000, 0x12000000) && !is(w, 0x60000000, 0x60000000))))
		return true;
	return n == SP && ((pair && w & 1u << 23) || is(w, 0x3b200400, 0x38000400));
}

bool leaves_is_one(const uint8_t *code, size_t n)
{
	if (!n || n % 4)
		return false;
	for (size_t i = 0; i < n; i += 4)
		if (is_frames(code[i] | (uint32_t)code[i + 1] << 8 | (uint32_t)code[i + 2] << 16 |
			      (uint32_t)code[i + 3] << 24))
			return false;
	return true;
}

struct search {
	struct elf_file *f;
	leaves_wanted_fn *wanted;
	leaves_fn *each;
	void *context;
	unsigned n;
};

static int on_symbol(void *context, const struct scanned_symbol *q)
{
	struct search *s = context;
	uint8_t code[LEAVES_MAX_FUNCTION];

	if (!q->defined || q->type != STT_FUNC || !q->size || q->size > sizeof(code) || s->n >= LEAVES_MAX ||
	    !s->wanted(s->context, q->value))
		return 0;
	s->n++;
	if (elf_file_read(s->f, q->value, code, q->size) != q->size || !leaves_is_one(code, q->size))
		return 0;
	return s->each(s->context, q->value, q->value + q->size);
}

int leaves_find(struct elf_file *f, leaves_wanted_fn *wanted, leaves_fn *each, void *context)
{
	struct search s = { .f = f, .wanted = wanted, .each = each, .context = context };
	int r = 0;

	if (f->machine != EM_AARCH64)
		return 0;
	r = symbol_scan(f, SHT_DYNSYM, on_symbol, &s);
	return r < 0 ? r : symbol_scan(f, SHT_SYMTAB, on_symbol, &s);
}
