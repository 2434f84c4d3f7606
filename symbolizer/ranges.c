/* SPDX-License-Identifier: Apache-2.0 */
#include <dwarf.h>

#include "symbolizer/die.h"

#define MAX_ENTRY 32 /* bytes */

/* Range lists of DWARF 5 are named by number or by offset. */
static bool find_list(const struct unit *u, const struct value *v, uint64_t *ret)
{
	struct cursor c;

	if (v->form != DW_FORM_rnglistx) {
		*ret = v->v;
		return true;
	}
	if (v->v > UINT32_MAX)
		return false;
	c = sections_peek(&u->file->sections, SECTION_RNGLISTS,
			  u->rnglists + v->v * u->offset_size, u->offset_size);
	*ret = u->rnglists + cursor_uint(&c, u->offset_size);
	return !c.bad;
}

void ranges_open(struct range_reader *r, const struct unit *u, const struct die *d, size_t *steps)
{
	const struct value *high = &d->values[SLOT_HIGH];

	*r = (struct range_reader){ .unit = u, .kind = RANGES_END, .base = u->low, .steps = steps };
	if (die_has(d, SLOT_RANGES)) {
		r->kind = u->version >= 5 ? RANGES_LIST_5 : RANGES_LIST;
		r->at = d->values[SLOT_RANGES].v + u->ranges_add;
		if (u->version >= 5 && !find_list(u, &d->values[SLOT_RANGES], &r->at))
			r->kind = RANGES_END;
	} else if (die_has(d, SLOT_LOW) && die_has(d, SLOT_HIGH) &&
		   die_address(u, &d->values[SLOT_LOW], &r->start)) {
		r->kind = RANGES_ONE;
		if (!die_address(u, high, &r->end))
			r->end = r->start + high->v;
	}
}

/* Where the list is: GNU's split units keep theirs with the program. */
static struct cursor peek(struct range_reader *r, enum section s, size_t n)
{
	struct debug_file *f = r->unit->file;

	return sections_peek(s == SECTION_RANGES ? &f->main->sections : &f->sections, s, r->at, n);
}

static bool next_in_list(struct range_reader *r)
{
	for (; *r->steps; --*r->steps) {
		struct cursor c = peek(r, SECTION_RANGES, 16);
		uint64_t start = cursor_u64(&c), end = cursor_u64(&c);

		r->at += 16;
		if (c.bad || (!start && !end))
			return false;
		if (start == UINT64_MAX) {
			r->base = end;
			continue;
		}
		r->start = r->base + start;
		r->end = r->base + end;
		return true;
	}
	return false;
}

static uint64_t indexed(struct range_reader *r, struct cursor *c)
{
	struct value v = { cursor_uleb128(c), DW_FORM_addrx };
	uint64_t address = 0;

	if (!die_address(r->unit, &v, &address))
		c->bad = true;
	return address;
}

/* 1: a range; 0: none yet; negative: the end. */
static int next_entry(struct range_reader *r, struct cursor *c)
{
	switch (cursor_u8(c)) {
	case DW_RLE_base_addressx:
		r->base = indexed(r, c);
		return 0;
	case DW_RLE_base_address:
		r->base = cursor_u64(c);
		return 0;
	case DW_RLE_startx_endx:
		r->start = indexed(r, c);
		r->end = indexed(r, c);
		return 1;
	case DW_RLE_startx_length:
		r->start = indexed(r, c);
		r->end = r->start + cursor_uleb128(c);
		return 1;
	case DW_RLE_offset_pair:
		r->start = r->base + cursor_uleb128(c);
		r->end = r->base + cursor_uleb128(c);
		return 1;
	case DW_RLE_start_end:
		r->start = cursor_u64(c);
		r->end = cursor_u64(c);
		return 1;
	case DW_RLE_start_length:
		r->start = cursor_u64(c);
		r->end = r->start + cursor_uleb128(c);
		return 1;
	default:
		return -1;
	}
}

static bool next_in_list_5(struct range_reader *r)
{
	int found = 0;

	for (; !found && *r->steps; --*r->steps) {
		struct cursor c = peek(r, SECTION_RNGLISTS, MAX_ENTRY);
		const uint8_t *start = c.p;

		found = next_entry(r, &c);
		if (c.bad)
			return false;
		r->at += (uint64_t)(c.p - start);
	}
	return found > 0;
}

bool ranges_next(struct range_reader *r, uint64_t *ret_start, uint64_t *ret_end)
{
	bool found = false;

	switch (r->kind) {
	case RANGES_ONE:
		r->kind = RANGES_END;
		found = true;
		break;
	case RANGES_LIST:
		found = next_in_list(r);
		break;
	case RANGES_LIST_5:
		found = next_in_list_5(r);
		break;
	case RANGES_END:
		break;
	}
	*ret_start = r->start;
	*ret_end = r->end;
	return found;
}
