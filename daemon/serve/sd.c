/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/sd.h"

#include <stdio.h>
#include <string.h>

#define MAX_VALUE 1024

/* A JSON string (RFC 8259, 7) of UTF-8 without control characters. */
static void add_string(struct bytes *b, const char *text)
{
	char clean[MAX_VALUE];

	utf8_copy(clean, sizeof(clean), text, strlen(text));
	bytes_puts(b, "\"");
	for (const char *s = clean; *s; s++) {
		if (*s == '"' || *s == '\\')
			bytes_puts(b, "\\");
		bytes_add(b, s, 1);
	}
	bytes_puts(b, "\"");
}

static void add_label(struct bytes *b, const char *name, const char *value)
{
	if (!value || !*value)
		return;
	bytes_printf(b, ",\"%s\":", name);
	add_string(b, value);
}

static bool is(const char *text)
{
	return text && *text;
}

/* What it is called where profiles are looked at: the most lasting of its names. */
static const char *service_name(const struct sd_target *t)
{
	const char *const names[] = { t->name, t->unit, t->container, t->comm };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (is(names[i]))
			return names[i];
	return "unknown";
}

void sd_begin(struct bytes *b)
{
	bytes_puts(b, "[");
}

void sd_add(struct bytes *b, const char *host, const char *scheme, const struct sd_target *t, size_t n)
{
	bytes_printf(b, "%s\n{\"targets\":[", n ? "," : "");
	add_string(b, host);
	bytes_printf(b, "],\"labels\":{\"__profile_path_prefix__\":\"/pid/%d\",\"__meta_pprofd_pid\":\"%d\"", t->pid, t->pid);
	add_label(b, "__scheme__", scheme);
	add_label(b, "service_name", service_name(t));
	add_label(b, "__meta_pprofd_name", t->name);
	add_label(b, "__meta_pprofd_comm", t->comm);
	add_label(b, "__meta_pprofd_exe", t->exe);
	add_label(b, "__meta_pprofd_unit", t->unit);
	add_label(b, "__meta_pprofd_container", t->container);
	add_label(b, "__meta_pprofd_pod", t->pod);
	bytes_puts(b, "}}");
}

void sd_end(struct bytes *b)
{
	bytes_puts(b, "]\n");
}
