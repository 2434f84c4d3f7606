/* SPDX-License-Identifier: Apache-2.0 */

/* Functions, inlined calls and lines of one unit. */

#include <dwarf.h>
#include <errno.h>
#include <string.h>

#include "symbolizer/dwarf.h"

#define MAX_STEPS (32u << 20)	    /* DIEs and ranges looked at, in a unit */
#define MAX_UNIT_NS 3000000000ull   /* of CPU time; an honest unit takes some ms */
#define MAX_DEPTH 4096 /* what is deeper is passed over */
#define MAX_FILES (1u << 20)
#define MAX_KEPT_UNIT (256u << 10) /* bytes */
#define MARK_BYTES 8192 /* of DIEs between two marks */
#define SKIP (NO_ITEM - 1) /* DIEs that are not this function's */

void dwarf_cu_free(struct dwarf_cu *cu)
{
	if (!cu)
		return;
	lines_deinit(&cu->lines);
	free(cu->directory);
	free(cu->kept);
	vec_deinit(&cu->by_address);
	vec_deinit(&cu->codes);
	vec_deinit(&cu->calls);
	vec_deinit(&cu->scopes);
	vec_deinit(&cu->functions);
	vec_deinit(&cu->namespaces);
	vec_deinit(&cu->marks);
	hash_deinit(&cu->function_index);
	vec_deinit(&cu->files);
	bytes_deinit(&cu->strings);
	free(cu);
}
DEFINE_CLEANUP(struct dwarf_cu, dwarf_cu_free)

size_t dwarf_cu_size(const struct dwarf_cu *cu)
{
	return sizeof(*cu) + lines_size(&cu->lines) +
	       (cu->kept ? cu->unit.end - cu->unit.first : 0) +
	       (cu->by_address.cap + cu->calls.cap) * sizeof(struct segment) +
	       cu->codes.cap * sizeof(struct dwarf_code) +
	       cu->scopes.cap * sizeof(struct dwarf_scope) +
	       cu->functions.cap * sizeof(struct dwarf_function) +
	       cu->namespaces.cap * sizeof(struct dwarf_namespace) +
	       cu->marks.cap * sizeof(struct dwarf_mark) +
	       cu->function_index.n_slots * sizeof(struct hash_slot) +
	       cu->files.cap * sizeof(uint32_t) + cu->strings.cap;
}

/* One more DIE. False: enough; *slow where it took too long: a DIE of one byte may have hundreds of attributes. */
static bool step(struct dwarf_index *d, bool *slow)
{
	if (!d->steps)
		return false;
	if (--d->steps % 1024)
		return true;
	if (!d->deadline)
		d->deadline = dwarf_cpu_ns() + MAX_UNIT_NS;
	*slow = dwarf_cpu_ns() > d->deadline;
	return !*slow;
}

/* ---- functions that are really there */

struct scan {
	struct dwarf_index *d;
	struct dwarf_cu *cu;
	struct die_reader r;
	struct ranges ranges;
	uint32_t open[MAX_DEPTH]; /* the function whose level it is, or NO_ITEM */
	uint32_t namespaces[MAX_DEPTH]; /* what the level is in: NO_ITEM, or an item of cu->namespaces */
	unsigned depth;
	uint64_t marked;
	bool deep;    /* siblings are not used to leave out what may hold functions */
	bool skipped; /* some were */
	bool slow;
};

/* Kinds of DIE that may hold functions with code: an address that no function has makes us look
 * into more than namespaces. */
static bool may_hold_functions(unsigned tag, bool *only_if_deep)
{
	*only_if_deep = true;
	switch (tag) {
	case DW_TAG_namespace:
	case DW_TAG_compile_unit:
	case DW_TAG_skeleton_unit:
	case DW_TAG_module:
		*only_if_deep = false;
		return true;
	case DW_TAG_subprogram:
	case DW_TAG_lexical_block:
	case DW_TAG_class_type:
	case DW_TAG_structure_type:
	case DW_TAG_union_type:
		return true;
	default:
		return false;
	}
}

