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

/* Without .service. */
static int unit_length(const char *unit)
{
	size_t n = strlen(unit), tail = strlen(".service");

	return (int)(n > tail && !strcmp(unit + n - tail, ".service") ? n - tail : n);
}

/* What it is called where profiles are looked at: the most lasting of its names. */
static void add_service_name(struct bytes *b, const struct sd_target *t)
{
	char text[MAX_VALUE];

	if (is(t->name))
		snprintf(text, sizeof(text), "%s", t->name);
	else if (is(t->unit))
		snprintf(text, sizeof(text), "%.*s", unit_length(t->unit), t->unit);
	else if (is(t->container))
		snprintf(text, sizeof(text), "%.12s", t->container); /* as container engines shorten it */
	else
		snprintf(text, sizeof(text), "%s", is(t->comm) ? t->comm : "unknown");
	add_label(b, "service_name", text);
}

void sd_begin(struct bytes *b)
{
	bytes_puts(b, "[");
}

void sd_add(struct bytes *b, const char *host, const char *scheme, const struct sd_target *t, size_t n)
{
	char instance[MAX_VALUE];

	bytes_printf(b, "%s\n{\"targets\":[", n ? "," : "");
	add_string(b, host);
	bytes_printf(b, "],\"labels\":{\"__profile_path_prefix__\":\"/pid/%d\",\"__meta_pprofd_pid\":\"%d\"", t->pid, t->pid);
	add_label(b, "__scheme__", scheme);
	add_service_name(b, t);
	snprintf(instance, sizeof(instance), "%s/pid/%d", host, t->pid);
	add_label(b, "instance", instance);
	add_label(b, "__meta_pprofd_name", t->name);
	add_label(b, "__meta_pprofd_comm", t->comm);
	add_label(b, "__meta_pprofd_exe", t->exe);
	add_label(b, "__meta_pprofd_unit", t->unit);
	add_label(b, "__meta_pprofd_container", t->container);
	add_label(b, "__meta_pprofd_pod", t->pod);
	add_label(b, "__meta_pprofd_cgroup", t->cgroup);
	bytes_puts(b, "}}");
}

void sd_end(struct bytes *b)
{
	bytes_puts(b, "]\n");
}
