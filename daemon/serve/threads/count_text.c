/* SPDX-License-Identifier: Apache-2.0 */

/* count_text.c - goroutine?debug=1 and threadcreate?debug=1: runtime/pprof's printCountProfile. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/serve/legacy.h"
#include "daemon/serve/profile.h"
#include "daemon/serve/text.h"
#include "daemon/serve/threads/threads.h"

struct ordered {
	const struct capture_sample *s;
	size_t number;
};

static int by_count(const void *a, const void *b)
{
	const struct ordered *x = a, *y = b;
	int64_t p = x->s->values[0], q = y->s->values[0];

	return p != q ? (p < q) - (p > q) : (x->number > y->number) - (x->number < y->number);
}

static void add_quoted(struct bytes *out, const char *text)
{
	size_t n = strlen(text) + 1;
	_cleanup_(freep) char *clean = malloc(n);

	if (!clean) {
		out->bad = true;
		return;
	}
	utf8_copy(clean, n, text, n - 1);
	bytes_puts(out, "\"");
	for (const char *c = clean; *c; c++) {
		if (*c == '"' || *c == '\\')
			bytes_puts(out, "\\");
		bytes_add(out, c, 1);
	}
	bytes_puts(out, "\"");
}

static void add_labels(struct bytes *out, const struct capture *c, uint32_t set)
{
	struct capture_labels l = c->label_sets.data[set - 1];

	bytes_puts(out, "# labels: {");
	for (uint32_t i = l.first; i < l.first + l.n; i++) {
		if (i > l.first)
			bytes_puts(out, ", ");
		add_quoted(out, c->strings.data[c->labels.data[i].key]);
		bytes_puts(out, ":");
		add_quoted(out, c->strings.data[c->labels.data[i].value]);
	}
	bytes_puts(out, "}\n");
}

static void add_group(struct bytes *out, const struct capture *c, const struct naming *n,
		      const struct capture_sample *s)
{
	struct capture_stack stack = c->stacks.data[s->stack];

	bytes_printf(out, "%lld @", (long long)s->values[0]);
	for (uint32_t i = 0; i < stack.n; i++) {
		uint32_t l = naming_find(n, c->words.data[stack.first + i]);

		bytes_printf(out, " 0x%llx", l == UINT32_MAX ? 1ull : n->locations.data[l].address + 1ull);
	}
	bytes_puts(out, "\n");
	if (s->labels)
		add_labels(out, c, s->labels);
	legacy_frames(c, n, stack, out);
}

int count_text(const struct capture *c, const struct naming *n, count_note *note, void *context,
	       struct bytes *ret)
{
	_cleanup_(freep) struct ordered *sorted = malloc((c->samples.n + 1) * sizeof(*sorted));
	struct bytes out = { 0 };
	long long total = 0;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < c->samples.n; i++) {
		sorted[i] = (struct ordered){ &c->samples.data[i], i };
		total += c->samples.data[i].values[0];
	}
	qsort(sorted, c->samples.n, sizeof(*sorted), by_count);
	bytes_printf(&out, "%s profile: total %lld\n", c->profile->name, total);
	for (size_t i = 0; i < c->samples.n && out.n < TEXT_MAX_BYTES; i++) {
		add_group(&out, c, n, sorted[i].s);
		if (note)
			note(context, sorted[i].s, &out);
		bytes_puts(&out, "\n");
	}
	for (size_t i = 0; i < c->comments.n; i++)
		bytes_printf(&out, "# pprofd: %s\n", c->comments.data[i]);
	if (out.bad || out.n >= TEXT_MAX_BYTES) {
		bytes_deinit(&out);
		return out.bad ? -ENOMEM : -E2BIG;
	}
	*ret = out;
	return 0;
}
