/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/dwarf.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <errno.h>
#include <gelf.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"

#define MAX_HANDLE (64u << 20)	    /* bytes; then libdw's handle is made anew */
#define MAX_LINE_PROGRAM (4u << 20) /* bytes; libdw makes 100 of each at worst */
#define MAX_STEPS (8u << 20)	    /* DIEs and ranges looked at, in a unit */
#define MAX_UNIT_NS 3000000000ull   /* of CPU time; an honest unit takes 0.1 s */
#define MAX_DEPTH 256

struct builder {
	struct dwarf_index *d;
	struct dwarf_cu *cu;
	Dwarf_Die die;	  /* of the unit */
	Dwarf_Off offset; /* its */
	const unsigned char *end;
	const char *directory;
	uint64_t deadline; /* of cpu_ns */
	struct ranges scopes, containers;
	struct hash_index function_index;
};

/* What one level of the tree of DIEs is in. */
struct level {
	uint32_t scope, container;
};

/* The forms that lead into a supplementary file are refused before libdw meets them: it would try
 * to open that file. */
static bool attribute(Dwarf_Die *die, unsigned name, Dwarf_Attribute *ret)
{
	if (!dwarf_attr(die, name, ret))
		return false;
	return ret->form != DW_FORM_GNU_ref_alt && ret->form != DW_FORM_GNU_strp_alt &&
	       ret->form != DW_FORM_ref_sup4 && ret->form != DW_FORM_ref_sup8 &&
	       ret->form != DW_FORM_strp_sup;
}

uint32_t die_number(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute a;
	Dwarf_Word v;

	if (!attribute(die, name, &a) || dwarf_formudata(&a, &v) || v >= UINT32_MAX)
		return 0;
	return (uint32_t)v;
}

bool die_reference(Dwarf_Die *die, unsigned name, Dwarf_Die *ret)
{
	Dwarf_Attribute a;

	return attribute(die, name, &a) && dwarf_formref_die(&a, ret);
}

const char *die_string(const struct dwarf_index *d, Dwarf_Die *die, unsigned name)
{
	const unsigned char *end = d->info.data + d->info.n, *p;
	Dwarf_Attribute a;
	const char *s = attribute(die, name, &a) ? dwarf_formstring(&a) : NULL;

	/* libdw knows where string sections end, but not a string within .debug_info itself. */
	p = (const unsigned char *)s;
	if (s && a.form == DW_FORM_string &&
	    (p < d->info.data || p >= end || !memchr(p, 0, (size_t)(end - p))))
		return NULL;
	return s && *s && strnlen(s, SYMTAB_MAX_NAME + 1) <= SYMTAB_MAX_NAME ? s : NULL;
}

/* Ranges of code that is in the file: those of functions the linker dropped begin at 0 or at
 * another address outside of the text. Returns how many, or -errno. */
static int add_ranges(struct dwarf_index *d, Dwarf_Die *die, uint32_t item, struct ranges *to)
{
	Dwarf_Addr base, start, end;
	ptrdiff_t at = 0;
	int n = 0, r;

	while (d->steps && (at = dwarf_ranges(die, at, &base, &start, &end)) > 0) {
		d->steps--;
		if (!start || start >= end || start < d->low || end > d->high)
			continue;
		if (to->n == DWARF_MAX_RANGES)
			return -E2BIG;
		r = vec_push(to, ((struct range){ (uint32_t)(start - d->low),
						  (uint32_t)(end - d->low), item }));
		if (r < 0)
			return r;
		n++;
	}
	return n;
}

static bool function_equal(uint32_t item, const void *key, const void *context)
{
	const struct dwarf_cu *cu = context;

	return cu->functions.data[item].die == *(const Dwarf_Off *)key;
}

static int add_function(struct builder *b, Dwarf_Off die, uint32_t *ret)
{
	uint64_t h = hash_u64(HASH_SEED, die);
	int r;

	*ret = hash_get(&b->function_index, h, function_equal, &die, b->cu);
	if (*ret != HASH_NONE)
		return 0;
	*ret = (uint32_t)b->cu->functions.n;
	r = vec_push(&b->cu->functions, ((struct dwarf_function){ .die = die }));
	return r < 0 ? r : hash_put(&b->function_index, h, *ret);
}

