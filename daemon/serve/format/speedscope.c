/* SPDX-License-Identifier: Apache-2.0 */

/* speedscope.c - speedscope's own file format: one profile for each sample type, stacks outermost first under the name of
 * their thread. A frame is a function; of several of one name each has its place. */

#include <errno.h>

#include "daemon/serve/format/format.h"
#include "daemon/serve/json.h"
#include "daemon/serve/profile.h"

/* Its name is what tells readers the format; nothing asks there. */
#define SCHEMA "https://www.speedscope.app/file-format-schema.json"

struct writer {
	const struct capture *c;
	const struct naming *n;
	uint32_t *threads; /* by string of the capture: frame + 1 */
	uint32_t n_frames;
	struct bytes out;
};

static void deinit(struct writer *w)
{
	free(w->threads);
	bytes_deinit(&w->out);
}

static const char *unit_of(const char *unit)
{
	static const char *const known[] = { "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes" };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(unit, known[i]))
			return known[i];
	return "none";
}

/* Functions, the one without a name, and what threads there may be. */
static void add_frames(struct writer *w)
{
	bytes_puts(&w->out, "\"shared\":{\"frames\":[");
	for (size_t i = 0; i <= w->n->functions.n && w->out.n <= FORMAT_MAX_BYTES; i++) {
		const struct naming_function *f = naming_function(w->n, i < w->n->functions.n ? (uint32_t)i : UINT32_MAX);

		bytes_puts(&w->out, i ? ",\n{\"name\":" : "\n{\"name\":");
		json_string(&w->out, f->name);
		if (*f->file) {
			bytes_puts(&w->out, ",\"file\":");
			json_string(&w->out, f->file);
			if (f->start_line)
				bytes_printf(&w->out, ",\"line\":%u", f->start_line);
		}
		bytes_puts(&w->out, "}");
	}
	w->n_frames = (uint32_t)w->n->functions.n + 1;
	for (size_t i = 0; i < w->c->samples.n; i++) {
		uint32_t thread = format_label(w->c, &w->c->samples.data[i], "thread");

		if (!thread || w->threads[thread])
			continue;
		w->threads[thread] = ++w->n_frames;
		bytes_puts(&w->out, ",\n{\"name\":");
		json_string(&w->out, w->c->strings.data[thread]);
		bytes_puts(&w->out, "}");
	}
	bytes_puts(&w->out, "]},\n");
}

static void add_stack(struct writer *w, const struct capture_sample *s)
{
	struct capture_stack stack = w->c->stacks.data[s->stack];
	uint32_t thread = format_label(w->c, s, "thread");
	const char *before = "[";

	if (thread) {
		bytes_printf(&w->out, "[%u", w->threads[thread] - 1);
		before = ",";
	}
	for (uint32_t i = stack.n; i > 0; i--) {
		const struct naming_line *lines;
		uint32_t n;

		lines = naming_lines(w->n, naming_find(w->n, w->c->words.data[stack.first + i - 1]), &n);
		for (; n > 0; n--, before = ",")
			bytes_printf(&w->out, "%s%u", before,
				     lines[n - 1].function == UINT32_MAX ? (uint32_t)w->n->functions.n : lines[n - 1].function);
	}
	bytes_puts(&w->out, *before == '[' ? "[]" : "]");
}

static bool is_in(const struct capture_sample *s, size_t column)
{
	return s->values[column] > 0; /* the format has no place for what has become less */
}

static void add_profile(struct writer *w, const char *title, size_t column)
{
	const struct profile_value *v = &w->c->profile->values[column];
	uint64_t total = 0;
	size_t n = 0;

	for (size_t i = 0; i < w->c->samples.n; i++)
		if (is_in(&w->c->samples.data[i], column))
			total += (uint64_t)w->c->samples.data[i].values[column];
	bytes_puts(&w->out, "{\"type\":\"sampled\",\"name\":");
	json_string(&w->out, *v->type ? v->type : title);
	bytes_printf(&w->out, ",\"unit\":\"%s\",\"startValue\":0,\"endValue\":%llu,\n\"samples\":[", unit_of(v->unit),
		     (unsigned long long)total);
	for (size_t i = 0; i < w->c->samples.n && w->out.n <= FORMAT_MAX_BYTES; i++) {
		if (!is_in(&w->c->samples.data[i], column))
			continue;
		bytes_puts(&w->out, n++ ? ",\n" : "\n");
		add_stack(w, &w->c->samples.data[i]);
	}
	bytes_puts(&w->out, "],\n\"weights\":[");
	n = 0;
	for (size_t i = 0; i < w->c->samples.n; i++)
		if (is_in(&w->c->samples.data[i], column))
			bytes_printf(&w->out, n++ ? ",%lld" : "%lld", (long long)w->c->samples.data[i].values[column]);
	bytes_puts(&w->out, "]}");
}

int format_speedscope(const struct capture *c, const struct naming *n, const char *title, struct bytes *ret)
{
	_cleanup_(deinit) struct writer w = { .c = c, .n = n, .threads = calloc(c->strings.n + 1, sizeof(*w.threads)) };

	if (!w.threads)
		return -ENOMEM;
	if (!c->profile->n_values)
		return -EINVAL;
	bytes_puts(&w.out, "{\"$schema\":\"" SCHEMA "\",\"exporter\":\"pprofd\",\"name\":");
	json_string(&w.out, title);
	bytes_printf(&w.out, ",\"activeProfileIndex\":%zu,\n", format_column(c->profile));
	add_frames(&w);
	bytes_puts(&w.out, "\"profiles\":[");
	for (size_t i = 0; i < c->profile->n_values; i++) {
		bytes_puts(&w.out, i ? ",\n" : "\n");
		add_profile(&w, title, i);
	}
	bytes_puts(&w.out, "]}\n");
	return format_finish(&w.out, ret);
}
