/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/trace/go_wire.h"

#include <string.h>

#define FREQUENCY 1000000000ull /* units a second: we write ns */
#define MAX_EVENT 64		/* bytes */
#define MAX_ARGS 5

enum { /* what a batch begins with, and its records */
	EV_BATCH = 1,
	EV_STACKS,
	EV_STACK,
	EV_STRINGS,
	EV_STRING,
	EV_SAMPLES,
	EV_SAMPLE,
	EV_FREQUENCY,
	EV_SYNC = 50,	/* 1.25 */
	EV_CLOCK = 51,	/* 1.25 */
	EV_END = 52,	/* 1.26 */
};

#define PC_BITS 56		 /* above: how deep a frame is inlined */
#define PC_WORDS (0x7ff0ull << 48) /* frames that are no code */
#define PC_TRIES 16

static size_t put(uint8_t *to, uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		to[n++] = (uint8_t)(v | 0x80);
	to[n++] = (uint8_t)v;
	return n;
}

static void put_byte(struct bytes *b, uint8_t v)
{
	bytes_add(b, &v, 1);
}

bool go_wire_version_known(unsigned version)
{
	return version == 22 || version == 23 || version == 25 || version == 26;
}

void go_wire_init(struct go_wire *w, unsigned version, struct bytes *out)
{
	char header[16] = "go 1.22 trace";

	memset(w, 0, sizeof(*w));
	w->version = version;
	w->out = out;
	header[6] = (char)('0' + version % 10);
	bytes_add(out, header, sizeof(header));
}

void go_wire_deinit(struct go_wire *w)
{
	bytes_deinit(&w->strings);
	bytes_deinit(&w->stacks);
	bytes_deinit(&w->samples);
	bytes_deinit(&w->text);
	vec_deinit(&w->string_at);
	hash_deinit(&w->string_index);
	vec_deinit(&w->pcs);
	hash_deinit(&w->pc_index);
	vec_deinit(&w->said);
}

static void batch(struct go_wire *w, uint64_t m, uint64_t time, const struct bytes *payload)
{
	uint8_t head[64];
	size_t n = 0;

	head[n++] = EV_BATCH;
	n += put(head + n, w->generation);
	n += put(head + n, m);
	n += put(head + n, time);
	n += put(head + n, payload->n);
	bytes_add(w->out, head, n);
	bytes_add(w->out, payload->data, payload->n);
	if (payload->bad)
		w->out->bad = true;
}

static void table_end(struct go_wire *w, struct bytes *table)
{
	if (table->n || table->bad)
		batch(w, GO_NONE, w->began, table);
	bytes_clear(table);
}

/* Room for a record of n bytes in a table's batch. */
static void table_room(struct go_wire *w, struct bytes *table, uint8_t kind, size_t n)
{
	if (table->n + n > GO_MAX_BATCH)
		table_end(w, table);
	if (!table->n)
		put_byte(table, kind);
}

void go_wire_begin(struct go_wire *w, uint64_t began, uint64_t realtime, struct bytes *out)
{
	w->generation++;
	w->out = out;
	w->began = began > w->now ? began : w->now + 1;
	w->realtime = realtime + (w->began - began);
	w->now = w->began - 1;
	bytes_clear(&w->text);
	w->string_at.n = 0;
	w->pcs.n = 0;
	w->said.n = 0;
	hash_clear(&w->string_index);
	hash_clear(&w->pc_index);
	w->n_stacks = 0;
	table_room(w, &w->strings, EV_STRINGS, 0);
	table_room(w, &w->stacks, EV_STACKS, 0);
}

void go_wire_flush(struct go_wire *w, struct go_stream *s, uint64_t m)
{
	if (s->b.n || s->b.bad)
		batch(w, m, s->began, &s->b);
	bytes_clear(&s->b);
}

void go_wire_event(struct go_wire *w, struct go_stream *s, uint64_t m, uint64_t time, enum go_event event,
		   uint32_t n, const uint64_t *args)
{
	uint8_t record[MAX_EVENT];
	size_t len = 0;

	_Static_assert(MAX_EVENT >= 1 + 10 * (1 + MAX_ARGS), "an event fits");
	if (time <= w->now)
		time = w->now + 1;
	w->now = time;
	if (s->b.n > GO_MAX_BATCH - MAX_EVENT)
		go_wire_flush(w, s, m);
	if (!s->b.n)
		s->began = s->last = time;
	record[len++] = (uint8_t)event;
	len += put(record + len, time - s->last);
	for (uint32_t i = 0; i < n && i < MAX_ARGS; i++)
		len += put(record + len, args[i]);
	s->last = time;
	bytes_add(&s->b, record, len);
	w->n_events++;
}

void go_wire_sample(struct go_wire *w, uint64_t time, uint64_t m, uint64_t p, uint64_t g, uint64_t stack)
{
	uint8_t record[MAX_EVENT];
	size_t n = 0;

	record[n++] = EV_SAMPLE;
	n += put(record + n, time);
	n += put(record + n, m);
	n += put(record + n, p);
	n += put(record + n, g);
	n += put(record + n, stack);
	table_room(w, &w->samples, EV_SAMPLES, n);
	bytes_add(&w->samples, record, n);
	w->n_events++;
}

static bool string_equal(uint32_t item, const void *key, const void *context)
{
	const struct go_wire *w = context;

	return !strcmp(w->text.data + w->string_at.data[item], key);
}

