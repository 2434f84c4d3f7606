/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/encode.h"

#include <assert.h>
#include <errno.h>
#include <zlib.h>

#include "daemon/serve/profile.h"
#include "proto/profile.pb-c.h"

#define GZIP_LEVEL 1 /* as Go's runtime does */
#define CHUNK (64ul << 10)

/* A profile in the making. Everything lives until the bytes are written. `bad` is sticky: no
 * memory. */
struct encoder {
	const struct capture *c;
	const struct naming *n;
	VEC(char) text;	     /* of the string table, one NUL-terminated string behind the other */
	VEC(size_t) strings; /* where each begins */
	struct hash_index string_index;
	uint64_t *ids;		/* of locations, in the places of c->words */
	bool *known;		/* by stack: its ids are set */
	uint32_t *location_ids; /* by naming location, last the unnamed one; 0: not used yet */
	uint32_t *function_ids; /* by naming function, the same */
	VEC(uint32_t) used;	/* naming locations in the order of their ids */
	VEC(Perftools__Profiles__Function) functions;
	struct hash_index function_index;
	VEC(void *) blocks;
	bool bad;
};

static void deinit(struct encoder *e)
{
	for (size_t i = 0; i < e->blocks.n; i++)
		free(e->blocks.data[i]);
	vec_deinit(&e->blocks);
	vec_deinit(&e->text);
	vec_deinit(&e->strings);
	vec_deinit(&e->used);
	vec_deinit(&e->functions);
	hash_deinit(&e->string_index);
	hash_deinit(&e->function_index);
}

/* Zeroed room until the end; NULL: no memory, and then bad. */
static void *block(struct encoder *e, size_t n, size_t size)
{
	void *p = vec_reserve(&e->blocks, e->blocks.n + 1) < 0 ? NULL : calloc(n ? n : 1, size);

	if (!p)
		e->bad = true;
	else
		e->blocks.data[e->blocks.n++] = p;
	return p;
}

/* n messages in one block, and the array of pointers to them that protobuf-c wants. */
#define MESSAGES(e, count, items, pointers)                                                        \
	({                                                                                         \
		(items) = block((e), (count), sizeof(*(items)));                                   \
		(pointers) = block((e), (count), sizeof(*(pointers)));                             \
		for (size_t _i = 0; !(e)->bad && _i < (count); _i++)                               \
			(pointers)[_i] = &(items)[_i];                                             \
		!(e)->bad;                                                                         \
	})

static bool string_equal(uint32_t item, const void *key, const void *context)
{
	const struct encoder *e = context;

	return !strcmp(e->text.data + e->strings.data[item], key);
}

/* The index of a string in the table. It is cleaned before it is looked up, so that the table has
 * no two equal ones. */
static int64_t string(struct encoder *e, const char *s)
{
	size_t n = s ? strlen(s) : 0;
	uint32_t at;
	char *copy;
	uint64_t h;

	if (e->bad || vec_reserve(&e->text, e->text.n + n + 1) < 0)
		goto no_memory;
	copy = e->text.data + e->text.n;
	n = utf8_copy(copy, n + 1, s ? s : "", n);
	h = hash_bytes(HASH_SEED, copy, n);
	at = hash_get(&e->string_index, h, string_equal, copy, e);
	if (at != HASH_NONE)
		return at;
	at = (uint32_t)e->strings.n;
	if (vec_push(&e->strings, e->text.n) < 0 || hash_put(&e->string_index, h, at) < 0)
		goto no_memory;
	e->text.n += n + 1;
	return at;

no_memory:
	e->bad = true;
	return 0;
}

static bool function_equal(uint32_t item, const void *key, const void *context)
{
	const struct encoder *e = context;
	const Perftools__Profiles__Function *a = &e->functions.data[item], *b = key;

	return a->name == b->name && a->system_name == b->system_name &&
	       a->filename == b->filename && a->start_line == b->start_line;
}

/* Several naming functions may be one: two units of a program, each with a copy. */
static uint64_t function_id(struct encoder *e, uint32_t index)
{
	const struct naming_function *f = naming_function(e->n, index);
	Perftools__Profiles__Function m = PERFTOOLS__PROFILES__FUNCTION__INIT;
	uint32_t at;
	uint64_t h;

	if (index == UINT32_MAX)
		index = (uint32_t)e->n->functions.n;
	if (e->function_ids[index])
		return e->function_ids[index];

	m.name = string(e, f->name);
	m.system_name = string(e, f->system_name);
	m.filename = string(e, f->file);
	m.start_line = f->start_line;
	h = hash_u64(HASH_SEED, (uint64_t)m.name << 32 | (uint64_t)m.system_name);
	h = hash_u64(h, (uint64_t)m.filename << 32 | f->start_line);
	at = hash_get(&e->function_index, h, function_equal, &m, e);
	if (at == HASH_NONE) {
		at = (uint32_t)e->functions.n;
		m.id = at + 1;
		if (vec_push(&e->functions, m) < 0 || hash_put(&e->function_index, h, at) < 0)
			e->bad = true;
	}
	e->function_ids[index] = at + 1;
	return at + 1;
}

