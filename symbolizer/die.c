/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/die.h"

#include <dwarf.h>
#include <string.h>

#define MAX_HEAD 40	  /* bytes of a unit's head */
#define SMALL_DIE 192	  /* bytes that most DIEs fit into */
#define MAX_DIE (64u << 10)
#define MAX_UNIT_READ (64u << 20)

void debug_file_open(struct debug_file *f, struct elf_file *elf, bool dwo, size_t *budget)
{
	*f = (struct debug_file){ .main = f };
	sections_open(&f->sections, elf, dwo, budget);
	if (dwo)
		dwp_read(f);
}

void debug_file_close(struct debug_file *f)
{
	abbrevs_deinit(&f->abbrevs);
	buffer_deinit(&f->die);
	vec_deinit(&f->units);
	vec_deinit(&f->dwp);
	if (f->sections.f)
		sections_close(&f->sections);
	*f = (struct debug_file){ 0 };
}

/* ---- forms; n bytes, inlined where n is known */

static inline uint64_t fixed(struct cursor *c, unsigned n)
{
	uint64_t v = 0;

	if (cursor_left(c) < n) {
		c->bad = true;
		c->p = c->end;
		return 0;
	}
	memcpy(&v, c->p, n);
	c->p += n;
	return v;
}

static inline uint64_t uleb(struct cursor *c)
{
	if (c->p < c->end && *c->p < 0x80)
		return *c->p++;
	return cursor_uleb128(c);
}

/* What a form that tells its own size holds; blocks hold nothing of use. */
static uint64_t read_odd_form(struct die_reader *r, unsigned form)
{
	uint64_t at;

	switch (form) {
	case DW_FORM_udata:
	case DW_FORM_ref_udata:
	case DW_FORM_strx:
	case DW_FORM_addrx:
	case DW_FORM_rnglistx:
	case DW_FORM_loclistx:
	case DW_FORM_GNU_addr_index:
	case DW_FORM_GNU_str_index:
		return uleb(&r->c);
	case DW_FORM_sdata:
		return (uint64_t)cursor_sleb128(&r->c);
	case DW_FORM_string:
		at = reader_offset(r);
		cursor_string(&r->c);
		return at;
	case DW_FORM_block1:
		cursor_skip(&r->c, fixed(&r->c, 1));
		return 0;
	case DW_FORM_block2:
		cursor_skip(&r->c, fixed(&r->c, 2));
		return 0;
	case DW_FORM_block4:
		cursor_skip(&r->c, fixed(&r->c, 4));
		return 0;
	case DW_FORM_block:
	case DW_FORM_exprloc:
		cursor_skip(&r->c, uleb(&r->c));
		return 0;
	default: /* unknown: nothing behind it can be read */
		r->c.bad = true;
		r->c.p = r->c.end;
		return 0;
	}
}

static uint64_t read_form(struct die_reader *r, unsigned *form, int64_t constant)
{
	int n;

	/* an indirect one names the form that it is; not one more time */
	if (*form == DW_FORM_indirect) {
		*form = (unsigned)uleb(&r->c) & 0xffff;
		if (*form == DW_FORM_indirect || *form == DW_FORM_implicit_const)
			*form = 0;
	}
	switch (*form) { /* the usual ones first, with sizes the compiler knows */
	case DW_FORM_data1:
	case DW_FORM_strx1:
	case DW_FORM_addrx1:
		return fixed(&r->c, 1);
	case DW_FORM_data2:
	case DW_FORM_strx2:
		return fixed(&r->c, 2);
	case DW_FORM_data4:
	case DW_FORM_ref4:
		return fixed(&r->c, 4);
	case DW_FORM_addr:
	case DW_FORM_data8:
		return fixed(&r->c, 8);
	case DW_FORM_flag_present:
		return 1;
	case DW_FORM_implicit_const:
		return (uint64_t)constant;
	default:
		break;
	}
	n = form_size(*form, r->unit->version, r->unit->offset_size);
	if (n < 0)
		return read_odd_form(r, *form);
	if (n <= 8)
		return fixed(&r->c, (unsigned)n);
	cursor_skip(&r->c, (uint64_t)n);
	return 0;
}

