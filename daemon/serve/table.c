/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/table.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHUNK_WORDS (1u << PP_CHUNK_BITS)
#define SLAB_WORDS (CHUNK_WORDS << PP_SLAB_BITS)
#define GRANULE (1u << PP_GRANULE_BITS)
#define MAX_OLD 64 /* ranges that wait for a grace period before one is spent on them */

/* The symbolizer's rules and the kernel's have one shape. */
_Static_assert(sizeof(struct unwind_rule) == sizeof(struct pp_rule), "copied as they are");
_Static_assert((int)UNWIND_GAP == PP_RULE_GAP && (int)UNWIND_OUTERMOST == PP_RULE_OUTERMOST &&
	       (int)UNWIND_SP == PP_RULE_SP && (int)UNWIND_FP == PP_RULE_FP &&
	       (int)UNWIND_PLT == PP_RULE_PLT && (int)UNWIND_DEREF_SP == PP_RULE_DEREF_SP &&
	       (int)UNWIND_DEREF_FP == PP_RULE_DEREF_FP && (int)UNWIND_SIGNAL == PP_RULE_SIGNAL &&
	       (int)UNWIND_REGISTER == PP_RULE_REGISTER && (int)UNWIND_BX == PP_RULE_BX &&
	       (int)UNWIND_UNSUPPORTED == PP_RULE_UNSUPPORTED, "kinds");
_Static_assert((int)UNWIND_SAME == PP_SAVED_SAME && (int)UNWIND_AT_CFA == PP_SAVED_CFA &&
	       (int)UNWIND_AT_FP == PP_SAVED_FP && (int)UNWIND_LOST == PP_SAVED_LOST &&
	       UNWIND_RA_REGISTER == PP_RA_REGISTER, "saved registers");

/* Takes n from the first range that has them; false when none has. */
static bool space_take(struct table_space *s, uint32_t n, uint32_t *ret)
{
	for (size_t i = 0; i < s->free.n; i++) {
		struct table_range *f = &s->free.data[i];

		if (f->n < n)
			continue;
		*ret = f->first;
		f->first += n;
		f->n -= n;
		if (!f->n) {
			s->free.n--;
			memmove(f, f + 1, (s->free.n - i) * sizeof(*f));
		}
		return true;
	}
	return false;
}

/* 0 or -ENOMEM: then the range is lost, which harms nobody. */
static int space_give(struct table_space *s, struct table_range r)
{
	size_t i = 0;

	while (i < s->free.n && s->free.data[i].first < r.first)
		i++;
	if (vec_reserve(&s->free, s->free.n + 1) < 0)
		return -ENOMEM;
	memmove(&s->free.data[i + 1], &s->free.data[i], (s->free.n - i) * sizeof(r));
	s->free.data[i] = r;
	s->free.n++;
	for (size_t k = i ? i - 1 : 0; k + 1 < s->free.n && k <= i + 1;) {
		struct table_range *a = &s->free.data[k];

		if (a->first + a->n != a[1].first) {
			k++;
			continue;
		}
		a->n += a[1].n;
		s->free.n--;
		memmove(a + 1, a + 2, (s->free.n - k - 1) * sizeof(*a));
	}
	return 0;
}

static int map_array(int fd, size_t n, void *ret)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	*(void **)ret = p;
	return 0;
}

int tables_init(struct tables *t, struct pp_process *processes, int mapping_fd, int rule_fd,
		table_slab_fn *slab, void *context)
{
	int r;

	*t = (struct tables){ .processes = processes, .slab = slab, .context = context };
	r = map_array(mapping_fd, PP_MAX_MAPPINGS * sizeof(struct pp_mapping), &t->mappings);
	if (r == 0)
		r = map_array(rule_fd, PP_MAX_RULES * sizeof(struct pp_rule), &t->rules);
	if (r == 0)
		r = space_give(&t->lists, (struct table_range){ 0, PP_MAX_MAPPINGS });
	return r;
}

