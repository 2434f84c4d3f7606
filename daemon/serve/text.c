/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/text.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "bpf/event.h"
#include "daemon/serve/profile.h"

/* All functions of one name. */
struct entry {
	char *name;			     /* clean */
	const struct naming_function *place; /* the first of them */
	int64_t flat, cum;
	uint32_t sample; /* number + 1 of the last one that it was counted for */
	bool inlined,
		called; /* seen so; pprof asks the edges of its graph, with rare differences */
	bool elsewhere; /* another one has another place */
};

struct table {
	const struct capture *c;
	const struct naming *n;
	VEC(struct entry) entries;
	struct hash_index index;
	uint32_t *entry_of; /* by naming function, last the unnamed one: entry + 1 */
};

static void deinit(struct table *t)
{
	for (size_t i = 0; i < t->entries.n; i++)
		free(t->entries.data[i].name);
	vec_deinit(&t->entries);
	hash_deinit(&t->index);
	free(t->entry_of);
}

static int init(struct table *t)
{
	if (!t->c->profile->n_values)
		return -EINVAL;
	t->entry_of = calloc(t->n->functions.n + 1, sizeof(*t->entry_of));
	return t->entry_of ? 0 : -ENOMEM;
}

static bool entry_equal(uint32_t item, const void *key, const void *context)
{
	const struct table *t = context;

	return !strcmp(t->entries.data[item].name, key);
}

static bool same_place(const struct naming_function *a, const struct naming_function *b)
{
	return a->start_line == b->start_line && !strcmp(a->file, b->file);
}

/* On the heap: without control characters, and UTF-8. */
static char *clean(const char *s)
{
	size_t n = strlen(s) + 1;
	char *to = malloc(n);

	if (to)
		utf8_copy(to, n, s, n - 1);
	return to;
}

static int add_entry(struct table *t, const struct naming_function *f, uint32_t *ret)
{
	_cleanup_(freep) char *name = clean(f->name);
	uint32_t at;
	uint64_t h;

	if (!name)
		return -ENOMEM;
	h = hash_bytes(HASH_SEED, name, strlen(name));
	at = hash_get(&t->index, h, entry_equal, name, t);
	if (at == HASH_NONE) {
		at = (uint32_t)t->entries.n;
		if (vec_reserve(&t->entries, t->entries.n + 1) < 0 ||
		    hash_put(&t->index, h, at) < 0)
			return -ENOMEM;
		t->entries.data[t->entries.n++] =
			(struct entry){ .name = TAKE_PTR(name), .place = f };
	}
	if (!same_place(t->entries.data[at].place, f))
		t->entries.data[at].elsewhere = true;
	*ret = at;
	return 0;
}

static int find_entry(struct table *t, uint32_t function, uint32_t *ret)
{
	uint32_t *slot = &t->entry_of[t->n->functions.n];
	int r;

	if (function != UINT32_MAX)
		slot = &t->entry_of[function];
	if (!*slot) {
		r = add_entry(t, naming_function(t->n, function), ret);
		if (r < 0)
			return r;
		*slot = *ret + 1;
	}
	*ret = *slot - 1;
	return 0;
}

/* Wraps at the end of the range, as the client does. */
static void add(int64_t *to, int64_t v)
{
	*to = (int64_t)((uint64_t)*to + (uint64_t)v);
}

static uint64_t magnitude(int64_t v)
{
	return v < 0 ? -(uint64_t)v : (uint64_t)v;
}

/* Counts a sample for every function of its stack, once for each. */
static int add_sample(struct table *t, const struct capture_sample *s, int64_t value,
		      uint32_t number)
{
	struct capture_stack stack = t->c->stacks.data[s->stack];

	for (uint32_t i = 0; i < stack.n; i++) {
		uint64_t word = t->c->words.data[stack.first + i];
		const struct naming_line *lines;
		uint32_t n_lines;

		lines = naming_lines(t->n, naming_find(t->n, word), &n_lines);
		for (uint32_t k = 0; k < n_lines; k++) {
			struct entry *e;
			uint32_t at;
			int r;

			r = find_entry(t, lines[k].function, &at);
			if (r < 0)
				return r;
			e = &t->entries.data[at];
			if (k + 1 < n_lines)
				e->inlined = true;
			else
				e->called = true;
			if (!i && !k)
				add(&e->flat, value);
			if (e->sample != number)
				add(&e->cum, value);
			e->sample = number;
		}
	}
	return 0;
}