uint32_t go_wire_string(struct go_wire *w, const char *text)
{
	char clean[GO_MAX_STRING + 1];
	size_t n = utf8_copy(clean, sizeof(clean), text, strnlen(text, GO_MAX_STRING)), len = 0;
	uint64_t hash = hash_bytes(HASH_SEED, clean, n);
	uint32_t at = hash_get(&w->string_index, hash, string_equal, clean, w);
	uint8_t record[32];

	if (!n)
		return 0;
	if (at != HASH_NONE)
		return at + 1;
	at = (uint32_t)w->string_at.n;
	if (vec_push(&w->string_at, w->text.n) < 0 || hash_put(&w->string_index, hash, at) < 0) {
		w->out->bad = true;
		return 0;
	}
	bytes_add(&w->text, clean, n + 1);
	if (w->text.bad) /* its place holds nothing to compare with */
		hash_clear(&w->string_index);
	record[len++] = EV_STRING;
	len += put(record + len, at + 1);
	len += put(record + len, n);
	table_room(w, &w->strings, EV_STRINGS, len + n);
	bytes_add(&w->strings, record, len);
	bytes_add(&w->strings, clean, n);
	return at + 1;
}

static bool pc_equal(uint32_t item, const void *key, const void *context)
{
	const struct go_wire *w = context;

	return w->pcs.data[item].pc == ((const struct go_pc *)key)->pc;
}

/* The first to use a PC says what is there (code may have been exchanged under it): who means something else gets
 * another one. */
static uint64_t unique_pc(struct go_wire *w, struct go_pc want)
{
	uint64_t pc = want.pc;

	for (uint64_t k = 0; k < PC_TRIES; k++) {
		uint64_t hash;
		uint32_t at;

		want.pc = pc ^ k << (PC_BITS - 8);
		hash = hash_u64(HASH_SEED, want.pc);
		at = hash_get(&w->pc_index, hash, pc_equal, &want, w);
		if (at == HASH_NONE) {
			if (vec_push(&w->pcs, want) < 0 ||
			    hash_put(&w->pc_index, hash, (uint32_t)w->pcs.n - 1) < 0)
				w->out->bad = true;
			break;
		}
		if (w->pcs.data[at].function == want.function && w->pcs.data[at].file == want.file &&
		    w->pcs.data[at].line == want.line)
			break;
	}
	return want.pc;
}

static size_t put_frame(struct go_wire *w, uint8_t *to, const struct trace_frame *f, uint32_t depth)
{
	struct go_pc pc = { f->pc, go_wire_string(w, f->function), go_wire_string(w, f->file), f->line };
	size_t n;

	if (depth)
		pc.pc = (f->pc & ((1ull << PC_BITS) - 1)) | (uint64_t)depth << PC_BITS;
	n = put(to, unique_pc(w, pc));
	n += put(to + n, pc.function);
	n += put(to + n, pc.file);
	return n + put(to + n, pc.line);
}

uint32_t go_wire_stack_id(struct go_wire *w)
{
	return ++w->n_stacks;
}

void go_wire_stack(struct go_wire *w, uint32_t id, const struct trace_frame *frames, uint32_t n)
{
	struct trace_frame cut = go_wire_words("[more frames]");
	uint32_t keep = n > GO_MAX_FRAMES ? GO_MAX_FRAMES - 1 : n;
	uint8_t record[32 + GO_MAX_FRAMES * 32];
	size_t len = 0;

	record[len++] = EV_STACK;
	len += put(record + len, id);
	len += put(record + len, keep < n ? keep + 1 : keep);
	for (uint32_t i = 0; i < keep; i++) {
		uint32_t depth = 0; /* the frame that is really there keeps the PC */

		while (i + depth < keep && frames[i + depth].inlined)
			depth++;
		len += put_frame(w, record + len, &frames[i], depth);
	}
	if (keep < n)
		len += put_frame(w, record + len, &cut, 0);
	table_room(w, &w->stacks, EV_STACKS, len);
	bytes_add(&w->stacks, record, len);
}

/* The PC is the same in all generations, so that a reader may add them up. */
struct trace_frame go_wire_words(const char *words)
{
	uint64_t hash = hash_bytes(HASH_SEED, words, strlen(words));

	return (struct trace_frame){ .pc = PC_WORDS | hash >> 24, .function = words, .file = "" };
}

uint32_t go_wire_say(struct go_wire *w, const char *words)
{
	uint32_t string = go_wire_string(w, words);
	struct trace_frame frame = go_wire_words(words);

	if (!string)
		return 0;
	while (w->said.n <= string)
		if (vec_push(&w->said, 0) < 0) {
			w->out->bad = true;
			return 0;
		}
	if (!w->said.data[string]) {
		w->said.data[string] = go_wire_stack_id(w);
		go_wire_stack(w, w->said.data[string], &frame, 1);
	}
	return w->said.data[string];
}

/* Units and, from 1.25 on, what time of day it is. Once a generation. */
static void put_clock(struct go_wire *w)
{
	struct bytes b = BYTES_INIT;
	uint8_t record[80];
	size_t n = 0;

	if (w->version >= 25)
		record[n++] = EV_SYNC;
	record[n++] = EV_FREQUENCY;
	n += put(record + n, FREQUENCY);
	if (w->version >= 25) {
		record[n++] = EV_CLOCK;
		n += put(record + n, 0);
		n += put(record + n, w->began);
		n += put(record + n, w->realtime / FREQUENCY);
		n += put(record + n, w->realtime % FREQUENCY);
	}
	b.data = (char *)record;
	b.n = n;
	batch(w, GO_NONE, w->began, &b);
}

void go_wire_end(struct go_wire *w)
{
	put_clock(w);
	table_end(w, &w->stacks);
	table_end(w, &w->samples);
	table_end(w, &w->strings);
	if (w->text.bad)
		w->out->bad = true;
	if (w->version >= 26)
		put_byte(w->out, EV_END);
}
