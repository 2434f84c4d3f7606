/* SPDX-License-Identifier: Apache-2.0 */

/* What DWARF calls a function. */

#include <dwarf.h>
#include <string.h>

#include "symbolizer/dwarf.h"

#define MAX_ORIGINS 16
#define MAX_QUALIFIERS 8
#define MAX_DEPTH 64
#define MAX_STEPS (4u << 20)	  /* DIEs passed, to find what one is in */
#define MAX_CODE 10 /* bytes of an abbreviation code */
#define MAX_SEARCH_NS 500000000ull /* of CPU time */

/* What a DIE is in, outermost first. */
struct path {
	uint64_t offsets[MAX_DEPTH];
	uint16_t tags[MAX_DEPTH];
	unsigned n;
};

/* From a concrete function or an inlined call to the abstract function, and from there to the
 * declaration in a class. */
static bool next_origin(const struct unit *u, const struct die *die, struct die_ref *at)
{
	struct die_ref next = die_reference(u, die, SLOT_ORIGIN);

	if (!next.file)
		next = die_reference(u, die, SLOT_SPECIFICATION);
	if (!next.file)
		return false;
	*at = next;
	return true;
}

/* An offset in strings; 0: none. */
static uint32_t keep(struct dwarf_cu *cu, const char *text)
{
	size_t at = cu->strings.n;

	if (!text || at > UINT32_MAX / 2)
		return 0;
	bytes_add(&cu->strings, text, strlen(text) + 1);
	return cu->strings.bad ? 0 : (uint32_t)at;
}

static bool beyond(struct die_reader *r, const struct abbrev *a, uint64_t target)
{
	const uint8_t *attributes = r->c.p;

	if (reader_sibling(r, a) && reader_offset(r) <= target)
		return true;
	r->c.p = attributes;
	return false;
}

/* Where to begin: at the last mark before the target, if the unit has been indexed. */
static uint64_t begin_path(const struct dwarf_cu *cu, const struct unit *u, uint64_t target,
			   struct path *ret)
{
	size_t low = 0, n = cu->marks.n;
	uint32_t namespaces[MAX_DEPTH];
	unsigned k = 0;

	ret->n = 0;
	if (u->file != cu->unit.file || u->start != cu->unit.start || !n ||
	    cu->marks.data[0].die > target)
		return u->first;
	while (n > 1) {
		size_t half = n / 2;

		if (cu->marks.data[low + half].die <= target)
			low += half;
		n -= half;
	}
	for (uint32_t in = cu->marks.data[low].in; in != NO_ITEM && k < MAX_DEPTH;
	     in = cu->namespaces.data[in].in)
		namespaces[k++] = in;
	while (k--) {
		ret->offsets[ret->n] = cu->namespaces.data[namespaces[k]].die;
		ret->tags[ret->n] = ret->n ? DW_TAG_namespace : DW_TAG_compile_unit;
		ret->n++;
	}
	return cu->marks.data[low].die;
}

/* Down from there, leaving out what ends before the target. */
static bool find_path(struct dwarf_index *d, const struct dwarf_cu *cu, const struct unit *u,
		      uint64_t target, struct path *ret)
{
	uint64_t deadline = dwarf_cpu_ns() + MAX_SEARCH_NS;
	uint64_t from = begin_path(cu, u, target, ret);
	uint64_t to = u->end - target < MAX_CODE ? u->end : target + MAX_CODE;
	struct die_reader r;

	if (!reader_open(&r, u, from, to, &d->bytes))
		return false;
	for (unsigned steps = MAX_STEPS; steps; steps--) {
		uint64_t offset = reader_offset(&r);
		const struct abbrev *a = reader_next(&r);

		if (offset >= target)
			return a && offset == target;
		if (r.c.bad || (!a && !ret->n) || (steps % 1024 == 0 && dwarf_cpu_ns() > deadline))
			return false;
		if (!a) {
			ret->n--;
			continue;
		}
		if (a->children && ret->n && beyond(&r, a, target))
			continue;
		reader_pass(&r, a);
		if (!a->children)
			continue;
		if (ret->n == MAX_DEPTH)
			return false;
		ret->offsets[ret->n] = offset;
		ret->tags[ret->n++] = a->tag;
	}
	return false;
}

static bool is_container(unsigned tag)
{
	return tag == DW_TAG_namespace || tag == DW_TAG_class_type ||
	       tag == DW_TAG_structure_type || tag == DW_TAG_union_type ||
	       tag == DW_TAG_subprogram;
}

/* What a namespace, a class or a function is called in the names of what it holds. *at, the container, becomes where
 * it is declared. Borrowed until the next string. */
