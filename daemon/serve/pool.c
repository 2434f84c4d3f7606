/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/pool.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bpf/heap.h"
#include "daemon/serve/frame.h"

#define POOL_CHUNK_WORDS (1ul << PP_POOL_BITS)

static size_t stacks_size(const struct pool *p)
{
	return 2ul * p->n_stacks * sizeof(struct pp_stack);
}

static size_t words_size(const struct pool *p)
{
	return 2 * p->n_pool_chunks * POOL_CHUNK_WORDS * sizeof(uint64_t);
}

static size_t counts_size(const struct pool *p)
{
	return 2ul * p->n_counts * sizeof(struct pp_count);
}

static int map(int fd, size_t n, void *ret)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	*(void **)ret = p;
	return 0;
}

int pool_init(struct pool *p, const struct broker_maps *sizes, const int fds[PP_N_MAPS])
{
	int r;

	*p = (struct pool){ .n_stacks = sizes->n_stacks,
			    .n_counts = sizes->n_counts,
			    .n_pool_chunks = sizes->n_pool_chunks };
	r = map(fds[PP_MAP_STACK], stacks_size(p), &p->stacks);
	if (r == 0)
		r = map(fds[PP_MAP_WORD], words_size(p), &p->words);
	if (r == 0)
		r = map(fds[PP_MAP_COUNT], counts_size(p), &p->counts);
	if (r == 0)
		r = map(fds[PP_MAP_STATE], sizeof(struct pp_state), &p->state);
	if (r == 0)
		r = map(fds[PP_MAP_LABELS], PP_MAX_PROCESSES * sizeof(*p->labels), &p->labels);
	p->control = r == 0 ? &p->state->control : NULL;
	for (int i = 0; i < 2 && r == 0; i++) {
		struct pool_half *h = &p->halves[i];

		h->folded = calloc(p->n_counts, sizeof(*h->folded));
		h->row = calloc(p->n_counts, sizeof(*h->row));
		h->end = calloc(p->n_counts, sizeof(*h->end));
		if (!h->folded || !h->row || !h->end)
			r = -ENOMEM;
	}
	return r;
}

void pool_deinit(struct pool *p)
{
	if (p->stacks)
		munmap(p->stacks, stacks_size(p));
	if (p->words)
		munmap(p->words, words_size(p));
	if (p->counts)
		munmap(p->counts, counts_size(p));
	if (p->state)
		munmap(p->state, sizeof(struct pp_state));
	if (p->labels)
		munmap(p->labels, PP_MAX_PROCESSES * sizeof(*p->labels));
	for (int i = 0; i < 2; i++) {
		free(p->halves[i].folded);
		free(p->halves[i].row);
		free(p->halves[i].end);
	}
}

/* As they are; 0: the row makes no sense. */
static uint32_t stored_words(const struct pool *p, unsigned half, uint32_t stack, uint64_t words[PP_MAX_WORDS])
{
	uint64_t meta, at, n, size = p->n_pool_chunks * POOL_CHUNK_WORDS;

	if (!stack || stack - 1 < half * p->n_stacks || stack - 1 >= (half + 1) * p->n_stacks)
		return 0;
	meta = __atomic_load_n(&p->stacks[stack - 1].meta, __ATOMIC_ACQUIRE);
	at = meta & ((1ull << 40) - 1);
	n = meta >> 40 & 0xffff;
	if (!(meta & PP_READY) || !n || n > PP_MAX_WORDS || at < half * size ||
	    at + n > (half + 1) * size)
		return 0;
	memcpy(words, p->words + at, n * sizeof(*words));
	return (uint32_t)n;
}

uint32_t pool_stack(const struct pool *p, unsigned half, uint32_t stack, uint64_t words[PP_MAX_WORDS])
{
	uint32_t n;

	if (stack >= PP_NO_STACK(0)) {
		words[0] = PP_MARKER(stack & 0xff, 0);
		return 1;
	}
	n = stored_words(p, half, stack, words);
	for (uint32_t i = 1; i < n; i++) /* the kernel's frames are return addresses: -1 */
		if (words[i] >> 56 == PP_FRAME_KERNEL)
			words[i]--;
	return n;
}

/* A stack of an earlier epoch: a row has it, because it was seen to when its half was emptied. */
static uint32_t known_stack(const struct totals *t, uint64_t hash, uint64_t words[PP_MAX_WORDS])
{
	uint32_t i = totals_known(t, hash), n;
	const uint64_t *from;

	if (i == HASH_NONE)
		return 0;
	from = stacks_words(&t->stacks, t->rows.data[i].stack, &n);
	if (n > PP_MAX_WORDS)
		return 0;
	memcpy(words, from, n * sizeof(*words));
	return n;
}