/* The units that pprof knows and we have (its measurement.go), ascending. */
struct unit {
	const char *name;
	double factor;
};

static const struct unit times[] = {
	{ "ns", 1 }, { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 }, { "hrs", 3600e9 },
};

static const struct unit sizes[] = {
	{ "B", 0x1p0 },	  { "kB", 0x1p10 }, { "MB", 0x1p20 },
	{ "GB", 0x1p30 }, { "TB", 0x1p40 }, { "PB", 0x1p50 },
};

/* The largest unit of which there is at least one. */
static struct unit unit_for(const char *unit, double value)
{
	struct unit best = { "", 1 };

	if (!strcmp(unit, "nanoseconds")) {
		best = times[3];
		for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++)
			if (value >= times[i].factor)
				best = times[i];
	} else if (!strcmp(unit, "bytes")) {
		best = sizes[0];
		for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
			if (value >= sizes[i].factor)
				best = sizes[i];
	} else if (strcmp(unit, "count")) {
		best.name = unit;
	}
	return best;
}

/* One unit for the whole table: the smallest value's, or that of its hundredfold. */
static struct unit table_unit(const struct table *t, const char *unit, int64_t total)
{
	uint64_t smallest = 0;
	struct unit u;

	for (size_t i = 0; i < t->entries.n; i++) {
		const struct entry *e = &t->entries.data[i];
		uint64_t v = magnitude(e->flat ? e->flat : e->cum);

		if (v && (!smallest || v < smallest))
			smallest = v;
	}
	if (!smallest)
		smallest = (uint64_t)total;
	u = unit_for(unit, (double)smallest);
	if (u.factor != unit_for(unit, (double)total).factor &&
	    (double)smallest * 100 < (double)total)
		u = unit_for(unit, (double)smallest * 100);
	return u;
}

struct number {
	char text[64];
};

static struct number scaled(int64_t v, struct unit u)
{
	struct number s;
	int n = snprintf(s.text, sizeof(s.text), "%.2f", (double)v / u.factor);

	if (!strcmp(s.text + n - 3, ".00"))
		n -= 3;
	s.text[n] = '\0';
	if (!strcmp(s.text, "0") || !strcmp(s.text, "-0"))
		return (struct number){ "0" };
	snprintf(s.text + n, sizeof(s.text) - (size_t)n, "%s", u.name);
	return s;
}

static struct number percent(int64_t v, int64_t total)
{
	double ratio = total ? (double)magnitude(v) / (double)magnitude(total) * 100 : 0;
	struct number s = { "  100%" };

	if (ratio < 99.95 || ratio > 100.05)
		snprintf(s.text, sizeof(s.text), ratio >= 1 ? "%5.2f%%" : "%5.2g%%", ratio);
	return s;
}

/* The column to show, as clients choose it. */
static size_t default_column(const struct profile *p)
{
	for (size_t i = 0; p->default_type && i < p->n_values; i++)
		if (!strcmp(p->values[i].type, p->default_type))
			return i;
	return p->n_values - 1;
}

static void add_clean(struct bytes *out, const char *s)
{
	_cleanup_(freep) char *text = clean(s);

	if (text)
		bytes_puts(out, text);
	else
		out->bad = true;
}

/* What the profile is of, in the words of pprof. */
static void add_head(const struct table *t, const char *type, struct bytes *out)
{
	const struct naming_mapping *m = t->n->mappings.n ? t->n->mappings.data : NULL;
	time_t seconds = t->c->time_ns / 1000000000;
	char when[64];
	struct tm tm;

	for (size_t i = 0; i < t->c->comments.n; i++) {
		bytes_puts(out, "# ");
		add_clean(out, t->c->comments.data[i]);
		bytes_puts(out, "\n");
	}
	if (m && m->file && *m->file) {
		const char *base = strrchr(m->file, '/');

		bytes_puts(out, "File: ");
		add_clean(out, base ? base + 1 : m->file);
		bytes_puts(out, "\n");
	}
	if (m && m->build_id && *m->build_id) {
		bytes_puts(out, "Build ID: ");
		add_clean(out, m->build_id);
		bytes_puts(out, "\n");
	}
	bytes_printf(out, "Type: %s\n", type);
	/* The client prints its own time zone; whoever has only curl may be anywhere. */
	if (seconds && gmtime_r(&seconds, &tm) &&
	    strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm))
		bytes_printf(out, "Time: %s\n", when);
}

static void add_totals(const struct table *t, const char *unit, struct unit u, int64_t total,
		       struct bytes *out)
{
	int64_t duration = t->c->duration_ns, shown = 0;
	const char *share;
	struct number s;