/* *scope becomes that of the DIE's children. */
static int enter_function(struct builder *b, Dwarf_Die *die, bool inlined, uint32_t *scope)
{
	uint32_t item = (uint32_t)b->cu->scopes.n;
	struct dwarf_scope s = { .parent = inlined ? *scope : NO_ITEM };
	Dwarf_Die origin = *die;
	int r = add_ranges(b->d, die, item, &b->scopes);

	if (!inlined)
		*scope = NO_ITEM;
	if (r <= 0)
		return r;
	if (inlined) {
		s.call.line = die_number(die, DW_AT_call_line);
		s.call.file = die_number(die, DW_AT_call_file);
		if (!die_reference(die, DW_AT_abstract_origin, &origin))
			origin = *die;
	}
	*scope = item;
	r = add_function(b, dwarf_dieoffset(&origin), &s.function);
	return r < 0 ? r : vec_push(&b->cu->scopes, s);
}

/* 1: its children matter too; *level becomes theirs. */
static int visit(struct builder *b, Dwarf_Die *die, struct level *level)
{
	struct dwarf_container c = { dwarf_dieoffset(die), level->container };
	int r = 0, tag = dwarf_tag(die);

	switch (tag) {
	case DW_TAG_inlined_subroutine:
		r = enter_function(b, die, true, &level->scope);
		return r < 0 ? r : 1;
	case DW_TAG_subprogram:
		r = enter_function(b, die, false, &level->scope);
		break;
	case DW_TAG_namespace:
	case DW_TAG_class_type:
	case DW_TAG_structure_type:
	case DW_TAG_union_type:
		break;
	case DW_TAG_lexical_block:
		return 1;
	default:
		return 0;
	}
	if (r < 0 || !dwarf_haschildren(die))
		return r < 0 ? r : 0;
	level->container = (uint32_t)b->cu->containers.n;
	r = vec_push(&b->cu->containers, c);
	return r < 0 ? r : 1;
}

/* From the zero that ends a level to what follows. 0: a DIE; 1: the zero of the level above; the
 * unit's end, or an error: negative. */
static int leave_level(struct builder *b, const struct level *level, Dwarf_Die *die)
{
	unsigned char *next = (unsigned char *)die->addr + 1;
	struct range container = { .item = level[0].container };
	int r = 0;

	die->cu = b->die.cu;
	if (level[0].container != level[-1].container) {
		container.start =
			(uint32_t)(b->cu->containers.data[container.item].die - b->offset);
		container.end = (uint32_t)(dwarf_dieoffset(die) - b->offset);
		r = vec_push(&b->containers, container);
	}
	if (r < 0 || next >= b->end)
		return r < 0 ? r : -ENODATA;
	*die = (Dwarf_Die){ .addr = next, .cu = die->cu };
	return *next ? 0 : 1;
}

