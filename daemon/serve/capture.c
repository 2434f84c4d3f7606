/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/capture.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "daemon/serve/profile.h"

/* Parca takes comments that begin so for its own, and refuses the profile unless there is one for
 * each mapping. What a comment begins with may be a target's choice: the name of a library. */
#define TRAP "executableInfo="
#define DISARM "note: "

/* What is looked up, before it has a place of its own. */
struct text_key {
	const char *text;
	size_t n;
};

struct stack_key {
	const uint64_t *words;
	uint32_t n;
};

struct labels_key {
	const struct capture_label *labels;
	uint32_t n;
};

int capture_new(const struct profile *p, struct capture **ret)
{
	_cleanup_(capture_freep) struct capture *c = calloc(1, sizeof(*c));
	_cleanup_(freep) char *empty = strdup("");
	int r;

	if (!c || !empty)
		return -ENOMEM;
	c->profile = p;
	r = vec_reserve(&c->strings, 1);
	if (r < 0)
		return r;
	c->strings.data[c->strings.n++] = TAKE_PTR(empty);
	*ret = TAKE_PTR(c);
	return 0;
}

void capture_free(struct capture *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->strings.n; i++)
		free(c->strings.data[i]);
	for (size_t i = 0; i < c->comments.n; i++)
		free(c->comments.data[i]);
	vec_deinit(&c->strings);
	vec_deinit(&c->comments);
	vec_deinit(&c->words);
	vec_deinit(&c->stacks);
	vec_deinit(&c->labels);
	vec_deinit(&c->label_sets);
	vec_deinit(&c->samples);
	hash_deinit(&c->stack_index);
	hash_deinit(&c->string_index);
	hash_deinit(&c->label_index);
	free(c);
}

static bool string_equal(uint32_t item, const void *key, const void *context)
{
	const struct capture *c = context;
	const struct text_key *k = key;
	const char *s = c->strings.data[item];

	return !strncmp(s, k->text, k->n) && !s[k->n];
}

uint32_t capture_string(struct capture *c, const char *text, size_t n)
{
	struct text_key key = { text, n ? strnlen(text, n) : 0 };
	_cleanup_(freep) char *copy = NULL;
	uint32_t found;
	uint64_t h;

	if (!key.n)
		return 0;
	h = hash_bytes(HASH_SEED, text, key.n);
	found = hash_get(&c->string_index, h, string_equal, &key, c);
	if (found != HASH_NONE)
		return found;
	copy = strndup(text, key.n);
	if (!copy || c->strings.n >= HASH_NONE - 1 ||
	    vec_reserve(&c->strings, c->strings.n + 1) < 0 ||
	    hash_put(&c->string_index, h, (uint32_t)c->strings.n) < 0)
		return HASH_NONE;
	c->strings.data[c->strings.n] = TAKE_PTR(copy);
	return (uint32_t)c->strings.n++;
}

static bool stack_equal(uint32_t item, const void *key, const void *context)
{
	const struct capture *c = context;
	const struct stack_key *k = key;
	struct capture_stack s = c->stacks.data[item];

	return s.n == k->n && (!s.n || !memcmp(c->words.data + s.first, k->words, s.n * 8ul));
}

uint32_t capture_stack(struct capture *c, const uint64_t *words, uint32_t n)
{
	struct stack_key key = { words, n };
	uint64_t h = hash_bytes(HASH_SEED, words, n * 8ul);
	uint32_t found = hash_get(&c->stack_index, h, stack_equal, &key, c);

	if (found != HASH_NONE)
		return found;
	if (c->words.n + n > UINT32_MAX || c->stacks.n >= HASH_NONE - 1 ||
	    vec_reserve(&c->words, c->words.n + n) < 0 ||
	    vec_reserve(&c->stacks, c->stacks.n + 1) < 0 ||
	    hash_put(&c->stack_index, h, (uint32_t)c->stacks.n) < 0)
		return HASH_NONE;
	if (n)
		memcpy(c->words.data + c->words.n, words, n * 8ul);
	c->stacks.data[c->stacks.n] = (struct capture_stack){ (uint32_t)c->words.n, n };
	c->words.n += n;
	return (uint32_t)c->stacks.n++;
}

/* By text, not by number: numbers depend on what was interned first. */
static int label_order(const struct capture *c, const struct capture_label *a,
		       const struct capture_label *b)
{
	int r = strcmp(c->strings.data[a->key], c->strings.data[b->key]);

	if (!r)
		r = strcmp(c->strings.data[a->value], c->strings.data[b->value]);
	return r ? r : (a->number > b->number) - (a->number < b->number);
}

/* Sorts the labels that say anything into `to`; how many. A label with an empty text decodes as
 * nothing, and one without a key makes Parca refuse the profile (ecosystem.md 2.1). */
static uint32_t sort_labels(const struct capture *c, const struct capture_label *labels, uint32_t n,
			    struct capture_label to[CAPTURE_MAX_LABELS])
{
	uint32_t out = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = out;

		if (!labels[i].key || (!labels[i].value && !labels[i].number))
			continue;
		for (; at && label_order(c, &labels[i], &to[at - 1]) < 0; at--)
			to[at] = to[at - 1];
		to[at] = labels[i];
		out++;
	}
	return out;
}

