/* SPDX-License-Identifier: Apache-2.0 */

/* firefox.c - the processed profile format of the Firefox Profiler, version 48: tables of numbers, one set for each thread.
 *
 * It has one weight a sample: the default sample type. A profile of ours tells how much, not when, so a thread's samples
 * stand one behind the other, each as long as it weighs. What is inlined is told by its depth, what is the kernel's by its
 * category. Threads are those of the label of that name, FIREFOX_MAX_THREADS at most; the rest are one. */

#include <errno.h>
#include <stdio.h>

#include "bpf/event.h"
#include "daemon/serve/format/format.h"
#include "daemon/serve/json.h"
#include "daemon/serve/profile.h"

#define VERSION 48
#define FIREFOX_MAX_THREADS 256

enum category { USER, KERNEL };

struct frame {
	uint32_t location, line; /* of the naming; the line of the location */
	uint32_t depth;		 /* 0: what is really there; else inlined into that */
	bool kernel;
};

struct stack {
	uint32_t prefix, frame; /* prefix HASH_NONE: none */
};

struct sample {
	uint32_t stack;
	int64_t weight;
};

/* The tables of one thread. */
struct tables {
	VEC(uint32_t) functions; /* of the naming */
	uint32_t *function_at;	 /* the other way: + 1 */
	VEC(struct frame) frames;
	struct hash_index frame_index;
	VEC(struct stack) stacks;
	struct hash_index stack_index;
	VEC(struct sample) samples;
};

struct writer {
	const struct capture *c;
	const struct naming *n;
	size_t column;
	const char *weight_type;
	double unit; /* of a weight, in what is written */
	uint32_t *mapping_of; /* by function of the naming, + 1: of a location that has it */
	uint32_t *thread_of;  /* by string of the capture: thread + 1 */
	VEC(uint32_t) threads; /* strings; the last may stand for the rest */
	uint32_t *of_sample;   /* threads */
	struct bytes out;
};

static void tables_deinit(struct tables *t)
{
	vec_deinit(&t->functions);
	free(t->function_at);
	vec_deinit(&t->frames);
	hash_deinit(&t->frame_index);
	vec_deinit(&t->stacks);
	hash_deinit(&t->stack_index);
	vec_deinit(&t->samples);
}

static void deinit(struct writer *w)
{
	free(w->mapping_of);
	free(w->thread_of);
	free(w->of_sample);
	vec_deinit(&w->threads);
	bytes_deinit(&w->out);
}

/* A function's number here; the one without a name comes last in the naming. */
static int take_function(const struct writer *w, struct tables *t, uint32_t function)
{
	uint32_t at = function == UINT32_MAX ? (uint32_t)w->n->functions.n : function;

	if (t->function_at[at])
		return 0;
	if (vec_push(&t->functions, at) < 0)
		return -ENOMEM;
	t->function_at[at] = (uint32_t)t->functions.n;
	return 0;
}

static bool frame_equal(uint32_t item, const void *key, const void *context)
{
	const struct tables *t = context;

	return !memcmp(&t->frames.data[item], key, sizeof(struct frame));
}

static bool stack_equal(uint32_t item, const void *key, const void *context)
{
	const struct tables *t = context;

	return !memcmp(&t->stacks.data[item], key, sizeof(struct stack));
}

/* HASH_NONE: no memory. */
static uint32_t take_frame(struct tables *t, const struct frame *f)
{
	uint64_t h = hash_u64(hash_u64(HASH_SEED, f->location), f->line);
	uint32_t at = hash_get(&t->frame_index, h, frame_equal, f, t);

	if (at != HASH_NONE)
		return at;
	if (hash_put(&t->frame_index, h, (uint32_t)t->frames.n) < 0 || vec_push(&t->frames, *f) < 0)
		return HASH_NONE;
	return (uint32_t)t->frames.n - 1;
}

static uint32_t take_stack(struct tables *t, uint32_t prefix, uint32_t frame)
{
	struct stack s = { prefix, frame };
	uint64_t h = hash_u64(HASH_SEED, (uint64_t)prefix << 32 | frame);
	uint32_t at = hash_get(&t->stack_index, h, stack_equal, &s, t);

	if (at != HASH_NONE)
		return at;
	if (hash_put(&t->stack_index, h, (uint32_t)t->stacks.n) < 0 || vec_push(&t->stacks, s) < 0)
		return HASH_NONE;
	return (uint32_t)t->stacks.n - 1;
}