void tables_deinit(struct tables *t)
{
	for (uint32_t i = 0; i < t->n_slabs; i++)
		munmap(t->slabs[i], SLAB_WORDS * 4ul);
	if (t->mappings)
		munmap(t->mappings, PP_MAX_MAPPINGS * sizeof(struct pp_mapping));
	if (t->rules)
		munmap(t->rules, PP_MAX_RULES * sizeof(struct pp_rule));
	hash_deinit(&t->rule_index);
	vec_deinit(&t->words.free);
	vec_deinit(&t->lists.free);
	vec_deinit(&t->old_words);
	vec_deinit(&t->old_lists);
}

static int add_slab(struct tables *t)
{
	int fd, r;

	if (t->n_slabs == PP_MAX_SLABS)
		return -ENOSPC;
	fd = t->slab(t->context, t->n_slabs);
	if (fd < 0)
		return fd;
	r = map_array(fd, SLAB_WORDS * 4ul, &t->slabs[t->n_slabs]);
	close(fd);
	if (r < 0)
		return r;
	r = space_give(&t->words, (struct table_range){ t->n_slabs * SLAB_WORDS, SLAB_WORDS });
	t->n_slabs += r == 0;
	return r;
}

static uint32_t *word_at(struct tables *t, uint32_t i)
{
	return &t->slabs[i / SLAB_WORDS][i % SLAB_WORDS];
}

static bool rule_equal(uint32_t item, const void *key, const void *context)
{
	const struct tables *t = context;

	return !memcmp(&t->rules[item], key, sizeof(struct pp_rule));
}

/* The kernel's number of a rule. Rule 0 is the gap: what does not fit becomes one, counted. */
static uint32_t intern(struct tables *t, const struct unwind_rule *q)
{
	static const struct pp_rule gap = { .kind = PP_RULE_GAP };
	uint64_t h = hash_bytes(HASH_SEED, q, sizeof(*q));
	uint32_t i;

	if (!t->n_rules) {
		t->rules[t->n_rules++] = gap;
		hash_put(&t->rule_index, hash_bytes(HASH_SEED, &gap, sizeof(gap)), 0);
	}
	i = hash_get(&t->rule_index, h, rule_equal, q, t);
	if (i != HASH_NONE)
		return i;
	if (t->n_rules == PP_MAX_RULES || hash_put(&t->rule_index, h, t->n_rules) < 0) {
		t->n_full++;
		return 0;
	}
	memcpy(&t->rules[t->n_rules], q, sizeof(*q));
	return t->n_rules++;
}

/* Lays rows down granule by granule. */
struct layout {
	struct tables *t;
	const uint32_t *rules; /* the file's numbers -> the kernel's */
	uint32_t first, at;    /* words */
};

static void put(struct layout *l, uint32_t word, uint32_t value)
{
	*word_at(l->t, word) = value;
}

/* The rows of one granule never cross a chunk: the walker searches them in one map value. Padding
 * repeats the row before it, which changes no search. */
static void put_granule(struct layout *l, const uint32_t *rows, uint32_t n)
{
	uint32_t room = CHUNK_WORDS - l->at % CHUNK_WORDS;

	if (n > room) {
		uint32_t fill = l->at > l->first ? *word_at(l->t, l->at - 1) : rows[0];

		for (; room; room--)
			put(l, l->at++, fill);
	}
	for (uint32_t i = 0; i < n; i++)
		put(l, l->at++, rows[i]);
}

static void lay_out(struct layout *l, const struct symbolizer_rows *r, uint64_t base,
		    uint32_t n_granules)
{
	uint32_t rows[GRANULE + 1], current = 0, hint = l->at;
	uint64_t shift = r->end.low - base;
	size_t i = 0;

	l->first = l->at += n_granules + 1;
	for (uint32_t g = 0; g < n_granules; g++) {
		uint64_t start = (uint64_t)g << PP_GRANULE_BITS, end = start + GRANULE;
		uint32_t n = 0;

		if (i == r->rows.n || r->rows.data[i].offset + shift > start)
			rows[n++] = current; /* the rule in force goes on */
		for (; i < r->rows.n && r->rows.data[i].offset + shift < end; i++) {
			current = l->rules[r->rows.data[i].rule];
			rows[n++] = (uint32_t)(r->rows.data[i].offset + shift - start)
					    << PP_RULE_BITS |
				    current;
		}
		put_granule(l, rows, n);
		put(l, hint + g, l->at - n);
	}
	put(l, hint + n_granules, l->at);
}