static const char *container_name(struct unit *u, struct die_ref *at, const char *inner)
{
	const char *s = NULL;
	struct die die;
	unsigned tag = 0;

	for (int i = 0; i < MAX_ORIGINS && !s; i++) {
		if (!die_at(*at, u, &die))
			break;
		tag = die.abbrev->tag;
		s = die_string(u, &die, SLOT_NAME, SYMTAB_MAX_NAME);
		if (!next_origin(u, &die, at))
			break;
		if (s) /* the string is borrowed, the place is not where it came from */
			break;
	}
	if (s || tag == DW_TAG_namespace)
		return s ? s : "{anonymous}";
	return strncmp(inner, "operator()", 10) ? "{unnamed}" : "{lambda}";
}

/* Names of containers, innermost first: offsets in strings. */
struct parts {
	uint32_t names[MAX_QUALIFIERS];
	size_t n;
};

/* False: the name of the container at this place on the path moves the search to *at. */
static bool add_part(struct dwarf_cu *cu, struct unit *u, struct die_ref *at,
		     const struct path *path, unsigned i, struct parts *parts, const char *name)
{
	struct die_ref here = { at->file, path->offsets[i] }, to = here;
	const char *inner = parts->n ? cu->strings.data + parts->names[parts->n - 1] : name;
	uint32_t part;

	if (path->tags[i] == DW_TAG_subprogram && !parts->n)
		return true; /* C declares other functions within functions */
	part = keep(cu, container_name(u, &to, inner));
	if (part)
		parts->names[parts->n++] = part;
	if (to.offset == here.offset && to.file == here.file)
		return true;
	*at = to;
	return false;
}

static void find_parts(struct dwarf_index *d, struct dwarf_cu *cu, struct unit *u,
		       struct die_ref at, const char *name, struct parts *parts)
{
	for (int moves = 0; moves < MAX_QUALIFIERS; moves++) {
		struct path path;
		bool moved = false;

		if ((u->file != at.file || at.offset < u->first || at.offset >= u->end) &&
		    !unit_around(at.file, at.offset, u))
			return;
		if (!find_path(d, cu, u, at.offset, &path))
			return;
		for (unsigned i = path.n; i-- > 0 && parts->n < MAX_QUALIFIERS && !moved;)
			if (is_container(path.tags[i]))
				moved = !add_part(cu, u, &at, &path, i, parts, name);
		if (!moved)
			return;
	}
}

/* Languages whose functions are in nothing. */
static bool is_flat(unsigned language)
{
	return language == DW_LANG_C89 || language == DW_LANG_C || language == DW_LANG_C99 ||
	       language == DW_LANG_C11 || language == 0x2c /* C17 */;
}

/* namespace::class::name: GCC gives no linkage name to functions that nobody else can link to. 0: nothing to add. */
static uint32_t qualify(struct dwarf_index *d, struct dwarf_cu *cu, struct unit *u,
			struct die_ref at, uint32_t name)
{
	size_t before = cu->strings.n, start, n_name = strlen(cu->strings.data + name);
	struct parts parts = { .n = 0 };
	char text[SYMTAB_MAX_NAME + 1];
	size_t n = 0;

	if (is_flat(u->language))
		return 0;
	memcpy(text, cu->strings.data + name, n_name + 1);
	find_parts(d, cu, u, at, text, &parts);
	if (!parts.n || cu->strings.bad)
		return 0;
	for (size_t i = parts.n; i-- > 0;) {
		const char *part = cu->strings.data + parts.names[i];
		size_t k = strlen(part);

		if (n + k + 2 + n_name > SYMTAB_MAX_NAME)
			return 0;
		memcpy(text + n, part, k);
		memcpy(text + n + k, "::", 2);
		n += k + 2;
	}
	memcpy(text + n, cu->strings.data + name, n_name + 1);
	start = before; /* the parts have been used */
	cu->strings.n = start;
	return keep(cu, text);
}

void dwarf_function_read(struct dwarf_index *d, struct dwarf_cu *cu, uint32_t function)
{
	struct dwarf_function f = cu->functions.data[function];
	struct die_ref at = f.die;
	struct unit u = cu->unit;
	struct die die;

	if (f.read)
		return;
	f.read = true;
	for (int i = 0; i < MAX_ORIGINS && die_at(at, &u, &die); i++) {
		uint32_t s = f.linkage ? 0 :
					 keep(cu, die_string(&u, &die, SLOT_LINKAGE, SYMTAB_MAX_NAME));

		if (s) {
			f.name = s;
			f.linkage = true;
		} else if (!f.name) {
			f.name = keep(cu, die_string(&u, &die, SLOT_NAME, SYMTAB_MAX_NAME));
		}
		if (!f.line)
			f.line = die_number(&die, SLOT_DECL_LINE);
		if ((f.linkage && f.line) || !next_origin(&u, &die, &at))
			break;
	}
	if (f.name && !f.linkage)
		f.qualified = qualify(d, cu, &u, at, f.name);
	cu->functions.data[function] = f;
	cu->grown = true;
}