/* The words of a set of labels, which may be in either half; 0: none, or it is gone. */
static uint32_t label_words(const struct pool *p, const struct totals *t, uint32_t labels, uint64_t words[PP_MAX_WORDS])
{
	const uint64_t *from;
	uint32_t n;

	if (!labels)
		return 0;
	if (!(labels & PP_LABELS_KEPT))
		return stored_words(p, labels > p->n_stacks, labels, words);
	labels &= ~PP_LABELS_KEPT;
	if (labels >= t->label_sets.all.n)
		return 0;
	from = stacks_words(&t->label_sets, labels, &n);
	if (n > PP_MAX_WORDS)
		return 0;
	memcpy(words, from, n * sizeof(*words));
	return n;
}

static uint32_t find_row(struct pool *p, struct totals *t, unsigned half, const struct pp_count *c)
{
	uint64_t words[PP_MAX_WORDS], labels[PP_MAX_WORDS];
	uint32_t n, n_labels;
	char name[TOTALS_NAME];

	if (c->stack == PP_NO_STACK(PP_END_BY_HASH))
		n = known_stack(t, c->name[0], words);
	else
		n = pool_stack(p, half, c->stack, words);
	if (!n) {
		p->n_bad++;
		words[0] = PP_MARKER(PP_END_TABLE_FULL, 0);
		n = 1;
	}
	p->halves[half].end[(size_t)(c - p->counts) % p->n_counts] =
		frame_kind(words[n - 1]) == FRAME_MARKER ? (uint8_t)frame_end(words[n - 1]) : PP_END_ZERO;
	n_labels = label_words(p, t, c->labels, labels);
	memcpy(name, c->name, sizeof(name));
	return totals_labelled_row(t, c->target, c->collector, c->item, words, n, name, labels, n_labels);
}

bool pool_wait(const struct pool *p, uint32_t slot, struct pp_wait *ret)
{
	const struct pp_wait *w = &p->waits[slot];
	uint64_t began;

	if (!__atomic_load_n(&p->wait_keys[slot / PP_WAIT_WAYS].key[slot % PP_WAIT_WAYS], __ATOMIC_ACQUIRE))
		return false;
	began = __atomic_load_n(&w->began, __ATOMIC_ACQUIRE);
	*ret = *w;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return began && began == __atomic_load_n(&w->began, __ATOMIC_RELAXED) && ret->slot < PP_MAX_PROCESSES;
}

uint32_t pool_wait_row(struct pool *p, struct totals *kept, const struct pp_wait *w)
{
	uint64_t name[2] = { w->stack, w->named }, words[PP_MAX_WORDS], labels[PP_MAX_WORDS];
	uint32_t n;

	if (w->row == PP_NO_STACK(PP_END_BY_HASH) ||
	    (w->row < PP_NO_STACK(0) && w->epoch != p->control->epoch))
		n = known_stack(kept, w->stack, words);
	else
		n = pool_stack(p, w->epoch & 1, w->row, words);
	if (!n) {
		p->n_bad++;
		words[0] = PP_MARKER(PP_END_TABLE_FULL, 0);
		n = 1;
	}
	return totals_labelled_row(kept, w->target, PP_WAIT, w->item, words, n, (const char *)name, labels,
				   label_words(p, kept, w->labels, labels));
}

/* The record of a wait that is open keeps its labels. One that has ended meanwhile has them in its count; one that has
 * begun has other rows. */