/* ---- readers */

bool reader_open(struct die_reader *r, const struct unit *u, uint64_t from, uint64_t to,
		 struct buffer *buffer)
{
	if (from < u->first || to > u->end || from >= to || to - from > MAX_UNIT_READ)
		return false;
	*r = (struct die_reader){ .offset = from, .unit = u };
	r->abbrevs = abbrevs_get(&u->file->abbrevs, &u->file->sections, u->abbrevs, u->version,
				 u->offset_size);
	if (u->kept)
		r->c = cursor_over(u->kept + (from - u->first), to - from);
	else
		r->c = sections_read(&u->file->sections, SECTION_INFO, from, to - from, buffer);
	r->start = r->c.p;
	return r->abbrevs && cursor_left(&r->c);
}

const struct abbrev *reader_next(struct die_reader *r)
{
	const struct abbrev *a;
	uint64_t code;

	if (r->c.p == r->c.end) {
		r->c.bad = true;
		return NULL;
	}
	code = uleb(&r->c);
	if (!code)
		return NULL;
	a = abbrevs_find(r->abbrevs, code);
	if (!a) {
		r->c.bad = true;
		r->c.p = r->c.end;
	}
	return a;
}

void reader_pass(struct die_reader *r, const struct abbrev *a)
{
	for (uint32_t i = 0; i < a->n_skips; i++) {
		const struct abbrev_skip *s = &r->abbrevs->skips.data[a->first_skip + i];
		unsigned form = s->form;

		if (cursor_left(&r->c) < s->bytes) {
			r->c.bad = true;
			r->c.p = r->c.end;
			return;
		}
		r->c.p += s->bytes;
		if (form == DW_FORM_exprloc)
			cursor_skip(&r->c, uleb(&r->c));
		else if (form == DW_FORM_udata)
			uleb(&r->c);
		else if (form)
			read_form(r, &form, 0);
	}
}

void reader_attributes(struct die_reader *r, const struct abbrev *a, struct die *ret)
{
	ret->abbrev = a;
	ret->has = 0;
	for (uint32_t i = 0; i < a->n_attributes; i++) {
		const struct abbrev_attribute *x =
			&r->abbrevs->attributes.data[a->first_attribute + i];
		unsigned form = x->form;
		uint64_t v = read_form(r, &form, x->constant);

		if (x->slot == SLOT_NONE || r->c.bad)
			continue;
		ret->has |= 1u << x->slot;
		ret->values[x->slot] = (struct value){ v, (uint16_t)form };
	}
}

static bool go_to(struct die_reader *r, uint64_t offset)
{
	if (offset <= reader_offset(r) || offset - r->offset > (uint64_t)(r->c.end - r->start))
		return false;
	r->c.p = r->start + (offset - r->offset);
	return true;
}

bool reader_sibling(struct die_reader *r, const struct abbrev *a)
{
	const uint8_t *p = r->c.p;
	struct die d;

	if (!a->has_sibling)
		return false;
	if (a->sibling >= 0) {
		uint32_t v;

		if (cursor_left(&r->c) < (size_t)a->sibling + 4)
			return false;
		memcpy(&v, p + a->sibling, 4);
		return go_to(r, r->unit->start + v);
	}
	reader_attributes(r, a, &d);
	if (!r->c.bad && die_has(&d, SLOT_SIBLING)) {
		struct die_ref to = die_reference(r->unit, &d, SLOT_SIBLING);

		if (to.file == r->unit->file && go_to(r, to.offset))
			return true;
	}
	r->c.p = p;
	r->c.bad = false;
	return false;
}

/* ---- units */

