/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/symtab.h"

#include <errno.h>
#include <gelf.h>
#include <string.h>

#define MAX_TABLE (256u << 20)	 /* bytes */
#define MAX_STRINGS (512u << 20) /* bytes */
#define MAX_IN_FRONT 16		 /* bytes */

struct candidate {
	uint32_t start; /* from the lowest text address */
	uint64_t size;
	uint32_t name;
	uint32_t rank; /* the smaller wins */
};

/* Of an executable section. */
struct span {
	uint64_t start, end;
	size_t index;
};

struct builder {
	struct elf_file *f;
	struct elf_section strings;
	uint64_t low, high;	/* of the text */
	VEC(struct span) spans; /* by index */
	VEC(struct candidate) found;
};

int segments_add(struct segments *s, uint32_t offset, uint32_t item)
{
	if (s->n && s->data[s->n - 1].offset == offset)
		s->n--;
	if (s->n && s->data[s->n - 1].item == item)
		return 0;
	return vec_push(s, ((struct segment){ offset, item }));
}

static int by_range(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	if (x->end != y->end)
		return x->end > y->end ? -1 : 1;
	return x->item < y->item ? -1 : x->item > y->item;
}

int segments_from_ranges(struct segments *s, struct ranges *r)
{
	size_t depth = 0; /* of open ranges, which are kept at the beginning of r */
	int e = 0;

	if (r->n)
		qsort(r->data, r->n, sizeof(struct range), by_range);
	for (size_t i = 0; i <= r->n && !e; i++) {
		struct range q = i < r->n ? r->data[i] : (struct range){ .start = UINT32_MAX };

		while (!e && depth && r->data[depth - 1].end <= q.start) {
			uint32_t end = r->data[--depth].end;

			e = segments_add(s, end, depth ? r->data[depth - 1].item : NO_ITEM);
		}
		if (e || i == r->n)
			break;
		while (depth && r->data[depth - 1].end < q.end)
			depth--;
		e = segments_add(s, q.start, q.item);
		r->data[depth++] = q;
	}
	return e;
}

uint32_t segments_find(const struct segments *s, uint32_t offset)
{
	size_t low = 0, n = s->n;

	if (!n || offset < s->data[0].offset)
		return NO_ITEM;
	while (n > 1) {
		size_t half = n / 2;

		if (s->data[low + half].offset <= offset)
			low += half;
		n -= half;
	}
	return s->data[low].item;
}

