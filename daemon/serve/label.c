/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/label.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cursor.h"
#include "daemon/serve/core.h"

#define OTEL_IDS 24 /* bytes: trace and span */
#define CONTEXT_MAX (64u << 10)

/* The address in the process of this one in the file; 0: the file is not there. */
static uint64_t runtime_address(struct core *c, const struct target *t, uint32_t object, uint64_t address)
{
	for (size_t i = 0; i < t->mappings.n; i++) {
		const struct target_mapping *m = &t->mappings.data[i];
		const struct object *x = objects_find(&c->objects, object);
		uint64_t at;

		if (m->object == object && x && object_address_at(x, m->offset, &at))
			return m->start - at + address;
	}
	return 0;
}

static bool make_source(struct core *c, const struct target *t, const struct object *x,
			const struct symbolizer_label *l, struct pp_label_source *ret)
{
	static const uint8_t where[] = {
		[SYMBOLIZER_SLOT_OFFSET] = PP_LABELS_SLOT_OFFSET,
		[SYMBOLIZER_SLOT_MODULE] = PP_LABELS_SLOT_MODULE,
		[SYMBOLIZER_SLOT_INDEX] = PP_LABELS_SLOT_INDEX,
		[SYMBOLIZER_SLOT_DESCRIPTOR] = PP_LABELS_SLOT_DESCRIPTOR,
	};
	int64_t offset = x->id == t->main_object ? l->program_offset : (int64_t)l->offset;
	struct pp_label_source s = { .kind = (uint8_t)l->kind, .offset = (int32_t)offset };

	if (l->kind < SYMBOLIZER_LABELS_OURS || l->kind > SYMBOLIZER_LABELS_CUSTOM || offset != (int32_t)offset)
		return false;
	s.where = PP_LABELS_AT_OFFSET;
	if (x->id != t->main_object) {
		if (l->slot_kind < SYMBOLIZER_SLOT_OFFSET || l->slot_kind > SYMBOLIZER_SLOT_DESCRIPTOR)
			return false;
		s.where = where[l->slot_kind];
		s.slot = runtime_address(c, t, x->id, l->slot);
	}
	*ret = s;
	return s.where == PP_LABELS_AT_OFFSET || s.slot;
}

static bool same_sources(const struct pp_labels *a, const struct pp_labels *b)
{
	for (uint32_t i = 0; i < PP_LABEL_SOURCES; i++) {
		const struct pp_label_source *x = &a->sources[i], *y = &b->sources[i];

		if (x->kind != y->kind || x->where != y->where || x->offset != y->offset || x->slot != y->slot)
			return false;
	}
	return a->n == b->n && a->musl == b->musl;
}

/* By the file that is both its dynamic linker and its C library. */
static bool is_musl(const char *path)
{
	const char *last = strrchr(path, '/');

	return last && (!strncmp(last, "/ld-musl-", 9) || !strcmp(last, "/libc.so"));
}

/* The program's own first: where a key is in several, its label is shown. */
static void add_sources(struct core *c, const struct target *t, bool main, struct pp_labels *to, uint32_t *n_left_out)
{
	uint32_t last = 0;

	for (size_t i = 0; i < t->mappings.n; i++) {
		const struct target_mapping *m = &t->mappings.data[i];
		const struct object *x = objects_find(&c->objects, m->object);

		to->musl |= is_musl(m->name);
		if (!x || x->id == last || (x->id == t->main_object) != main)
			continue;
		last = x->id; /* its mappings follow each other */
		for (uint32_t k = 0; k < x->info.n_labels; k++) {
			struct pp_label_source s;

			if (!make_source(c, t, x, &x->info.labels[k], &s) || to->n == PP_LABEL_SOURCES)
				++*n_left_out;
			else
				to->sources[to->n++] = s;
		}
	}
}

/* What the kernel has found is looked up again: a library may have gone and come back to the same place. */
static void write_sources(struct pp_process *p, struct pp_labels *to, const struct pp_labels *next, bool new_image,
			  uint32_t index)
{
	uint16_t serial = to->sources[0].serial == UINT16_MAX ? 1 : (uint16_t)(to->sources[0].serial + 1);
	bool same = !new_image && same_sources(to, next);

	if (!same)
		__atomic_store_n(&p->labels, 0, __ATOMIC_SEQ_CST);
	for (uint32_t i = 0; i < PP_LABEL_SOURCES; i++) {
		if (!same)
			to->sources[i] = next->sources[i];
		__atomic_store_n(&to->sources[i].serial, serial, __ATOMIC_SEQ_CST);
	}
	to->n = next->n;
	to->musl = next->musl;
	__atomic_store_n(&p->labels, next->n ? index + 1 : 0, __ATOMIC_SEQ_CST);
}

