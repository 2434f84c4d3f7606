/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/names.h"

#include <errno.h>
#include <gelf.h>
#include <lzma.h>
#include <string.h>

#include "symbolizer/dwarf.h"
#include "symbolizer/symtab.h"

#define MAX_MINI (64u << 20) /* bytes of a decoded .gnu_debugdata */
#define MAX_XZ_MEMORY (96ull << 20)

struct table {
	struct symtab symtab;
	bool built; /* or tried to */
};

struct names {
	struct elf_file *f;
	struct dwarf_index dwarf;
	struct elf_file *debug, *alt; /* NULL: none */
	VEC(struct elf_file *) split;
	struct table symtab, debug_symtab, mini, dynsym;
	struct elf_file *mini_file;
	struct bytes mini_image;
	char unversioned[SYMTAB_MAX_NAME + 1];
};

static bool decode_xz(const struct elf_section *s, struct bytes *ret)
{
	lzma_stream xz = LZMA_STREAM_INIT;
	lzma_ret r = lzma_stream_decoder(&xz, MAX_XZ_MEMORY, LZMA_CONCATENATED);
	unsigned char out[32 * 1024];

	xz.next_in = s->data;
	xz.avail_in = s->n;
	while (r == LZMA_OK && !ret->bad && ret->n < MAX_MINI) {
		xz.next_out = out;
		xz.avail_out = sizeof(out);
		r = lzma_code(&xz, LZMA_FINISH);
		bytes_add(ret, out, sizeof(out) - xz.avail_out);
	}
	lzma_end(&xz);
	return r == LZMA_STREAM_END && !ret->bad;
}

/* MiniDebugInfo: an ELF file within the file, which has the symbols that .dynsym has not
 * (https://sourceware.org/gdb/current/onlinedocs/gdb.html/MiniDebugInfo.html). */
static void build_mini(struct names *n)
{
	struct elf_section s;

	if (!elf_file_section(n->f, ".gnu_debugdata", &s) || !decode_xz(&s, &n->mini_image) ||
	    elf_file_open_memory(n->mini_image.data, n->mini_image.n, &n->mini_file) < 0)
		return;
	/* It has the addresses of the file around it, and perhaps no segments of its own. */
	memcpy(n->mini_file->segments, n->f->segments, sizeof(n->f->segments));
	n->mini_file->n_segments = n->f->n_segments;
	symtab_build(n->mini_file, SHT_SYMTAB, &n->mini.symtab);
}

static void build(struct names *n, struct table *t)
{
	t->built = true;
	if (t == &n->mini)
		build_mini(n);
	else if (t == &n->debug_symtab && n->debug)
		symtab_build(n->debug, SHT_SYMTAB, &t->symtab);
	else if (t != &n->debug_symtab)
		symtab_build(n->f, t == &n->symtab ? SHT_SYMTAB : SHT_DYNSYM, &t->symtab);
}

/* NULL: no table has one. */
static const char *symbol_name(struct names *n, uint64_t address, bool at_start)
{
	struct table *const tables[] = { &n->symtab, &n->debug_symtab, &n->mini, &n->dynsym };

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		struct symtab_answer a;
		const char *version;

		if (!tables[i]->built)
			build(n, tables[i]);
		if (!symtab_find(&tables[i]->symtab, address, &a) ||
		    (at_start && a.start != address))
			continue;
		version = strchr(a.name, '@'); /* memcpy@@GLIBC_2.14, in .symtab */
		if (!version || version == a.name)
			return a.name;
		memcpy(n->unversioned, a.name, (size_t)(version - a.name));
		n->unversioned[version - a.name] = '\0';
		return n->unversioned;
	}
	return NULL;
}

int names_new(struct elf_file *f, struct names **ret)
{
	struct names *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->f = f;
	n->dwarf.f = f;
	*ret = n;
	return 0;
}

void names_free(struct names *n)
{
	if (!n)
		return;
	dwarf_index_deinit(&n->dwarf);
	symtab_deinit(&n->symtab.symtab);
	symtab_deinit(&n->debug_symtab.symtab);
	symtab_deinit(&n->mini.symtab);
	symtab_deinit(&n->dynsym.symtab);
	elf_file_close(n->mini_file);
	elf_file_close(n->debug);
	elf_file_close(n->alt);
	for (size_t i = 0; i < n->split.n; i++)
		elf_file_close(n->split.data[i]);
	vec_deinit(&n->split);
	bytes_deinit(&n->mini_image);
	free(n);
}