static int collect_spans(struct builder *b)
{
	Elf_Scn *s = NULL;

	while ((s = elf_nextscn(b->f->elf, s))) {
		GElf_Shdr h;
		int r;

		if (!gelf_getshdr(s, &h) || !(h.sh_flags & SHF_EXECINSTR) ||
		    h.sh_size > UINT64_MAX - h.sh_addr)
			continue;
		r = vec_push(&b->spans,
			     ((struct span){ h.sh_addr, h.sh_addr + h.sh_size, elf_ndxscn(s) }));
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct span *find_span(const struct builder *b, size_t index)
{
	size_t low = 0, high = b->spans.n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (b->spans.data[middle].index < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low < b->spans.n && b->spans.data[low].index == index ? &b->spans.data[low] : NULL;
}

static bool section_bytes(Elf_Scn *s, uint64_t max, struct elf_section *ret)
{
	GElf_Shdr h;
	Elf_Data *d;

	if (!s || !gelf_getshdr(s, &h) || h.sh_type == SHT_NOBITS || h.sh_size > max)
		return false;
	d = elf_getdata(s, NULL);
	if (!d || !d->d_buf || !d->d_size)
		return false;
	*ret = (struct elf_section){ d->d_buf, d->d_size, h.sh_addr };
	return true;
}

/* Cuts the strings behind their last NUL, so that every offset within them is a string. */
static bool find_tables(struct builder *b, uint32_t type, struct elf_section *ret)
{
	struct elf_section *strings = &b->strings;
	const unsigned char *last;
	Elf_Scn *s = NULL;
	GElf_Shdr h;

	while ((s = elf_nextscn(b->f->elf, s)))
		if (gelf_getshdr(s, &h) && h.sh_type == type)
			break;
	if (!section_bytes(s, MAX_TABLE, ret) ||
	    !section_bytes(elf_getscn(b->f->elf, h.sh_link), MAX_STRINGS, strings))
		return false;
	last = memrchr(strings->data, 0, strings->n);
	strings->n = last ? (size_t)(last - strings->data) + 1 : 0;
	return true;
}

/* Not names of functions: the assembler's marks for code and data on ARM ("$x", "$d.12") and its
 * own labels (".L3"). */
static bool is_no_name(const char *name)
{
	if (name[0] == '$')
		return name[1] >= 'a' && name[1] <= 'z' && (!name[2] || name[2] == '.');
	return !name[0] || (name[0] == '.' && name[1] == 'L');
}

static uint32_t rank(const GElf_Sym *q, const char *name)
{
	uint32_t label = GELF_ST_TYPE(q->st_info) == STT_NOTYPE, unsized = !q->st_size;
	unsigned char bind = GELF_ST_BIND(q->st_info);
	uint32_t weak = bind == STB_WEAK ? 1 : bind == STB_LOCAL ? 2 : 0;
	uint32_t underscores = 0; /* of aliases such as read and __read the plain one */

	while (name[underscores] == '_' && underscores < 7)
		underscores++;
	if (!strncmp(name, "__GI_", 5)) /* glibc's name for itself */
		underscores = 8;
	return label << 16 | unsized << 12 | weak << 8 | underscores;
}

static bool take(const struct builder *b, const GElf_Sym *q)
{
	unsigned char type = GELF_ST_TYPE(q->st_info);

	if (q->st_shndx == SHN_UNDEF || q->st_name >= b->strings.n || q->st_value < b->low ||
	    q->st_value >= b->high)
		return false;
	if (type != STT_FUNC && type != STT_GNU_IFUNC &&
	    !(type == STT_NOTYPE && find_span(b, q->st_shndx)))
		return false;
	return !is_no_name((const char *)b->strings.data + q->st_name);
}

static int collect(struct builder *b, const struct elf_section *table)
{
	for (size_t at = 0; at + sizeof(Elf64_Sym) <= table->n; at += sizeof(Elf64_Sym)) {
		const struct span *span;
		struct candidate c;
		Elf64_Sym q;
		int r;

		memcpy(&q, table->data + at, sizeof(q));
		if (!take(b, &q))
			continue;
		if (b->found.n == SYMTAB_MAX_SYMBOLS)
			return -E2BIG;
		c = (struct candidate){ (uint32_t)(q.st_value - b->low), q.st_size, q.st_name,
					rank(&q, (const char *)b->strings.data + q.st_name) };
		span = q.st_size ? NULL : find_span(b, q.st_shndx);
		if (span && span->start <= q.st_value && q.st_value < span->end)
			c.size = span->end - q.st_value; /* until the next symbol is known */
		if (c.size > b->high - q.st_value)
			c.size = b->high - q.st_value;
		r = vec_push(&b->found, c);
		if (r < 0)
			return r;
	}
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

static bool is_unsized(const struct candidate *c)
{
	return c->rank >> 12 & 1;
}

/* One at an address, and no symbol without a size inside of one that has one: that is a label in
 * somebody's assembly. */
static size_t drop_losers(struct candidate *c, size_t n)
{
	uint64_t reach = 0; /* of the sized ones so far */
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		if (out && c[out - 1].start == c[i].start)
			continue;
		if (is_unsized(&c[i]) && c[i].start < reach)
			continue;
		if (!is_unsized(&c[i]) && c[i].start + c[i].size > reach)
			reach = c[i].start + c[i].size;
		c[out++] = c[i];
	}
	return out;
}

/* crtbegin.o's last function has no size and stands in front of the program's own: what has no symbol there (GHC's
 * local functions, assembler) is not it. It is a jump. */
static bool is_in_front(const struct builder *b, const struct candidate *c)
{
	return is_unsized(c) && !strcmp((const char *)b->strings.data + c->name, "frame_dummy");
}

static int finish(struct builder *b, struct symtab *s)
{
	struct candidate *c = b->found.data;
	struct ranges ranges = { 0 };
	size_t n;
	int r;

	if (!b->found.n)
		return 0;
	qsort(c, b->found.n, sizeof(*c), by_start);
	n = drop_losers(c, b->found.n);
	r = vec_reserve(&s->symbols, n);
	if (!r)
		r = vec_reserve(&ranges, n);
	for (size_t i = 0; i < n && !r; i++) {
		if (is_unsized(&c[i]) && i + 1 < n &&
		    (!c[i].size || c[i].size > c[i + 1].start - c[i].start))
			c[i].size = c[i + 1].start - c[i].start;
		if (is_in_front(b, &c[i]) && c[i].size > MAX_IN_FRONT)
			c[i].size = MAX_IN_FRONT;
		s->symbols.data[s->symbols.n++] =
			(struct symtab_symbol){ c[i].start, (uint32_t)c[i].size, c[i].name };
		ranges.data[ranges.n++] =
			(struct range){ c[i].start, c[i].start + (uint32_t)c[i].size, (uint32_t)i };
	}
	if (!r)
		r = segments_from_ranges(&s->segments, &ranges);
	vec_deinit(&ranges);
	return r;
}

int symtab_build(struct elf_file *f, uint32_t section_type, struct symtab *ret)
{
	struct builder b = { .f = f };
	struct elf_section table;
	struct symtab s = { 0 };
	int r;

	if (!elf_file_text(f, &b.low, &b.high) || b.high - b.low > UINT32_MAX ||
	    !find_tables(&b, section_type, &table))
		return -ENODATA;
	r = collect_spans(&b);
	if (!r)
		r = collect(&b, &table);
	if (!r)
		r = finish(&b, &s);
	vec_deinit(&b.spans);
	vec_deinit(&b.found);
	if (r < 0) {
		symtab_deinit(&s);
		return r;
	}
	s.low = b.low;
	s.strings = b.strings;
	*ret = s;
	return 0;
}

void symtab_deinit(struct symtab *s)
{
	vec_deinit(&s->symbols);
	vec_deinit(&s->segments);
}

bool symtab_find(const struct symtab *s, uint64_t address, struct symtab_answer *ret)
{
	const struct symtab_symbol *q;
	const char *name;
	uint32_t i = NO_ITEM;

	if (address >= s->low && address - s->low <= UINT32_MAX)
		i = segments_find(&s->segments, (uint32_t)(address - s->low));
	if (i == NO_ITEM)
		return false;
	q = &s->symbols.data[i];
	name = (const char *)s->strings.data + q->name;
	if (strnlen(name, SYMTAB_MAX_NAME + 1) > SYMTAB_MAX_NAME)
		return false;
	*ret = (struct symtab_answer){ name, s->low + q->start, q->size };
	return true;
}