static int add_code(struct scan *s, uint64_t offset, const struct die *die, uint32_t *ret)
{
	struct dwarf_code c = { .die = offset, .end = offset, .function = NO_ITEM };
	uint32_t item = (uint32_t)s->cu->codes.n;
	int r = dwarf_add_ranges(s->d, &s->cu->unit, die, item, &s->ranges);

	*ret = NO_ITEM;
	if (r <= 0)
		return r;
	r = vec_push(&s->cu->codes, c);
	if (r == 0)
		*ret = item;
	return r;
}

int dwarf_add_functions(struct dwarf_index *d, const struct unit *u, uint32_t item, uint64_t deadline,
			struct ranges *to)
{
	struct die_reader r;
	int depth = 0, n = 0, e;
	bool only_if_deep;

	if (!reader_open(&r, u, u->first, u->end, &d->bytes))
		return 0;
	while (d->steps && --d->steps && (d->steps % 1024 || dwarf_cpu_ns() < deadline)) {
		const struct abbrev *a = reader_next(&r);

		if (r.c.bad || (!a && --depth <= 0))
			break;
		if (!a)
			continue;
		if (a->tag == DW_TAG_subprogram && a->has_code) {
			const uint8_t *attributes = r.c.p;
			struct die die;

			reader_attributes(&r, a, &die);
			e = r.c.bad ? 0 : dwarf_add_ranges(d, u, &die, item, to);
			if (e < 0)
				return e;
			n += e;
			r.c.p = attributes;
		}
		if (r.c.bad)
			break;
		if (a->children && depth && !may_hold_functions(a->tag, &only_if_deep) &&
		    reader_sibling(&r, a))
			continue;
		reader_pass(&r, a);
		if (!a->children && !depth)
			break;
		depth += a->children;
	}
	return n;
}

static bool leave_out(struct scan *s, const struct abbrev *a, uint32_t code)
{
	bool only_if_deep, may = may_hold_functions(a->tag, &only_if_deep);

	if ((may && (s->deep || !only_if_deep)) || !reader_sibling(&s->r, a))
		return false;
	s->skipped |= may;
	if (code != NO_ITEM)
		s->cu->codes.data[code].end = reader_offset(&s->r);
	return true;
}

/* The unit's first DIE is item 0. */
static int enter_level(struct scan *s, unsigned tag, uint64_t offset)
{
	uint32_t above = s->namespaces[s->depth - 1];
	bool in_namespaces = s->depth == 1 || (above != NO_ITEM && tag == DW_TAG_namespace);

	s->namespaces[s->depth] = in_namespaces ? (uint32_t)s->cu->namespaces.n : NO_ITEM;
	return in_namespaces ? vec_push(&s->cu->namespaces, ((struct dwarf_namespace){ offset, above })) :
			       0;
}

/* From here a search may begin. */
static int mark(struct scan *s, uint64_t offset)
{
	uint32_t in = s->depth < MAX_DEPTH ? s->namespaces[s->depth] : NO_ITEM;

	if (!s->depth || in == NO_ITEM || offset - s->marked < MARK_BYTES)
		return 0;
	s->marked = offset;
	return vec_push(&s->cu->marks, ((struct dwarf_mark){ offset, in }));
}

/* The reader is behind the DIE's code. */
static int scan_one(struct scan *s, const struct abbrev *a, uint64_t offset)
{
	const uint8_t *attributes = s->r.c.p, *behind = NULL;
	uint32_t code = NO_ITEM;
	int r = 0;

	if (a->tag == DW_TAG_subprogram && a->has_code) {
		struct die die;

		reader_attributes(&s->r, a, &die);
		if (!s->r.c.bad)
			r = add_code(s, offset, &die, &code);
		behind = s->r.c.p;
		s->r.c.p = attributes;
	}
	if (r < 0 || s->r.c.bad)
		return r;
	if (a->children && leave_out(s, a, code))
		return 0;
	if (behind)
		s->r.c.p = behind;
	else
		reader_pass(&s->r, a);
	if (a->children && ++s->depth < MAX_DEPTH) {
		s->open[s->depth] = code;
		r = enter_level(s, a->tag, offset);
	}
	return r;
}