static bool read_head(struct debug_file *f, uint64_t start, struct unit *u)
{
	struct cursor c = sections_peek(&f->sections, SECTION_INFO, start, MAX_HEAD);
	const uint8_t *begin = c.p;
	uint64_t n = fixed(&c, 4), all = f->sections.all[SECTION_INFO].n;
	unsigned address_size = 0;

	*u = (struct unit){ .file = f, .start = start, .offset_size = 4 };
	if (n == 0xffffffff) {
		u->offset_size = 8;
		n = fixed(&c, 8);
	}
	if (c.bad || n > all || start + (uint64_t)(c.p - begin) > all - n)
		return false;
	u->end = start + (uint64_t)(c.p - begin) + n;
	u->version = (uint16_t)fixed(&c, 2);
	u->type = DW_UT_compile;
	if (u->version >= 5) {
		u->type = (uint8_t)fixed(&c, 1);
		address_size = (unsigned)fixed(&c, 1);
	}
	u->abbrevs = fixed(&c, u->offset_size);
	if (u->version < 5)
		address_size = (unsigned)fixed(&c, 1);
	if (u->type == DW_UT_skeleton || u->type == DW_UT_split_compile)
		u->id = fixed(&c, 8);
	else if (u->type == DW_UT_type || u->type == DW_UT_split_type)
		cursor_skip(&c, 8u + u->offset_size);
	u->first = start + (uint64_t)(c.p - begin);
	return !c.bad && u->version >= 2 && u->version <= 5 && address_size == 8 &&
	       u->first < u->end;
}

/* A DIE from a few bytes, or, where that cuts it, from more. */
static bool read_die(struct die_reader *r, const struct unit *u, uint64_t offset, struct die *ret)
{
	for (size_t n = SMALL_DIE; n <= MAX_DIE; n *= 8) {
		uint64_t to = u->end - offset < n ? u->end : offset + n;
		const struct abbrev *a;

		if (offset < u->first || offset >= u->end)
			return false;
		if (!reader_open(r, u, offset, to, &u->file->die))
			return false;
		a = reader_next(r);
		if (!a && !r->c.bad)
			return false;
		if (a)
			reader_attributes(r, a, ret);
		ret->offset = offset;
		if (!r->c.bad)
			return true;
		if (to == u->end)
			return false;
	}
	return false;
}

static uint64_t base_of(const struct die *d, enum slot s, uint64_t otherwise)
{
	return die_has(d, s) ? d->values[s].v : otherwise;
}

bool unit_read(struct debug_file *f, uint64_t start, struct unit *u, struct die *ret)
{
	const struct dwp_row part = dwp_find(f, start);
	struct die_reader r;
	bool dwo = f->main != f;

	if (!read_head(f, start, u))
		return false;
	u->abbrevs += part.abbrevs;
	if (!read_die(&r, u, u->first, ret))
		return false;
	u->tag = ret->abbrev->tag;
	u->language = (uint16_t)die_number(ret, SLOT_LANGUAGE);
	/* behind the heads of the tables, where split units find theirs */
	u->str_offsets = base_of(ret, SLOT_STR_OFFSETS, u->version < 5 ? 0 : u->offset_size * 2u) +
			 part.str_offsets;
	u->addr = base_of(ret, SLOT_ADDR, u->version < 5 ? 0 : u->offset_size * 2u);
	u->rnglists = base_of(ret, SLOT_RNGLISTS, dwo ? u->offset_size * 2u + 4u : 0) + part.rnglists;
	u->gnu_ranges = base_of(ret, SLOT_GNU_RANGES, 0);
	if (die_has(ret, SLOT_DWO_ID))
		u->id = ret->values[SLOT_DWO_ID].v;
	if (die_has(ret, SLOT_LOW) && !die_address(u, &ret->values[SLOT_LOW], &u->low))
		u->low = 0;
	return true;
}

static void index_units(struct debug_file *f)
{
	struct unit u;

	f->indexed = true;
	for (uint64_t at = 0; f->units.n < DEBUG_MAX_UNITS; at = u.end) {
		read_head(f, at, &u);
		if (u.end <= at || vec_push(&f->units, at) < 0)
			break;
	}
}

bool unit_around(struct debug_file *f, uint64_t offset, struct unit *ret)
{
	size_t low = 0, n;
	struct die d;

	if (!f->indexed)
		index_units(f);
	for (n = f->units.n; n > 1;) {
		size_t half = n / 2;

		if (f->units.data[low + half] <= offset)
			low += half;
		n -= half;
	}
	return n && unit_read(f, f->units.data[low], ret, &d) && offset >= ret->first &&
	       offset < ret->end;
}

