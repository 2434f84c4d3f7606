/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/trace/perfetto_intern.h"

#include "daemon/serve/trace/perfetto.h"
#include "daemon/serve/trace/protobuf.h"

#define MAX_FRAMES 256
#define MANY (PERFETTO_MAX_THREADS / 2)

enum { /* InternedData */
	FUNCTION_NAMES = 5,
	FRAMES = 6,
	CALLSTACKS = 7,
	SOURCE_PATHS = 18,
};

void perfetto_intern_clear(struct perfetto_intern *in)
{
	bytes_clear(&in->text);
	in->strings.n = in->frames.n = in->stacks.n = 0;
	hash_clear(&in->string_index);
	hash_clear(&in->frame_index);
	hash_clear(&in->stack_index);
}

void perfetto_intern_deinit(struct perfetto_intern *in)
{
	bytes_deinit(&in->text);
	bytes_deinit(&in->inner);
	vec_deinit(&in->strings);
	vec_deinit(&in->frames);
	vec_deinit(&in->stacks);
	hash_deinit(&in->string_index);
	hash_deinit(&in->frame_index);
	hash_deinit(&in->stack_index);
}

static bool string_equal(uint32_t item, const void *key, const void *context)
{
	const struct perfetto_intern *in = context;

	return !strcmp(in->text.data + in->strings.data[item], key);
}

/* Names of functions and of files share their numbers, but not their tables: the table is part of the string. */
static uint32_t string(struct perfetto_intern *in, uint32_t table, const char *text, struct bytes *news)
{
	char key[1024 + 2] = { (char)table };
	size_t n = utf8_copy(key + 1, sizeof(key) - 1, text, strlen(text));
	uint64_t hash = hash_bytes(HASH_SEED, key, n + 1);
	uint32_t at = hash_get(&in->string_index, hash, string_equal, key, in);

	if (at != HASH_NONE)
		return at + 1;
	at = (uint32_t)in->strings.n;
	bytes_add(&in->text, key, n + 2);
	if (in->text.bad || vec_push(&in->strings, in->text.n - n - 2) < 0 ||
	    hash_put(&in->string_index, hash, at) < 0) {
		news->bad = true;
		return 0;
	}
	pb_number(&in->inner, 1, at + 1);
	pb_text(&in->inner, 2, key + 1);
	pb_message(news, table, &in->inner);
	return at + 1;
}

static bool frame_equal(uint32_t item, const void *key, const void *context)
{
	const struct perfetto_intern *in = context;
	const struct perfetto_frame *a = &in->frames.data[item], *b = key;

	return a->pc == b->pc && a->function == b->function && a->file == b->file && a->line == b->line;
}

static uint32_t frame(struct perfetto_intern *in, const struct trace_frame *from, struct bytes *news)
{
	struct perfetto_frame f = { from->pc, string(in, FUNCTION_NAMES, from->function, news), 0, from->line };
	uint64_t hash;
	uint32_t at;

	if (from->file[0])
		f.file = string(in, SOURCE_PATHS, from->file, news);
	hash = hash_u64(hash_u64(HASH_SEED, f.pc), (uint64_t)f.function << 32 | f.line);
	at = hash_get(&in->frame_index, hash, frame_equal, &f, in);
	if (at != HASH_NONE)
		return at + 1;
	at = (uint32_t)in->frames.n;
	if (vec_push(&in->frames, f) < 0 || hash_put(&in->frame_index, hash, at) < 0)
		news->bad = true;
	pb_number(&in->inner, 1, at + 1);
	pb_number(&in->inner, 2, f.function);
	pb_number(&in->inner, 3, 1); /* the only mapping: addresses are not the target's own */
	pb_number(&in->inner, 4, f.pc);
	if (f.file) {
		pb_number(&in->inner, 5, f.file);
		pb_number(&in->inner, 6, f.line);
	}
	pb_message(news, FRAMES, &in->inner);
	return at + 1;
}

static bool stack_equal(uint32_t item, const void *key, const void *context)
{
	return ((const struct perfetto_intern *)context)->stacks.data[item] == *(const uint32_t *)key;
}

uint32_t perfetto_intern_stack(struct perfetto_intern *in, const struct trace_generation *from, uint32_t id,
			       struct bytes *news)
{
	uint64_t hash = hash_u64(HASH_SEED, id);
	uint32_t at = hash_get(&in->stack_index, hash, stack_equal, &id, in), numbers[MAX_FRAMES], n;
	const struct trace_frame *frames;

	if (at != HASH_NONE)
		return at + 1;
	n = id && from->frames ? from->frames(from->context, id, &frames) : 0;
	if (!n)
		return 0;
	if (n > MAX_FRAMES)
		n = MAX_FRAMES;
	for (uint32_t i = 0; i < n; i++)
		numbers[i] = frame(in, &frames[i], news);
	at = (uint32_t)in->stacks.n;
	if (vec_push(&in->stacks, id) < 0 || hash_put(&in->stack_index, hash, at) < 0)
		news->bad = true;
	pb_number(&in->inner, 1, at + 1);
	for (uint32_t i = n; i-- > 0;) /* root first */
		pb_number(&in->inner, 2, numbers[i]);
	pb_message(news, CALLSTACKS, &in->inner);
	return at + 1;
}

static bool tid_equal(uint32_t item, const void *key, const void *context)
{
	return ((const struct perfetto_threads *)context)->all.data[item].tid == *(const uint32_t *)key;
}

static uint32_t find(const struct perfetto_threads *t, uint32_t tid)
{
	return hash_get(&t->index, hash_u64(HASH_SEED, tid), tid_equal, &tid, t);
}

struct perfetto_thread *perfetto_thread(struct perfetto_threads *t, uint32_t tid)
{
	struct perfetto_thread th = { .tid = tid };
	uint32_t at = find(t, tid);

	if (at != HASH_NONE)
		return &t->all.data[at];
	at = (uint32_t)t->all.n;
	if (at >= PERFETTO_MAX_THREADS || vec_push(&t->all, th) < 0) {
		t->n_unnamed++;
		return NULL;
	}
	if (hash_put(&t->index, hash_u64(HASH_SEED, tid), at) < 0) {
		t->all.n--;
		t->n_unnamed++;
		return NULL;
	}
	return &t->all.data[at];
}

const char *perfetto_thread_name(const struct perfetto_threads *t, uint32_t tid)
{
	uint32_t at = find(t, tid);

	return at == HASH_NONE ? "" : t->all.data[at].name;
}

int perfetto_threads_tidy(struct perfetto_threads *t)
{
	size_t n = 0;

	if (t->all.n < MANY)
		return 0;
	hash_clear(&t->index);
	for (size_t i = 0; i < t->all.n; i++)
		if (!t->all.data[i].gone)
			t->all.data[n++] = t->all.data[i];
	t->all.n = n;
	for (size_t i = 0; i < n; i++)
		if (hash_put(&t->index, hash_u64(HASH_SEED, t->all.data[i].tid), (uint32_t)i) < 0)
			return -ENOMEM;
	return 0;
}

void perfetto_threads_deinit(struct perfetto_threads *t)
{
	vec_deinit(&t->all);
	hash_deinit(&t->index);
}