	if (duration) {
		s = scaled(duration, unit_for("nanoseconds", (double)magnitude(duration)));
		bytes_printf(out, "Duration: %s, Total samples = %s", s.text,
			     scaled(total, u).text);
		if (total && !strcmp(unit, "nanoseconds"))
			bytes_printf(out, " (%s)", percent(total, duration).text);
		bytes_puts(out, "\n");
	}
	for (size_t i = 0; i < t->entries.n; i++)
		add(&shown, t->entries.data[i].flat);
	s = percent(shown, total);
	share = s.text + strspn(s.text, " ");
	bytes_printf(out, "Showing nodes accounting for %s, %s of %s total\n",
		     scaled(shown, u).text, share, scaled(total, u).text);
}

static int entry_order(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	uint64_t p = magnitude(x->flat), q = magnitude(y->flat);

	return p != q ? (p < q) - (p > q) : strcmp(x->name, y->name);
}

static void add_place(const struct entry *e, struct bytes *out)
{
	if (!*e->place->file)
		return;
	bytes_puts(out, "  ");
	add_clean(out, e->place->file);
	if (e->place->start_line)
		bytes_printf(out, ":%u", e->place->start_line);
	if (e->elsewhere)
		bytes_puts(out, " (and others)");
}

static void add_rows(struct table *t, struct unit u, int64_t total, struct bytes *out)
{
	int64_t sum = 0;

	bytes_printf(out, "%10s %5s%% %5s%% %10s %5s%%\n", "flat", "flat", "sum", "cum", "cum");
	for (size_t i = 0; i < t->entries.n && out->n <= TEXT_MAX_BYTES; i++) {
		const struct entry *e = &t->entries.data[i];
		const char *how = e->called ? " (partial-inline)" : " (inline)";

		if (!e->flat && !e->cum)
			continue;
		add(&sum, e->flat);
		bytes_printf(out, "%10s %s %s %10s %s  %s%s", scaled(e->flat, u).text,
			     percent(e->flat, total).text, percent(sum, total).text,
			     scaled(e->cum, u).text, percent(e->cum, total).text, e->name,
			     e->inlined ? how : "");
		add_place(e, out);
		bytes_puts(out, "\n");
	}
}

static int finish(struct bytes *out, struct bytes *ret)
{
	if (out->bad)
		return -ENOMEM;
	if (out->n > TEXT_MAX_BYTES)
		return -E2BIG;
	*ret = *out;
	*out = (struct bytes)BYTES_INIT;
	return 0;
}

int text_top(const struct capture *c, const struct naming *n, struct bytes *ret)
{
	_cleanup_(deinit) struct table t = { .c = c, .n = n };
	_cleanup_(bytes_deinit) struct bytes out = BYTES_INIT;
	struct profile_value shown;
	int64_t total = 0;
	struct unit u;
	size_t column;
	int r;

	r = init(&t);
	if (r < 0)
		return r;
	column = default_column(c->profile);
	shown = c->profile->values[column];
	for (size_t i = 0; i < c->samples.n; i++) {
		int64_t value = c->samples.data[i].values[column];

		if (!value)
			continue;
		r = add_sample(&t, &c->samples.data[i], value, (uint32_t)i + 1);
		if (r < 0)
			return r;
		add(&total, (int64_t)magnitude(value));
	}
	u = table_unit(&t, shown.unit, total);
	add_head(&t, shown.type, &out);
	add_totals(&t, shown.unit, u, total, &out);
	if (t.entries.n)
		qsort(t.entries.data, t.entries.n, sizeof(*t.entries.data), entry_order);
	add_rows(&t, u, total, &out);
	return finish(&out, ret);
}

/* Folded stacks. A row's frames: the thread's string, then entry << 1 | in the kernel, outermost
 * first. */
struct row {
	size_t first, n;
	int64_t value;
};

struct folded {
	struct table t;
	VEC(uint32_t) frames;
	VEC(struct row) rows;
	struct hash_index index;
};

static void folded_deinit(struct folded *f)
{
	deinit(&f->t);
	vec_deinit(&f->frames);
	vec_deinit(&f->rows);
	hash_deinit(&f->index);
}

static bool row_equal(uint32_t item, const void *key, const void *context)
{
	const struct folded *f = context;
	const struct row *a = &f->rows.data[item], *b = key;

	return a->n == b->n && !memcmp(f->frames.data + a->first, f->frames.data + b->first,
				       a->n * sizeof(*f->frames.data));
}