static int take_sample(const struct writer *w, struct tables *t, const struct capture_sample *s)
{
	struct capture_stack stack = w->c->stacks.data[s->stack];
	uint32_t at = HASH_NONE;

	for (uint32_t i = stack.n; i > 0; i--) {
		uint64_t word = w->c->words.data[stack.first + i - 1];
		uint32_t location = naming_find(w->n, word), n;
		const struct naming_line *lines = naming_lines(w->n, location, &n);

		for (uint32_t k = n; k > 0; k--) {
			struct frame f;

			memset(&f, 0, sizeof(f)); /* it is compared as a whole */
			f.location = location;
			f.line = k - 1;
			f.depth = n - k;
			f.kernel = word >> 56 == PP_FRAME_KERNEL;
			if (take_function(w, t, lines[k - 1].function) < 0)
				return -ENOMEM;
			at = take_stack(t, at, take_frame(t, &f));
			if (at == HASH_NONE)
				return -ENOMEM;
		}
	}
	return vec_push(&t->samples, ((struct sample){ at, s->values[w->column] }));
}

/* Writing */

/* One more member: an array of what is written for each i of n. */
#define COLUMN(b, key, count, ...)                                                                                           \
	do {                                                                                                               \
		bytes_puts(b, ",\"" key "\":[");                                                                           \
		for (size_t i = 0; i < (count) && (b)->n <= FORMAT_MAX_BYTES; i++) {                                           \
			if (i)                                                                                             \
				bytes_puts(b, ",");                                                                        \
			__VA_ARGS__;                                                                                       \
		}                                                                                                          \
		bytes_puts(b, "]");                                                                                        \
	} while (0)

static void number_or_null(struct bytes *b, uint32_t v)
{
	if (v)
		bytes_printf(b, "%u", v);
	else
		bytes_puts(b, "null");
}

static const struct naming_line *line_of(const struct writer *w, const struct frame *f)
{
	uint32_t n;

	return &naming_lines(w->n, f->location, &n)[f->line];
}

/* As an offset in its library. */
static void add_address(const struct writer *w, struct bytes *b, const struct frame *f)
{
	const struct naming_location *l = f->location == UINT32_MAX ? NULL : &w->n->locations.data[f->location];
	uint64_t start = l && l->mapping ? w->n->mappings.data[l->mapping - 1].start : 0;

	if (l && l->mapping && l->address >= start && l->address - start < 1ull << 53)
		bytes_printf(b, "%llu", (unsigned long long)(l->address - start));
	else
		bytes_puts(b, "-1");
}

static void add_frames(const struct writer *w, const struct tables *t, struct bytes *b)
{
	const struct frame *f = t->frames.data;
	size_t n = t->frames.n;

	bytes_printf(b, ",\n\"frameTable\":{\"length\":%zu", n);
	COLUMN(b, "address", n, add_address(w, b, &f[i]));
	COLUMN(b, "inlineDepth", n, bytes_printf(b, "%u", f[i].depth));
	COLUMN(b, "category", n, bytes_printf(b, "%d", f[i].kernel ? KERNEL : USER));
	COLUMN(b, "subcategory", n, bytes_puts(b, "0"));
	COLUMN(b, "func", n, {
		uint32_t function = line_of(w, &f[i])->function;

		bytes_printf(b, "%u", t->function_at[function == UINT32_MAX ? w->n->functions.n : function] - 1);
	});
	COLUMN(b, "nativeSymbol", n, bytes_puts(b, "null"));
	COLUMN(b, "innerWindowID", n, bytes_puts(b, "null"));
	COLUMN(b, "implementation", n, bytes_puts(b, "null"));
	COLUMN(b, "line", n, number_or_null(b, line_of(w, &f[i])->line));
	COLUMN(b, "column", n, bytes_puts(b, "null"));
	bytes_puts(b, "}");
}

/* Strings: of each function its name and its file, then the names of the mappings. */
static void add_functions(const struct writer *w, const struct tables *t, struct bytes *b)
{
	const uint32_t *f = t->functions.data;
	size_t n = t->functions.n, n_mappings = w->n->mappings.n;

	bytes_printf(b, ",\n\"funcTable\":{\"length\":%zu", n);
	COLUMN(b, "name", n, bytes_printf(b, "%zu", 2 * i));
	COLUMN(b, "isJS", n, bytes_puts(b, "false"));
	COLUMN(b, "relevantForJS", n, bytes_puts(b, "false"));
	COLUMN(b, "resource", n, bytes_printf(b, "%d", (int)w->mapping_of[f[i]] - 1));
	COLUMN(b, "fileName", n, {
		if (f[i] < w->n->functions.n && *w->n->functions.data[f[i]].file)
			bytes_printf(b, "%zu", 2 * i + 1);
		else
			bytes_puts(b, "null");
	});
	COLUMN(b, "lineNumber", n, number_or_null(b, f[i] < w->n->functions.n ? w->n->functions.data[f[i]].start_line : 0));
	COLUMN(b, "columnNumber", n, bytes_puts(b, "null"));
	bytes_printf(b, "},\n\"resourceTable\":{\"length\":%zu", n_mappings);
	COLUMN(b, "lib", n_mappings, bytes_printf(b, "%zu", i));
	COLUMN(b, "name", n_mappings, bytes_printf(b, "%zu", 2 * n + i));
	COLUMN(b, "host", n_mappings, bytes_puts(b, "null"));
	COLUMN(b, "type", n_mappings, bytes_puts(b, "1"));
	bytes_puts(b, "},\n\"nativeSymbols\":{\"length\":0,\"libIndex\":[],\"address\":[],\"name\":[],\"functionSize\":[]}");
	COLUMN(b, "stringArray", 2 * n + n_mappings, {
		const struct naming_function *g =
			i < 2 * n ? naming_function(w->n, f[i / 2] < w->n->functions.n ? f[i / 2] : UINT32_MAX) : NULL;

		json_string(b, !g ? w->n->mappings.data[i - 2 * n].file : i % 2 ? g->file : g->name);
	});
}

