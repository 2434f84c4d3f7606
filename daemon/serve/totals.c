/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/totals.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define NAME_KEY offsetof(struct total_name, size)
#define LOCK 8 /* of a name of PP_WAIT and PP_RELEASE: the lock's address begins there */

static bool name_equal(uint32_t item, const void *key, const void *context)
{
	const struct totals *t = context;

	return !memcmp(&t->names.data[item], key, NAME_KEY);
}

static struct total_name make_name(const char text[TOTALS_NAME], uint32_t labels)
{
	struct total_name n = { .labels = labels };

	memcpy(n.text, text, TOTALS_NAME);
	return n;
}

static uint64_t name_hash(const struct total_name *name)
{
	return hash_bytes(HASH_SEED, name, NAME_KEY);
}

static uint32_t find_name(const struct totals *t, const struct total_name *name)
{
	return hash_get(&t->name_index, name_hash(name), name_equal, name, t);
}

static uint32_t intern_name(struct totals *t, const struct total_name *name)
{
	uint32_t i = find_name(t, name);

	if (i != HASH_NONE)
		return i;
	if (vec_push(&t->names, *name) < 0)
		return HASH_NONE;
	i = (uint32_t)t->names.n - 1;
	return hash_put(&t->name_index, name_hash(name), i) < 0 ? HASH_NONE : i;
}

/* How many sets of labels an image has; NULL: no memory. */
static uint32_t *labels_of_image(struct totals *t, uint32_t image)
{
	for (size_t i = 0; i < t->labelled.n; i++)
		if (t->labelled.data[i].image == image)
			return &t->labelled.data[i].n;
	if (vec_push(&t->labelled, ((struct totals_image){ image, 0 })) < 0)
		return NULL;
	return &t->labelled.data[t->labelled.n - 1].n;
}

uint32_t totals_labels(struct totals *t, uint32_t image, const uint64_t *words, uint32_t n)
{
	uint32_t i = n ? stacks_find(&t->label_sets, words, n) : HASH_NONE, *n_of;

	if (!n || i != HASH_NONE)
		return i + 1; /* HASH_NONE + 1 is 0 */
	n_of = labels_of_image(t, image);
	if (!n_of || *n_of >= TOTALS_IMAGE_LABELS || t->label_sets.all.n >= TOTALS_MAX_LABELS) {
		t->n_unlabelled++;
		return 0;
	}
	i = stacks_intern(&t->label_sets, words, n);
	*n_of += i != HASH_NONE;
	return i + 1;
}

static bool row_equal(uint32_t item, const void *key, const void *context)
{
	const struct totals *t = context;
	const struct total *a = &t->rows.data[item], *b = key;

	return a->target == b->target && a->collector == b->collector && a->item == b->item &&
	       a->stack == b->stack && a->name == b->name;
}

static uint64_t row_hash(const struct total *key)
{
	return hash_u64(hash_u64(HASH_SEED, (uint64_t)key->target << 32 | (uint32_t)key->item << 6 | key->collector),
			(uint64_t)key->stack << 32 | key->name);
}

static uint32_t find_row(const struct totals *t, const struct total *key)
{
	if (key->stack == HASH_NONE || key->name == HASH_NONE)
		return HASH_NONE;
	return hash_get(&t->index, row_hash(key), row_equal, key, t);
}

static bool full(const struct totals *t, uint32_t n_words)
{
	return t->stacks.words.n + n_words > TOTALS_MAX_WORDS || t->rows.n >= TOTALS_MAX_ROWS;
}

/* Whether the row would only be there to tell one lock from others, of which there are many. */
static bool is_crowded(const struct totals *t, uint32_t collector, const char name[TOTALS_NAME])
{
	static const char none[TOTALS_NAME - LOCK] = "";

	return t->rows.n >= TOTALS_LOCK_ROWS && (collector == PP_WAIT || collector == PP_RELEASE) &&
	       memcmp(name + LOCK, none, sizeof(none)) != 0;
}

/* name of a row of PP_WAIT, PP_CREATE and PP_CUSTOM: the hash of its stack comes first */
static uint64_t stack_hash_of(const struct totals *t, const struct total *row)
{
	uint64_t h;

	memcpy(&h, t->names.data[row->name].text, sizeof(h));
	return h;
}

static bool known_equal(uint32_t item, const void *key, const void *context)
{
	const struct totals *t = context;

	return stack_hash_of(t, &t->rows.data[item]) == *(const uint64_t *)key;
}

uint32_t totals_known(const struct totals *t, uint64_t stack_hash)
{
	return hash_get(&t->known, hash_u64(HASH_SEED, stack_hash), known_equal, &stack_hash, t);
}

