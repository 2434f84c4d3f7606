/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/metrics/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void metrics_family(struct metrics_text *t, const char *name, enum metrics_type type, const char *help)
{
	static const char *const types[] = { [METRICS_COUNTER] = "counter",
					     [METRICS_GAUGE] = "gauge",
					     [METRICS_HISTOGRAM] = "histogram" };
	const char *total = type == METRICS_COUNTER && !t->open ? "_total" : "";

	t->name = name;
	t->type = type;
	bytes_printf(t->to, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, total, help, name, total, types[type]);
}

/* Both formats escape the same three characters; others that are no text are gone already. */
static void add_value(struct bytes *b, const char *value)
{
	char clean[METRICS_MAX_VALUE + 1];

	utf8_copy(clean, sizeof(clean), value, strlen(value));
	bytes_puts(b, "\"");
	for (const char *s = clean; *s; s++) {
		if (*s == '"' || *s == '\\')
			bytes_puts(b, "\\");
		bytes_add(b, s, 1);
	}
	bytes_puts(b, "\"");
}

static void add_head(struct metrics_text *t, const char *suffix, const struct metrics_labels *labels, const char *le)
{
	struct bytes *b = t->to;
	unsigned n = 0;

	bytes_printf(b, "%s%s", t->name, suffix);
	for (; n < labels->n && n < METRICS_MAX_LABELS; n++) {
		bytes_printf(b, "%s%s=", n ? "," : "{", labels->all[n].name);
		add_value(b, labels->all[n].value);
	}
	if (le)
		bytes_printf(b, "%sle=\"%s\"", n++ ? "," : "{", le);
	bytes_puts(b, n ? "} " : " ");
}

/* As short as is exact; OpenMetrics wants a point in a bound. */
static void number(char to[32], double v, bool point)
{
	if (isnan(v) || isinf(v)) {
		snprintf(to, 32, "%s", isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
		return;
	}
	snprintf(to, 32, "%.15g", v);
	if (strtod(to, NULL) != v)
		snprintf(to, 32, "%.17g", v);
	if (point && !strpbrk(to, ".e"))
		strcat(to, ".0");
}

static const char *suffix_of(const struct metrics_text *t)
{
	return t->type == METRICS_COUNTER ? "_total" : "";
}

void metrics_sample(struct metrics_text *t, struct metrics_labels labels, double value)
{
	char text[32];

	number(text, value, false);
	add_head(t, suffix_of(t), &labels, NULL);
	bytes_printf(t->to, "%s\n", text);
}

void metrics_count(struct metrics_text *t, struct metrics_labels labels, uint64_t value)
{
	add_head(t, suffix_of(t), &labels, NULL);
	bytes_printf(t->to, "%llu\n", (unsigned long long)value);
}

void metrics_histogram(struct metrics_text *t, struct metrics_labels labels, const double *bounds, const uint64_t *counts,
		       unsigned n, double sum)
{
	uint64_t so_far = 0;
	char text[32];

	for (unsigned i = 0; i <= n; i++) {
		number(text, i < n ? bounds[i] : (double)INFINITY, true);
		so_far += counts[i];
		add_head(t, "_bucket", &labels, text);
		bytes_printf(t->to, "%llu\n", (unsigned long long)so_far);
	}
	number(text, sum, false);
	add_head(t, "_sum", &labels, NULL);
	bytes_printf(t->to, "%s\n", text);
	add_head(t, "_count", &labels, NULL);
	bytes_printf(t->to, "%llu\n", (unsigned long long)so_far);
}

void metrics_end(struct metrics_text *t)
{
	if (t->open)
		bytes_puts(t->to, "# EOF\n");
}

static const char *skip_blank(const char *s)
{
	return s + strspn(s, " \t");
}

/* The parameters of one media range (RFC 9110, 12.5.1): whether it is wanted at all, in a version that we write. */
static bool wants(const char *s, const char *end)
{
	bool wanted = true;

	while ((s = memchr(s, ';', (size_t)(end - s)))) {
		s = skip_blank(s + 1);
		if (!strncasecmp(s, "q=", 2))
			wanted &= strtod(s + 2, NULL) > 0;
		else if (!strncasecmp(s, "version=", 8))
			wanted &= !strncmp(s + 8, "1.", 2) || !strncmp(s + 8, "\"1.", 3);
	}
	return wanted;
}

bool metrics_wants_open(const char *accept)
{
	static const char type[] = "application/openmetrics-text";

	for (const char *s = accept; s && *s; s += *s == ',') {
		const char *end;

		s = skip_blank(s);
		end = s + strcspn(s, ",");
		if (!strncasecmp(s, type, sizeof(type) - 1) && strchr(" \t;,", s[sizeof(type) - 1]) && wants(s, end))
			return true;
		s = end;
	}
	return false;
}
