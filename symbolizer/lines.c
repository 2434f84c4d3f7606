/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/lines.h"

#include <dwarf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symbolizer/protocol.h"

/* A place in 32 bits: 11 of file, 20 of line. */
#define FILE_SHIFT 20
#define MAX_LINE ((1u << FILE_SHIFT) - 1)
#define MAX_FILE ((1u << 11) - 2)
#define LARGE (1u << 31)
#define NO_PLACE UINT32_MAX

#define MAX_TABLES (16u << 20) /* bytes of a header */
#define MAX_FORMATS 16
#define MAX_PATH_PART 2048

struct program {
	struct lines *l;
	struct line_scratch *s;
	struct cursor c;
	uint64_t low, high;
	/* of the header */
	uint8_t instruction, line_range, opcode_base;
	int8_t line_base;
	uint8_t operands[256];
	/* the machine's registers */
	uint64_t address;
	uint32_t file, line;
	/* the sequence that is being read */
	size_t first;
	bool open, skip;
};

/* ---- rows */

static int pack(struct lines *l, uint32_t file, uint32_t line, uint32_t *ret)
{
	int r;

	if (line <= MAX_LINE && file <= MAX_FILE) {
		*ret = file << FILE_SHIFT | line;
		return 0;
	}
	if (l->large.n == LINES_MAX_ROWS)
		return -E2BIG;
	*ret = LARGE | (uint32_t)l->large.n;
	r = vec_push(&l->large, ((struct line_place){ line, file }));
	return r;
}

/* One place at an address, the last; one row where several have the same place. */
static int add_row(struct program *p, uint32_t offset, uint32_t place)
{
	struct line_row *rows = p->s->rows.data;
	size_t n = p->s->rows.n;

	if (n > p->first && rows[n - 1].offset > offset)
		return 0;
	if (n > p->first && rows[n - 1].offset == offset)
		n = --p->s->rows.n;
	if (n > p->first && rows[n - 1].place == place)
		return 0;
	if (n == LINES_MAX_ROWS)
		return -E2BIG;
	return vec_push(&p->s->rows, ((struct line_row){ offset, place }));
}

static int emit(struct program *p)
{
	uint32_t place;
	int r;

	if (!p->open) {
		p->open = true;
		p->first = p->s->rows.n;
		/* functions that the linker dropped begin at 0, or elsewhere outside of the text */
		p->skip = !p->address || p->address < p->low || p->address >= p->high;
	}
	if (p->skip || p->address < p->low || p->address > p->high)
		return 0;
	r = pack(p->l, p->file, p->line, &place);
	return r < 0 ? r : add_row(p, (uint32_t)(p->address - p->low), place);
}

static int end_sequence(struct program *p)
{
	struct line_sequence s = { .first = (uint32_t)p->first };
	int r = 0;

	if (p->open && !p->skip && p->s->rows.n > p->first) {
		if (p->address >= p->low && p->address <= p->high)
			r = add_row(p, (uint32_t)(p->address - p->low), NO_PLACE);
		s.n = (uint32_t)(p->s->rows.n - p->first);
		if (s.n)
			s.start = p->s->rows.data[p->first].offset;
		if (s.n && r == 0)
			r = vec_push(&p->s->sequences, s);
	}
	p->open = false;
	p->address = 0;
	p->file = 1;
	p->line = 1;
	return r;
}

static int extended(struct program *p)
{
	struct cursor c = cursor_sub(&p->c, cursor_uleb128(&p->c));

	switch (cursor_u8(&c)) {
	case DW_LNE_end_sequence:
		return end_sequence(p);
	case DW_LNE_set_address:
		p->address = cursor_uint(&c, cursor_left(&c) < 8 ? (unsigned)cursor_left(&c) : 8);
		return 0;
	default:
		return 0;
	}
}