/* Gives every location of a stack its id. */
static void add_stack(struct encoder *e, uint32_t stack)
{
	struct capture_stack s = e->c->stacks.data[stack];

	if (e->known[stack])
		return;
	for (uint32_t i = s.first; i < s.first + s.n; i++) {
		uint32_t location = naming_find(e->n, e->c->words.data[i]);
		uint32_t *id = &e->location_ids[e->n->locations.n];

		if (location != UINT32_MAX)
			id = &e->location_ids[location];
		if (!*id) {
			if (vec_push(&e->used, location) < 0)
				e->bad = true;
			*id = (uint32_t)e->used.n;
		}
		e->ids[i] = *id;
	}
	e->known[stack] = true;
}

/* Samples of the same stack share its ids, those of the same label set its labels. */
static void build_samples(struct encoder *e, Perftools__Profiles__Profile *p)
{
	const struct capture *c = e->c;
	Perftools__Profiles__Label *labels, **label_pointers;
	Perftools__Profiles__Sample *items;

	e->ids = block(e, c->words.n, sizeof(*e->ids));
	e->known = block(e, c->stacks.n, sizeof(*e->known));
	if (!MESSAGES(e, c->labels.n, labels, label_pointers) ||
	    !MESSAGES(e, c->samples.n, items, p->sample))
		return;
	for (size_t i = 0; i < c->labels.n; i++)
		perftools__profiles__label__init(&labels[i]);

	for (size_t i = 0; i < c->samples.n; i++) {
		const struct capture_sample *s = &c->samples.data[i];
		struct capture_stack stack = c->stacks.data[s->stack];
		struct capture_labels set = { 0, 0 };

		if (s->labels)
			set = c->label_sets.data[s->labels - 1];
		for (uint32_t k = set.first; k < set.first + set.n && !labels[k].key; k++) {
			const struct capture_label *l = &c->labels.data[k];

			labels[k].key = string(e, c->strings.data[l->key]);
			labels[k].str = string(e, c->strings.data[l->value]);
			labels[k].num = l->value ? 0 : l->number;
		}
		add_stack(e, s->stack);
		perftools__profiles__sample__init(&items[i]);
		items[i].n_location_id = stack.n;
		items[i].location_id = e->ids + stack.first;
		items[i].n_value = c->profile->n_values;
		items[i].value = (int64_t *)s->values; /* packing only reads it */
		items[i].n_label = set.n;
		items[i].label = label_pointers + set.first;
	}
	p->n_sample = c->samples.n;
}

static void build_locations(struct encoder *e, Perftools__Profiles__Profile *p)
{
	Perftools__Profiles__Line *lines, **line_pointers;
	Perftools__Profiles__Location *items;
	size_t n_lines = 0, at = 0;
	uint32_t n;

	for (size_t i = 0; i < e->used.n; i++) {
		naming_lines(e->n, e->used.data[i], &n);
		n_lines += n;
	}
	if (!MESSAGES(e, n_lines, lines, line_pointers) ||
	    !MESSAGES(e, e->used.n, items, p->location))
		return;

	for (size_t i = 0; i < e->used.n; i++) {
		const struct naming_line *from = naming_lines(e->n, e->used.data[i], &n);

		perftools__profiles__location__init(&items[i]);
		items[i].id = i + 1;
		items[i].n_line = n;
		items[i].line = line_pointers + at;
		if (e->used.data[i] != UINT32_MAX) {
			const struct naming_location *l = &e->n->locations.data[e->used.data[i]];

			assert(l->mapping <= e->n->mappings.n);
			items[i].address = l->address;
			items[i].mapping_id = l->mapping;
		}
		for (uint32_t k = 0; k < n; k++, at++) {
			perftools__profiles__line__init(&lines[at]);
			lines[at].function_id = function_id(e, from[k].function);
			lines[at].line = from[k].line;
		}
	}
	p->n_location = e->used.n;
}

static void build_functions(struct encoder *e, Perftools__Profiles__Profile *p)
{
	p->function = block(e, e->functions.n, sizeof(*p->function));
	if (e->bad)
		return;
	for (size_t i = 0; i < e->functions.n; i++)
		p->function[i] = &e->functions.data[i];
	p->n_function = e->functions.n;
}

static void build_mappings(struct encoder *e, Perftools__Profiles__Profile *p)
{
	Perftools__Profiles__Mapping *items;

	if (!MESSAGES(e, e->n->mappings.n, items, p->mapping))
		return;
	for (size_t i = 0; i < e->n->mappings.n; i++) {
		const struct naming_mapping *m = &e->n->mappings.data[i];

		perftools__profiles__mapping__init(&items[i]);
		items[i].id = i + 1;
		items[i].memory_start = m->start;
		items[i].memory_limit = m->limit;
		items[i].file_offset = m->offset;
		items[i].filename = string(e, m->file);
		items[i].build_id = string(e, m->build_id);
		/* Always: without it a client opens a file of that name on its own machine and
		 * overwrites our lines (go-endpoints.md 3.1). */
		items[i].has_functions = true;
		items[i].has_filenames = m->has_file_names;
		items[i].has_line_numbers = m->has_line_numbers;
		items[i].has_inline_frames = m->has_inline_frames;
	}
	p->n_mapping = e->n->mappings.n;
}

