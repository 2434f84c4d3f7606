/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/names.h"

#include <dwarf.h>
#include <errno.h>
#include <gelf.h>
#include <lzma.h>
#include <string.h>

#include "symbolizer/dwarf.h"
#include "symbolizer/symtab.h"

/* Bytes of all debug sections: libdw reads them whole, and the sandbox leaves 768 MiB. */
#define MAX_DEBUG (512ull << 20)
#define MAX_MINI (64u << 20) /* bytes of a decoded .gnu_debugdata */
#define MAX_XZ_MEMORY (96ull << 20)
#define MAX_ORIGINS 16
#define MAX_QUALIFIERS 8

struct table {
	struct symtab symtab;
	bool built; /* or tried to */
};

struct names {
	struct elf_file *f, *debug, *alt; /* NULL: none beside */
	bool asked, has_dwarf;
	struct dwarf_index dwarf;
	struct table symtab, debug_symtab, mini, dynsym;
	struct elf_file *mini_file;
	struct bytes mini_image;
	char unversioned[SYMTAB_MAX_NAME + 1];
};

/* Whether there is debug information, and not too much of it. */
static bool has_bounded_debug_info(struct elf_file *f)
{
	uint64_t total = 0;
	Elf_Scn *s = NULL;
	size_t strings;

	if (elf_getshdrstrndx(f->elf, &strings) < 0)
		return false;
	while ((s = elf_nextscn(f->elf, s))) {
		const char *name = NULL;
		GElf_Chdr c = { 0 };
		GElf_Shdr h;

		if (gelf_getshdr(s, &h) && h.sh_type != SHT_NOBITS)
			name = elf_strptr(f->elf, strings, h.sh_name);
		if (!name || (strncmp(name, ".debug", 6) && strncmp(name, ".zdebug", 7)))
			continue;
		if (h.sh_flags & SHF_COMPRESSED)
			gelf_getchdr(s, &c);
		if (h.sh_size > MAX_DEBUG || c.ch_size > MAX_DEBUG)
			return false;
		total += h.sh_size + c.ch_size;
	}
	return total && total <= MAX_DEBUG;
}

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
	else if (t == &n->debug_symtab)
		n->debug ? (void)symtab_build(n->debug, SHT_SYMTAB, &t->symtab) : (void)0;
	else
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
	bytes_deinit(&n->mini_image);
	free(n);
}

static void forget_dwarf(struct names *n)
{
	dwarf_index_deinit(&n->dwarf);
	n->dwarf = (struct dwarf_index){ .f = n->f };
	n->asked = false;
}

int names_add(struct names *n, enum names_kind kind, struct elf_file *other)
{
	struct elf_file **to = kind == NAMES_DEBUG ? &n->debug : &n->alt;

	forget_dwarf(n);
	symtab_deinit(&n->debug_symtab.symtab);
	n->debug_symtab = (struct table){ 0 };
	elf_file_close(*to);
	*to = other;
	if (kind == NAMES_DEBUG) {
		memcpy(other->segments, n->f->segments, sizeof(n->f->segments));
		other->n_segments = n->f->n_segments;
	}
	return 0;
}

bool names_missing_dwo(struct names *n, uint64_t address, struct names_dwo *ret)
{
	return false;
}

/* From a concrete function or an inlined call to the abstract function, and from there to the
 * declaration in a class. */
static bool next_origin(Dwarf_Die *die)
{
	Dwarf_Die next;

	if (!die_reference(die, DW_AT_abstract_origin, &next) &&
	    !die_reference(die, DW_AT_specification, &next))
		return false;
	*die = next;
	return true;
}

/* What a namespace, a class or a function is called in the names of what it holds; *ret_at is
 * where it is declared. NULL: it has no part in the name. */
static const char *container_name(const struct dwarf_index *d, uint64_t offset, const char *inner,
				  bool inner_is_function, uint64_t *ret_at)
{
	const char *s = NULL;
	Dwarf_Die die;
	int tag;

	*ret_at = offset;
	if (!dwarf_offdie(d->dw, offset, &die))
		return NULL;
	tag = dwarf_tag(&die);
	if (tag == DW_TAG_subprogram && inner_is_function)
		return NULL; /* C declares other functions within functions */
	for (int i = 0; i < MAX_ORIGINS && !s; i++) {
		*ret_at = dwarf_dieoffset(&die);
		s = die_string(d, &die, DW_AT_name);
		if (!next_origin(&die))
			break;
	}
	if (s || tag == DW_TAG_namespace)
		return s ? s : "{anonymous}";
	return strncmp(inner, "operator()", 10) ? "{unnamed}" : "{lambda}";
}