static int standard(struct program *p, uint8_t opcode)
{
	switch (opcode) {
	case DW_LNS_copy:
		return emit(p);
	case DW_LNS_advance_pc:
		p->address += cursor_uleb128(&p->c) * p->instruction;
		return 0;
	case DW_LNS_advance_line:
		p->line += (uint32_t)cursor_sleb128(&p->c);
		return 0;
	case DW_LNS_set_file:
		p->file = (uint32_t)cursor_uleb128(&p->c);
		return 0;
	case DW_LNS_const_add_pc:
		if (p->line_range)
			p->address += (uint64_t)((255 - p->opcode_base) / p->line_range) *
				      p->instruction;
		return 0;
	case DW_LNS_fixed_advance_pc:
		p->address += cursor_u16(&p->c);
		return 0;
	default: /* the rest does not matter here, or is unknown */
		for (unsigned i = 0; i < p->operands[opcode]; i++)
			cursor_uleb128(&p->c);
		return 0;
	}
}

static int run(struct program *p)
{
	int r = 0;

	p->file = p->line = 1;
	while (!r && p->c.p < p->c.end) {
		uint8_t opcode = *p->c.p++;

		if (opcode >= p->opcode_base) {
			unsigned k = (unsigned)opcode - p->opcode_base;

			if (!p->line_range)
				return 0;
			p->address += (uint64_t)(k / p->line_range) * p->instruction;
			p->line += (uint32_t)(p->line_base + (int)(k % p->line_range));
			r = emit(p);
		} else {
			r = opcode ? standard(p, opcode) : extended(p);
		}
	}
	return r;
}

static int by_start(const void *a, const void *b)
{
	const struct line_sequence *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->first < y->first ? -1 : x->first > y->first;
}

/* Puts the sequences behind each other. */
static int join(struct lines *l, struct line_scratch *s)
{
	size_t n = 0;

	if (!s->rows.n)
		return 0;
	if (s->sequences.n)
		qsort(s->sequences.data, s->sequences.n, sizeof(*s->sequences.data), by_start);
	l->rows = malloc(s->rows.n * sizeof(*l->rows));
	if (!l->rows)
		return -ENOMEM;
	for (size_t i = 0; i < s->sequences.n; i++) {
		const struct line_sequence *q = &s->sequences.data[i];
		const struct line_row *row = s->rows.data + q->first;
		uint32_t from = n ? l->rows[n - 1].offset : 0;

		if (n && q->start == from && l->rows[n - 1].place == NO_PLACE)
			n--;
		for (uint32_t k = 0; k < q->n; k++)
			if (row[k].offset >= from)
				l->rows[n++] = row[k];
	}
	l->n_rows = l->n_cap = n;
	return 0;
}

/* ---- headers */

static bool read_header(struct program *p, uint64_t offset)
{
	struct lines *l = p->l;
	struct cursor c = sections_peek(&l->file->sections, SECTION_LINE, offset, 512);
	uint64_t all = l->file->sections.all[SECTION_LINE].n, n, header;
	const uint8_t *begin = c.p;

	n = cursor_u32(&c);
	l->offset_size = 4;
	if (n == 0xffffffff) {
		l->offset_size = 8;
		n = cursor_u64(&c);
	}
	l->end = offset + (uint64_t)(c.p - begin);
	if (c.bad || n > all || l->end > all - n)
		return false;
	l->end += n;
	l->version = (uint8_t)cursor_u16(&c);
	if (l->version >= 5)
		cursor_u16(&c); /* sizes of addresses and of segments */
	header = cursor_uint(&c, l->offset_size);
	l->program = offset + (uint64_t)(c.p - begin);
	l->cut = l->end - l->program > LINES_MAX_PROGRAM;
	if (header > l->end - l->program || l->cut)
		return false;
	l->program += header;
	p->instruction = cursor_u8(&c);
	if (l->version >= 4)
		cursor_u8(&c);
	cursor_u8(&c);
	p->line_base = (int8_t)cursor_u8(&c);
	p->line_range = cursor_u8(&c);
	p->opcode_base = cursor_u8(&c);
	for (unsigned i = 1; i < p->opcode_base; i++)
		p->operands[i] = cursor_u8(&c);
	l->tables = offset + (uint64_t)(c.p - begin);
	return !c.bad && l->version >= 2 && l->version <= 5 && p->opcode_base &&
	       l->tables <= l->program;
}

