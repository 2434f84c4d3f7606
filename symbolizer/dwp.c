/* SPDX-License-Identifier: Apache-2.0 */

/* .debug_cu_index of a .dwp: where in its sections each unit has its part (DWARF 5, 7.3.5; GNU's version 2). */

#include <stdlib.h>

#include "symbolizer/die.h"

#define MAX_COLUMNS 16

/* Of both versions, but for the last. */
enum { SECT_INFO = 1, SECT_ABBREV = 3, SECT_STR_OFFSETS = 6, SECT_RNGLISTS = 8 };

struct dwp_index {
	uint32_t version, n_columns, n_units, n_slots;
	uint32_t columns[MAX_COLUMNS];
};

static int by_start(const void *a, const void *b)
{
	const struct dwp_row *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void set_column(struct dwp_row *row, const struct dwp_index *h, uint32_t column, uint32_t v)
{
	if (column == SECT_INFO)
		row->start = v;
	else if (column == SECT_ABBREV)
		row->abbrevs = v;
	else if (column == SECT_STR_OFFSETS)
		row->str_offsets = v;
	else if (column == SECT_RNGLISTS && h->version == 5)
		row->rnglists = v;
}

static bool read_head(struct cursor *c, struct dwp_index *h)
{
	h->version = cursor_u32(c) & 0xffff;
	h->n_columns = cursor_u32(c);
	h->n_units = cursor_u32(c);
	h->n_slots = cursor_u32(c);
	if (c->bad || (h->version != 2 && h->version != 5) || !h->n_columns ||
	    h->n_columns > MAX_COLUMNS || h->n_units > DEBUG_MAX_UNITS)
		return false;
	cursor_skip(c, h->n_slots * 12ull); /* units' ids, which they tell themselves */
	for (uint32_t i = 0; i < h->n_columns; i++)
		h->columns[i] = cursor_u32(c);
	return !c->bad;
}

static void read_rows(struct debug_file *f, struct cursor *c, const struct dwp_index *h)
{
	for (uint32_t i = 0; i < h->n_units; i++) {
		struct dwp_row row = { 0 };

		for (uint32_t k = 0; k < h->n_columns; k++)
			set_column(&row, h, h->columns[k], cursor_u32(c));
		if (c->bad || vec_push(&f->dwp, row) < 0)
			break;
	}
	if (f->dwp.n)
		qsort(f->dwp.data, f->dwp.n, sizeof(struct dwp_row), by_start);
}

void dwp_read(struct debug_file *f)
{
	uint64_t n = f->sections.all[SECTION_CU_INDEX].n;
	struct buffer buffer = { 0 };
	struct dwp_index h;
	struct cursor c;

	if (!n || n > DWP_MAX_INDEX)
		return;
	c = sections_read(&f->sections, SECTION_CU_INDEX, 0, n, &buffer);
	if (read_head(&c, &h))
		read_rows(f, &c, &h);
	buffer_deinit(&buffer);
}

struct dwp_row dwp_find(const struct debug_file *f, uint64_t start)
{
	const struct dwp_row key = { .start = start }, *found = NULL;

	if (f->dwp.n)
		found = bsearch(&key, f->dwp.data, f->dwp.n, sizeof(key), by_start);
	return found ? *found : (struct dwp_row){ 0 };
}