static void keep_labels(struct pool *p, struct totals *kept, uint32_t slot, uint32_t target, uint32_t labels)
{
	uint64_t words[PP_MAX_WORDS];
	uint32_t set;

	if (!labels || labels & PP_LABELS_KEPT)
		return;
	set = totals_labels(kept, target, words, label_words(p, kept, labels, words));
	__atomic_compare_exchange_n(&p->waits[slot].labels, &labels, set ? PP_LABELS_KEPT | (set - 1) : 0, false,
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Waits that are open know their stacks by rows of the half that is about to be emptied. */
static void keep_waits(struct pool *p, struct totals *kept, uint64_t epoch)
{
	for (uint32_t slot = 0; p->waits && slot < POOL_N_WAITS; slot++) {
		uint64_t name[2], words[PP_MAX_WORDS];
		struct pp_wait w;
		uint32_t n;

		if (!pool_wait(p, slot, &w) || w.epoch != epoch)
			continue;
		keep_labels(p, kept, slot, w.target, w.labels);
		if (w.row >= PP_NO_STACK(0))
			continue;
		n = pool_stack(p, epoch & 1, w.row, words);
		name[0] = w.stack;
		name[1] = w.named;
		if (n)
			totals_item_row(kept, w.target, PP_WAIT, w.item, words, n, (const char *)name);
	}
}

/* The words of a stack of this half, which is still there, by its hash. */
static uint32_t stored_stack(const struct pool *p, unsigned half, uint64_t hash, uint64_t words[PP_MAX_WORDS])
{
	for (uint32_t i = half * p->n_stacks; i < (half + 1) * p->n_stacks; i++)
		if ((p->stacks[i].hash | 1) == hash) /* as emit.bpf.h tells hashes */
			return pool_stack(p, half, i + 1, words);
	return 0;
}

/* Waits that ended while the halves were being switched are counted by hash in the new half already, and
 * have no record any more. */
static void keep_ended(struct pool *p, struct totals *kept, unsigned old)
{
	const struct pp_count *counts = p->counts + (size_t)!old * p->n_counts;
	uint32_t *rows = p->halves[!old].row;

	for (uint32_t i = 0; i < p->n_counts; i++) {
		const struct pp_count *c = &counts[i];
		uint64_t words[PP_MAX_WORDS];
		char name[TOTALS_NAME];
		uint32_t n;

		if (!(__atomic_load_n(&c->tag, __ATOMIC_ACQUIRE) & PP_FILLED) ||
		    c->stack != PP_NO_STACK(PP_END_BY_HASH))
			continue;
		if (totals_known(kept, c->name[0]) == HASH_NONE) {
			n = stored_stack(p, old, c->name[0], words);
			memcpy(name, c->name, sizeof(name));
			if (n)
				totals_item_row(kept, c->target, c->collector, c->item, words, n, name);
		}
		if (c->labels && !(c->labels & PP_LABELS_KEPT) && (c->labels > p->n_stacks) == old && !rows[i])
			rows[i] = find_row(p, kept, !old, c) + 1; /* while its labels are there; HASH_NONE + 1 is 0 */
	}
}

/* How many events, each with its weight. */
static void count_end(struct pool *p, const struct pp_count *c, unsigned end, uint64_t d)
{
	double n = (double)(int64_t)d;

	if (c->collector == PP_HEAP && c->name[1] & PP_SIZE_WEIGHED)
		n /= 1 << 16;
	if (c->collector < PP_N_COLLECTORS && end < PP_N_ENDS)
		p->n_ends[c->collector][end] += n;
}

static void fold_half(struct pool *p, struct totals *windowed, struct totals *kept, unsigned half)
{
	struct pp_count *counts = p->counts + (size_t)half * p->n_counts;
	struct pool_half *h = &p->halves[half];

	for (uint32_t i = 0; i < p->n_counts; i++) {
		struct pp_count *c = &counts[i];
		struct totals *t = c->collector == PP_CPU ? windowed : kept;
		uint64_t v[2], d[2]; /* modulo 2^64, as the kernel adds */

		if (!(__atomic_load_n(&c->tag, __ATOMIC_ACQUIRE) & PP_FILLED))
			continue;
		for (int k = 0; k < 2; k++) {
			v[k] = (uint64_t)__atomic_load_n(&c->v[k], __ATOMIC_RELAXED);
			d[k] = v[k] - (uint64_t)h->folded[i][k];
		}
		if (!d[0] && !d[1])
			continue;
		if (!h->row[i]) {
			uint32_t row = find_row(p, t, half, c);

			if (row == HASH_NONE) {
				p->n_not_kept++;
				continue;
			}
			h->row[i] = row + 1;
		}
		count_end(p, c, h->end[i], d[0]);
		for (int k = 0; k < 2; k++) {
			int64_t *total = &t->rows.data[h->row[i] - 1].v[k];

			*total = (int64_t)((uint64_t)*total + d[k]);
			h->folded[i][k] = (int64_t)v[k];
		}
	}
}

void pool_fold(struct pool *p, struct totals *t, struct totals *kept)
{
	fold_half(p, t, kept, p->control->epoch & 1);
}

void pool_flip(struct pool *p, struct totals *t, struct totals *kept)
{
	unsigned old = p->control->epoch & 1;
	struct pool_half *h = &p->halves[old];

	__atomic_add_fetch(&p->control->epoch, 1, __ATOMIC_SEQ_CST);
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
		usleep(100000); /* nohz_full machines refuse it: a program runs for microseconds */
	fold_half(p, t, kept, old);
	keep_waits(p, kept, p->control->epoch - 1);
	keep_ended(p, kept, old);
	if (p->before_empty)
		p->before_empty(p->context);
	memset(p->stacks + (size_t)old * p->n_stacks, 0, stacks_size(p) / 2);
	memset(p->counts + (size_t)old * p->n_counts, 0, counts_size(p) / 2);
	memset(h->folded, 0, p->n_counts * sizeof(*h->folded));
	memset(h->row, 0, p->n_counts * sizeof(*h->row));
	p->control->n_words[old] = p->control->n_counts[old] = p->control->n_stacks[old] = 0;
	p->control->n_labels[old] = 0;
	for (uint32_t i = 0; i < PP_MAX_PROCESSES; i++)
		p->labels[i].n_sets[old] = 0;
	p->n_flips++;
}

bool pool_used(const struct pool *p)
{
	unsigned half = p->control->epoch & 1;

	return p->control->n_counts[half] > p->n_counts / 4 ||
	       p->control->n_words[half] > p->n_pool_chunks * POOL_CHUNK_WORDS / 4;
}

void pool_forget_rows(struct pool *p)
{
	for (int i = 0; i < 2; i++)
		memset(p->halves[i].row, 0, p->n_counts * sizeof(*p->halves[i].row));
}

uint64_t pool_statistic(const struct pool *p, enum pp_statistic which)
{
	return __atomic_load_n(&p->control->statistics[which], __ATOMIC_RELAXED);
}
