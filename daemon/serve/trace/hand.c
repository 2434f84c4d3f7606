/* SPDX-License-Identifier: Apache-2.0 */

/* hand.c - a generation for one window: its part of a piece as events, and names for the piece's stacks. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "daemon/serve/namer.h"
#include "daemon/serve/trace/recording.h"

/* Taken from the queue, and ours until it is released. */
static int take(struct trace_window *w, struct feed_piece **ret, uint64_t *until, uint64_t *n_lost)
{
	struct traces *t = &w->core->traces;
	eventfd_t told;
	int r = TRACE_NOTHING;

	pthread_mutex_lock(&t->lock);
	eventfd_read(w->fd, &told);
	if (w->queue.n) {
		*ret = w->queue.data[0];
		memmove(w->queue.data, w->queue.data + 1, --w->queue.n * sizeof(*ret));
		*until = w->until;
		*n_lost = w->n_lost;
		w->n_lost = 0;
		r = TRACE_GIVEN;
	} else if (w->complete) {
		r = w->broken ? -ENOMEM : TRACE_ENDED;
	}
	if (r == TRACE_GIVEN && (w->queue.n || w->complete))
		eventfd_write(w->fd, 1);
	pthread_mutex_unlock(&t->lock);
	return r;
}

static struct trace_event *add(struct trace_given *g, const struct feed_event *e, enum trace_kind kind)
{
	struct trace_event *to = &g->events[g->generation.n++];

	*to = (struct trace_event){ .time = e->time, .tid = e->tid, .cpu = e->cpu, .kind = (uint8_t)kind, .call = -1 };
	if (g->window->wish.stacks)
		to->stack = e->stack;
	if (e->name)
		memcpy(to->name, g->piece->names.data[e->name - 1].text, sizeof(to->name));
	return to;
}

static int16_t call_number(uint32_t call)
{
	return call <= INT16_MAX ? (int16_t)call : -1;
}

static const char *text_of(const struct feed_piece *p, uint32_t text)
{
	return text ? p->texts.data[text - 1].text : "";
}

static void add_note(struct trace_given *g, const struct feed_event *e, enum trace_kind kind)
{
	const struct feed_piece *p = g->piece;
	const struct feed_note *n = e->other ? &p->notes.data[e->other - 1] : NULL;
	struct trace_note *to = &g->notes[g->generation.n_notes];

	if (!n)
		return;
	*to = (struct trace_note){ .task = n->task, .parent = n->parent, .message = text_of(p, n->message) };
	to->name = n->site && n->site <= g->n_sites ? g->sites[n->site - 1].text : text_of(p, n->name);
	add(g, e, kind)->other = ++g->generation.n_notes;
}

static void add_switch(struct trace_given *g, const struct feed_event *e)
{
	struct trace_event *to = add(g, e, TRACE_OUT);

	to->why = trace_why(e->item);
	if (PP_WAIT_CALL(e->item) != PP_WAIT_NO_CALL)
		to->call = call_number(PP_WAIT_CALL(e->item));
	if (e->item & PP_WAIT_KERNEL)
		to->flags |= TRACE_DISK;
	if (!e->other)
		return;
	to = add(g, e, TRACE_IN);
	to->tid = e->other;
	to->stack = 0;
}

/* The thread has the leader's number from now on. */
static void add_exec(struct trace_given *g, const struct feed_event *e)
{
	if (e->other == e->tid) {
		add(g, e, TRACE_NAME);
		return;
	}
	if (e->other)
		add(g, e, TRACE_EXIT)->tid = e->other;
	add(g, e, TRACE_NEW);
	add(g, e, TRACE_IN);
}

/* At most three events. */
#define MOST 3
static void add_event(struct trace_given *g, const struct feed_event *e)
{
	struct trace_event *to;

	switch (e->kind) {
	case PP_TRACE_SWITCH:
		add_switch(g, e);
		break;
	case PP_TRACE_IN:
		add(g, e, TRACE_IN);
		break;
	case PP_TRACE_WAKING:
		to = add(g, e, TRACE_WAKING);
		to->other = e->other;
		to->flags = !e->other && e->item ? TRACE_IRQ : 0;
		break;
	case PP_TRACE_NEW:
		add(g, e, TRACE_NEW)->other = e->other;
		break;
	case PP_TRACE_EXIT:
		add(g, e, TRACE_EXIT);
		break;
	case PP_TRACE_NAME:
		add(g, e, TRACE_NAME);
		break;
	case PP_TRACE_EXEC:
		add_exec(g, e);
		break;
	case PP_TRACE_ENTER:
	case PP_TRACE_LEAVE:
		if (!g->window->wish.calls)
			break;
		to = add(g, e, e->kind == PP_TRACE_ENTER ? TRACE_ENTER : TRACE_LEAVE);
		to->call = e->kind == PP_TRACE_ENTER ? call_number(e->item) : (int16_t)-1;
		break;
	case PP_TRACE_TICK:
		add(g, e, TRACE_SAMPLE);
		break;
	case PP_TRACE_TASK_BEGIN:
	case PP_TRACE_TASK_END:
	case PP_TRACE_REGION_BEGIN:
	case PP_TRACE_REGION_END:
	case PP_TRACE_LOG:
		add_note(g, e, TRACE_TASK_BEGIN + (e->kind - PP_TRACE_TASK_BEGIN));
		break;
	}
}

