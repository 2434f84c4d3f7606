/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/bounds.h"

#include <dwarf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "symbolizer/cfi_program.h"

#define HEADER 12	 /* version, three encodings, two 4-byte pointers */
#define MAX_ENTRY 512	 /* bytes of a CIE that matter here */
#define FDE_HEAD 32	 /* length, CIE pointer, two addresses of at most 10 bytes */
#define ENTRY_SIZE 8	 /* two 4-byte offsets, as every linker writes them */

struct table {
	struct elf_section data;
	uint64_t address;
	uint32_t n;
};

struct bounds {
	struct elf_file *f;
	struct table table; /* n 0: there is none */
	uint32_t *sizes;    /* entry_size of each entry, 0: not asked; NULL: is not kept */
	uint64_t cie;	    /* the last one, and how it writes addresses */
	uint8_t encoding;
};

static bool read_table(struct elf_file *f, struct table *ret)
{
	uint8_t bytes[HEADER], pointer, count, entries;
	struct cursor c;

	if (!f->eh_frame_hdr)
		return false;
	c = cursor_over(bytes, elf_file_read(f, f->eh_frame_hdr, bytes, sizeof(bytes)));
	cursor_u8(&c);
	pointer = cursor_u8(&c);
	count = cursor_u8(&c);
	entries = cursor_u8(&c);
	cfi_pointer(&c, pointer, 0);
	ret->n = cursor_u32(&c);
	ret->address = f->eh_frame_hdr;
	return !c.bad && count == DW_EH_PE_udata4 && entries == (DW_EH_PE_datarel | DW_EH_PE_sdata4) &&
	       ret->n && ret->n <= (1u << 26) &&
	       elf_file_at(f, f->eh_frame_hdr + HEADER, (uint64_t)ret->n * ENTRY_SIZE, &ret->data) &&
	       ret->data.n == (uint64_t)ret->n * ENTRY_SIZE;
}

static int32_t word(const struct table *t, uint32_t i)
{
	int32_t v;

	memcpy(&v, t->data.data + 4ul * i, 4);
	return v;
}

/* How an FDE of this CIE writes its addresses; false for what we cannot tell. */
static bool pointer_encoding(const struct elf_file *f, uint64_t cie, uint8_t *ret)
{
	uint8_t bytes[MAX_ENTRY], version;
	struct cursor c, data;
	const char *letters;

	c = cursor_over(bytes, elf_file_read(f, cie, bytes, sizeof(bytes)));
	cursor_skip(&c, 8);
	version = cursor_u8(&c);
	letters = cursor_string(&c);
	cursor_uleb128(&c);
	cursor_sleb128(&c);
	if (version == 1)
		cursor_u8(&c);
	else
		cursor_uleb128(&c);
	if (!letters || *letters != 'z')
		return false;
	data = cursor_sub(&c, cursor_uleb128(&c));
	for (const char *a = letters + 1; *a; a++) {
		if (*a == 'R') {
			*ret = cursor_u8(&data);
			return !data.bad;
		}
		if (*a == 'L')
			cursor_u8(&data);
		else if (*a == 'P')
			cfi_pointer(&data, cursor_u8(&data) & 0x0f, 0);
		else if (*a != 'S' && *a != 'B')
			return false;
	}
	return false;
}

/* The end of the function that an FDE describes. */
static bool fde_end(struct bounds *b, uint64_t fde, uint64_t start, uint64_t *ret)
{
	uint8_t bytes[FDE_HEAD];
	uint32_t size, back;
	struct cursor c;

	c = cursor_over(bytes, elf_file_read(b->f, fde, bytes, sizeof(bytes)));
	size = cursor_u32(&c);
	back = cursor_u32(&c);
	if (size == UINT32_MAX || !back)
		return false;
	if (b->cie != fde + 4 - back) {
		b->cie = 0;
		if (!pointer_encoding(b->f, fde + 4 - back, &b->encoding))
			return false;
		b->cie = fde + 4 - back;
	}
	cfi_pointer(&c, b->encoding & 0x0f, 0);
	*ret = start + cfi_pointer(&c, b->encoding & 0x0f, 0);
	return !c.bad && *ret > start;
}

int bounds_new(struct elf_file *f, struct bounds **ret)
{
	struct bounds *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->f = f;
	if (!read_table(f, &b->table))
		b->table.n = 0;
	b->sizes = calloc(b->table.n + 1ul, sizeof(*b->sizes));
	*ret = b;
	return 0;
}

void bounds_free(struct bounds *b)
{
	if (!b)
		return;
	free(b->sizes);
	free(b);
}

static uint64_t entry_start(const struct table *t, uint32_t i)
{
	return t->address + (uint64_t)(int64_t)word(t, 2 * i);
}

/* The size of the function that an entry begins; UINT32_MAX: unknown, or too large. */
static uint32_t entry_size(struct bounds *b, uint32_t i, uint64_t start)
{
	const struct table *t = &b->table;
	uint64_t end = 0;
	uint32_t size = UINT32_MAX;

	if (b->sizes && b->sizes[i])
		return b->sizes[i];
	if (fde_end(b, t->address + (uint64_t)(int64_t)word(t, 2 * i + 1), start, &end) &&
	    end - start < UINT32_MAX)
		size = (uint32_t)(end - start);
	if (b->sizes)
		b->sizes[i] = size;
	return size;
}

bool bounds_at(struct bounds *b, uint64_t address, uint64_t *ret_start)
{
	const struct table *t = &b->table;
	uint32_t low = 0, n, size;
	uint64_t start;

	if (!t->n)
		return false;
	for (n = t->n; n > 1;) {
		uint32_t half = n / 2;

		if (entry_start(t, low + half) <= address)
			low += half;
		n -= half;
	}
	start = entry_start(t, low);
	if (address < start)
		return false;
	size = entry_size(b, low, start);
	if (size == UINT32_MAX || address - start >= size)
		return false;
	*ret_start = start;
	return true;
}

bool bounds_find(struct elf_file *f, uint64_t address, uint64_t *ret_start)
{
	struct bounds b = { .f = f };

	return read_table(f, &b.table) && bounds_at(&b, address, ret_start);
}