static bool set_equal(uint32_t item, const void *key, const void *context)
{
	const struct capture *c = context;
	const struct labels_key *k = key;
	struct capture_labels set = c->label_sets.data[item];

	if (set.n != k->n)
		return false;
	for (uint32_t i = 0; i < k->n; i++)
		if (label_order(c, &c->labels.data[set.first + i], &k->labels[i]))
			return false;
	return true;
}

static uint64_t hash_labels(const struct capture_label *labels, uint32_t n)
{
	uint64_t h = HASH_SEED;

	for (uint32_t i = 0; i < n; i++) {
		h = hash_u64(h, (uint64_t)labels[i].key << 32 | labels[i].value);
		h = hash_u64(h, (uint64_t)labels[i].number);
	}
	return h;
}

uint32_t capture_label_set(struct capture *c, const struct capture_label *labels, uint32_t n)
{
	struct capture_label sorted[CAPTURE_MAX_LABELS];
	struct labels_key key = { sorted, 0 };
	uint32_t found;
	uint64_t h;

	assert(n <= CAPTURE_MAX_LABELS);
	key.n = sort_labels(c, labels, n, sorted);
	if (!key.n)
		return 0;
	h = hash_labels(sorted, key.n);
	found = hash_get(&c->label_index, h, set_equal, &key, c);
	if (found != HASH_NONE)
		return found + 1;
	if (c->label_sets.n >= HASH_NONE - 1 || c->labels.n + key.n > UINT32_MAX ||
	    vec_reserve(&c->labels, c->labels.n + key.n) < 0 ||
	    vec_reserve(&c->label_sets, c->label_sets.n + 1) < 0 ||
	    hash_put(&c->label_index, h, (uint32_t)c->label_sets.n) < 0)
		return HASH_NONE;
	memcpy(c->labels.data + c->labels.n, sorted, key.n * sizeof(*sorted));
	c->label_sets.data[c->label_sets.n++] =
		(struct capture_labels){ (uint32_t)c->labels.n, key.n };
	c->labels.n += key.n;
	return (uint32_t)c->label_sets.n;
}

int capture_add(struct capture *c, struct capture_sample s)
{
	assert(s.stack < c->stacks.n && s.labels <= c->label_sets.n);
	return vec_push(&c->samples, s);
}

int capture_comment(struct capture *c, const char *format, ...)
{
	_cleanup_(freep) char *raw = NULL, *text = NULL;
	va_list ap;
	size_t n;
	int r;

	va_start(ap, format);
	r = vasprintf(&raw, format, ap);
	va_end(ap);
	if (r < 0) {
		raw = NULL; /* undefined now */
		return -ENOMEM;
	}
	n = strlen(raw) + 1;
	text = malloc(n + strlen(DISARM));
	if (!text || vec_reserve(&c->comments, c->comments.n + 1) < 0)
		return -ENOMEM;
	*text = '\0';
	if (!strncmp(raw, TRAP, strlen(TRAP)))
		strcpy(text, DISARM);
	utf8_copy(text + strlen(text), n, raw, n - 1);
	c->comments.data[c->comments.n++] = TAKE_PTR(text);
	return 0;
}

static int64_t add(int64_t a, int64_t b)
{
	int64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return a < 0 ? INT64_MIN : INT64_MAX;
	return sum;
}

static bool sample_equal(uint32_t item, const void *key, const void *context)
{
	const struct capture *c = context;
	const struct capture_sample *a = &c->samples.data[item], *b = key;

	return a->stack == b->stack && a->labels == b->labels;
}

/* Samples [0, ret) are different ones afterwards, in the order in which they first came. */
static int add_up(struct capture *c, struct hash_index *index, size_t *ret)
{
	struct capture_sample *s = c->samples.data;
	size_t out = 0;

	for (size_t i = 0; i < c->samples.n; i++) {
		uint64_t h = hash_u64(HASH_SEED, (uint64_t)s[i].stack << 32 | s[i].labels);
		uint32_t at = hash_get(index, h, sample_equal, &s[i], c);

		if (at != HASH_NONE) {
			for (size_t v = 0; v < CAPTURE_MAX_VALUES; v++)
				s[at].values[v] = add(s[at].values[v], s[i].values[v]);
			continue;
		}
		if (hash_put(index, h, (uint32_t)out) < 0) {
			/* Nothing is lost: what was not reached yet stays as it is. */
			memmove(&s[out], &s[i], (c->samples.n - i) * sizeof(*s));
			c->samples.n = out + c->samples.n - i;
			return -ENOMEM;
		}
		s[out++] = s[i];
	}
	*ret = out;
	return 0;
}

int capture_merge(struct capture *c)
{
	_cleanup_(hash_deinit) struct hash_index index = { 0 };
	struct capture_sample *s = c->samples.data;
	size_t n = 0, out = 0;
	int r;

	if (c->samples.n >= HASH_NONE)
		return -E2BIG;
	r = add_up(c, &index, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		bool any = false;

		for (size_t v = 0; v < CAPTURE_MAX_VALUES; v++)
			any = any || s[i].values[v];
		if (any)
			s[out++] = s[i];
	}
	c->samples.n = out;
	return 0;
}
