/* SPDX-License-Identifier: Apache-2.0 */

/* svg.c - a flame graph as a picture that stands alone: no script, no style, nothing fetched. What is called stands on its
 * caller; what it says of each is its tooltip. Colours go by file, paler where a call was inlined.
 *
 * Bounded: of the frames that are at least a third of a pixel wide the SVG_MAX_FRAMES widest; the picture says how many are
 * left out. */

#include <errno.h>
#include <stdio.h>

#include "bpf/event.h"
#include "daemon/serve/format/format.h"
#include "daemon/serve/path.h"
#include "daemon/serve/profile.h"

#define SVG_MAX_FRAMES 10000
#define WIDTH 1200.0
#define MARGIN 10.0
#define ROW 17
#define HEAD 44
#define LETTER 6.7 /* about the width of one */
#define NARROWEST 0.3
#define MAX_NODES (4u << 20)

struct node {
	uint32_t parent, function; /* function: of the naming; UINT32_MAX: the one without a name */
	uint32_t mapping;	   /* + 1; 0: none */
	uint32_t depth;
	bool kernel, inlined;
	int64_t value;
	double x, next; /* from the left; where its next child begins */
};

struct tree {
	const struct capture *c;
	const struct naming *n;
	size_t column;
	VEC(struct node) nodes; /* [0]: all */
	struct hash_index index;
	uint64_t n_below; /* samples that are less than nothing */
	struct bytes out;
};

static void deinit(struct tree *t)
{
	vec_deinit(&t->nodes);
	hash_deinit(&t->index);
	bytes_deinit(&t->out);
}

/* Building */

static bool node_equal(uint32_t item, const void *key, const void *context)
{
	const struct tree *t = context;
	const struct node *a = &t->nodes.data[item], *b = key;

	return a->parent == b->parent && a->function == b->function && a->inlined == b->inlined && a->kernel == b->kernel;
}

/* HASH_NONE: no memory, or too many. */
static uint32_t child(struct tree *t, struct node key)
{
	uint64_t h = hash_u64(HASH_SEED, (uint64_t)key.parent << 32 | key.function);
	uint32_t at = hash_get(&t->index, h, node_equal, &key, t);

	if (at != HASH_NONE)
		return at;
	if (t->nodes.n >= MAX_NODES || hash_put(&t->index, h, (uint32_t)t->nodes.n) < 0 || vec_push(&t->nodes, key) < 0)
		return HASH_NONE;
	return (uint32_t)t->nodes.n - 1;
}

/* What a capture that was kept says is not ours to believe. */
static void grow(struct node *d, int64_t by)
{
	if (__builtin_add_overflow(d->value, by, &d->value))
		d->value = INT64_MAX;
}

static int add_sample(struct tree *t, const struct capture_sample *s)
{
	struct capture_stack stack = t->c->stacks.data[s->stack];
	int64_t value = s->values[t->column];
	uint32_t at = 0;

	grow(&t->nodes.data[0], value);
	for (uint32_t i = stack.n; i > 0; i--) {
		uint64_t word = t->c->words.data[stack.first + i - 1];
		uint32_t location = naming_find(t->n, word), n;
		const struct naming_line *lines = naming_lines(t->n, location, &n);

		for (uint32_t k = n; k > 0; k--) {
			struct node key = { .parent = at,
					    .function = lines[k - 1].function,
					    .mapping = location == UINT32_MAX ? 0 : t->n->locations.data[location].mapping,
					    .depth = t->nodes.data[at].depth + 1,
					    .kernel = word >> 56 == PP_FRAME_KERNEL,
					    .inlined = k < n };

			at = child(t, key);
			if (at == HASH_NONE)
				return -ENOMEM;
			grow(&t->nodes.data[at], value);
		}
	}
	return 0;
}

static int build(struct tree *t)
{
	int r = vec_push(&t->nodes, ((struct node){ .parent = UINT32_MAX, .function = UINT32_MAX }));

	for (size_t i = 0; i < t->c->samples.n && r == 0; i++) {
		int64_t value = t->c->samples.data[i].values[t->column];

		if (value > 0)
			r = add_sample(t, &t->c->samples.data[i]);
		else if (value < 0)
			t->n_below++;
	}
	return r;
}

/* Drawing */