static void add_samples(const struct writer *w, const struct tables *t, struct bytes *b)
{
	const struct sample *s = t->samples.data;
	const struct stack *k = t->stacks.data;
	double time = 0;

	bytes_printf(b, ",\n\"stackTable\":{\"length\":%zu", t->stacks.n);
	COLUMN(b, "prefix", t->stacks.n, {
		if (k[i].prefix == HASH_NONE)
			bytes_puts(b, "null");
		else
			bytes_printf(b, "%u", k[i].prefix);
	});
	COLUMN(b, "frame", t->stacks.n, bytes_printf(b, "%u", k[i].frame));
	COLUMN(b, "category", t->stacks.n, bytes_printf(b, "%d", t->frames.data[k[i].frame].kernel ? KERNEL : USER));
	COLUMN(b, "subcategory", t->stacks.n, bytes_puts(b, "0"));
	bytes_printf(b, "},\n\"samples\":{\"length\":%zu,\"weightType\":\"%s\"", t->samples.n, w->weight_type);
	COLUMN(b, "stack", t->samples.n, {
		if (s[i].stack == HASH_NONE)
			bytes_puts(b, "null");
		else
			bytes_printf(b, "%u", s[i].stack);
	});
	COLUMN(b, "weight", t->samples.n, bytes_printf(b, "%.15g", (double)s[i].weight / w->unit));
	COLUMN(b, "time", t->samples.n, {
		bytes_printf(b, "%.9f", time);
		time += w->unit > 1 && s[i].weight > 0 ? (double)s[i].weight / w->unit : 1;
	});
	bytes_puts(b, "}");
}

static void add_thread(const struct writer *w, const struct tables *t, uint32_t thread, const char *title, struct bytes *b)
{
	const char *name = thread < w->c->strings.n ? w->c->strings.data[thread] : "other threads";
	bool is_main = thread == w->threads.data[0];

	bytes_puts(b, "{\"name\":");
	json_string(b, *name ? name : *title ? title : "all threads");
	bytes_puts(b, ",\"processName\":");
	json_string(b, title);
	bytes_printf(b, ",\"isMainThread\":%s,\"processType\":\"default\",\"processStartupTime\":0,\"processShutdownTime\":null,"
			"\"registerTime\":0,\"unregisterTime\":null,\"pausedRanges\":[],\"pid\":\"1\",\"tid\":%u,"
			"\"showMarkersInTimeline\":false",
		     is_main ? "true" : "false", thread + 1);
	bytes_puts(b, ",\"markers\":{\"length\":0,\"data\":[],\"name\":[],\"startTime\":[],\"endTime\":[],\"phase\":[],"
		      "\"category\":[]}");
	add_samples(w, t, b);
	add_frames(w, t, b);
	add_functions(w, t, b);
	bytes_puts(b, "}");
}