static void set_value_type(struct encoder *e, Perftools__Profiles__ValueType *m,
			   struct profile_value v)
{
	perftools__profiles__value_type__init(m);
	m->type = string(e, v.type);
	m->unit = string(e, v.unit);
}

static void build_head(struct encoder *e, Perftools__Profiles__Profile *p)
{
	const struct profile *kind = e->c->profile;
	Perftools__Profiles__ValueType *items;

	string(e, ""); /* string_table[0] */
	if (!MESSAGES(e, kind->n_values, items, p->sample_type))
		return;
	for (size_t i = 0; i < kind->n_values; i++)
		set_value_type(e, &items[i], kind->values[i]);
	p->n_sample_type = kind->n_values;

	p->period_type = block(e, 1, sizeof(*p->period_type));
	p->comment = block(e, e->c->comments.n, sizeof(*p->comment));
	if (e->bad)
		return;
	set_value_type(e, p->period_type, kind->period_type);
	p->period = e->c->period;
	p->default_sample_type = string(e, kind->default_type);
	p->time_nanos = e->c->time_ns;
	p->duration_nanos = e->c->duration_ns;
	for (size_t i = 0; i < e->c->comments.n; i++)
		p->comment[i] = string(e, e->c->comments.data[i]);
	p->n_comment = e->c->comments.n;
}

static void build_strings(struct encoder *e, Perftools__Profiles__Profile *p)
{
	p->string_table = block(e, e->strings.n, sizeof(*p->string_table));
	if (e->bad)
		return;
	for (size_t i = 0; i < e->strings.n; i++)
		p->string_table[i] = e->text.data + e->strings.data[i];
	p->n_string_table = e->strings.n;
}

/* Each step does nothing once the encoder is bad. */
static void build(struct encoder *e, Perftools__Profiles__Profile *p)
{
	e->location_ids = block(e, e->n->locations.n + 1, sizeof(*e->location_ids));
	e->function_ids = block(e, e->n->functions.n + 1, sizeof(*e->function_ids));
	build_head(e, p);
	build_mappings(e, p);
	build_samples(e, p);
	build_locations(e, p);
	build_functions(e, p);
	build_strings(e, p);
}

/* Packs straight into the compressor: the packed profile as a whole is never in memory. */
struct gzip {
	ProtobufCBuffer buffer; /* first: append() is given its address */
	z_stream z;
	struct bytes out;
	bool bad;
	size_t n;
	uint8_t in[CHUNK];
};

static void squeeze(struct gzip *g, int flush)
{
	uint8_t to[16 << 10];
	int r;

	g->z.next_in = g->in;
	g->z.avail_in = (uInt)g->n;
	do {
		g->z.next_out = to;
		g->z.avail_out = sizeof(to);
		r = deflate(&g->z, flush);
		bytes_add(&g->out, to, sizeof(to) - g->z.avail_out);
	} while (r == Z_OK && !g->z.avail_out);
	if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
		g->bad = true;
	g->n = 0;
}

static void append(ProtobufCBuffer *buffer, size_t len, const uint8_t *data)
{
	struct gzip *g = (struct gzip *)buffer;

	while (len && !g->bad && !g->out.bad) {
		size_t n = len < CHUNK - g->n ? len : CHUNK - g->n;

		memcpy(g->in + g->n, data, n);
		g->n += n;
		data += n;
		len -= n;
		if (g->n == CHUNK)
			squeeze(g, Z_NO_FLUSH);
	}
}

/* RFC 1952: no name, no time; the system is "unknown" (255), as Go writes it. */
static int compress_to(const Perftools__Profiles__Profile *p, struct gzip *g)
{
	gz_header header = { .os = 255 };

	if (deflateInit2(&g->z, GZIP_LEVEL, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY))
		return -ENOMEM;
	if (deflateSetHeader(&g->z, &header))
		g->bad = true;
	perftools__profiles__profile__pack_to_buffer(p, &g->buffer);
	squeeze(g, Z_FINISH);
	deflateEnd(&g->z);
	if (g->bad)
		return -EIO;
	return g->out.bad ? -ENOMEM : 0;
}

int encode_pprof(const struct capture *c, const struct naming *n, struct bytes *ret)
{
	_cleanup_(deinit) struct encoder e = { .c = c, .n = n };
	Perftools__Profiles__Profile p = PERFTOOLS__PROFILES__PROFILE__INIT;
	struct gzip *g;
	int r;

	if (!c->profile->n_values)
		return -EINVAL;
	build(&e, &p);
	if (e.bad)
		return -ENOMEM;
	if (perftools__profiles__profile__get_packed_size(&p) > ENCODE_MAX_BYTES)
		return -E2BIG;
	g = block(&e, 1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->buffer.append = append;
	r = compress_to(&p, g);
	if (r < 0) {
		bytes_deinit(&g->out);
		return r;
	}
	*ret = g->out;
	return 0;
}