static int add_events(struct trace_given *g, uint64_t until)
{
	const struct feed_piece *p = g->piece;
	uint64_t from = g->window->from;
	size_t room = 0;

	for (size_t i = 0; i < p->events.n; i++)
		room += p->events.data[i].kind == PP_TRACE_EXEC ? MOST : p->events.data[i].other ? 2 : 1;
	g->events = malloc((room + 1) * sizeof(*g->events));
	g->notes = malloc((p->notes.n + 1) * sizeof(*g->notes));
	if (!g->events || !g->notes)
		return -ENOMEM;
	for (size_t i = 0; i < p->events.n; i++)
		if (p->events.data[i].time >= from && p->events.data[i].time < until)
			add_event(g, &p->events.data[i]);
	g->generation.events = g->events;
	g->generation.notes = g->notes;
	g->generation.began = p->began > from ? p->began : from;
	g->generation.ended = p->ended < until ? p->ended : until;
	return 0;
}

static int add_frames(struct trace_given *g, uint64_t word)
{
	uint32_t at = naming_find(&g->names, word), n;
	const struct naming_line *lines = naming_lines(&g->names, at, &n);

	for (uint32_t i = 0; i < n; i++) {
		const struct naming_function *f = naming_function(&g->names, lines[i].function);
		struct trace_frame frame = { .pc = at == UINT32_MAX ? word : g->names.locations.data[at].address,
					     .function = f->name,
					     .file = f->file,
					     .line = lines[i].line,
					     .inlined = i + 1 < n };

		if (vec_push(&g->frames, frame) < 0)
			return -ENOMEM;
	}
	return 0;
}

static uint32_t frames(void *context, uint32_t id, const struct trace_frame **ret)
{
	struct trace_given *g = context;
	const struct capture *c = g->piece->stacks;
	struct capture_stack s;
	int r = 0;

	g->frames.n = 0;
	if (!id || id > c->stacks.n)
		return 0;
	s = c->stacks.data[id - 1];
	for (uint32_t i = 0; i < s.n && r == 0; i++)
		r = add_frames(g, c->words.data[s.first + i]);
	*ret = g->frames.data;
	return (uint32_t)g->frames.n;
}

/* More may come meanwhile. */
static int copy_sites(struct trace_given *g)
{
	struct traces *t = &g->window->core->traces;
	int r = 0;

	pthread_mutex_lock(&t->lock);
	g->n_sites = (uint32_t)t->recording->sites.n;
	g->sites = g->n_sites ? malloc(g->n_sites * sizeof(*g->sites)) : NULL;
	if (g->sites)
		memcpy(g->sites, t->recording->sites.data, g->n_sites * sizeof(*g->sites));
	else if (g->n_sites)
		r = -ENOMEM;
	pthread_mutex_unlock(&t->lock);
	return r;
}

int trace_next(struct trace_window *w, struct trace_given *ret)
{
	uint64_t until = 0, n_lost = 0;
	int r;

	*ret = (struct trace_given){ .window = w };
	r = take(w, &ret->piece, &until, &n_lost);
	if (r != TRACE_GIVEN)
		return r;
	pthread_mutex_lock(&w->core->traces.handing);
	ret->generation.n_lost = n_lost + ret->piece->n_lost;
	ret->n_no_stack = ret->piece->n_no_stack;
	tally_add(&w->core->tally, TALLY_TRACE_EVENTS, ret->generation.n_lost);
	tally_add(&w->core->tally, TALLY_TRACE_STACKS, ret->n_no_stack);
	ret->generation.frames = frames;
	ret->generation.context = ret;
	r = copy_sites(ret);
	if (r == 0)
		r = add_events(ret, until);
	if (r == 0)
		r = namer_run(w->core, w->target, ret->piece->stacks, &ret->names);
	if (r == 0)
		return TRACE_GIVEN;
	trace_done(ret);
	return r;
}

void trace_done(struct trace_given *g)
{
	struct traces *t = &g->window->core->traces;

	naming_free(&g->names);
	free(g->events);
	free(g->notes);
	free(g->sites);
	vec_deinit(&g->frames);
	pthread_mutex_lock(&t->lock);
	recording_release(t->recording, g->piece);
	pthread_mutex_unlock(&t->lock);
	pthread_mutex_unlock(&t->handing);
	*g = (struct trace_given){ 0 };
}