/* Words needed do not depend on where they go but for padding: at most one granule a chunk. */
static uint32_t words_needed(const struct symbolizer_rows *r, uint32_t n_granules)
{
	uint64_t n = (uint64_t)n_granules * 2 + 1 + r->rows.n;

	n += (n / (CHUNK_WORDS - GRANULE - 1) + 2) * (GRANULE + 1);
	return n < UINT32_MAX / 2 ? (uint32_t)n : UINT32_MAX;
}

/* Free words at the end of the last slab: the next slab continues them. */
static uint32_t tail(const struct tables *t)
{
	const struct table_range *last;

	if (!t->words.free.n)
		return 0;
	last = &t->words.free.data[t->words.free.n - 1];
	return last->first + last->n == t->n_slabs * SLAB_WORDS ? last->n : 0;
}

static int take_words(struct tables *t, uint32_t n, uint32_t *ret)
{
	while (!space_take(&t->words, n, ret)) {
		uint64_t left = (PP_MAX_SLABS - t->n_slabs) * (uint64_t)SLAB_WORDS;
		int r = 0;

		if (n <= left + tail(t))
			r = add_slab(t);
		else if (t->old_words.n)
			tables_collect(t);
		else
			r = -ENOSPC;
		if (r < 0)
			return r;
	}
	return 0;
}

int tables_place(struct tables *t, const struct symbolizer_rows *rows, struct table_place *ret)
{
	uint64_t base = rows->end.low & ~(uint64_t)(GRANULE - 1);
	uint64_t n_granules = (rows->end.high - base + GRANULE - 1) / GRANULE;
	struct table_place p = { .base = base, .n_granules = (uint32_t)n_granules };
	struct layout l = { .t = t };
	uint32_t *rules = NULL;
	int r;

	p.words.n = words_needed(rows, p.n_granules);
	r = take_words(t, p.words.n, &p.words.first);
	if (r == 0)
		rules = malloc((rows->rules.n + 1) * sizeof(*rules));
	if (r < 0 || !rules) {
		t->n_full += r == -ENOSPC;
		return r < 0 ? r : -ENOMEM;
	}
	for (size_t i = 0; i < rows->rules.n; i++)
		rules[i] = intern(t, &rows->rules.data[i]);
	l.rules = rules;
	l.at = p.words.first;
	lay_out(&l, rows, base, p.n_granules);
	free(rules);
	/* what the estimate was too large by */
	if (l.at - p.words.first < p.words.n) {
		space_give(&t->words, (struct table_range){ l.at, p.words.first + p.words.n - l.at });
		p.words.n = l.at - p.words.first;
	}
	*ret = p;
	return 0;
}

void tables_forget(struct tables *t, const struct table_place *p)
{
	if (p->words.n && vec_push(&t->old_words, p->words) == 0 && t->old_words.n > MAX_OLD)
		tables_collect(t);
}

int tables_list(struct tables *t, const struct pp_mapping *m, uint32_t n, uint64_t *ret)
{
	uint32_t first = 0;

	if (n && !space_take(&t->lists, n, &first)) {
		tables_collect(t);
		if (!space_take(&t->lists, n, &first)) {
			t->n_full++;
			return -ENOSPC;
		}
	}
	if (n)
		memcpy(&t->mappings[first], m, n * sizeof(*m));
	*ret = PP_LIST(first, ++t->n_lists, n);
	return 0;
}

void tables_forget_list(struct tables *t, uint64_t list)
{
	struct table_range r = { PP_LIST_FIRST(list), PP_LIST_N(list) };

	if (r.n && vec_push(&t->old_lists, r) == 0 && t->old_lists.n > MAX_OLD)
		tables_collect(t);
}

void tables_collect(struct tables *t)
{
	if (!t->old_words.n && !t->old_lists.n)
		return;
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
		usleep(100000); /* nohz_full machines refuse it: a program runs for microseconds */
	for (size_t i = 0; i < t->old_words.n; i++)
		space_give(&t->words, t->old_words.data[i]);
	for (size_t i = 0; i < t->old_lists.n; i++)
		space_give(&t->lists, t->old_lists.data[i]);
	t->old_words.n = t->old_lists.n = 0;
}