/* Once over the unit's DIEs, in the order they are written in. */
static int scan(struct scan *s)
{
	int r = 0;

	while (r == 0 && step(s->d, &s->slow)) {
		uint64_t offset = reader_offset(&s->r);
		const struct abbrev *a = reader_next(&s->r);

		if (a) {
			r = mark(s, offset);
			if (r == 0)
				r = scan_one(s, a, offset);
			if (!s->depth)
				break;
			continue;
		}
		if (s->r.c.bad)
			break;
		if (s->depth < MAX_DEPTH && s->open[s->depth] != NO_ITEM)
			s->cu->codes.data[s->open[s->depth]].end = reader_offset(&s->r);
		if (!--s->depth)
			break;
	}
	return r == -ENOMEM || s->slow ? (r ? r : -ETIME) : 0;
}

/* Small units' DIEs stay in memory with the index, while there is room: they are looked at again for each function. */
static void keep_bytes(struct dwarf_index *d, struct dwarf_cu *cu)
{
	const struct buffer *from = &d->bytes;
	uint64_t n = cu->unit.end - cu->unit.first;

	if (cu->unit.kept || n > MAX_KEPT_UNIT || d->size + n > DWARF_MAX_KEPT || !from->of ||
	    from->offset != cu->unit.first || from->n != n)
		return;
	cu->kept = malloc(n);
	if (cu->kept)
		cu->unit.kept = memcpy(cu->kept, from->data, n);
}

static int find_functions(struct dwarf_index *d, struct dwarf_cu *cu, bool deep)
{
	struct scan s = { .d = d, .cu = cu, .deep = deep };
	int r = 0;

	d->steps = MAX_STEPS;
	d->deadline = 0;
	cu->codes.n = cu->calls.n = cu->scopes.n = cu->by_address.n = 0;
	cu->namespaces.n = cu->marks.n = 0;
	cu->grown = true;
	s.open[0] = s.namespaces[0] = NO_ITEM;
	s.marked = cu->unit.first;
	if (reader_open(&s.r, &cu->unit, cu->unit.first, cu->unit.end, &d->bytes)) {
		r = scan(&s);
		d->n_lost += !d->steps;
		keep_bytes(d, cu);
	}
	cu->deep = deep || !s.skipped;
	if (r == 0)
		r = segments_from_ranges(&cu->by_address, &s.ranges);
	vec_deinit(&s.ranges);
	vec_fit(&cu->codes);
	vec_fit(&cu->marks);
	vec_fit(&cu->by_address);
	return r;
}

/* ---- inlined calls of one function */

struct tree {
	struct dwarf_index *d;
	struct dwarf_cu *cu;
	struct die_reader r;
	struct ranges ranges;
	uint32_t scopes[MAX_DEPTH]; /* of each level */
	unsigned depth;
};

static bool function_equal(uint32_t item, const void *key, const void *context)
{
	const struct dwarf_function *f = &((const struct dwarf_cu *)context)->functions.data[item];
	const struct die_ref *wanted = key;

	return f->die.offset == wanted->offset && f->die.file == wanted->file;
}

static int add_function(struct dwarf_cu *cu, struct die_ref die, uint32_t *ret)
{
	uint64_t h = hash_u64(hash_u64(HASH_SEED, die.offset), die.file ? die.file->number : 0);
	int r;

	*ret = hash_get(&cu->function_index, h, function_equal, &die, cu);
	if (*ret != HASH_NONE)
		return 0;
	*ret = (uint32_t)cu->functions.n;
	r = vec_push(&cu->functions, ((struct dwarf_function){ .die = die }));
	return r < 0 ? r : hash_put(&cu->function_index, h, *ret);
}