static int order_nodes(const void *x, const void *y, void *context)
{
	const struct tree *t = context;
	const struct node *a = &t->nodes.data[*(const uint32_t *)x], *b = &t->nodes.data[*(const uint32_t *)y];

	if (a->parent != b->parent)
		return a->parent < b->parent ? -1 : 1;
	if (a->value != b->value)
		return a->value > b->value ? -1 : 1;
	return *(const uint32_t *)x < *(const uint32_t *)y ? -1 : 1;
}

static int order_values(const void *x, const void *y)
{
	int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;

	return (a < b) - (a > b);
}

/* The least value that is drawn. */
static int64_t least(const struct tree *t, int64_t *values)
{
	int64_t narrow = (int64_t)((double)t->nodes.data[0].value * NARROWEST / (WIDTH - 2 * MARGIN));
	size_t n = 0;

	for (size_t i = 1; i < t->nodes.n; i++)
		if (t->nodes.data[i].value >= narrow)
			values[n++] = t->nodes.data[i].value;
	if (n <= SVG_MAX_FRAMES)
		return narrow;
	qsort(values, n, sizeof(*values), order_values);
	return values[SVG_MAX_FRAMES - 1] + 1; /* of equal ones all or none */
}

/* XML has no place for some of what UTF-8 can say. */
static void add_text(struct bytes *b, const char *text, size_t letters)
{
	char *copy = malloc(strlen(text) + 1), *end;

	if (!copy) {
		b->bad = true;
		return;
	}
	utf8_copy(copy, strlen(text) + 1, text, strlen(text));
	for (char *s = copy; (s = strstr(s, "\xef\xbf")); s += 2)
		if ((unsigned char)s[2] >= 0xbe)
			memcpy(s, "???", 3);
	for (end = copy; *end && letters > 0; letters--)
		while ((*++end & 0xc0) == 0x80)
			;
	if (*end) {
		*end = '\0';
		path_escape_html(b, copy);
		bytes_puts(b, "..");
	} else {
		path_escape_html(b, copy);
	}
	free(copy);
}

static void add_value(struct bytes *b, const char *unit, int64_t v)
{
	static const struct {
		const char *unit, *name;
		double factor;
	} units[] = { { "nanoseconds", "s", 1e9 },   { "nanoseconds", "ms", 1e6 }, { "nanoseconds", "us", 1e3 },
		      { "nanoseconds", "ns", 1 },    { "bytes", "GB", 1 << 30 },   { "bytes", "MB", 1 << 20 },
		      { "bytes", "kB", 1 << 10 },    { "bytes", "B", 1 } };

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(unit, units[i].unit) || ((double)v < units[i].factor && units[i].factor > 1))
			continue;
		bytes_printf(b, units[i].factor > 1 ? "%.2f %s" : "%.0f %s", (double)v / units[i].factor, units[i].name);
		return;
	}
	bytes_printf(b, "%lld", (long long)v);
}

/* Of files, told apart by most eyes; the kernel is grey. */
static void add_colour(struct bytes *b, const struct node *d)
{
	static const unsigned char colours[][3] = { { 230, 159, 0 },   { 86, 180, 233 }, { 240, 228, 66 },  { 0, 158, 115 },
						    { 204, 121, 167 }, { 213, 140, 90 }, { 110, 160, 210 }, { 170, 200, 120 } };
	static const unsigned char grey[3] = { 187, 187, 187 };
	const unsigned char *c = d->kernel ? grey : colours[(d->mapping + 7) % (sizeof(colours) / sizeof(colours[0]))];
	int paler = d->inlined ? 2 : 1;

	bytes_printf(b, "#%02x%02x%02x", 255 - (255 - c[0]) / paler, 255 - (255 - c[1]) / paler, 255 - (255 - c[2]) / paler);
}

static void add_frame(struct tree *t, const struct node *d, double height)
{
	const struct naming_function *f = naming_function(t->n, d->function);
	const struct profile_value *v = &t->c->profile->values[t->column];
	double all = (double)t->nodes.data[0].value, width = (WIDTH - 2 * MARGIN) * (double)d->value / all;
	const char *name = d->depth ? f->name : "all";
	double y = height - MARGIN - ROW * (d->depth + 1);
	struct bytes *b = &t->out;

	bytes_puts(b, "<g><title>");
	add_text(b, name, SIZE_MAX);
	bytes_puts(b, d->inlined ? " (inlined)\n" : "\n");
	if (d->depth && *f->file) {
		add_text(b, f->file, SIZE_MAX);
		if (f->start_line)
			bytes_printf(b, ":%u", f->start_line);
		bytes_puts(b, "\n");
	}
	if (d->mapping) {
		add_text(b, t->n->mappings.data[d->mapping - 1].file, SIZE_MAX);
		bytes_puts(b, "\n");
	}
	add_value(b, v->unit, d->value);
	bytes_printf(b, " (%.2f %%)</title><rect x=\"%.1f\" y=\"%.0f\" width=\"%.1f\" height=\"%d\" rx=\"1\" fill=\"",
		     100 * (double)d->value / all, d->x, y, width, ROW - 1);
	add_colour(b, d);
	bytes_puts(b, "\"/>");
	if (width > 3 * LETTER) {
		bytes_printf(b, "<text x=\"%.1f\" y=\"%.0f\">", d->x + 3, y + ROW - 5);
		add_text(b, name, (size_t)((width - 6) / LETTER));
		bytes_puts(b, "</text>");
	}
	bytes_puts(b, "</g>\n");
}