static int make_known(struct totals *t, uint32_t i)
{
	const struct total *row = &t->rows.data[i];
	uint64_t hash = stack_hash_of(t, row);

	if ((row->collector != PP_WAIT && row->collector != PP_CREATE && row->collector != PP_CUSTOM) || totals_known(t, hash) != HASH_NONE)
		return 0;
	return hash_put(&t->known, hash_u64(HASH_SEED, hash), i);
}

uint32_t totals_row(struct totals *t, uint32_t target, uint32_t collector, const uint64_t *words,
		    uint32_t n, const char name[TOTALS_NAME])
{
	return totals_item_row(t, target, collector, 0, words, n, name);
}

uint32_t totals_labelled_row(struct totals *t, uint32_t target, uint32_t collector, uint32_t item,
			     const uint64_t *words, uint32_t n, const char text[TOTALS_NAME],
			     const uint64_t *labels, uint32_t n_labels)
{
	static const uint64_t other = PP_MARKER(PP_END_OTHER, 0);
	struct total key = { .target = target, .collector = collector & 0x3f,
			     .item = item & 0x3ffffff };
	struct total_name name = make_name(text, totals_labels(t, target, labels, n_labels));
	bool is_full = full(t, n), is_labelled = name.labels && t->rows.n >= TOTALS_LABEL_ROWS;
	uint32_t i;

	if (is_full || is_labelled || is_crowded(t, collector, text)) {
		key.stack = stacks_find(&t->stacks, words, n);
		key.name = find_name(t, &name);
		i = find_row(t, &key);
		if (i != HASH_NONE)
			return i;
	}
	if (is_full) { /* names are the target's choice as well: [other] has none */
		t->n_other++;
		words = &other;
		n = 1;
		name = (struct total_name){ 0 };
	} else if (is_crowded(t, collector, text)) {
		t->n_plain++;
		memset(name.text + LOCK, 0, TOTALS_NAME - LOCK);
	}
	if (!is_full && is_labelled) {
		t->n_unlabelled++;
		name.labels = 0;
	}
	key.stack = stacks_intern(&t->stacks, words, n);
	key.name = intern_name(t, &name);
	if (key.stack == HASH_NONE || key.name == HASH_NONE)
		return HASH_NONE;
	i = find_row(t, &key);
	if (i != HASH_NONE)
		return i;
	if (vec_push(&t->rows, key) < 0)
		return HASH_NONE;
	i = (uint32_t)t->rows.n - 1;
	if (make_known(t, i) < 0 || hash_put(&t->index, row_hash(&key), i) < 0) {
		t->rows.n--;
		return HASH_NONE;
	}
	return i;
}

uint32_t totals_item_row(struct totals *t, uint32_t target, uint32_t collector, uint32_t item,
			 const uint64_t *words, uint32_t n, const char name[TOTALS_NAME])
{
	return totals_labelled_row(t, target, collector, item, words, n, name, NULL, 0);
}

static uint64_t index_bytes(const struct hash_index *x)
{
	return x->n_slots * sizeof(*x->slots);
}

#define VEC_BYTES(v) ((v).cap * sizeof(*(v).data))

static uint64_t stacks_bytes(const struct stacks *s)
{
	return VEC_BYTES(s->words) + VEC_BYTES(s->all) + index_bytes(&s->index);
}

uint64_t totals_bytes(const struct totals *t)
{
	return VEC_BYTES(t->rows) + VEC_BYTES(t->names) + VEC_BYTES(t->labelled) + stacks_bytes(&t->stacks) +
	       stacks_bytes(&t->label_sets) + index_bytes(&t->index) + index_bytes(&t->name_index) + index_bytes(&t->known);
}

double totals_fill(const struct totals *t)
{
	double rows = (double)t->rows.n / TOTALS_MAX_ROWS, words = (double)t->stacks.words.n / TOTALS_MAX_WORDS;

	return rows > words ? rows : words;
}

int totals_snapshot(const struct totals *t, struct totals_before *ret)
{
	struct totals_before b = { .n = t->rows.n };

	b.v = malloc((b.n + 1) * sizeof(*b.v));
	if (!b.v)
		return -ENOMEM;
	for (size_t i = 0; i < b.n; i++)
		memcpy(b.v[i], t->rows.data[i].v, sizeof(b.v[i]));
	*ret = b;
	return 0;
}

void totals_before_deinit(struct totals_before *b)
{
	free(b->v);
	*b = (struct totals_before){ 0 };
}

