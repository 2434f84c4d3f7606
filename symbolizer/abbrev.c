/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/abbrev.h"

#include <dwarf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define MAX_ABBREVS (32u << 10)
#define MAX_ATTRIBUTES (128u << 10) /* of a table */
#define MAX_ATTRIBUTES_EACH 256
#define FIRST_READ (16u << 10)

#define ADDRESS_SIZE 8

int form_size(unsigned form, unsigned version, unsigned offset_size)
{
	switch (form) {
	case DW_FORM_flag_present:
	case DW_FORM_implicit_const:
		return 0;
	case DW_FORM_data1:
	case DW_FORM_ref1:
	case DW_FORM_flag:
	case DW_FORM_strx1:
	case DW_FORM_addrx1:
		return 1;
	case DW_FORM_data2:
	case DW_FORM_ref2:
	case DW_FORM_strx2:
	case DW_FORM_addrx2:
		return 2;
	case DW_FORM_strx3:
	case DW_FORM_addrx3:
		return 3;
	case DW_FORM_data4:
	case DW_FORM_ref4:
	case DW_FORM_strx4:
	case DW_FORM_addrx4:
	case DW_FORM_ref_sup4:
		return 4;
	case DW_FORM_data8:
	case DW_FORM_ref8:
	case DW_FORM_ref_sig8:
	case DW_FORM_ref_sup8:
		return 8;
	case DW_FORM_data16:
		return 16;
	case DW_FORM_addr:
		return ADDRESS_SIZE;
	case DW_FORM_ref_addr:
		return version == 2 ? ADDRESS_SIZE : (int)offset_size;
	case DW_FORM_strp:
	case DW_FORM_line_strp:
	case DW_FORM_sec_offset:
	case DW_FORM_strp_sup:
	case DW_FORM_GNU_strp_alt:
	case DW_FORM_GNU_ref_alt:
		return (int)offset_size;
	default:
		return -1;
	}
}

static uint8_t slot_of(uint64_t name)
{
	switch (name) {
	case DW_AT_name:
		return SLOT_NAME;
	case DW_AT_linkage_name:
	case DW_AT_MIPS_linkage_name:
		return SLOT_LINKAGE;
	case DW_AT_low_pc:
		return SLOT_LOW;
	case DW_AT_high_pc:
		return SLOT_HIGH;
	case DW_AT_ranges:
		return SLOT_RANGES;
	case DW_AT_sibling:
		return SLOT_SIBLING;
	case DW_AT_abstract_origin:
		return SLOT_ORIGIN;
	case DW_AT_specification:
		return SLOT_SPECIFICATION;
	case DW_AT_call_file:
		return SLOT_CALL_FILE;
	case DW_AT_call_line:
		return SLOT_CALL_LINE;
	case DW_AT_decl_line:
		return SLOT_DECL_LINE;
	case DW_AT_stmt_list:
		return SLOT_LINES;
	case DW_AT_comp_dir:
		return SLOT_DIRECTORY;
	case DW_AT_language:
		return SLOT_LANGUAGE;
	case DW_AT_str_offsets_base:
		return SLOT_STR_OFFSETS;
	case DW_AT_addr_base:
	case DW_AT_GNU_addr_base:
		return SLOT_ADDR;
	case DW_AT_rnglists_base:
		return SLOT_RNGLISTS;
	case DW_AT_GNU_ranges_base:
		return SLOT_GNU_RANGES;
	case DW_AT_dwo_name:
	case DW_AT_GNU_dwo_name:
		return SLOT_DWO_NAME;
	case DW_AT_GNU_dwo_id:
		return SLOT_DWO_ID;
	default:
		return SLOT_NONE;
	}
}

static int add_skip(struct abbrevs *t, struct abbrev *a, unsigned form, int size)
{
	struct abbrev_skip *last = a->n_skips ? &t->skips.data[t->skips.n - 1] : NULL;
	int r = 0;

	if (!last || last->form) {
		r = vec_push(&t->skips, ((struct abbrev_skip){ 0, 0 }));
		if (r < 0)
			return r;
		a->n_skips++;
		last = &t->skips.data[t->skips.n - 1];
	}
	if (size >= 0)
		last->bytes += (uint32_t)size;
	else
		last->form = (uint16_t)form;
	return 0;
}

static int add_attribute(struct abbrevs *t, struct abbrev *a, uint64_t name, uint64_t form,
			 int64_t constant)
{
	int size = form_size((unsigned)form, t->version, t->offset_size), r;
	struct abbrev_attribute x = { constant, (uint16_t)form, slot_of(name) };
	const struct abbrev_skip *only;

	if (a->n_attributes++ == MAX_ATTRIBUTES_EACH || t->attributes.n == MAX_ATTRIBUTES)
		return -E2BIG;
	if (x.slot == SLOT_SIBLING) {
		a->has_sibling = true;
		only = a->n_skips ? &t->skips.data[a->first_skip] : NULL;
		if (form == DW_FORM_ref4 && (!only || (a->n_skips == 1 && !only->form)))
			a->sibling = only ? (int32_t)only->bytes : 0;
	}
	a->has_code |= x.slot == SLOT_LOW || x.slot == SLOT_RANGES;
	r = vec_push(&t->attributes, x);
	return r < 0 ? r : add_skip(t, a, (unsigned)form, size);
}

