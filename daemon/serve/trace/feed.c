/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/trace/feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void feed_piece_free(struct feed_piece *p)
{
	if (!p)
		return;
	vec_deinit(&p->events);
	vec_deinit(&p->names);
	vec_deinit(&p->notes);
	vec_deinit(&p->texts);
	capture_free(p->stacks);
	free(p);
}

size_t feed_piece_size(const struct feed_piece *p)
{
	return p->events.n * sizeof(*p->events.data) + p->names.n * sizeof(*p->names.data) +
	       p->notes.n * sizeof(*p->notes.data) + p->texts.n * sizeof(*p->texts.data) +
	       p->stacks->words.n * sizeof(uint64_t);
}

static struct feed_piece *piece_new(void)
{
	_cleanup_(feed_piece_freep) struct feed_piece *p = calloc(1, sizeof(*p));

	return p && capture_new(NULL, &p->stacks) == 0 ? TAKE_PTR(p) : NULL;
}

int feed_open(struct feed *f, const struct pool *p, uint64_t now, uint64_t n_lost)
{
	*f = (struct feed){ .n_rows = 2 * p->n_stacks, .began = now, .lost_seen = n_lost };
	f->rows = calloc(f->n_rows, sizeof(*f->rows));
	f->open = piece_new();
	if (f->rows && f->open)
		return 0;
	feed_close(f);
	return -ENOMEM;
}

void feed_close(struct feed *f)
{
	feed_piece_free(f->open);
	free(f->rows);
	*f = (struct feed){ 0 };
}

void feed_forget_rows(struct feed *f)
{
	if (f->rows)
		memset(f->rows, 0, f->n_rows * sizeof(*f->rows));
}

/* The number of a stack in the open piece, + 1; 0: it cannot be had. */
static uint32_t intern(struct feed *f, const uint64_t *words, uint32_t n)
{
	uint32_t i = n ? capture_stack(f->open->stacks, words, n) : HASH_NONE;

	if (i != HASH_NONE)
		return i + 1;
	f->open->n_no_stack++;
	return 0;
}

static uint32_t stack_of(struct feed *f, const struct pool *p, uint64_t oldest, const struct pp_trace_record *r)
{
	uint64_t epoch = oldest + (uint32_t)(r->epoch - (uint32_t)oldest); /* the record has its low bits */
	uint64_t words[PP_MAX_WORDS];
	uint32_t *known;

	if (!r->stack)
		return 0;
	if (r->stack >= PP_NO_STACK(0)) {
		words[0] = PP_MARKER(r->stack & 0xff, 0);
		return intern(f, words, 1);
	}
	if (epoch > p->control->epoch || r->stack > f->n_rows) {
		f->open->n_no_stack++;
		return 0;
	}
	known = &f->rows[r->stack - 1];
	if (!*known)
		*known = intern(f, words, pool_stack(p, epoch & 1, r->stack, words));
	return *known;
}

static bool is_named(uint8_t kind)
{
	return kind == PP_TRACE_WAKING || kind == PP_TRACE_NEW || kind == PP_TRACE_NAME || kind == PP_TRACE_EXEC;
}

static uint32_t name_of(struct feed *f, const char text[16])
{
	struct feed_name n;

	memcpy(n.text, text, sizeof(n.text));
	n.text[sizeof(n.text) - 1] = '\0';
	return vec_push(&f->open->names, n) < 0 ? 0 : (uint32_t)f->open->names.n;
}

static bool is_note(uint8_t kind)
{
	return kind >= PP_TRACE_TASK_BEGIN && kind <= PP_TRACE_LOG;
}

static uint32_t text_of(struct feed *f, const char text[PP_TRACE_TEXT])
{
	struct feed_text t;

	if (!*text)
		return 0;
	memcpy(t.text, text, sizeof(t.text));
	t.text[sizeof(t.text) - 1] = '\0';
	return vec_push(&f->open->texts, t) < 0 ? 0 : (uint32_t)f->open->texts.n;
}

/* What a program says, kept; its number + 1. */
static uint32_t note_of(struct feed *f, const struct pp_trace_note *from, size_t n)
{
	struct feed_note note = { .task = from->task, .parent = from->parent, .site = from->r.item };

	if (n == sizeof(*from)) {
		note.name = text_of(f, from->name);
		note.message = text_of(f, from->message);
	}
	return vec_push(&f->open->notes, note) < 0 ? 0 : (uint32_t)f->open->notes.n;
}

void feed_add(struct feed *f, const struct pool *p, uint64_t oldest, const struct pp_trace_record *r, size_t n)
{
	struct feed_event e = { .time = r->time < f->began ? f->began : r->time,
				.tid = r->tid,
				.other = r->other,
				.item = r->item,
				.cpu = r->cpu,
				.kind = r->kind };

	e.stack = stack_of(f, p, oldest, r);
	if (n == sizeof(*r) && is_named(r->kind))
		e.name = name_of(f, r->name);
	if (is_note(r->kind))
		e.other = n >= PP_TRACE_NOTE_SHORT ? note_of(f, (const void *)r, n) : 0;
	if (vec_push(&f->open->events, e) < 0)
		f->open->n_lost++;
}

/* Few are out of order, and by a few places: a program that walked a stack, or was interrupted. */
static void sort(struct feed_event *e, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct feed_event one = e[i];
		size_t at = i;

		while (at && e[at - 1].time > one.time)
			at--;
		if (at == i)
			continue;
		memmove(&e[at + 1], &e[at], (i - at) * sizeof(*e));
		e[at] = one;
	}
}

static uint32_t move_note(struct feed *f, const struct feed_piece *from, struct feed_note n)
{
	if (n.name)
		n.name = text_of(f, from->texts.data[n.name - 1].text);
	if (n.message)
		n.message = text_of(f, from->texts.data[n.message - 1].text);
	return vec_push(&f->open->notes, n) < 0 ? 0 : (uint32_t)f->open->notes.n;
}

/* The event, with its stack and its name, goes to the open piece. */
static int move(struct feed *f, const struct feed_piece *from, struct feed_event e)
{
	struct capture_stack s;

	if (e.stack) {
		s = from->stacks->stacks.data[e.stack - 1];
		e.stack = intern(f, from->stacks->words.data + s.first, s.n);
	}
	if (e.name)
		e.name = name_of(f, from->names.data[e.name - 1].text);
	if (is_note(e.kind) && e.other)
		e.other = move_note(f, from, from->notes.data[e.other - 1]);
	return vec_push(&f->open->events, e);
}

int feed_cut(struct feed *f, uint64_t at, uint64_t n_lost, struct feed_piece **ret)
{
	struct feed_piece *old = f->open, *new = piece_new();
	size_t n = old->events.n;

	if (!new)
		return -ENOMEM;
	sort(old->events.data, n);
	while (n && old->events.data[n - 1].time >= at)
		n--;
	f->open = new;
	feed_forget_rows(f);
	for (size_t i = n; i < old->events.n; i++)
		if (move(f, old, old->events.data[i]) < 0)
			new->n_lost++;
	old->events.n = n;
	old->began = f->began;
	old->ended = f->began = at;
	old->n_lost += n_lost - f->lost_seen;
	f->lost_seen = n_lost;
	*ret = old;
	return 0;
}