int lines_read(struct lines *l, struct debug_file *f, uint64_t offset, uint64_t low, uint64_t high,
	       struct line_scratch *scratch)
{
	struct program p = { .l = l, .s = scratch, .low = low, .high = high };
	int r;

	l->file = f;
	if (!read_header(&p, offset)) {
		l->file = NULL;
		return 0;
	}
	scratch->rows.n = scratch->sequences.n = 0;
	p.c = sections_read(&f->sections, SECTION_LINE, l->program, l->end - l->program,
			    &scratch->bytes);
	r = run(&p);
	if (r < 0 && r != -E2BIG)
		return r;
	l->cut |= r == -E2BIG;
	return join(l, scratch);
}

void lines_deinit(struct lines *l)
{
	free(l->rows);
	vec_deinit(&l->large);
	*l = (struct lines){ 0 };
}

void line_scratch_deinit(struct line_scratch *s)
{
	buffer_deinit(&s->bytes);
	vec_deinit(&s->rows);
	vec_deinit(&s->sequences);
}

size_t lines_size(const struct lines *l)
{
	return l->n_cap * sizeof(*l->rows) + l->large.cap * sizeof(struct line_place);
}

bool lines_find(const struct lines *l, uint32_t offset, struct line_place *ret)
{
	size_t low = 0, n = l->n_rows;
	uint32_t place;

	if (!n || offset < l->rows[0].offset)
		return false;
	while (n > 1) {
		size_t half = n / 2;

		if (l->rows[low + half].offset <= offset)
			low += half;
		n -= half;
	}
	place = l->rows[low].place;
	if (place == NO_PLACE)
		return false;
	if (place & LARGE)
		*ret = l->large.data[place & ~LARGE];
	else
		*ret = (struct line_place){ place & MAX_LINE, place >> FILE_SHIFT };
	return true;
}

/* ---- files */

struct entry {
	const char *text; /* NULL: it is at `offset` of a section */
	uint64_t offset, directory;
	enum section section;
};

struct formats {
	unsigned n;
	struct {
		uint64_t content, form;
	} all[MAX_FORMATS];
};

static void read_formats(struct cursor *c, struct formats *ret)
{
	ret->n = cursor_u8(c);
	for (unsigned i = 0; i < ret->n; i++) {
		uint64_t content = cursor_uleb128(c), form = cursor_uleb128(c);

		if (i < MAX_FORMATS) {
			ret->all[i].content = content;
			ret->all[i].form = form;
		}
	}
	if (ret->n > MAX_FORMATS)
		c->bad = true;
}

/* One value of a form that these tables may have; an unknown one ends the reading. */
static void read_value(const struct lines *l, struct cursor *c, uint64_t form, struct entry *e,
		       uint64_t *v)
{
	int n = form_size((unsigned)form, l->version, l->offset_size);

	*v = 0;
	if (form == DW_FORM_string) {
		e->text = cursor_string(c);
	} else if (form == DW_FORM_line_strp || form == DW_FORM_strp) {
		e->section = form == DW_FORM_strp ? SECTION_STR : SECTION_LINE_STR;
		e->offset = cursor_uint(c, l->offset_size);
	} else if (form == DW_FORM_udata) {
		*v = cursor_uleb128(c);
	} else if (form == DW_FORM_block) {
		cursor_skip(c, cursor_uleb128(c));
	} else if (n > 0 && n <= 8) {
		*v = cursor_uint(c, (unsigned)n);
	} else if (n > 8) {
		cursor_skip(c, (uint64_t)n);
	} else {
		c->bad = true;
	}
}

static struct entry read_entry(const struct lines *l, struct cursor *c, const struct formats *f)
{
	struct entry e = { .section = N_SECTIONS }, other;
	uint64_t v;