void label_follow(struct core *c, struct target *t, bool new_image)
{
	struct pp_process *p = &c->tables.processes[t->index];
	struct pp_labels *shared = &c->pool.labels[t->index], next = { 0 };
	uint32_t n_left_out = 0;

	add_sources(c, t, true, &next, &n_left_out);
	add_sources(c, t, false, &next, &n_left_out);
	pthread_mutex_lock(&c->lock);
	t->labels.n_sources = next.n;
	t->labels.n_left_out = n_left_out;
	t->labels.has_otel = false;
	for (uint32_t i = 0; i < next.n; i++)
		t->labels.has_otel |= next.sources[i].kind == PP_LABELS_OTEL;
	while (new_image && t->labels.n_keys)
		free(t->labels.keys[--t->labels.n_keys]);
	pthread_mutex_unlock(&c->lock);
	write_sources(p, shared, &next, new_image, t->index);
}

void label_leave(struct core *c, struct target *t)
{
	pthread_mutex_lock(&c->lock);
	while (t->labels.n_keys)
		free(t->labels.keys[--t->labels.n_keys]);
	if (c->pool.labels)
		memset(&c->pool.labels[t->index], 0, sizeof(c->pool.labels[t->index]));
	pthread_mutex_unlock(&c->lock);
}

/* One field of a protobuf message. */
struct field {
	uint64_t number, type;
	struct cursor bytes; /* of type 2 */
};

static bool next_field(struct cursor *c, struct field *ret)
{
	uint64_t tag;

	if (!cursor_left(c))
		return false;
	tag = cursor_uleb128(c);
	*ret = (struct field){ .number = tag >> 3, .type = tag & 7, .bytes = cursor_over(NULL, 0) };
	if (ret->type == 0)
		cursor_uleb128(c);
	else if (ret->type == 1)
		cursor_skip(c, 8);
	else if (ret->type == 2)
		ret->bytes = cursor_sub(c, cursor_uleb128(c));
	else if (ret->type == 5)
		cursor_skip(c, 4);
	else
		return false;
	return !c->bad;
}

static char *read_text(struct cursor value)
{
	struct field f;

	while (next_field(&value, &f)) /* AnyValue.string_value */
		if (f.number == 1 && f.type == 2)
			return strndup((const char *)f.bytes.p, cursor_left(&f.bytes));
	return strdup("");
}

/* AnyValue.array_value, ArrayValue.values */
static uint32_t read_values(struct cursor value, char *keys[LABEL_MAX_KEYS])
{
	struct field array, one;
	uint32_t n = 0;

	while (next_field(&value, &array)) {
		while (array.number == 5 && n < LABEL_MAX_KEYS && next_field(&array.bytes, &one)) {
			if (one.number != 1 || one.type != 2)
				continue;
			keys[n] = read_text(one.bytes);
			if (!keys[n])
				return n;
			n++;
		}
	}
	return n;
}

/* KeyValues of a Resource, or of something that has one. */
static uint32_t read_attributes(struct cursor c, int depth, char *keys[LABEL_MAX_KEYS])
{
	static const char wanted[] = "threadlocal.attribute_key_map";
	struct field attribute, part;
	uint32_t n = 0;

	while (!n && next_field(&c, &attribute)) {
		struct cursor parts = attribute.bytes, value = cursor_over(NULL, 0);
		bool found = false;

		while (attribute.type == 2 && next_field(&parts, &part)) {
			if (part.number == 1 && part.type == 2)
				found = cursor_left(&part.bytes) == strlen(wanted) &&
					!memcmp(part.bytes.p, wanted, strlen(wanted));
			else if (part.number == 2 && part.type == 2)
				value = part.bytes;
		}
		if (found)
			return read_values(value, keys);
		if (attribute.type == 2 && depth)
			n = read_attributes(attribute.bytes, depth - 1, keys);
	}
	return n;
}

uint32_t label_read_keys(const void *data, size_t n, char *keys[LABEL_MAX_KEYS])
{
	return read_attributes(cursor_over(data, n), 1, keys);
}

void label_refresh(struct core *c, struct target *t)
{
	_cleanup_(closep) int fd = -1;
	_cleanup_(freep) char *data = NULL;
	char *keys[LABEL_MAX_KEYS];
	uint32_t n_keys;
	size_t n = 0;

	pthread_mutex_lock(&c->lock);
	if (t->labels.has_otel)
		data = malloc(CONTEXT_MAX);
	pthread_mutex_unlock(&c->lock);
	fd = data ? broker_open_context(&c->broker, t->index) : -1;
	for (ssize_t got = 1; fd >= 0 && got > 0 && n < CONTEXT_MAX; n += got > 0 ? (size_t)got : 0)
		got = read(fd, data + n, CONTEXT_MAX - n);
	n_keys = n ? label_read_keys(data, n, keys) : 0;
	pthread_mutex_lock(&c->lock);
	for (uint32_t i = 0; i < n_keys; i++) {
		if (i >= t->labels.n_keys) /* those that are known never change */
			t->labels.keys[t->labels.n_keys++] = keys[i];
		else
			free(keys[i]);
	}
	pthread_mutex_unlock(&c->lock);
}

