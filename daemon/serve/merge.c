/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/merge.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bpf/event.h"

#define PART_SHIFT 47 /* addresses of code have fewer bits */

struct part {
	struct merge *m;
	const struct capture *from;
	const struct naming *names;
	uint32_t index;
	int32_t pid;
	VEC(uint32_t) mappings; /* of `names` -> of the sum */
	VEC(uint32_t) functions; /* likewise; HASH_NONE: not there yet */
};

/* Of code that has no file, a number means something in one process only. */
static uint64_t translate(const struct part *p, uint64_t word)
{
	return word >> 56 == PP_FRAME_RAW ? word ^ (uint64_t)p->index << PART_SHIFT : word;
}

/* A copy, which the sum owns; NULL: no memory. */
static const char *keep(struct naming *n, const char *text)
{
	char *copy = strdup(text ? text : "");

	if (copy && vec_push(&n->owned, copy) < 0) {
		free(copy);
		return NULL;
	}
	return copy;
}

static bool function_equal(uint32_t item, const void *key, const void *context)
{
	const struct merge *m = context;
	const struct naming_function *a = &m->names.functions.data[item], *b = key;

	return a->start_line == b->start_line && !strcmp(a->name, b->name) && !strcmp(a->system_name, b->system_name) &&
	       !strcmp(a->file, b->file);
}

static uint32_t take_function(struct part *p, uint32_t index)
{
	const struct naming_function *f;
	struct merge *m = p->m;
	struct naming_function copy;
	uint32_t at;
	uint64_t h;

	if (index == UINT32_MAX || p->functions.data[index] != HASH_NONE)
		return index == UINT32_MAX ? index : p->functions.data[index];
	f = &p->names->functions.data[index];
	h = hash_u64(hash_bytes(HASH_SEED, f->name, strlen(f->name)), f->start_line);
	at = hash_get(&m->functions, h, function_equal, f, m);
	if (at == HASH_NONE) {
		copy = (struct naming_function){ keep(&m->names, f->name), keep(&m->names, f->system_name),
						 keep(&m->names, f->file), f->start_line };
		at = (uint32_t)m->names.functions.n;
		if (!copy.name || !copy.system_name || !copy.file || vec_push(&m->names.functions, copy) < 0 ||
		    hash_put(&m->functions, h, at) < 0)
			return HASH_NONE;
	}
	p->functions.data[index] = at;
	return at;
}

