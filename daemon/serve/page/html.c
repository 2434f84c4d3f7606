/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/page/html.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "daemon/serve/json.h"
#include "daemon/serve/page/assets.h"
#include "daemon/serve/path.h"

/* On the heap, clean; NULL: no memory. */
static char *clean(const char *text)
{
	size_t n = strlen(text) + 1;
	char *to = malloc(n);

	if (to)
		utf8_copy(to, n, text, n - 1);
	return to;
}

static void add_text(struct bytes *b, const char *text)
{
	_cleanup_(freep) char *copy = clean(text);

	if (copy)
		path_escape_html(b, copy);
	else
		b->bad = true;
}

static void add_name_of_path(struct bytes *b, const char *name)
{
	_cleanup_(bytes_deinit) struct bytes path = BYTES_INIT;

	path_escape_name(&path, name);
	if (bytes_text(&path))
		path_escape_html(b, path.data);
	else
		b->bad = true;
}

static void add_head(struct bytes *b, const char *title, int pid, const char *root, const char *script)
{
	bytes_puts(b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
	add_text(b, title);
	if (pid)
		bytes_printf(b, " %d", pid);
	bytes_puts(b, " - pprofd</title>\n<link rel=\"stylesheet\" href=\"");
	asset_address(b, root, "app.css");
	bytes_puts(b, "\">\n<link rel=\"icon\" href=\"data:,\">\n<script type=\"module\" src=\"");
	asset_address(b, root, script);
	bytes_puts(b, "\"></script>\n</head>\n");
}

/* The list */

static const struct column {
	const char *title, *name;
} columns[PAGE_N_ORDERS] = {
	[PAGE_BY_CPU] = { "CPU", "cpu" },     [PAGE_BY_NAME] = { "Name", "name" },
	[PAGE_BY_PID] = { "PID", "pid" },     [PAGE_BY_RSS] = { "RSS", "rss" },
	[PAGE_BY_SINCE] = { "Since", "since" }, [PAGE_BY_THREADS] = { "Threads", "threads" },
};

enum page_order page_order(const char *name)
{
	for (unsigned i = 0; name && i < PAGE_N_ORDERS; i++)
		if (!strcmp(columns[i].name, name))
			return (enum page_order)i;
	return PAGE_BY_CPU;
}

static int compare(uint64_t a, uint64_t b) /* the larger first */
{
	return (a < b) - (a > b);
}

static int order_rows(const void *x, const void *y, void *context)
{
	const struct page_row *a = x, *b = y;
	int r = a->ended - b->ended;

	if (r)
		return r;
	switch (*(const enum page_order *)context) {
	case PAGE_BY_NAME:
		r = strcmp(a->name, b->name);
		break;
	case PAGE_BY_CPU:
		r = compare(a->cpu_ns, b->cpu_ns);
		break;
	case PAGE_BY_RSS:
		r = compare(a->resident_bytes, b->resident_bytes);
		break;
	case PAGE_BY_THREADS:
		r = compare(a->n_threads, b->n_threads);
		break;
	case PAGE_BY_SINCE:
		r = compare((uint64_t)a->started_ms, (uint64_t)b->started_ms);
		break;
	case PAGE_BY_PID:
	case PAGE_N_ORDERS:
		break;
	}
	return r ? r : compare((uint64_t)b->pid, (uint64_t)a->pid);
}

static void add_time(struct bytes *b, int64_t ms)
{
	time_t seconds = ms / 1000;
	char text[64];
	struct tm tm;

	if (gmtime_r(&seconds, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm))
		bytes_puts(b, text);
}

static void add_row(struct bytes *b, const struct page_row *r)
{
	bytes_puts(b, "<tr><td data-sort=\"");
	add_text(b, r->name);
	bytes_printf(b, "\"><a href=\"pid/%d/\">", r->pid);
	add_text(b, r->name);
	bytes_puts(b, "</a>");
	if (*r->service) {
		bytes_puts(b, " <a class=\"service\" href=\"t/");
		add_name_of_path(b, r->service);
		bytes_puts(b, "/\">");
		add_text(b, r->service);
		bytes_puts(b, "</a>");
	}
	bytes_printf(b, "%s</td><td data-sort=\"%d\">%d</td>", r->ended ? " (ended)" : "", r->pid, r->pid);
	if (r->known) {
		bytes_printf(b, "<td data-sort=\"%.2f\">%.2f s</td>", (double)r->cpu_ns / 1e9, (double)r->cpu_ns / 1e9);
		bytes_printf(b, "<td data-sort=\"%llu\">%.1f MB</td>", (unsigned long long)r->resident_bytes,
			     (double)r->resident_bytes / (1 << 20));
		bytes_printf(b, "<td data-sort=\"%u\">%u</td><td data-sort=\"%lld\">", r->n_threads, r->n_threads,
			     (long long)r->started_ms);
		add_time(b, r->started_ms);
		bytes_puts(b, "</td></tr>\n");
	} else {
		bytes_puts(b, "<td data-sort=\"-1\"></td><td data-sort=\"-1\"></td><td data-sort=\"-1\"></td>"
			      "<td data-sort=\"-1\"></td></tr>\n");
	}
}

void page_list(struct bytes *b, struct page_row *rows, size_t n, enum page_order order)
{
	static const enum page_order shown[] = { PAGE_BY_NAME, PAGE_BY_PID,	PAGE_BY_CPU,
						 PAGE_BY_RSS,  PAGE_BY_THREADS, PAGE_BY_SINCE };

	if (n)
		qsort_r(rows, n, sizeof(*rows), order_rows, &order);
	add_head(b, "Processes", 0, "./", asset_find("list.js") ? "list.js" : "app.js");
	bytes_puts(b, "<body class=\"list\" data-root=\"./\">\n<header><h1>pprofd</h1></header>\n<main>\n"
		      "<form role=\"search\" hidden><label>Search <input type=\"search\" id=\"search\" autocomplete=\"off\">"
		      "</label></form>\n");
	if (!n)
		bytes_puts(b, "<p>No processes.</p>\n");
	bytes_puts(b, "<table id=\"targets\">\n<thead><tr>");
	for (size_t i = 0; i < PAGE_N_ORDERS; i++)
		bytes_printf(b, "<th scope=\"col\"%s><a href=\"?sort=%s\">%s</a></th>",
			     shown[i] != order			      ? "" :
			     order == PAGE_BY_NAME || order == PAGE_BY_PID ? " aria-sort=\"ascending\"" :
									     " aria-sort=\"descending\"",
			     columns[shown[i]].name, columns[shown[i]].title);
	bytes_puts(b, "</tr></thead>\n<tbody>\n");
	for (size_t i = 0; i < n; i++)
		add_row(b, &rows[i]);
	bytes_puts(b, "</tbody>\n</table>\n</main>\n</body>\n</html>\n");
}

/* A process's own */

static bool has_stacks(const struct profile *p)
{
	return p->n_values > 0;
}

static bool is_window(const struct profile *p)
{
	return p->arm == PROFILE_WINDOWED || p->arm == PROFILE_WALL;
}

static const char *kind_of(const struct profile *p)
{
	return is_window(p) ? "window" : p->arm == PROFILE_THREADS ? "instant" : "cumulative";
}

/* What the script can ask for. */
static void add_profiles(struct bytes *b, const struct page_target *t)
{
	_cleanup_(bytes_deinit) struct bytes json = BYTES_INIT;
	bool first = true;

	bytes_puts(&json, "[");
	for (size_t i = 0; i < t->n_profiles; i++) {
		const struct profile *p = &t->profiles[i];

		if (!has_stacks(p))
			continue;
		bytes_puts(&json, first ? "{\"name\":" : ",{\"name\":");
		first = false;
		json_string(&json, p->name);
		bytes_puts(&json, ",\"help\":");
		json_string(&json, p->help);
		bytes_printf(&json, ",\"kind\":\"%s\",\"custom\":%s,\"types\":[", kind_of(p),
			     p->arm == PROFILE_CUSTOM ? "true" : "false");
		for (unsigned k = 0; k < p->n_values; k++) {
			bytes_puts(&json, k ? ",[" : "[");
			json_string(&json, p->values[k].type);
			bytes_puts(&json, ",");
			json_string(&json, p->values[k].unit);
			bytes_puts(&json, "]");
		}
		bytes_puts(&json, "],\"default\":");
		json_string(&json, p->default_type ? p->default_type : p->values[p->n_values - 1].type);
		bytes_puts(&json, "}");
	}
	bytes_puts(&json, "]");
	if (bytes_text(&json))
		path_escape_html(b, json.data);
	else
		b->bad = true;
}

static void add_link(struct bytes *b, const struct profile *p, const char *format, const char *text)
{
	bytes_puts(b, "<td><a href=\"debug/pprof/");
	add_name_of_path(b, p->name);
	bytes_printf(b, "%s%s%s%s\">%s</a></td>", is_window(p) || *format ? "?" : "", is_window(p) ? "seconds=5" : "",
		     is_window(p) && *format ? "&amp;" : "", format, text);
}

static void add_links(struct bytes *b, const struct page_target *t)
{
	bytes_puts(b, "<table id=\"profiles\">\n");
	for (size_t i = 0; i < t->n_profiles; i++) {
		const struct profile *p = &t->profiles[i];

		if (!has_stacks(p))
			continue;
		bytes_puts(b, "<tr><th scope=\"row\" title=\"");
		add_text(b, p->help);
		bytes_puts(b, "\">");
		add_text(b, p->name);
		bytes_puts(b, "</th>");
		add_link(b, p, "format=svg", "flame graph");
		add_link(b, p, "format=top", "top");
		add_link(b, p, "", "pprof");
		add_link(b, p, "format=folded", "folded");
		add_link(b, p, "format=speedscope", "speedscope");
		add_link(b, p, "format=firefox", "firefox");
		bytes_puts(b, "</tr>\n");
	}
	bytes_puts(b, "</table>\n<ul>\n"
		      "<li><a href=\"debug/pprof/goroutine?debug=2\">threads, with their stacks</a></li>\n"
		      "<li><a href=\"debug/pprof/trace?seconds=5\">trace of 5 seconds, for go tool trace</a></li>\n"
		      "<li><a href=\"debug/pprof/trace?seconds=5&amp;format=perfetto\">trace of 5 seconds, for Perfetto</a></li>\n"
		      "<li><a href=\"debug/pprof/\">/debug/pprof/, as Go has it</a></li>\n</ul>\n");
}

/* The way to a flame graph without scripts. */
static void add_form(struct bytes *b, const struct page_target *t)
{
	bytes_puts(b, "<form method=\"get\" action=\"debug/pprof/profile\">\n<p><label>Flame graph of the next "
		      "<input name=\"seconds\" type=\"number\" value=\"5\" min=\"1\" max=\"3600\"> seconds:</label>\n"
		      "<input type=\"hidden\" name=\"format\" value=\"svg\">\n");
	for (size_t i = 0; i < t->n_profiles; i++) {
		const struct profile *p = &t->profiles[i];

		if (!has_stacks(p) || p->arm == PROFILE_THREADS)
			continue;
		bytes_puts(b, "<button formaction=\"debug/pprof/");
		add_name_of_path(b, p->name);
		bytes_puts(b, "\">");
		add_text(b, p->name);
		bytes_puts(b, "</button>\n");
	}
	bytes_puts(b, "</p>\n</form>\n");
}

static void add_several(struct bytes *b, const struct page_target *t)
{
	if (!t->n_several)
		return;
	bytes_printf(b, "<p>%zu processes are called so; their profiles are added up.</p>\n<ul>\n", t->n_all);
	for (size_t i = 0; i < t->n_several; i++) {
		bytes_printf(b, "<li><a href=\"%spid/%d/\">%d</a> ", t->root, t->several[i].pid, t->several[i].pid);
		add_text(b, t->several[i].name);
		bytes_puts(b, "</li>\n");
	}
	if (t->n_several < t->n_all)
		bytes_printf(b, "<li>and %zu more</li>\n", t->n_all - t->n_several);
	bytes_puts(b, "</ul>\n");
}

void page_target(struct bytes *b, const struct page_target *t)
{
	char pid[16] = "";

	if (t->pid)
		snprintf(pid, sizeof(pid), "%d", t->pid);
	add_head(b, t->name, t->pid, t->root, "app.js");
	bytes_printf(b, "<body class=\"target\" data-pid=\"%s\" data-name=\"", pid);
	add_text(b, t->name);
	bytes_printf(b, "\" data-base=\"./\" data-root=\"%s\">\n<header>\n<h1>", t->root);
	add_text(b, t->name);
	if (t->pid)
		bytes_printf(b, " <small>%s</small>", pid);
	bytes_printf(b, "</h1>\n%s", t->ended ? "<p class=\"ended\">(ended)</p>\n" : "");
	if (*t->cmdline) {
		bytes_puts(b, "<p class=\"cmdline\"><code>");
		add_text(b, t->cmdline);
		bytes_puts(b, "</code></p>\n");
	}
	bytes_printf(b, "<nav><a href=\"%s?sort=cpu\">all processes</a></nav>\n</header>\n"
			"<main id=\"app\" hidden data-profiles=\"", t->root);
	add_profiles(b, t);
	bytes_puts(b, "\"></main>\n<section id=\"plain\">\n");
	add_several(b, t);
	add_form(b, t);
	add_links(b, t);
	bytes_puts(b, "</section>\n</body>\n</html>\n");
}