/* A set as it grows. */
struct decoding {
	struct label *labels;
	uint32_t n, from; /* labels of this source begin at `from` */
};

static void put(struct decoding *d, const char *key, size_t n_key, const char *value, size_t n_value, bool replace)
{
	struct label l;

	if (!utf8_copy(l.key, sizeof(l.key), key, n_key) || !utf8_copy(l.value, sizeof(l.value), value, n_value))
		return;
	for (uint32_t i = 0; i < d->n; i++) {
		if (strcmp(d->labels[i].key, l.key) != 0)
			continue;
		if (replace && i >= d->from)
			d->labels[i] = l;
		return;
	}
	if (d->n < LABEL_MAX)
		d->labels[d->n++] = l;
}

static void put_hex(struct decoding *d, const char *key, struct cursor bytes)
{
	char text[2 * OTEL_IDS + 1] = "";
	size_t n = cursor_left(&bytes);
	bool any = false;

	for (size_t i = 0; i < n && i < OTEL_IDS; i++) {
		uint8_t b = cursor_u8(&bytes);

		snprintf(text + 2 * i, 3, "%02x", b);
		any = any || b;
	}
	if (any)
		put(d, key, strlen(key), text, 2 * n, false);
}

static void decode_slots(struct decoding *d, struct cursor c)
{
	while (cursor_left(&c) >= 8) {
		struct cursor ahead = c;
		uint64_t first = cursor_u64(&ahead);
		struct cursor slot = cursor_sub(&c, PP_LABEL_TEXT_WORDS(first) * 8ul);
		uint8_t n_key = cursor_u8(&slot), n_value = cursor_u8(&slot);

		if ((size_t)n_key + n_value <= cursor_left(&slot))
			put(d, (const char *)slot.p, n_key, (const char *)slot.p + n_key, n_value, false);
	}
}

static void decode_otel(struct decoding *d, struct cursor c, uint32_t n_attributes, const struct target_labels *t)
{
	put_hex(d, "trace_id", cursor_sub(&c, 16));
	put_hex(d, "span_id", cursor_sub(&c, 8));
	c = cursor_sub(&c, n_attributes);
	while (cursor_left(&c) >= 2) {
		uint8_t key = cursor_u8(&c), n = cursor_u8(&c);
		struct cursor value = cursor_sub(&c, n);

		if (c.bad)
			return;
		if (key < t->n_keys)
			put(d, t->keys[key], strlen(t->keys[key]), (const char *)value.p, n, true);
	}
}

uint32_t label_decode(const uint64_t *words, uint32_t n, const struct target_labels *t, struct label ret[LABEL_MAX])
{
	struct decoding d = { .labels = ret };

	for (uint32_t at = 0; at < n;) {
		uint64_t block = words[at++];
		uint32_t n_words = PP_LABEL_WORDS(block);
		struct cursor c;

		if (n_words > n - at)
			break;
		c = cursor_over(words + at, n_words * 8ul);
		d.from = d.n;
		if (PP_LABEL_KIND(block) == PP_LABELS_OTEL)
			decode_otel(&d, c, PP_LABEL_BYTES(block), t);
		else
			decode_slots(&d, c);
		at += n_words;
	}
	return d.n;
}

uint32_t label_list(struct capture *to, const struct totals *totals, uint32_t set, const struct target_labels *t,
		    struct capture_label labels[CAPTURE_MAX_LABELS], uint32_t n)
{
	struct label found[LABEL_MAX];
	const uint64_t *words;
	uint32_t n_words, n_found;

	if (!set)
		return n;
	words = stacks_words(&totals->label_sets, set - 1, &n_words);
	n_found = label_decode(words, n_words, t, found);
	for (uint32_t i = 0; i < n_found && n < CAPTURE_MAX_LABELS; i++, n++) {
		labels[n].key = capture_string(to, found[i].key, strlen(found[i].key));
		labels[n].value = capture_string(to, found[i].value, strlen(found[i].value));
		labels[n].number = 0;
		if (labels[n].key == HASH_NONE || labels[n].value == HASH_NONE)
			return HASH_NONE;
	}
	return n;
}

int label_say(struct capture *to, uint64_t n_without, uint64_t n_ids, const struct target_labels *t)
{
	int r = 0;

	if (n_without || n_ids)
		r = capture_comment(to, "labels: too many different ones: %llu samples or rows are without, %llu without "
				    "trace and span", (unsigned long long)n_without, (unsigned long long)n_ids);
	if (r == 0 && t->n_left_out)
		r = capture_comment(to, "labels: %u variables of threads are not looked at (more than %d, or of a "
				    "library that does not use its own)", t->n_left_out, PP_LABEL_SOURCES);
	return r;
}