static int add_scope(struct tree *t, uint64_t offset, const struct die *die, uint32_t *scope)
{
	struct dwarf_scope s = { .parent = *scope };
	struct die_ref origin = die_reference(t->r.unit, die, SLOT_ORIGIN);
	uint32_t item = (uint32_t)t->cu->scopes.n;
	int r;

	if (item == DWARF_MAX_SCOPES)
		return -E2BIG;
	r = dwarf_add_ranges(t->d, t->r.unit, die, item, &t->ranges);
	if (r <= 0)
		return r;
	s.call.line = die_number(die, SLOT_CALL_LINE);
	s.call.file = die_number(die, SLOT_CALL_FILE);
	if (!origin.file)
		origin = (struct die_ref){ t->r.unit->file, offset };
	r = add_function(t->cu, origin, &s.function);
	if (r == 0)
		r = vec_push(&t->cu->scopes, s);
	*scope = item;
	return r;
}

/* The reader is behind the code of a DIE within the function. */
static int tree_one(struct tree *t, const struct abbrev *a, uint64_t offset)
{
	uint32_t scope = t->depth < MAX_DEPTH ? t->scopes[t->depth] : SKIP;
	int r = 0;

	if (scope != SKIP && a->tag == DW_TAG_inlined_subroutine) {
		struct die die;

		reader_attributes(&t->r, a, &die);
		if (!t->r.c.bad)
			r = add_scope(t, offset, &die, &scope);
	} else if (scope != SKIP && (a->tag == DW_TAG_lexical_block ||
				     a->tag == DW_TAG_try_block || a->tag == DW_TAG_catch_block)) {
		reader_pass(&t->r, a);
	} else {
		if (a->children && reader_sibling(&t->r, a))
			return 0;
		reader_pass(&t->r, a);
		scope = SKIP;
	}
	if (a->children && ++t->depth < MAX_DEPTH)
		t->scopes[t->depth] = scope;
	return r;
}

static int walk_tree(struct tree *t)
{
	const struct abbrev *a = reader_next(&t->r); /* the function itself */
	bool slow = false;
	int r = 0;

	if (!a || !a->children)
		return 0;
	reader_pass(&t->r, a);
	t->depth = 1;
	t->scopes[1] = NO_ITEM;
	while (r == 0 && t->depth && step(t->d, &slow)) {
		uint64_t offset = reader_offset(&t->r);

		a = reader_next(&t->r);
		if (a)
			r = tree_one(t, a, offset);
		else if (t->r.c.bad)
			break;
		else
			t->depth--;
	}
	t->d->n_lost += r == -E2BIG || slow || !t->d->steps;
	return r == -ENOMEM ? r : 0;
}

static void read_tree(struct dwarf_index *d, struct dwarf_cu *cu, struct dwarf_code *c)
{
	struct tree t = { .d = d, .cu = cu };
	struct segments found = { 0 };
	int r = 0;

	c->read = true;
	cu->grown = true;
	d->steps = MAX_STEPS;
	d->deadline = 0;
	if (c->end > c->die && reader_open(&t.r, &cu->unit, c->die, c->end, &d->bytes))
		r = walk_tree(&t);
	if (r == 0)
		r = segments_from_ranges(&found, &t.ranges);
	if (r == 0 && found.n && vec_reserve(&cu->calls, cu->calls.n + found.n) == 0) {
		memcpy(cu->calls.data + cu->calls.n, found.data, found.n * sizeof(struct segment));
		c->first = (uint32_t)cu->calls.n;
		c->n = (uint32_t)found.n;
		cu->calls.n += found.n;
	}
	vec_deinit(&found);
	vec_deinit(&t.ranges);
}

/* ---- the unit */

static int read_lines(struct dwarf_index *d, struct dwarf_cu *cu, const struct unit *u,
		      const struct die *die)
{
	const char *directory = die_string(u, die, SLOT_DIRECTORY, SYMBOLIZER_MAX_PATH / 2);
	int r;

	cu->directory = strdup(directory ? directory : "");
	if (!cu->directory)
		return -ENOMEM;
	if (!die_has(die, SLOT_LINES))
		return 0;
	r = lines_read(&cu->lines, &d->main, die->values[SLOT_LINES].v, d->low, d->high, &d->scratch);
	d->n_lost += cu->lines.cut;
	return r;
}