/* 1: there was one; 0: the end of the table; -ENODATA: cut. */
static int read_one(struct abbrevs *t, struct cursor *c)
{
	struct abbrev a = { .code = cursor_uleb128(c),
			    .first_attribute = (uint32_t)t->attributes.n,
			    .first_skip = (uint32_t)t->skips.n,
			    .sibling = -1 };
	int r = 0;

	if (!a.code || c->bad)
		return c->bad ? -ENODATA : 0;
	a.tag = (uint16_t)cursor_uleb128(c);
	a.children = cursor_u8(c);
	for (;;) {
		uint64_t name = cursor_uleb128(c), form = cursor_uleb128(c);
		int64_t constant = form == DW_FORM_implicit_const ? cursor_sleb128(c) : 0;

		if (c->bad)
			return -ENODATA;
		if (!name && !form)
			break;
		if (form > UINT16_MAX)
			return -EBADMSG;
		r = add_attribute(t, &a, name, form, constant);
		if (r < 0)
			return r;
	}
	if (t->all.n == MAX_ABBREVS)
		return -E2BIG;
	r = vec_push(&t->all, a);
	return r < 0 ? r : 1;
}

static int by_code(const void *a, const void *b)
{
	const struct abbrev *x = a, *y = b;

	return x->code < y->code ? -1 : x->code > y->code;
}

static void sort(struct abbrevs *t)
{
	for (size_t i = 1; i < t->all.n; i++) {
		if (t->all.data[i - 1].code < t->all.data[i].code)
			continue;
		qsort(t->all.data, t->all.n, sizeof(struct abbrev), by_code);
		return;
	}
}

/* How long a table is, only its end tells: more and more of it is read. */
static int read_table(struct abbrevs_cache *cache, struct sections *s, struct abbrevs *t)
{
	int r = -ENODATA;

	for (uint64_t n = FIRST_READ; r == -ENODATA && n <= ABBREVS_MAX_BYTES; n *= 4) {
		struct cursor c = sections_read(s, SECTION_ABBREV, t->offset, n, &cache->buffer);
		bool whole = cursor_left(&c) < n;

		t->all.n = t->attributes.n = t->skips.n = 0;
		do {
			r = read_one(t, &c);
		} while (r > 0);
		if (whole)
			break;
	}
	sort(t);
	vec_fit(&t->all);
	vec_fit(&t->attributes);
	vec_fit(&t->skips);
	return t->all.n ? 0 : -ENODATA;
}

static size_t table_size(const struct abbrevs *t)
{
	return t->all.cap * sizeof(struct abbrev) +
	       t->attributes.cap * sizeof(struct abbrev_attribute) +
	       t->skips.cap * sizeof(struct abbrev_skip);
}

static void forget(struct abbrevs_cache *c, struct abbrevs *t)
{
	c->size -= table_size(t);
	vec_deinit(&t->all);
	vec_deinit(&t->attributes);
	vec_deinit(&t->skips);
	*t = (struct abbrevs){ 0 };
}

static void forget_all(struct abbrevs_cache *c)
{
	for (size_t i = 0; i < ABBREVS_SETS * ABBREVS_WAYS; i++)
		forget(c, &c->tables[i / ABBREVS_WAYS][i % ABBREVS_WAYS]);
}

const struct abbrevs *abbrevs_get(struct abbrevs_cache *c, struct sections *s, uint64_t offset,
				  unsigned version, unsigned offset_size)
{
	struct abbrevs *set = c->tables[hash_u64(HASH_SEED, offset) % ABBREVS_SETS], *t = set;

	for (size_t i = 0; i < ABBREVS_WAYS; i++) {
		struct abbrevs *x = &set[i];

		if (x->read && x->offset == offset && x->version == version &&
		    x->offset_size == offset_size) {
			x->used = ++c->clock;
			return x;
		}
		if (x->used < t->used)
			t = x;
	}
	if (c->size > ABBREVS_MAX_MEMORY)
		forget_all(c);
	forget(c, t);
	t->offset = offset;
	t->version = (uint8_t)version;
	t->offset_size = (uint8_t)offset_size;
	t->used = ++c->clock;
	t->read = read_table(c, s, t) == 0;
	c->size += table_size(t);
	return t->read ? t : NULL;
}

void abbrevs_deinit(struct abbrevs_cache *c)
{
	forget_all(c);
	buffer_deinit(&c->buffer);
}