static int take_mappings(struct part *p)
{
	struct naming *to = &p->m->names;

	for (size_t i = 0; i < p->names->mappings.n; i++) {
		struct naming_mapping m = p->names->mappings.data[i];
		size_t at = 0;

		while (at < to->mappings.n && (to->mappings.data[at].start != m.start ||
					       strcmp(to->mappings.data[at].file, m.file)))
			at++;
		if (at == to->mappings.n) {
			m.file = keep(to, m.file);
			m.build_id = keep(to, m.build_id);
			if (!m.file || !m.build_id || vec_push(&to->mappings, m) < 0)
				return -ENOMEM;
		}
		to->mappings.data[at].limit = m.limit > to->mappings.data[at].limit ? m.limit :
										       to->mappings.data[at].limit;
		if (vec_push(&p->mappings, (uint32_t)at) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int take_location(struct part *p, uint64_t word)
{
	uint32_t from = naming_find(p->names, word), n;
	uint64_t own = translate(p, word);
	struct naming *to = &p->m->names;
	struct naming_location l;

	if (from == UINT32_MAX || naming_find(to, own) != UINT32_MAX)
		return 0;
	l = p->names->locations.data[from];
	n = l.first_line + l.n_lines;
	if (own != word)
		l.address ^= (uint64_t)p->index << PART_SHIFT;
	l.mapping = l.mapping ? p->mappings.data[l.mapping - 1] + 1 : 0;
	l.callee = NULL;
	l.first_line = (uint32_t)to->lines.n;
	for (uint32_t i = n - l.n_lines; i < n; i++) {
		struct naming_line line = p->names->lines.data[i];

		line.function = take_function(p, line.function);
		if (vec_push(&to->lines, line) < 0)
			return -ENOMEM;
	}
	if (vec_push(&to->locations, l) < 0 || vec_push(&to->words, own) < 0)
		return -ENOMEM;
	return hash_put(&to->word_index, hash_u64(HASH_SEED, own), (uint32_t)to->words.n - 1);
}

static uint32_t take_stack(struct part *p, uint32_t stack)
{
	struct capture_stack s = p->from->stacks.data[stack];
	const uint64_t *words = p->from->words.data + s.first;
	uint64_t own[PP_MAX_WORDS];

	if (s.n > PP_MAX_WORDS)
		return HASH_NONE;
	for (uint32_t i = 0; i < s.n; i++) {
		own[i] = translate(p, words[i]);
		if (take_location(p, words[i]) < 0)
			return HASH_NONE;
	}
	return capture_stack(p->m->sum, own, s.n);
}

static uint32_t take_string(struct part *p, uint32_t string)
{
	const char *text = p->from->strings.data[string];

	return capture_string(p->m->sum, text, strlen(text));
}

/* Its labels, and whose it is: a text, because some readers drop numbers. */
static uint32_t take_labels(struct part *p, uint32_t labels)
{
	struct capture_label all[CAPTURE_MAX_LABELS];
	char text[16];
	uint32_t n = 0;

	snprintf(text, sizeof(text), "%d", p->pid);
	all[n++] = (struct capture_label){ capture_string(p->m->sum, "pid", 3),
					   capture_string(p->m->sum, text, strlen(text)), 0 };
	for (uint32_t i = 0; labels && i < p->from->label_sets.data[labels - 1].n && n < CAPTURE_MAX_LABELS; i++) {
		struct capture_label l = p->from->labels.data[p->from->label_sets.data[labels - 1].first + i];

		l.key = take_string(p, l.key);
		l.value = l.value ? take_string(p, l.value) : 0;
		all[n++] = l;
	}
	for (uint32_t i = 0; i < n; i++)
		if (all[i].key == HASH_NONE || all[i].value == HASH_NONE)
			return HASH_NONE;
	return capture_label_set(p->m->sum, all, n);
}

static int take_samples(struct part *p)
{
	for (size_t i = 0; i < p->from->samples.n; i++) {
		struct capture_sample s = p->from->samples.data[i];

		s.stack = take_stack(p, s.stack);
		s.labels = take_labels(p, s.labels);
		if (s.stack == HASH_NONE || s.labels == HASH_NONE || capture_add(p->m->sum, s) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* All cover about the same time. */
static int take_head(struct part *p)
{
	struct capture *to = p->m->sum;
	int r = 0;

	if (!to->time_ns || p->from->time_ns < to->time_ns)
		to->time_ns = p->from->time_ns;
	if (p->from->duration_ns > to->duration_ns)
		to->duration_ns = p->from->duration_ns;
	to->period = to->period ? to->period : p->from->period;
	to->delta = p->from->delta;
	for (size_t i = 0; i < p->from->comments.n && r == 0; i++)
		r = capture_comment(to, "pid %d: %s", p->pid, p->from->comments.data[i]);
	return r;
}

static int add(struct part *p)
{
	int r = p->m->sum ? 0 : capture_new(p->from->profile, &p->m->sum);

	for (size_t i = 0; i < p->names->functions.n && r == 0; i++)
		r = vec_push(&p->functions, HASH_NONE);
	if (r == 0)
		r = take_mappings(p);
	if (r == 0)
		r = take_samples(p);
	return r == 0 ? take_head(p) : r;
}

int merge_add(struct merge *m, const struct capture *from, const struct naming *names, int32_t pid)
{
	struct part p = { .m = m, .from = from, .names = names, .pid = pid };
	int r = -E2BIG;

	pthread_mutex_lock(&m->lock);
	p.index = m->n;
	if (m->n < MERGE_MAX)
		r = add(&p);
	m->n += r == 0;
	pthread_mutex_unlock(&m->lock);
	vec_deinit(&p.mappings);
	vec_deinit(&p.functions);
	return r;
}

void merge_deinit(struct merge *m)
{
	capture_free(m->sum);
	naming_free(&m->names);
	hash_deinit(&m->functions);
}