struct dwarf_cu *dwarf_cu_read(struct dwarf_index *d, uint64_t start, bool *ret_slow)
{
	_cleanup_(dwarf_cu_freep) struct dwarf_cu *cu = calloc(1, sizeof(*cu));
	struct unit split;
	struct die die;
	int r;

	if (!cu || !unit_read(&d->main, start, &cu->unit, &die))
		return NULL;
	bytes_add(&cu->strings, "", 1); /* offset 0 */
	r = read_lines(d, cu, &cu->unit, &die);
	if (r == 0 && cu->unit.id && dwarf_split_unit(d, &cu->unit, &split))
		cu->unit = split;
	if (r == 0)
		r = find_functions(d, cu, false);
	*ret_slow = r == -ETIME;
	return r < 0 || cu->strings.bad ? NULL : TAKE_PTR(cu);
}

/* ---- questions */

static uint32_t file_path(struct dwarf_index *d, struct dwarf_cu *cu, uint32_t file)
{
	uint32_t *known;
	size_t n = cu->files.n;

	if (file >= MAX_FILES || vec_reserve(&cu->files, (size_t)file + 1) < 0)
		return 0;
	if (n <= file) {
		memset(cu->files.data + n, 0, (file + 1 - n) * sizeof(uint32_t));
		cu->files.n = (size_t)file + 1;
	}
	known = &cu->files.data[file];
	if (!*known) {
		*known = lines_path(&cu->lines, file, cu->directory, &cu->strings, &d->tables);
		if (!*known)
			*known = UINT32_MAX;
		cu->grown = true;
	}
	return *known == UINT32_MAX ? 0 : *known;
}

static struct dwarf_position position(struct dwarf_index *d, struct dwarf_cu *cu,
				      struct line_place p)
{
	return (struct dwarf_position){ p.line, file_path(d, cu, p.file) };
}

static struct dwarf_code *find_code(struct dwarf_index *d, struct dwarf_cu *cu, uint32_t offset)
{
	uint32_t i = segments_find(&cu->by_address, offset);

	if (i == NO_ITEM && !cu->deep) {
		if (find_functions(d, cu, true) < 0)
			return NULL;
		i = segments_find(&cu->by_address, offset);
	}
	return i == NO_ITEM ? NULL : &cu->codes.data[i];
}

static uint32_t find_call(const struct dwarf_cu *cu, const struct dwarf_code *c, uint32_t offset)
{
	if (!c->n)
		return NO_ITEM;
	return segments_find(&(struct segments){ cu->calls.data + c->first, c->n, c->n }, offset);
}

/* Innermost first. Of a chain that is too long the outermost stays. */
static void add_place(struct dwarf_answer *a, uint32_t function, struct dwarf_position at)
{
	if (a->n == SYMBOLIZER_MAX_INLINED)
		a->n--;
	a->places[a->n++] = (struct dwarf_place){ function, at };
}

void dwarf_cu_find(struct dwarf_index *d, struct dwarf_cu *cu, uint32_t offset,
		   struct dwarf_answer *ret)
{
	struct dwarf_code *c = find_code(d, cu, offset);
	struct dwarf_position p = { 0 };
	struct line_place place;

	ret->n = 0;
	if (lines_find(&cu->lines, offset, &place))
		p = position(d, cu, place);
	if (!c) {
		if (p.file)
			add_place(ret, NO_ITEM, p);
		return;
	}
	if (!c->read)
		read_tree(d, cu, c);
	for (uint32_t s = find_call(cu, c, offset); s != NO_ITEM; s = cu->scopes.data[s].parent) {
		add_place(ret, cu->scopes.data[s].function, p);
		p = position(d, cu, cu->scopes.data[s].call);
	}
	if (c->function == NO_ITEM &&
	    add_function(cu, (struct die_ref){ cu->unit.file, c->die }, &c->function) < 0)
		c->function = NO_ITEM;
	add_place(ret, c->function, p);
}
