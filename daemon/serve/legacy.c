/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/legacy.h"

#include <stdio.h>
#include <string.h>

#define TAB 8
#define MAX_CELL (LEGACY_MAX_NAME + 32)

struct row {
	char pc[24], name[MAX_CELL], place[MAX_CELL];
};

static size_t width(const char *s) /* in code points */
{
	size_t n = 0;

	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

/* Go's text/tabwriter with a padding of 1: a column is as wide as its widest cell and one, rounded up to
 * a tab stop. */
static size_t column_width(size_t widest)
{
	return (widest + 1 + TAB - 1) / TAB * TAB;
}

static void add_cell(struct bytes *out, const char *text, size_t column)
{
	bytes_puts(out, text);
	for (size_t n = (column - width(text) + TAB - 1) / TAB; n; n--)
		bytes_puts(out, "\t");
}

static void copy(char *to, size_t n, const char *text)
{
	utf8_copy(to, n, text, strnlen(text, LEGACY_MAX_NAME));
}

static void fill_row(const struct naming *n, uint32_t location, const struct naming_line *line,
		     struct row *r)
{
	static const struct naming_location unknown;
	const struct naming_location *l =
		location == UINT32_MAX ? &unknown : &n->locations.data[location];
	const struct naming_function *f = naming_function(n, line->function);
	char name[LEGACY_MAX_NAME + 1], file[LEGACY_MAX_NAME + 1];
	const char *module = l->mapping ? n->mappings.data[l->mapping - 1].file : "?";

	copy(name, sizeof(name), f->name);
	copy(file, sizeof(file), *f->file ? f->file : module);
	snprintf(r->pc, sizeof(r->pc), "0x%llx", (unsigned long long)l->address);
	snprintf(r->name, sizeof(r->name), "%s+0x%llx", name,
		 (unsigned long long)(l->entry ? l->address - l->entry : 0));
	snprintf(r->place, sizeof(r->place), "%s:%u", file, line->line);
}

typedef void row_fn(void *context, const struct row *r);

static void each(const struct capture *c, const struct naming *n, struct capture_stack stack,
		 row_fn *fn, void *context)
{
	struct row r;

	for (uint32_t i = 0; i < stack.n; i++) {
		uint32_t location = naming_find(n, c->words.data[stack.first + i]), n_lines;
		const struct naming_line *lines = naming_lines(n, location, &n_lines);

		for (uint32_t k = 0; k < n_lines; k++) {
			fill_row(n, location, &lines[k], &r);
			fn(context, &r);
		}
	}
}

struct layout {
	struct bytes *out;
	size_t pc, name; /* widths of the columns */
};

static void measure(void *context, const struct row *r)
{
	struct layout *l = context;
	size_t pc = column_width(width(r->pc)), name = column_width(width(r->name));

	l->pc = pc > l->pc ? pc : l->pc;
	l->name = name > l->name ? name : l->name;
}

static void print(void *context, const struct row *r)
{
	const struct layout *l = context;

	bytes_puts(l->out, "#\t");
	add_cell(l->out, r->pc, l->pc);
	add_cell(l->out, r->name, l->name);
	bytes_puts(l->out, r->place);
	bytes_puts(l->out, "\n");
}

void legacy_frames(const struct capture *c, const struct naming *n, struct capture_stack stack,
		   struct bytes *out)
{
	struct layout l = { .out = out };

	each(c, n, stack, measure, &l);
	each(c, n, stack, print, &l);
}