/* As it was put there: no bound that was not passed then is passed now. */
static int keep_row(const struct totals *from, struct totals *to, size_t i, uint32_t *ret)
{
	const struct total *row = &from->rows.data[i];
	struct total copy = *row;
	const uint64_t *words;
	uint32_t n;

	words = stacks_words(&from->stacks, row->stack, &n);
	copy.stack = stacks_intern(&to->stacks, words, n);
	copy.name = intern_name(to, &from->names.data[row->name]);
	if (copy.stack == HASH_NONE || copy.name == HASH_NONE || vec_push(&to->rows, copy) < 0)
		return -ENOMEM;
	*ret = (uint32_t)to->rows.n - 1;
	if (make_known(to, *ret) < 0 || hash_put(&to->index, row_hash(&copy), *ret) < 0)
		return -ENOMEM;
	return 0;
}

int totals_keep(struct totals *t, totals_live *live, void *context, uint32_t *map)
{
	struct totals to = { .n_other = t->n_other, .n_plain = t->n_plain, .n_unlabelled = t->n_unlabelled };
	size_t kept = 0;
	int r = 0;

	for (size_t i = 0; i < t->rows.n && r == 0; i++) {
		map[i] = HASH_NONE;
		if (live(context, t->rows.data[i].target))
			r = keep_row(t, &to, i, &map[i]);
	}
	if (r < 0) {
		totals_deinit(&to);
		return r;
	}
	for (size_t i = 0; i < t->labelled.n; i++)
		if (live(context, t->labelled.data[i].image))
			t->labelled.data[kept++] = t->labelled.data[i];
	t->labelled.n = kept;
	memcpy(&to.labelled, &t->labelled, sizeof(to.labelled));
	to.label_sets = t->label_sets;
	memset(&t->labelled, 0, sizeof(t->labelled));
	t->label_sets = (struct stacks){ 0 };
	totals_deinit(t);
	*t = to;
	return 0;
}

static bool is_idle(const struct totals *t, const struct totals_before *all, size_t i)
{
	static const int64_t none[2];
	const int64_t *v = t->rows.data[i].v;

	for (const struct totals_before *b = all; b; b = b->next) {
		const int64_t *was = i < b->n ? b->v[i] : none;

		if (v[0] != was[0] || v[1] != was[1])
			return false;
	}
	return true;
}

/* With its labels: whoever has few rows has room for them again. */
static int keep_whole(const struct totals *from, struct totals *to, size_t i)
{
	const struct total *row = &from->rows.data[i];
	const struct total_name *name = &from->names.data[row->name];
	const uint64_t *words, *labels = NULL;
	uint32_t n, n_labels = 0, at;

	words = stacks_words(&from->stacks, row->stack, &n);
	if (name->labels)
		labels = stacks_words(&from->label_sets, name->labels - 1, &n_labels);
	at = totals_labelled_row(to, row->target, row->collector, row->item, words, n, name->text, labels, n_labels);
	if (at == HASH_NONE || at + 1 != to->rows.n)
		return -ENOMEM;
	memcpy(to->rows.data[at].v, row->v, sizeof(row->v));
	return 0;
}

int totals_drop_idle(struct totals *t, struct totals_before *all)
{
	struct totals to = { 0 };
	uint32_t *from = malloc((t->rows.n + 1) * sizeof(*from)); /* where each came from */
	int r = from ? 0 : -ENOMEM;

	for (size_t i = 0; i < t->rows.n && r == 0; i++) {
		if (is_idle(t, all, i))
			continue;
		from[to.rows.n] = (uint32_t)i;
		r = keep_whole(t, &to, i);
	}
	if (r < 0) {
		free(from);
		totals_deinit(&to);
		return r;
	}
	for (struct totals_before *b = all; b; b = b->next) {
		size_t n = 0;

		for (; n < to.rows.n && from[n] < b->n; n++)
			memmove(b->v[n], b->v[from[n]], sizeof(b->v[n]));
		b->n = n;
	}
	free(from);
	to.n_other = t->n_other;
	to.n_plain = t->n_plain;
	to.n_unlabelled = t->n_unlabelled;
	totals_deinit(t);
	*t = to;
	return 0;
}

void totals_clear(struct totals *t)
{
	totals_deinit(t);
}

void totals_deinit(struct totals *t)
{
	vec_deinit(&t->rows);
	hash_deinit(&t->index);
	stacks_deinit(&t->stacks);
	vec_deinit(&t->names);
	hash_deinit(&t->name_index);
	stacks_deinit(&t->label_sets);
	vec_deinit(&t->labelled);
	hash_deinit(&t->known);
}