static uint64_t cpu_ns(void)
{
	struct timespec t = { 0 };

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Once over all DIEs, in the order they are written in: dwarf_siblingof tells where it found the
 * end of a level, and from there on nothing has to be looked at again. */
static int walk(struct builder *b)
{
	struct level levels[MAX_DEPTH] = { { NO_ITEM, NO_ITEM } };
	Dwarf_Die die, next;
	unsigned depth = 0;
	int r = dwarf_child(&b->die, &die);

	while (!r && b->d->steps) {
		/* A DIE of one byte may have a hundred thousand attributes. */
		if (--b->d->steps % 64 == 0 && cpu_ns() > b->deadline)
			return -ETIME;
		levels[depth + 1] = levels[depth];
		r = visit(b, &die, &levels[depth + 1]);
		if (r < 0)
			return r == -E2BIG ? 0 : r;
		if (r && depth + 2 < MAX_DEPTH && !dwarf_child(&die, &next)) {
			depth++;
			die = next;
			r = 0;
			continue;
		}
		next = (Dwarf_Die){ 0 };
		r = dwarf_siblingof(&die, &next);
		for (; r == 1 && depth && next.addr; depth--)
			r = leave_level(b, &levels[depth], &next);
		die = next;
	}
	return r == -ENOMEM ? r : 0;
}

/* libdw 0.188 leaves the names of DWARF 5 relative to the unit's directory. */
static uint32_t file_name(struct builder *b, Dwarf_Files *files, size_t i)
{
	struct dwarf_cu *cu = b->cu;
	const char *name, *directory = "";
	size_t at = cu->strings.n;

	if (i >= cu->files.n || cu->files.data[i])
		return i < cu->files.n ? cu->files.data[i] : 0;
	name = dwarf_filesrc(files, i, NULL, NULL);
	if (!name || !strcmp(name, "???") || at > UINT32_MAX)
		return 0;
	if (*name != '/' && b->directory)
		directory = b->directory;
	if (strlen(directory) + strlen(name) + 1 >= SYMBOLIZER_MAX_PATH)
		return 0;
	bytes_printf(&cu->strings, "%s%s%s", directory, *directory ? "/" : "", name);
	bytes_add(&cu->strings, "", 1);
	cu->files.data[i] = (uint32_t)at;
	return cu->files.data[i];
}

static int add_row(struct builder *b, Dwarf_Files *files, Dwarf_Line *line)
{
	struct dwarf_position p = { 0 }, *last;
	struct dwarf_cu *cu = b->cu;
	bool end = true;
	Dwarf_Addr at;
	size_t file;
	int n, r = 0;

	if (dwarf_lineaddr(line, &at) || !at || at < b->d->low || at > b->d->high)
		return 0;
	if (dwarf_lineendsequence(line, &end) || end)
		return segments_add(&cu->rows, (uint32_t)(at - b->d->low), NO_ITEM);
	if (!dwarf_lineno(line, &n) && n > 0)
		p.line = (uint32_t)n;
	if (!dwarf_line_file(line, &files, &file))
		p.file = file_name(b, files, file);
	last = cu->positions.n ? &cu->positions.data[cu->positions.n - 1] : NULL;
	if (!last || last->line != p.line || last->file != p.file)
		r = vec_push(&cu->positions, p);
	return r < 0 ? r :
		       segments_add(&cu->rows, (uint32_t)(at - b->d->low),
				    (uint32_t)cu->positions.n - 1);
}

/* Looks at the length of the line program, its first field, before libdw makes rows of it. */
static bool line_program_is_bounded(struct builder *b)
{
	const struct elf_section *s = &b->d->lines;
	Dwarf_Attribute a;
	Dwarf_Word at;
	uint32_t n;

	if (!attribute(&b->die, DW_AT_stmt_list, &a) || dwarf_formudata(&a, &at) || at > s->n ||
	    s->n - at < sizeof(n))
		return false;
	memcpy(&n, s->data + at, sizeof(n));
	return n <= MAX_LINE_PROGRAM;
}

static int read_lines(struct builder *b, Dwarf_Files **ret_files)
{
	size_t n_lines, n_files;
	struct dwarf_cu *cu = b->cu;
	Dwarf_Lines *lines;
	int r;

	if (!line_program_is_bounded(b) || dwarf_getsrclines(&b->die, &lines, &n_lines) ||
	    dwarf_getsrcfiles(&b->die, ret_files, &n_files))
		return 0;
	b->directory = die_string(b->d, &b->die, DW_AT_comp_dir);
	b->d->handle_size += n_lines * 64 + n_files * 128;
	r = vec_reserve(&cu->files, n_files);
	if (r < 0)
		return r;
	memset(cu->files.data, 0, n_files * sizeof(uint32_t));
	cu->files.n = n_files;
	for (size_t i = 0; i < n_lines && r >= 0; i++)
		r = add_row(b, *ret_files, dwarf_onesrcline(lines, i));
	return r;
}

/* Calls name their files by number. Where lines could not be read there are none. */
static int read_files(struct builder *b)
{
	Dwarf_Files *files = NULL;
	int r = read_lines(b, &files);

	for (size_t i = 0; i < b->cu->scopes.n; i++) {
		uint32_t *file = &b->cu->scopes.data[i].call.file;

		*file = file_name(b, files, *file);
	}
	return r;
}

static void cu_free(struct dwarf_cu *cu)
{
	if (!cu)
		return;
	vec_deinit(&cu->rows);
	vec_deinit(&cu->positions);
	vec_deinit(&cu->by_address);
	vec_deinit(&cu->scopes);
	vec_deinit(&cu->functions);
	vec_deinit(&cu->by_die);
	vec_deinit(&cu->containers);
	vec_deinit(&cu->files);
	bytes_deinit(&cu->strings);
	free(cu);
}
DEFINE_CLEANUP(struct dwarf_cu, cu_free)

static size_t cu_size(const struct dwarf_cu *cu)
{
	return sizeof(*cu) +
	       (cu->rows.cap + cu->by_address.cap + cu->by_die.cap) * sizeof(struct segment) +
	       cu->positions.cap * sizeof(struct dwarf_position) +
	       cu->scopes.cap * sizeof(struct dwarf_scope) +
	       cu->functions.cap * sizeof(struct dwarf_function) +
	       cu->containers.cap * sizeof(struct dwarf_container) +
	       cu->files.cap * sizeof(uint32_t) + cu->strings.cap;
}

static int build(struct builder *b)
{
	Dwarf_Off start, next;
	size_t header;
	int r;

	b->offset = dwarf_dieoffset(&b->die);
	start = b->offset - dwarf_cuoffset(&b->die);
	bytes_add(&b->cu->strings, "", 1); /* offset 0 */
	if (dwarf_nextcu(b->d->dw, start, &next, &header, NULL, NULL, NULL) || next <= b->offset ||
	    next - b->offset > UINT32_MAX)
		return 0;
	b->end = (const unsigned char *)b->die.addr + (next - b->offset);
	b->d->steps = MAX_STEPS;
	b->deadline = cpu_ns() + MAX_UNIT_NS;
	b->d->handle_size += 16384; /* abbreviations */
	r = walk(b);
	if (!r)
		r = segments_from_ranges(&b->cu->by_address, &b->scopes);
	if (!r)
		r = segments_from_ranges(&b->cu->by_die, &b->containers);
	return r < 0 ? r : read_files(b);
}

/* NULL: no memory, or a unit that cannot be read. */
static struct dwarf_cu *read_unit(struct dwarf_index *d, struct dwarf_unit *u)
{
	_cleanup_(cu_freep) struct dwarf_cu *cu = calloc(1, sizeof(*cu));
	struct builder b = { .d = d, .cu = cu };
	int r = -ENOMEM;

	if (cu && dwarf_offdie(d->dw, u->die, &b.die))
		r = build(&b);
	vec_deinit(&b.scopes);
	vec_deinit(&b.containers);
	hash_deinit(&b.function_index);
	if (r == -ETIME) /* made to be slow: no other unit of this file is read */
		d->by_address.n = 0;
	if (r < 0 || cu->strings.bad)
		return NULL;
	cu->size = cu_size(cu);
	d->size += cu->size;
	cu->die = u->die;
	u->cu = TAKE_PTR(cu);
	return u->cu;
}

static void forget(struct dwarf_index *d, struct dwarf_unit *u)
{
	d->size -= u->cu ? u->cu->size : 0;
	cu_free(u->cu);
	u->cu = NULL;
}

static void make_room(struct dwarf_index *d)
{
	while (d->size > DWARF_MAX_INDEX) {
		struct dwarf_unit *oldest = NULL;

		for (size_t i = 0; i < d->units.n; i++) {
			struct dwarf_unit *u = &d->units.data[i];

			if (u->cu && (!oldest || u->used < oldest->used))
				oldest = u;
		}
		if (!oldest)
			break;
		forget(d, oldest);
	}
	/* libdw frees nothing before its end. The sections, and so the names, stay with libelf. */
	if (d->handle_size > MAX_HANDLE) {
		dwarf_end(d->dw);
		d->dw = dwarf_begin_elf(d->f->elf, DWARF_C_READ, NULL);
		d->handle_size = 0;
	}
}

/* By the ranges of each unit's DIE; .debug_aranges says no more, and clang writes none. */
static int find_units(struct dwarf_index *d, struct ranges *ranges)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Half version;
	Dwarf_Die die;
	uint8_t type;
	uint64_t deadline = cpu_ns() + MAX_UNIT_NS;
	int r = 0;

	d->steps = MAX_STEPS;
	while (r >= 0 && d->units.n < DWARF_MAX_UNITS && cpu_ns() < deadline &&
	       !dwarf_get_units(d->dw, cu, &cu, &version, &type, &die, NULL)) {
		if (type != DW_UT_compile && type != DW_UT_skeleton)
			continue;
		r = add_ranges(d, &die, (uint32_t)d->units.n, ranges);
		if (r > 0) /* others have no code */
			r = vec_push(&d->units,
				     ((struct dwarf_unit){ dwarf_dieoffset(&die), 0, 0 }));
	}
	return r == -E2BIG ? 0 : r;
}