static void add_head(struct tree *t, const char *title, size_t n_left_out, double height)
{
	const struct profile_value *v = &t->c->profile->values[t->column];
	struct bytes *b = &t->out;

	bytes_printf(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" "
			"width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" font-family=\"monospace\" font-size=\"11\">\n"
			"<rect width=\"%.0f\" height=\"%.0f\" fill=\"#ffffff\"/>\n<text x=\"10\" y=\"18\" font-size=\"14\">",
		     WIDTH, height, WIDTH, height, WIDTH, height);
	add_text(b, title, 100);
	bytes_puts(b, *title ? ": " : "");
	add_text(b, v->type, 60);
	bytes_puts(b, " ");
	add_value(b, v->unit, t->nodes.data[0].value);
	bytes_puts(b, "</text>\n<text x=\"10\" y=\"34\" fill=\"#555555\">");
	if (!t->nodes.data[0].value)
		bytes_puts(b, "nothing was seen. ");
	if (n_left_out)
		bytes_printf(b, "%zu frames are too narrow to be drawn. ", n_left_out);
	if (t->n_below)
		bytes_printf(b, "%llu stacks of which there is less than before are left out.", (unsigned long long)t->n_below);
	bytes_puts(b, "</text>\n");
}

/* Where each begins: they are in order of their parents, which come before them. */
static uint32_t place(struct tree *t, const uint32_t *order, int64_t limit, size_t *ret_left_out)
{
	double scale = (WIDTH - 2 * MARGIN) / (double)(t->nodes.data[0].value ? t->nodes.data[0].value : 1);
	uint32_t deepest = 0;

	t->nodes.data[0].x = t->nodes.data[0].next = MARGIN;
	*ret_left_out = 0;
	for (size_t i = 0; i + 1 < t->nodes.n; i++) {
		struct node *d = &t->nodes.data[order[i]], *parent = &t->nodes.data[d->parent];

		d->x = d->next = parent->next;
		parent->next += scale * (double)d->value;
		if (d->value < limit)
			++*ret_left_out;
		else if (d->depth > deepest)
			deepest = d->depth;
	}
	return deepest;
}

static int draw(struct tree *t, const char *title)
{
	_cleanup_(freep) uint32_t *order = malloc(t->nodes.n * sizeof(*order));
	_cleanup_(freep) int64_t *values = malloc(t->nodes.n * sizeof(*values));
	size_t n_left_out;
	double height;
	int64_t limit;

	if (!order || !values)
		return -ENOMEM;
	for (uint32_t i = 1; i < t->nodes.n; i++)
		order[i - 1] = i;
	qsort_r(order, t->nodes.n - 1, sizeof(*order), order_nodes, t);
	limit = least(t, values);
	height = HEAD + MARGIN + ROW * (double)(place(t, order, limit, &n_left_out) + 1);
	add_head(t, title, n_left_out, height);
	for (size_t i = 0; i < t->nodes.n && t->nodes.data[0].value && t->out.n <= FORMAT_MAX_BYTES; i++)
		if (!i || t->nodes.data[i].value >= limit)
			add_frame(t, &t->nodes.data[i], height);
	bytes_puts(&t->out, "</svg>\n");
	return 0;
}

int format_svg(const struct capture *c, const struct naming *n, const char *title, struct bytes *ret)
{
	_cleanup_(deinit) struct tree t = { .c = c, .n = n };
	int r;

	if (!c->profile->n_values)
		return -EINVAL;
	t.column = format_column(c->profile);
	r = build(&t);
	if (r == 0)
		r = draw(&t, title);
	return r < 0 ? r : format_finish(&t.out, ret);
}