static void add_meta(const struct writer *w, const char *title, struct bytes *b)
{
	double interval = w->unit > 1 && w->c->period > 0 ? (double)w->c->period / w->unit : 1;

	bytes_printf(b, "{\"meta\":{\"version\":27,\"preprocessedProfileVersion\":%d,\"interval\":%.9g,\"startTime\":%.3f,"
			"\"processType\":0,\"product\":",
		     VERSION, interval, (double)w->c->time_ns / 1e6);
	json_string(b, *title ? title : "pprofd");
	bytes_puts(b, ",\"importedFrom\":\"pprofd\",\"abi\":\"\",\"misc\":\"\",\"oscpu\":\"\",\"platform\":\"Linux\",\"toolkit\":\"\","
		      "\"stackwalk\":1,\"debug\":false,\"symbolicated\":true,\"usesOnlyOneStackType\":true,"
		      "\"doesNotUseFrameImplementation\":true,\"sourceCodeIsNotOnSearchfox\":true,"
		      "\"extensions\":{\"length\":0,\"baseURL\":[],\"id\":[],\"name\":[]},\"markerSchema\":[],\"categories\":["
		      "{\"name\":\"User\",\"color\":\"yellow\",\"subcategories\":[\"Other\"]},"
		      "{\"name\":\"Kernel\",\"color\":\"orange\",\"subcategories\":[\"Other\"]},"
		      "{\"name\":\"Other\",\"color\":\"grey\",\"subcategories\":[\"Other\"]}]}");
	COLUMN(b, "libs", w->n->mappings.n, {
		const struct naming_mapping *m = &w->n->mappings.data[i];
		const char *base = strrchr(m->file, '/');

		bytes_puts(b, "\n{\"arch\":\"\",\"breakpadId\":\"\",\"name\":");
		json_string(b, base ? base + 1 : m->file);
		bytes_puts(b, ",\"debugName\":");
		json_string(b, base ? base + 1 : m->file);
		bytes_puts(b, ",\"path\":");
		json_string(b, m->file);
		bytes_puts(b, ",\"debugPath\":");
		json_string(b, m->file);
		bytes_puts(b, ",\"codeId\":");
		if (*m->build_id)
			json_string(b, m->build_id);
		else
			bytes_puts(b, "null");
		bytes_puts(b, "}");
	});
}

/* Which threads there are, and which mapping a function is in. */
static int prepare(struct writer *w)
{
	w->mapping_of = calloc(w->n->functions.n + 1, sizeof(*w->mapping_of));
	w->thread_of = calloc(w->c->strings.n + 1, sizeof(*w->thread_of));
	w->of_sample = calloc(w->c->samples.n + 1, sizeof(*w->of_sample));
	if (!w->mapping_of || !w->thread_of || !w->of_sample)
		return -ENOMEM;
	for (size_t i = 0; i < w->n->locations.n; i++) {
		uint32_t n, mapping = w->n->locations.data[i].mapping;
		const struct naming_line *lines = naming_lines(w->n, (uint32_t)i, &n);

		for (uint32_t k = 0; k < n; k++)
			if (lines[k].function != UINT32_MAX && !w->mapping_of[lines[k].function])
				w->mapping_of[lines[k].function] = mapping;
	}
	for (size_t i = 0; i < w->c->samples.n; i++) {
		uint32_t thread = format_label(w->c, &w->c->samples.data[i], "thread");
		bool last = w->threads.n + 1 >= FIREFOX_MAX_THREADS;

		if (!w->thread_of[thread]) {
			if (w->threads.n < FIREFOX_MAX_THREADS &&
			    vec_push(&w->threads, last ? (uint32_t)w->c->strings.n : thread) < 0)
				return -ENOMEM;
			w->thread_of[thread] = (uint32_t)w->threads.n;
		}
		w->of_sample[i] = w->thread_of[thread] - 1;
	}
	return w->threads.n ? 0 : vec_push(&w->threads, 0);
}

static int write_thread(struct writer *w, uint32_t index, const char *title)
{
	_cleanup_(tables_deinit) struct tables t = { .function_at = calloc(w->n->functions.n + 1, sizeof(*t.function_at)) };
	int r = t.function_at ? 0 : -ENOMEM;

	for (size_t i = 0; i < w->c->samples.n && r == 0; i++) {
		const struct capture_sample *s = &w->c->samples.data[i];

		if (s->values[w->column] && w->of_sample[i] == index)
			r = take_sample(w, &t, s);
	}
	if (r == 0)
		add_thread(w, &t, w->threads.data[index], title, &w->out);
	return r;
}

static void set_unit(struct writer *w)
{
	const char *unit = w->c->profile->values[w->column].unit;

	w->unit = !strcmp(unit, "nanoseconds") ? 1e6 : 1;
	w->weight_type = w->unit > 1 ? "tracing-ms" : !strcmp(unit, "bytes") ? "bytes" : "samples";
}

int format_firefox(const struct capture *c, const struct naming *n, const char *title, struct bytes *ret)
{
	_cleanup_(deinit) struct writer w = { .c = c, .n = n };
	int r;

	if (!c->profile->n_values)
		return -EINVAL;
	w.column = format_column(c->profile);
	set_unit(&w);
	r = prepare(&w);
	if (r < 0)
		return r;
	add_meta(&w, title, &w.out);
	bytes_puts(&w.out, ",\n\"pages\":[],\"counters\":[],\"profilerOverhead\":[],\"profilingLog\":{},\"threads\":[");
	for (uint32_t i = 0; i < w.threads.n && r == 0 && w.out.n <= FORMAT_MAX_BYTES; i++) {
		bytes_puts(&w.out, i ? ",\n" : "\n");
		r = write_thread(&w, i, title);
	}
	bytes_puts(&w.out, "]}\n");
	return r < 0 ? r : format_finish(&w.out, ret);
}