static uint32_t thread_of(const struct capture *c, const struct capture_sample *s)
{
	struct capture_labels set = { 0, 0 };

	if (s->labels)
		set = c->label_sets.data[s->labels - 1];
	for (uint32_t i = 0; i < set.n; i++) {
		const struct capture_label *l = &c->labels.data[set.first + i];

		if (!strcmp(c->strings.data[l->key], "thread"))
			return l->value;
	}
	return 0;
}

/* Appends the frames of a sample. */
static int unfold(struct folded *f, const struct capture_sample *s)
{
	const struct capture *c = f->t.c;
	struct capture_stack stack = c->stacks.data[s->stack];
	int r;

	r = vec_push(&f->frames, thread_of(c, s));
	for (uint32_t i = stack.n; !r && i > 0; i--) {
		uint64_t word = c->words.data[stack.first + i - 1];
		uint32_t kernel = word >> 56 == PP_FRAME_KERNEL, n, at;
		const struct naming_line *lines;

		lines = naming_lines(f->t.n, naming_find(f->t.n, word), &n);
		for (; !r && n > 0; n--) {
			r = find_entry(&f->t, lines[n - 1].function, &at);
			if (!r)
				r = vec_push(&f->frames, at << 1 | kernel);
		}
	}
	return r;
}

static int fold(struct folded *f, const struct capture_sample *s, size_t column)
{
	struct row row = { f->frames.n, 0, s->values[column] };
	uint32_t at;
	uint64_t h;
	int r;

	r = unfold(f, s);
	if (r < 0)
		return r;
	row.n = f->frames.n - row.first;
	h = hash_bytes(HASH_SEED, f->frames.data + row.first, row.n * sizeof(*f->frames.data));
	at = hash_get(&f->index, h, row_equal, &row, f);
	if (at != HASH_NONE) {
		f->frames.n = row.first;
		add(&f->rows.data[at].value, row.value);
		return 0;
	}
	r = hash_put(&f->index, h, (uint32_t)f->rows.n);
	return r < 0 ? r : vec_push(&f->rows, row);
}

static int row_order(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->value != y->value)
		return x->value < y->value ? 1 : -1;
	return (x->first > y->first) - (x->first < y->first);
}

/* Semicolons behind `at` would look like ends of frames. */
static void no_semicolons(struct bytes *out, size_t at)
{
	for (; at < out->n; at++)
		if (out->data[at] == ';')
			out->data[at] = ':';
}

static void add_row(const struct folded *f, struct row row, struct bytes *out)
{
	const uint32_t *frames = f->frames.data + row.first;
	size_t at = out->n;

	if (frames[0])
		add_clean(out, f->t.c->strings.data[frames[0]]);
	no_semicolons(out, at);
	if (row.n == 1)
		bytes_puts(out, frames[0] ? ";[no stack]" : "[no stack]");
	for (size_t i = 1; i < row.n; i++) {
		if (i > 1 || frames[0])
			bytes_puts(out, ";");
		at = out->n;
		bytes_puts(out, f->t.entries.data[frames[i] >> 1].name);
		no_semicolons(out, at);
		if (frames[i] & 1)
			bytes_puts(out, "_[k]");
	}
	bytes_printf(out, " %lld\n", (long long)row.value);
}

/* Samples where they are what was counted; bytes where there are bytes. */
static size_t folded_column(const struct profile *p)
{
	return p->n_values > 2 ? default_column(p) : 0;
}

int text_folded(const struct capture *c, const struct naming *n, struct bytes *ret)
{
	_cleanup_(folded_deinit) struct folded f = { .t = { .c = c, .n = n } };
	_cleanup_(bytes_deinit) struct bytes out = BYTES_INIT;
	size_t column = folded_column(c->profile);
	int r;

	r = init(&f.t);
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->samples.n; i++) {
		if (!c->samples.data[i].values[column])
			continue;
		r = fold(&f, &c->samples.data[i], column);
		if (r < 0)
			return r;
		/* A frame is at least two bytes of text. */
		if (f.frames.n > TEXT_MAX_BYTES / 2)
			return -E2BIG;
	}
	if (f.rows.n)
		qsort(f.rows.data, f.rows.n, sizeof(*f.rows.data), row_order);
	for (size_t i = 0; i < f.rows.n && out.n <= TEXT_MAX_BYTES; i++)
		if (f.rows.data[i].value)
			add_row(&f, f.rows.data[i], &out);
	return finish(&out, ret);
}
