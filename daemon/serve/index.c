/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/index.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/serve/path.h"

static const char index_head[] =
	"<html>\n"
	"<head>\n"
	"<title>/debug/pprof/</title>\n"
	"<style>\n"
	".profile-name{\n"
	"\tdisplay:inline-block;\n"
	"\twidth:6rem;\n"
	"}\n"
	"</style>\n"
	"</head>\n"
	"<body>\n"
	"/debug/pprof/\n"
	"<br>\n"
	"<p>Set debug=1 as a query parameter to export in legacy text format</p>\n"
	"<br>\n"
	"Types of profiles available:\n"
	"<table>\n"
	"<thead><td>Count</td><td>Profile</td></thead>\n";

static int by_name(const void *a, const void *b)
{
	const struct profile *const *p = a, *const *q = b;

	return strcmp((*p)->name, (*q)->name);
}

/* Go writes url.URL{Path: name}, which is escaped for a path and put in quotes of this kind. */
static void add_href(struct bytes *b, const char *name)
{
	_cleanup_(bytes_deinit) struct bytes path = BYTES_INIT;

	path_escape_name(&path, name);
	if (!bytes_text(&path))
		b->bad = true;
	else
		path_escape_html(b, path.data);
}

static void add_row(struct bytes *b, const char *name, uint64_t count)
{
	bytes_printf(b, "<tr><td>%llu</td><td><a href='", (unsigned long long)count);
	add_href(b, name);
	bytes_puts(b, "?debug=1'>");
	path_escape_html(b, name);
	bytes_puts(b, "</a></td></tr>\n");
}

static void add_description(struct bytes *b, const struct profile *p)
{
	bytes_puts(b, "<li><div class=profile-name>");
	path_escape_html(b, p->name);
	bytes_puts(b, ": </div> ");
	path_escape_html(b, p->help);
	bytes_puts(b, "</li>\n");
}

void index_page_of(struct bytes *b, const struct profile *table, size_t n, index_count *count,
		   void *context)
{
	_cleanup_(freep) const struct profile **rows = calloc(n + 1, sizeof(*rows));
	bool dump = false;

	if (!rows) {
		b->bad = true;
		return;
	}
	for (size_t i = 0; i < n; i++)
		rows[i] = &table[i];
	qsort(rows, n, sizeof(*rows), by_name);
	bytes_puts(b, index_head);
	for (size_t i = 0; i < n; i++) {
		add_row(b, rows[i]->name, count(context, rows[i]));
		dump |= !strcmp(rows[i]->name, "goroutine");
	}
	bytes_puts(b, "</table>\n");
	if (dump)
		bytes_puts(b, "<a href=\"goroutine?debug=2\">full goroutine stack dump</a>\n");
	bytes_puts(b, "<a href=\"../../\">flame graphs and history</a>\n");
	bytes_puts(b, "<br>\n<p>\nProfile Descriptions:\n<ul>\n");
	for (size_t i = 0; i < n; i++)
		add_description(b, rows[i]);
	bytes_puts(b, "</ul>\n</p>\n</body>\n</html>");
}

void index_page(struct bytes *b, index_count *count, void *context)
{
	index_page_of(b, profiles, n_profiles, count, context);
}