	for (unsigned i = 0; i < f->n && !c->bad; i++) {
		bool path = f->all[i].content == DW_LNCT_path;

		read_value(l, c, f->all[i].form, path ? &e : &other, &v);
		if (f->all[i].content == DW_LNCT_directory_index)
			e.directory = v;
	}
	return e;
}

/* Entry `wanted` of the table at the cursor, which is left behind the entry or, with none wanted (UINT64_MAX), behind
 * the table. */
static bool find_entry(const struct lines *l, struct cursor *c, uint64_t wanted, struct entry *ret)
{
	struct formats f;
	uint64_t n;

	read_formats(c, &f);
	n = cursor_uleb128(c);
	for (uint64_t i = 0; i < n && f.n && !c->bad; i++) {
		struct entry e = read_entry(l, c, &f);

		if (i == wanted) {
			*ret = e;
			return !c->bad;
		}
	}
	return false;
}

static bool find_5(const struct lines *l, struct cursor c, uint32_t file, struct entry *ret,
		   struct entry *ret_directory)
{
	struct cursor directories = c;

	find_entry(l, &c, UINT64_MAX, ret);
	if (!find_entry(l, &c, file, ret))
		return false;
	if (!find_entry(l, &directories, ret->directory, ret_directory))
		ret_directory->text = "";
	return true;
}

/* Directories from 1 on, 0 being the unit's; files from 1 on. */
static bool find_4(struct cursor c, uint32_t file, struct entry *ret, struct entry *ret_directory)
{
	struct cursor directories = c;
	const char *text;

	while ((text = cursor_string(&c)) && *text)
		;
	for (uint32_t i = 1; (text = cursor_string(&c)) && *text; i++) {
		uint64_t directory = cursor_uleb128(&c);

		cursor_uleb128(&c);
		cursor_uleb128(&c);
		if (i != file || c.bad)
			continue;
		ret->text = text;
		ret_directory->text = "";
		for (uint64_t k = 1; k <= directory; k++) {
			text = cursor_string(&directories);
			if (!text || !*text)
				return true;
			if (k == directory)
				ret_directory->text = text;
		}
		return true;
	}
	return false;
}

/* Borrowed until the next one of the same section; "" for none. */
static const char *entry_text(const struct lines *l, const struct entry *e)
{
	const char *text = e->text;

	if (!text && e->section < N_SECTIONS)
		text = sections_string(&l->file->sections, e->section, e->offset, MAX_PATH_PART);
	return text ? text : "";
}

uint32_t lines_path(const struct lines *l, uint32_t file, const char *directory, struct bytes *to,
		    struct buffer *buffer)
{
	struct entry name = { .section = N_SECTIONS }, dir = { .section = N_SECTIONS };
	uint64_t n = l->program - l->tables;
	char text[MAX_PATH_PART + 1];
	size_t start = to->n, k;
	struct cursor c;

	if (!l->file || n > MAX_TABLES || start > UINT32_MAX / 2)
		return 0;
	c = sections_read(&l->file->sections, SECTION_LINE, l->tables, n, buffer);
	if (!(l->version >= 5 ? find_5(l, c, file, &name, &dir) : find_4(c, file, &name, &dir)))
		return 0;
	k = strnlen(entry_text(l, &name), MAX_PATH_PART);
	memcpy(text, entry_text(l, &name), k);
	text[k] = '\0';
	if (!k)
		return 0;
	if (*text != '/') {
		const char *under = entry_text(l, &dir);

		/* directory 0 of DWARF 5 is the unit's */
		if (*under != '/' && *directory && (l->version < 5 || name.directory))
			bytes_printf(to, "%s/", directory);
		if (*under)
			bytes_printf(to, "%s/", under);
	}
	bytes_add(to, text, k + 1);
	if (to->n - start <= SYMBOLIZER_MAX_PATH && !to->bad)
		return (uint32_t)start;
	to->n = start;
	return 0;
}
