/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/format/format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/serve/profile.h"
#include "daemon/serve/text.h"

static const struct {
	const char *name;
	enum http_kind kind;
	const char *ending; /* of a file that is to be saved; NULL: it is to be looked at */
} formats[FORMAT_NONE] = {
	[FORMAT_PPROF] = { "pprof", HTTP_BINARY, "" },
	[FORMAT_TOP] = { "top", HTTP_TEXT, NULL },
	[FORMAT_FOLDED] = { "folded", HTTP_TEXT, NULL },
	[FORMAT_SPEEDSCOPE] = { "speedscope", HTTP_JSON, ".speedscope.json" },
	[FORMAT_SVG] = { "svg", HTTP_SVG, ".svg" },
	[FORMAT_FIREFOX] = { "firefox", HTTP_JSON, ".firefox.json" },
};

enum format format_find(const char *name)
{
	for (unsigned i = 0; name && i < FORMAT_NONE; i++)
		if (!strcmp(name, formats[i].name))
			return (enum format)i;
	return name ? FORMAT_NONE : FORMAT_PPROF;
}

size_t format_column(const struct profile *p)
{
	for (size_t i = 0; p->default_type && i < p->n_values; i++)
		if (!strcmp(p->values[i].type, p->default_type))
			return i;
	return p->n_values - 1;
}

uint32_t format_label(const struct capture *c, const struct capture_sample *s, const char *key)
{
	struct capture_labels set = { 0, 0 };

	if (s->labels)
		set = c->label_sets.data[s->labels - 1];
	for (uint32_t i = set.first; i < set.first + set.n; i++)
		if (!strcmp(c->strings.data[c->labels.data[i].key], key))
			return c->labels.data[i].value;
	return 0;
}

int format_finish(struct bytes *out, struct bytes *ret)
{
	if (out->bad)
		return -ENOMEM;
	if (out->n > FORMAT_MAX_BYTES)
		return -E2BIG;
	*ret = *out;
	*out = (struct bytes)BYTES_INIT;
	return 0;
}

int format_write(enum format f, const struct capture *c, const struct naming *n, const char *title, struct bytes *ret)
{
	switch (f) {
	case FORMAT_TOP:
		return text_top(c, n, ret);
	case FORMAT_FOLDED:
		return text_folded(c, n, ret);
	case FORMAT_SPEEDSCOPE:
		return format_speedscope(c, n, title ? title : "", ret);
	case FORMAT_SVG:
		return format_svg(c, n, title ? title : "", ret);
	case FORMAT_FIREFOX:
		return format_firefox(c, n, title ? title : "", ret);
	case FORMAT_PPROF:
	case FORMAT_NONE:
		break;
	}
	return -EINVAL;
}

void format_head(enum format f, const char *name, struct http_response *ret)
{
	ret->kind = formats[f].kind;
	if (formats[f].ending)
		snprintf(ret->filename, sizeof(ret->filename), "%s%s", name, formats[f].ending);
}
