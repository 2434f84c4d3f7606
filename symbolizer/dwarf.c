/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/dwarf.h"

#include <dwarf.h>
#include <errno.h>
#include <gelf.h>
#include <string.h>
#include <time.h>

#define MAX_STEPS (64u << 20)	      /* units and ranges looked at, in a file */
#define MAX_FILE_NS 6000000000ull     /* of CPU time, to find the units; an honest file of 1 GB takes 0.3 s */
#define MAX_DWO_NS 500000000ull      /* to find a unit in a .dwo, which has one */
#define MAX_KEPT_BUFFER (4u << 20)

uint64_t dwarf_cpu_ns(void)
{
	struct timespec t = { 0 };

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int dwarf_add_ranges(struct dwarf_index *d, const struct unit *u, const struct die *die,
		     uint32_t item, struct ranges *to)
{
	struct range_reader r;
	uint64_t start, end;
	int n = 0, e;

	ranges_open(&r, u, die, &d->steps);
	while (d->steps && ranges_next(&r, &start, &end)) {
		d->steps--;
		if (!start || start >= end || start < d->low || end > d->high)
			continue;
		if (to->n == DWARF_MAX_RANGES)
			return -E2BIG;
		e = vec_push(to, ((struct range){ (uint32_t)(start - d->low),
						  (uint32_t)(end - d->low), item }));
		if (e < 0)
			return e;
		n++;
	}
	return n;
}

/* ---- units */

static void forget(struct dwarf_index *d, struct dwarf_unit *u)
{
	d->size -= u->cu ? u->cu->size : 0;
	dwarf_cu_free(u->cu);
	u->cu = NULL;
}

static void make_room(struct dwarf_index *d, const struct dwarf_unit *except)
{
	/* what is inflated takes its share */
	size_t max = DWARF_MAX_INDEX - (SECTIONS_MAX_INFLATED - d->budget) / 2;

	while (d->size > max) {
		struct dwarf_unit *oldest = NULL;

		for (size_t i = 0; i < d->units.n; i++) {
			struct dwarf_unit *u = &d->units.data[i];

			if (u->cu && u != except && (!oldest || u->used < oldest->used))
				oldest = u;
		}
		if (!oldest)
			break;
		forget(d, oldest);
	}
	if (d->bytes.cap > MAX_KEPT_BUFFER)
		buffer_deinit(&d->bytes);
	if (d->scratch.bytes.cap > MAX_KEPT_BUFFER ||
	    d->scratch.rows.cap * sizeof(struct line_row) > MAX_KEPT_BUFFER)
		line_scratch_deinit(&d->scratch);
}

/* By the ranges of each unit's DIE; .debug_aranges says no more, and clang writes none. */
static int find_units(struct dwarf_index *d, struct ranges *ranges)
{
	uint64_t deadline = dwarf_cpu_ns() + MAX_FILE_NS;
	int r = 0;

	d->steps = MAX_STEPS;
	for (uint64_t at = 0; r >= 0 && d->units.n < DWARF_MAX_UNITS && d->steps;) {
		struct unit u;
		struct die die;
		bool read = unit_read(&d->main, at, &u, &die);

		d->steps--;
		if (u.end <= at)
			break;
		if (dwarf_cpu_ns() > deadline) {
			d->n_lost++;
			break;
		}
		if (read && (u.tag == DW_TAG_compile_unit || u.tag == DW_TAG_skeleton_unit)) {
			r = dwarf_add_ranges(d, &u, &die, (uint32_t)d->units.n, ranges);
			if (r == 0 && !die_has(&die, SLOT_RANGES) && !die_has(&die, SLOT_HIGH))
				r = dwarf_add_functions(d, &u, (uint32_t)d->units.n, deadline, ranges);
			if (r > 0) /* others have no code */
				r = vec_push(&d->units, ((struct dwarf_unit){ .start = at }));
			d->has_skeletons |= die_has(&die, SLOT_DWO_NAME);
		}
		at = u.end;
	}
	d->n_lost += r == -E2BIG || !d->steps || d->units.n == DWARF_MAX_UNITS;
	return r == -E2BIG ? 0 : r;
}

static int by_id(const void *a, const void *b)
{
	const struct dwarf_dwo *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static void add_split(struct dwarf_index *d, struct elf_file *f)
{
	struct debug_file *to = calloc(1, sizeof(*to));
	struct unit u;
	struct die die;

	if (!to || vec_push(&d->split, to) < 0) {
		free(to);
		return;
	}
	debug_file_open(to, f, true, &d->budget);
	to->main = &d->main;
	for (uint64_t at = 0; d->dwos.n < DWARF_MAX_UNITS; at = u.end) {
		bool read = unit_read(to, at, &u, &die);

		if (u.end <= at ||
		    (read && u.id && u.tag == DW_TAG_compile_unit &&
		     vec_push(&d->dwos, ((struct dwarf_dwo){ u.id, to, at })) < 0))
			break;
	}
}

static bool has_info(struct debug_file *f)
{
	struct cursor c = sections_peek(&f->sections, SECTION_INFO, 0, 1);

	return cursor_left(&c);
}

/* The object's own DWARF before that of its debug file. */
static bool open_main(struct dwarf_index *d, struct elf_file *debug)
{
	debug_file_open(&d->main, d->f, false, &d->budget);
	if (!has_info(&d->main) && debug) {
		debug_file_close(&d->main);
		debug_file_open(&d->main, debug, false, &d->budget);
	}
	return has_info(&d->main);
}

void dwarf_index_open(struct dwarf_index *d, const struct dwarf_files *files)
{
	struct ranges ranges = { 0 };

	d->opened = true;
	d->budget = SECTIONS_MAX_INFLATED;
	if (!elf_file_text(d->f, &d->low, &d->high) || d->high - d->low > UINT32_MAX ||
	    d->f->type == ET_REL || !open_main(d, files->debug))
		return;
	if (files->alt) {
		debug_file_open(&d->alt, files->alt, false, &d->budget);
		d->main.alt = &d->alt;
	}
	for (size_t i = 0; i < files->n_split; i++)
		add_split(d, files->split[i]);
	if (d->dwos.n)
		qsort(d->dwos.data, d->dwos.n, sizeof(struct dwarf_dwo), by_id);
	if (find_units(d, &ranges) >= 0)
		segments_from_ranges(&d->by_address, &ranges);
	d->known = d->by_address.n;
	vec_deinit(&ranges);
}

void dwarf_index_deinit(struct dwarf_index *d)
{
	struct elf_file *f = d->f;

	for (size_t i = 0; i < d->units.n; i++)
		forget(d, &d->units.data[i]);
	vec_deinit(&d->units);
	vec_deinit(&d->by_address);
	for (size_t i = 0; i < d->split.n; i++) {
		debug_file_close(d->split.data[i]);
		free(d->split.data[i]);
	}
	vec_deinit(&d->split);
	vec_deinit(&d->dwos);
	vec_deinit(&d->wanted);
	debug_file_close(&d->main);
	debug_file_close(&d->alt);
	buffer_deinit(&d->bytes);
	buffer_deinit(&d->tables);
	line_scratch_deinit(&d->scratch);
	bytes_deinit(&d->text);
	*d = (struct dwarf_index){ .f = f };
}

/* ---- questions */

static struct dwarf_unit *find_unit(struct dwarf_index *d, uint64_t address)
{
	uint32_t unit;

	if (!d->known || address < d->low || address >= d->high)
		return NULL;
	unit = segments_find(&d->by_address, (uint32_t)(address - d->low));
	return unit == NO_ITEM ? NULL : &d->units.data[unit];
}

static void account(struct dwarf_index *d, struct dwarf_cu *cu)
{
	d->size -= cu->size;
	cu->size = dwarf_cu_size(cu);
	d->size += cu->size;
	cu->grown = false;
}

bool dwarf_index_find(struct dwarf_index *d, uint64_t address, struct dwarf_answer *ret)
{
	struct dwarf_unit *u = find_unit(d, address);
	bool slow = false;

	ret->n = 0;
	if (!u || u->bad)
		return false;
	u->used = ++d->clock;
	if (!u->cu) {
		u->cu = dwarf_cu_read(d, u->start, &slow);
		if (slow) /* made to be slow: no other unit of this file is read */
			d->known = false;
		u->bad = !u->cu;
		d->n_lost += !u->cu;
		if (!u->cu)
			return false;
		u->cu->grown = true;
	}
	ret->cu = u->cu;
	dwarf_cu_find(d, u->cu, (uint32_t)(address - d->low), ret);
	if (u->cu->grown) {
		account(d, u->cu);
		make_room(d, u);
	}
	return ret->n;
}

static const struct dwarf_dwo *find_dwo(const struct dwarf_index *d, uint64_t id)
{
	const struct dwarf_dwo key = { .id = id };

	if (!id || !d->dwos.n)
		return NULL;
	return bsearch(&key, d->dwos.data, d->dwos.n, sizeof(key), by_id);
}

bool dwarf_index_missing(struct dwarf_index *d, uint64_t address, const char **ret_name,
			 const char **ret_directory, uint64_t *ret_id)
{
	struct dwarf_unit *at = d->has_skeletons ? find_unit(d, address) : NULL;
	const char *text;
	struct unit u;
	struct die die;

	if (!at || at->told)
		return false;
	at->told = true;
	if (!unit_read(&d->main, at->start, &u, &die) || !u.id || !die_has(&die, SLOT_DWO_NAME) ||
	    find_dwo(d, u.id))
		return false;
	if (d->wanted.n == DWARF_MAX_WANTED) {
		d->n_lost++;
		return false;
	}
	bytes_clear(&d->text);
	text = die_string(&u, &die, SLOT_DWO_NAME, SYMBOLIZER_MAX_PATH);
	if (!text)
		return false;
	bytes_add(&d->text, text, strlen(text) + 1);
	text = die_string(&u, &die, SLOT_DIRECTORY, SYMBOLIZER_MAX_PATH);
	bytes_puts(&d->text, text ? text : "");
	*ret_name = bytes_text(&d->text);
	if (!*ret_name)
		return false;
	*ret_directory = *ret_name + strlen(*ret_name) + 1;
	*ret_id = u.id;
	return vec_push(&d->wanted, ((struct dwarf_wanted){
					    u.id, (uint32_t)(at - d->units.data) })) == 0;
}

static struct dwarf_wanted *find_wanted(struct dwarf_index *d, uint64_t id)
{
	for (size_t i = 0; id && i < d->wanted.n; i++)
		if (d->wanted.data[i].id == id)
			return &d->wanted.data[i];
	return NULL;
}

/* The unit in it that is wanted, and where; NULL: it has none. */
static struct dwarf_wanted *look_into_dwo(struct dwarf_index *d, struct debug_file *f,
					  uint64_t *ret_start)
{
	uint64_t deadline = dwarf_cpu_ns() + MAX_DWO_NS;
	struct dwarf_wanted *w;
	struct unit u;
	struct die die;

	for (uint64_t at = 0; dwarf_cpu_ns() < deadline; at = u.end) {
		bool read = unit_read(f, at, &u, &die);

		w = read && u.tag == DW_TAG_compile_unit ? find_wanted(d, u.id) : NULL;
		*ret_start = at;
		if (w || u.end <= at)
			return w;
	}
	return NULL;
}

/* In its place: there are few. */
static int insert_dwo(struct dwarf_index *d, struct dwarf_dwo dwo)
{
	int r = vec_push(&d->dwos, dwo);

	for (size_t i = d->dwos.n; r == 0 && --i > 0 && d->dwos.data[i - 1].id > dwo.id;) {
		d->dwos.data[i] = d->dwos.data[i - 1];
		d->dwos.data[i - 1] = dwo;
	}
	return r;
}

int dwarf_index_add_dwo(struct dwarf_index *d, struct elf_file *f)
{
	struct debug_file *file = calloc(1, sizeof(*file));
	struct dwarf_wanted *w;
	uint64_t start;
	int r = -ENOMEM;

	if (!file)
		return r;
	debug_file_open(file, f, true, &d->budget);
	file->main = &d->main;
	w = look_into_dwo(d, file, &start);
	r = w ? vec_reserve(&d->split, d->split.n + 1) : -ESTALE;
	if (r == 0)
		r = insert_dwo(d, (struct dwarf_dwo){ w->id, file, start });
	if (r < 0) {
		debug_file_close(file);
		free(file);
		return r;
	}
	d->split.data[d->split.n++] = file;
	forget(d, &d->units.data[w->unit]);
	d->units.data[w->unit].bad = false;
	w->id = 0;
	return 0;
}

static uint64_t lost_sections(const struct debug_file *f)
{
	uint64_t n = 0;

	for (int i = 0; i < N_SECTIONS; i++)
		n += f->sections.all[i].lost;
	return n;
}

uint64_t dwarf_index_lost(const struct dwarf_index *d)
{
	uint64_t n = d->n_lost + lost_sections(&d->main) + lost_sections(&d->alt);

	for (size_t i = 0; i < d->split.n; i++)
		n += lost_sections(d->split.data[i]);
	return n;
}

bool dwarf_split_unit(struct dwarf_index *d, const struct unit *skeleton, struct unit *ret)
{
	const struct dwarf_dwo *dwo = find_dwo(d, skeleton->id);
	struct die die;

	if (!dwo || !unit_read(dwo->file, dwo->start, ret, &die))
		return false;
	ret->addr = skeleton->addr;
	ret->low = skeleton->low;
	ret->ranges_add = skeleton->gnu_ranges;
	return true;
}
