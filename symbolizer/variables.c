/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/variables.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/vec.h"
#include "symbolizer/symbol_scan.h"
#include "symbolizer/symtab.h"

struct data_symbol {
	uint32_t start, end; /* from table.low */
	uint32_t rank;	     /* the smaller wins */
	const char *name;    /* borrowed from the file */
};

struct table {
	struct elf_file *f;
	bool built;	    /* or tried to */
	uint64_t low, high; /* of the data */
	VEC(struct data_symbol) symbols;
	struct segments segments; /* items: symbols */
};

struct variables {
	struct table symtab, debug, dynsym;
	char unversioned[SYMTAB_MAX_NAME + 1];
};

int variables_new(struct elf_file *f, struct elf_file *debug, struct variables **ret)
{
	struct variables *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->symtab.f = v->dynsym.f = f;
	v->debug.f = debug;
	v->debug.built = !debug;
	*ret = v;
	return 0;
}

static void table_deinit(struct table *t)
{
	vec_deinit(&t->symbols);
	vec_deinit(&t->segments);
}

void variables_free(struct variables *v)
{
	if (!v)
		return;
	table_deinit(&v->symtab);
	table_deinit(&v->debug);
	table_deinit(&v->dynsym);
	free(v);
}

/* The span of the writable segments; of one past 4 GiB the beginning. */
static bool find_data(struct table *t)
{
	const struct elf_file *f = t->f;

	t->low = UINT64_MAX;
	for (unsigned i = 0; i < f->n_segments; i++) {
		const struct elf_segment *s = &f->segments[i];

		if (!(s->flags & PF_W) || !s->memsz || s->vaddr + s->memsz < s->vaddr)
			continue;
		t->low = s->vaddr < t->low ? s->vaddr : t->low;
		t->high = s->vaddr + s->memsz > t->high ? s->vaddr + s->memsz : t->high;
	}
	if (t->low < t->high && t->high - t->low >= UINT32_MAX)
		t->high = t->low + UINT32_MAX - 1;
	return t->low < t->high;
}

static bool is_data(const struct elf_file *f, uint64_t address)
{
	for (unsigned i = 0; i < f->n_segments; i++)
		if (f->segments[i].flags & PF_W &&
		    address - f->segments[i].vaddr < f->segments[i].memsz)
			return true;
	return false;
}

/* Of aliases such as environ and __environ the plain one, and a global one. */
static uint32_t rank(const struct scanned_symbol *s)
{
	uint32_t bind = s->bind == STB_WEAK ? 1 : s->bind == STB_LOCAL ? 2 : 0;
	uint32_t underscores = 0;

	while (s->name[underscores] == '_' && underscores < 7)
		underscores++;
	return bind << 8 | underscores;
}

static int on_symbol(void *context, const struct scanned_symbol *s)
{
	struct table *t = context;
	uint64_t size = s->size;

	if (s->type != STT_OBJECT || !s->defined || !size || s->value < t->low ||
	    s->value >= t->high || !is_data(t->f, s->value) ||
	    strnlen(s->name, SYMTAB_MAX_NAME + 1) > SYMTAB_MAX_NAME)
		return 0;
	if (t->symbols.n == SYMTAB_MAX_SYMBOLS)
		return -E2BIG;
	if (size > t->high - s->value)
		size = t->high - s->value;
	return vec_push(&t->symbols, ((struct data_symbol){ (uint32_t)(s->value - t->low),
							    (uint32_t)(s->value - t->low + size),
							    rank(s), s->name }));
}

static int by_place(const void *a, const void *b)
{
	const struct data_symbol *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	if (x->end != y->end)
		return x->end < y->end ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

static int make_segments(struct table *t)
{
	struct data_symbol *s = t->symbols.data;
	struct ranges ranges = { 0 };
	int r = vec_reserve(&ranges, t->symbols.n);

	for (size_t i = 0; i < t->symbols.n && r == 0; i++)
		if (!i || s[i].start != s[i - 1].start || s[i].end != s[i - 1].end)
			ranges.data[ranges.n++] =
				(struct range){ s[i].start, s[i].end, (uint32_t)i };
	if (r == 0)
		r = segments_from_ranges(&t->segments, &ranges);
	vec_deinit(&ranges);
	return r;
}

static void build(struct table *t, uint32_t section_type)
{
	int r = find_data(t) ? symbol_scan(t->f, section_type, on_symbol, t) : -ENODATA;

	t->built = true;
	if ((r < 0 && r != -E2BIG) || !t->symbols.n)
		return;
	qsort(t->symbols.data, t->symbols.n, sizeof(*t->symbols.data), by_place);
	if (make_segments(t) < 0)
		table_deinit(t);
}

static const struct data_symbol *find(struct table *t, uint32_t section_type, uint64_t address)
{
	uint32_t i = NO_ITEM;

	if (!t->built)
		build(t, section_type);
	if (address >= t->low && address < t->high)
		i = segments_find(&t->segments, (uint32_t)(address - t->low));
	return i == NO_ITEM ? NULL : &t->symbols.data[i];
}

bool variables_find(struct variables *v, uint64_t address, struct variable *ret)
{
	struct table *const tables[] = { &v->symtab, &v->debug, &v->dynsym };
	const struct data_symbol *s = NULL;
	const struct table *t = NULL;
	const char *version;

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && !s; i++) {
		t = tables[i];
		s = find(tables[i], t == &v->dynsym ? SHT_DYNSYM : SHT_SYMTAB, address);
	}
	if (!s)
		return false;
	*ret = (struct variable){ s->name, t->low + s->start };
	version = strchr(s->name, '@'); /* stdout@GLIBC_2.2.5, in .symtab */
	if (version && version != s->name) {
		memcpy(v->unversioned, s->name, (size_t)(version - s->name));
		v->unversioned[version - s->name] = '\0';
		ret->name = v->unversioned;
	}
	return true;
}