/* ---- values */

bool die_at(struct die_ref at, struct unit *unit, struct die *ret)
{
	struct die_reader r;

	if (!at.file)
		return false;
	if ((unit->file != at.file || at.offset < unit->first || at.offset >= unit->end) &&
	    !unit_around(at.file, at.offset, unit))
		return false;
	return read_die(&r, unit, at.offset, ret);
}

struct die_ref die_reference(const struct unit *u, const struct die *d, enum slot s)
{
	struct die_ref to = { NULL, d->values[s].v };

	if (!die_has(d, s))
		return to;
	switch (d->values[s].form) {
	case DW_FORM_ref1:
	case DW_FORM_ref2:
	case DW_FORM_ref4:
	case DW_FORM_ref8:
	case DW_FORM_ref_udata:
		to.file = to.offset < u->end - u->start ? u->file : NULL;
		to.offset += u->start;
		break;
	case DW_FORM_ref_addr:
		to.file = u->file;
		break;
	case DW_FORM_GNU_ref_alt:
	case DW_FORM_ref_sup4:
	case DW_FORM_ref_sup8:
		to.file = u->file->alt;
		break;
	default: /* what a signature names is a type */
		break;
	}
	return to;
}

uint32_t die_number(const struct die *d, enum slot s)
{
	return die_has(d, s) && d->values[s].v < UINT32_MAX ? (uint32_t)d->values[s].v : 0;
}

/* Where a string is that a table of offsets tells. */
static bool indexed_string(const struct unit *u, uint64_t i, uint64_t *ret)
{
	struct cursor c;

	if (i > UINT32_MAX)
		return false;
	c = sections_peek(&u->file->sections, SECTION_STR_OFFSETS,
			  u->str_offsets + i * u->offset_size, u->offset_size);
	*ret = fixed(&c, u->offset_size);
	return !c.bad;
}

const char *die_string(const struct unit *u, const struct die *d, enum slot s, size_t max)
{
	struct debug_file *f = u->file;
	enum section from = SECTION_STR;
	uint64_t at = d->values[s].v;
	const char *text;

	if (!die_has(d, s))
		return NULL;
	switch (d->values[s].form) {
	case DW_FORM_string:
		from = SECTION_INFO;
		break;
	case DW_FORM_strp:
		break;
	case DW_FORM_line_strp:
		from = SECTION_LINE_STR;
		break;
	case DW_FORM_strp_sup:
	case DW_FORM_GNU_strp_alt:
		f = f->alt;
		break;
	case DW_FORM_strx:
	case DW_FORM_strx1:
	case DW_FORM_strx2:
	case DW_FORM_strx3:
	case DW_FORM_strx4:
	case DW_FORM_GNU_str_index:
		if (!indexed_string(u, at, &at))
			return NULL;
		break;
	default:
		return NULL;
	}
	text = f ? sections_string(&f->sections, from, at, max + 1) : NULL;
	return text && *text ? text : NULL;
}

/* Of .debug_addr, which is always the program's own file's. */
static bool indexed_address(const struct unit *u, uint64_t i, uint64_t *ret)
{
	struct cursor c;

	if (i > UINT32_MAX)
		return false;
	c = sections_peek(&u->file->main->sections, SECTION_ADDR, u->addr + i * 8, 8);
	*ret = fixed(&c, 8);
	return !c.bad;
}

bool die_address(const struct unit *u, const struct value *v, uint64_t *ret)
{
	switch (v->form) {
	case DW_FORM_addr:
		*ret = v->v;
		return true;
	case DW_FORM_addrx:
	case DW_FORM_addrx1:
	case DW_FORM_addrx2:
	case DW_FORM_addrx3:
	case DW_FORM_addrx4:
	case DW_FORM_GNU_addr_index:
		return indexed_address(u, v->v, ret);
	default:
		return false;
	}
}
