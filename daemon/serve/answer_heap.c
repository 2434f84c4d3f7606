/* SPDX-License-Identifier: Apache-2.0 */

/* answer_heap.c - heap and allocs. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/asking.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/heap/heap.h"
#include "daemon/serve/query.h"

static void encode_heap(const struct asking *s, const struct heap_reading *reading,
			struct capture *capture, bool text)
{
	struct core *c = s->a->core;
	struct naming n = { 0 };
	struct heap_totals totals;
	int r = namer_run(c, s->target, capture, &n);

	if (r == 0)
		r = heap_strip(c, s->target, capture, &n);
	if (r == 0 && text) {
		heap_sum(c, s->target, reading, &totals);
		r = asking_spell(s, &n);
		if (r == 0)
			r = heap_text(c, s->target, &totals, capture, &n, &s->ret->body);
		s->ret->status = 200;
		s->ret->kind = HTTP_TEXT;
	} else if (r == 0) {
		asking_encode(s, capture, &n);
	}
	if (r < 0)
		http_error(s->ret, 500, "failed to write the profile: %s", strerror(-r));
	naming_free(&n);
}

/* What the client has not seen yet is what was allocated; what is in use is as it is. */
static int read_since(const struct asking *s, const struct heap_question *q, struct capture *capture,
		      struct heap_reading *before, struct heap_reading *after)
{
	_cleanup_(cursor_before_deinit) struct cursor_before seen = { 0 };
	_cleanup_(freep) int64_t (*now)[2] = NULL;
	int r;

	pthread_mutex_lock(&s->a->cursors.lock);
	r = heap_read(s->a->core, s->target, q, after);
	if (r == 0)
		now = calloc(after->n + 1, sizeof(*now));
	for (size_t i = 0; now && i < after->n; i++) {
		now[i][0] = after->rows[i].allocs;
		now[i][1] = after->rows[i].alloc_bytes;
	}
	if (r == 0)
		r = now ? asking_cursor(s, now, after->n, capture, &seen) : -ENOMEM;
	pthread_mutex_unlock(&s->a->cursors.lock);
	before->rows = r == 0 ? calloc(seen.n + 1, sizeof(*before->rows)) : NULL;
	if (!before->rows)
		return r < 0 ? r : -ENOMEM;
	before->n = seen.n;
	for (size_t i = 0; i < seen.n; i++)
		before->rows[i] = (struct heap_row){ .allocs = seen.v[i][0], .alloc_bytes = seen.v[i][1] };
	return 0;
}

static void heap_answer(const struct asking *s, const struct profile *p,
			const struct heap_question *q, int64_t seconds)
{
	_cleanup_(heap_reading_deinit) struct heap_reading before = { 0 }, after = { 0 };
	_cleanup_(capture_freep) struct capture *capture = NULL;
	struct core *c = s->a->core;
	int64_t began = monotonic_ns();
	int r = capture_new(p, &capture);

	if (r == 0 && seconds)
		r = heap_read(c, s->target, q, &before);
	if (r == 0 && !asking_wait_delta(s, seconds))
		return;
	if (r == 0)
		r = s->cursor ? read_since(s, q, capture, &before, &after) : heap_read(c, s->target, q, &after);
	if (r == 0)
		r = heap_capture(c, s->target, q, seconds || s->cursor ? &before : NULL, &after, capture);
	if (r < 0) {
		http_error(s->ret, 500, "failed to collect profile: %s", strerror(-r));
		return;
	}
	capture->time_ns = realtime_ns();
	capture->period = heap_period(s->target);
	capture->delta = seconds || s->cursor;
	if (seconds)
		capture->duration_ns = monotonic_ns() - began;
	encode_heap(s, &after, capture, q->raw && !s->gperftools);
}

void answer_heap(const struct asking *s, const struct profile *p)
{
	const struct query *query = &s->q->query;
	const char *age = query_get(query, "minage");
	/* as in Go, where a debug below 0 is text too: of heap and allocs only */
	struct heap_question q = { .raw = query_number(query, "debug") != 0,
				   .peak = query_number(query, "peak") > 0,
				   .unseen = query_number(query, "unseen") > 0 };
	int64_t seconds, min_age = 0;

	if (!asking_delta_seconds(s, &seconds))
		return;
	if (s->gperftools)
		q.raw = !seconds; /* clients scale totals, but not differences */
	else if (s->cursor)
		q.raw = false;
	if (!asking_known_format(query_get(query, "format"))) {
		asking_unknown_format(s);
		return;
	}
	if (age && (!query_int(age, &min_age) || min_age < 0 || min_age > INT32_MAX)) {
		http_error(s->ret, 400, "invalid value for \"minage\" - must be a number of seconds");
		return;
	}
	q.min_age_ns = min_age * NS_PER_S;
	if (!target_alive(s->target)) {
		s->ret->exited = target_kept(s->a->core, s->target);
		if (!s->ret->exited) {
			asking_gone(s);
			return;
		}
		seconds = 0; /* nothing will change */
	}
	if (core_wait_kernel(s->a->core))
		heap_answer(s, p, &q, seconds);
	else
		http_error(s->ret, 500, "BPF programs are not loaded");
}