/* What is really there may have a symbol that says more: f.cold and its like, or the name that
 * others link to where DWARF has a plain one. */
static const char *outermost_name(struct names *n, uint64_t address, const char *name, bool linkage)
{
	const char *symbol = symbol_name(n, address, false);
	size_t k = name ? strlen(name) : 0;

	if (!symbol || (linkage && (strncmp(symbol, name, k) || symbol[k] != '.')))
		return name;
	return symbol;
}

int names_add(struct names *n, enum names_kind kind, struct elf_file *other)
{
	_cleanup_(elf_file_closep) struct elf_file *f = other, *old = NULL;
	int r = 0;

	dwarf_index_deinit(&n->dwarf); /* it borrows the others */
	switch (kind) {
	case NAMES_DEBUG:
		/* it has the addresses of the program, whose segments may be left out of it */
		memcpy(f->segments, n->f->segments, sizeof(f->segments));
		f->n_segments = n->f->n_segments;
		symtab_deinit(&n->debug_symtab.symtab);
		n->debug_symtab = (struct table){ 0 };
		old = n->debug;
		n->debug = TAKE_PTR(f);
		break;
	case NAMES_ALT:
		old = n->alt;
		n->alt = TAKE_PTR(f);
		break;
	case NAMES_DWO:
		if (n->split.n == NAMES_MAX_DWO)
			return -E2BIG;
		r = vec_push(&n->split, f);
		if (r == 0)
			f = NULL;
		break;
	}
	return r;
}

static struct dwarf_index *dwarf(struct names *n)
{
	if (!n->dwarf.opened)
		dwarf_index_open(&n->dwarf, &(struct dwarf_files){ n->debug, n->alt, n->split.data,
								   n->split.n });
	return &n->dwarf;
}

static void tell(struct names *n, uint64_t address, const struct dwarf_answer *a,
		 names_frame_fn *frame, void *context)
{
	static const struct dwarf_function unknown;

	for (size_t i = 0; i < a->n; i++) {
		const struct dwarf_place *p = &a->places[i];
		const struct dwarf_function *f =
			p->function == NO_ITEM ? &unknown : &a->cu->functions.data[p->function];
		const char *strings = a->cu->strings.data;
		const char *own = f->name ? strings + f->name : NULL, *name = own;
		bool qualified;

		if (i == a->n - 1)
			name = outermost_name(n, address, name, f->linkage);
		qualified = name && name == own && f->qualified;
		if (name || (a->n == 1 && p->at.file))
			frame(context, &(struct names_frame){ name ? name : "", strings + p->at.file,
							      p->at.line, f->line,
							      qualified ? strings + f->qualified : NULL });
	}
}

void names_find(struct names *n, uint64_t address, names_frame_fn *frame, void *context)
{
	struct dwarf_answer a;
	const char *name;

	if (!dwarf_index_find(dwarf(n), address, &a)) {
		name = symbol_name(n, address, false);
		if (name)
			frame(context, &(struct names_frame){ .system_name = name, .file = "" });
		return;
	}
	/* All before the first is told: a name that is read may move the others. */
	for (size_t i = 0; i < a.n; i++)
		if (a.places[i].function != NO_ITEM)
			dwarf_function_read(&n->dwarf, a.cu, a.places[i].function);
	tell(n, address, &a, frame, context);
}

bool names_missing_dwo(struct names *n, uint64_t address, struct names_dwo *ret)
{
	return dwarf_index_missing(dwarf(n), address, &ret->name, &ret->directory, &ret->id);
}

int names_add_dwo(struct names *n, struct elf_file *dwo)
{
	_cleanup_(elf_file_closep) struct elf_file *f = dwo;
	int r = n->split.n < NAMES_MAX_DWO ? 0 : -E2BIG;

	if (r == 0)
		r = vec_reserve(&n->split, n->split.n + 1);
	if (r == 0)
		r = dwarf_index_add_dwo(dwarf(n), f);
	if (r == 0)
		n->split.data[n->split.n++] = TAKE_PTR(f);
	return r;
}

size_t names_n_split(const struct names *n)
{
	return n->split.n;
}

uint64_t names_lost(const struct names *n)
{
	return dwarf_index_lost(&n->dwarf);
}

const char *names_symbol(struct names *n, uint64_t start)
{
	return symbol_name(n, start, true);
}