/* What holds the DIE at this offset; it may be a container itself. */
static uint32_t holder(const struct dwarf_cu *cu, uint64_t at)
{
	uint32_t c = NO_ITEM;

	if (at >= cu->die && at - cu->die < UINT32_MAX)
		c = segments_find(&cu->by_die, (uint32_t)(at - cu->die));
	return c != NO_ITEM && cu->containers.data[c].die == at ? cu->containers.data[c].parent : c;
}

/* namespace::class::name, as far as the unit itself tells: GCC gives no linkage name to functions
 * that nobody else can link to. 0: nothing to add. */
static uint32_t qualify(const struct dwarf_index *d, struct dwarf_cu *cu, uint64_t at,
			const char *name)
{
	const char *parts[MAX_QUALIFIERS], *s;
	size_t n = 0, start = cu->strings.n;

	for (int i = 0; i < MAX_QUALIFIERS; i++) {
		uint32_t c = holder(cu, at);

		if (c == NO_ITEM)
			break;
		s = container_name(d, cu->containers.data[c].die, n ? parts[n - 1] : name, !n, &at);
		if (s)
			parts[n++] = s;
	}
	if (!n)
		return 0;
	while (n--)
		bytes_printf(&cu->strings, "%s::", parts[n]);
	bytes_add(&cu->strings, name, strlen(name) + 1);
	if (cu->strings.n - start <= SYMTAB_MAX_NAME && !cu->strings.bad && start < UINT32_MAX)
		return (uint32_t)start;
	cu->strings.n = start;
	return 0;
}

static void read_function(const struct dwarf_index *d, struct dwarf_cu *cu,
			  struct dwarf_function *f)
{
	uint64_t at = 0; /* where the name belongs */
	Dwarf_Die die;

	f->read = true;
	if (!dwarf_offdie(d->dw, f->die, &die))
		return;
	for (int i = 0; i < MAX_ORIGINS && !(f->linkage && f->line); i++) {
		const char *s = die_string(d, &die, DW_AT_linkage_name);

		if (!s)
			s = die_string(d, &die, DW_AT_MIPS_linkage_name);
		if (s && !f->linkage) {
			f->name = s;
			f->linkage = true;
		} else if (!f->name) {
			f->name = die_string(d, &die, DW_AT_name);
		}
		if (!f->line)
			f->line = die_number(&die, DW_AT_decl_line);
		at = dwarf_dieoffset(&die);
		if (!next_origin(&die))
			break;
	}
	if (f->name && !f->linkage)
		f->qualified = qualify(d, cu, at, f->name);
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

static void tell(struct names *n, uint64_t address, const struct dwarf_answer *a,
		 names_frame_fn *frame, void *context)
{
	static const struct dwarf_function unknown;

	for (size_t i = 0; i < a->n; i++) {
		const struct dwarf_place *p = &a->places[i];
		const struct dwarf_function *f =
			p->function == NO_ITEM ? &unknown : &a->cu->functions.data[p->function];
		const char *strings = a->cu->strings.data;
		const char *name = f->qualified ? strings + f->qualified : f->name;

		if (i == a->n - 1)
			name = outermost_name(n, address, name, f->linkage);
		if (name)
			frame(context, &(struct names_frame){ name, strings + p->at.file,
							      p->at.line, f->line });
	}
}

void names_find(struct names *n, uint64_t address, names_frame_fn *frame, void *context)
{
	struct dwarf_answer a;
	const char *name;

	if (!n->asked) {
		n->has_dwarf = has_bounded_debug_info(n->f);
		if (!n->has_dwarf && n->debug && has_bounded_debug_info(n->debug)) {
			n->has_dwarf = true;
			n->dwarf.f = n->debug;
		}
	}
	n->asked = true;
	if (!n->has_dwarf || !dwarf_index_find(&n->dwarf, address, &a)) {
		name = symbol_name(n, address, false);
		if (name)
			frame(context, &(struct names_frame){ name, "", 0, 0 });
		return;
	}
	/* All before the first is told: a name that is made may move the others. */
	for (size_t i = 0; i < a.n; i++) {
		uint32_t f = a.places[i].function;

		if (f != NO_ITEM && !a.cu->functions.data[f].read)
			read_function(&n->dwarf, a.cu, &a.cu->functions.data[f]);
	}
	tell(n, address, &a, frame, context);
}

const char *names_symbol(struct names *n, uint64_t start)
{
	return symbol_name(n, start, true);
}
