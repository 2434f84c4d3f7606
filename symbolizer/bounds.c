/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/bounds.h"

#include <dwarf.h>
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
static bool fde_end(const struct elf_file *f, uint64_t fde, uint64_t start, uint64_t *ret)
{
	uint8_t bytes[FDE_HEAD], encoding;
	uint32_t size, back;
	struct cursor c;

	c = cursor_over(bytes, elf_file_read(f, fde, bytes, sizeof(bytes)));
	size = cursor_u32(&c);
	back = cursor_u32(&c);
	if (size == UINT32_MAX || !back || !pointer_encoding(f, fde + 4 - back, &encoding))
		return false;
	cfi_pointer(&c, encoding & 0x0f, 0);
	*ret = start + cfi_pointer(&c, encoding & 0x0f, 0);
	return !c.bad && *ret > start;
}

bool bounds_find(struct elf_file *f, uint64_t address, uint64_t *ret_start)
{
	uint32_t low = 0, n;
	uint64_t start, end;
	struct table t;

	if (!read_table(f, &t))
		return false;
	for (n = t.n; n > 1;) {
		uint32_t half = n / 2;

		if (t.address + (uint64_t)(int64_t)word(&t, 2 * (low + half)) <= address)
			low += half;
		n -= half;
	}
	start = t.address + (uint64_t)(int64_t)word(&t, 2 * low);
	if (address < start ||
	    !fde_end(f, t.address + (uint64_t)(int64_t)word(&t, 2 * low + 1), start, &end) ||
	    address >= end)
		return false;
	*ret_start = start;
	return true;
}