static void open_debug_info(struct dwarf_index *d)
{
	struct ranges ranges = { 0 };

	d->opened = true;
	if (!elf_file_text(d->f, &d->low, &d->high) || d->high - d->low > UINT32_MAX ||
	    d->f->type == ET_REL)
		return;
	d->dw = dwarf_begin_elf(d->f->elf, DWARF_C_READ, NULL);
	if (!d->dw || (!elf_file_section(d->f, ".debug_info", &d->info) &&
		       !elf_file_section(d->f, ".zdebug_info", &d->info)))
		return;
	if (!elf_file_section(d->f, ".debug_line", &d->lines))
		elf_file_section(d->f, ".zdebug_line", &d->lines);
	if (find_units(d, &ranges) >= 0)
		segments_from_ranges(&d->by_address, &ranges);
	vec_deinit(&ranges);
}

void dwarf_index_deinit(struct dwarf_index *d)
{
	for (size_t i = 0; i < d->units.n; i++)
		forget(d, &d->units.data[i]);
	vec_deinit(&d->units);
	vec_deinit(&d->by_address);
	dwarf_end(d->dw);
	d->dw = NULL;
}

/* Innermost first. Of a chain that is too long the outermost stays. */
static void find_chain(const struct dwarf_cu *cu, uint32_t offset, struct dwarf_answer *ret)
{
	uint32_t s = segments_find(&cu->by_address, offset);
	uint32_t row = segments_find(&cu->rows, offset);
	struct dwarf_position p = { 0 };

	if (row != NO_ITEM)
		p = cu->positions.data[row];
	ret->n = 0;
	for (; s != NO_ITEM; s = cu->scopes.data[s].parent) {
		if (ret->n == SYMBOLIZER_MAX_INLINED)
			ret->n--;
		ret->places[ret->n++] = (struct dwarf_place){ cu->scopes.data[s].function, p };
		p = cu->scopes.data[s].call;
	}
	if (!ret->n && p.file)
		ret->places[ret->n++] = (struct dwarf_place){ NO_ITEM, p };
}

bool dwarf_index_find(struct dwarf_index *d, uint64_t address, struct dwarf_answer *ret)
{
	struct dwarf_unit *u;
	uint32_t unit;

	if (!d->opened)
		open_debug_info(d);
	make_room(d);
	if (!d->dw || address < d->low || address >= d->high)
		return false;
	unit = segments_find(&d->by_address, (uint32_t)(address - d->low));
	if (unit == NO_ITEM)
		return false;
	u = &d->units.data[unit];
	u->used = ++d->clock;
	ret->cu = u->cu ? u->cu : read_unit(d, u);
	if (ret->cu)
		find_chain(ret->cu, (uint32_t)(address - d->low), ret);
	return ret->cu && ret->n;
}
