/* SPDX-License-Identifier: Apache-2.0 */

/* answer_threads.c - goroutine and threadcreate. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/asking.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/collect/kept.h"
#include "daemon/serve/format/format.h"
#include "daemon/serve/query.h"
#include "daemon/serve/threads/threads.h"

static void failed(const struct asking *s, int r)
{
	if (r == -ESRCH)
		asking_gone(s);
	else if (r == -EAGAIN)
		asking_between(s);
	else
		http_error(s->ret, 500, "failed to collect profile: %s", strerror(-r));
}

static void as_text(const struct asking *s)
{
	s->ret->status = 200;
	s->ret->kind = HTTP_TEXT;
}

static void answer_now(const struct asking *s, const struct profile *p, int64_t debug, bool tid)
{
	const char *labels = query_get(&s->q->query, "labels"), *format = query_get(&s->q->query, "format");
	bool panicparse = format && !strcmp(format, "panicparse");
	struct dump_style style = { .labels = !panicparse && (!labels || strcmp(labels, "0")),
				    .panicparse = panicparse };
	struct threads t;
	int r = threads_read(s->a->core, s->target, p, tid, debug > 1, &t);

	if (r < 0) {
		failed(s, r);
		return;
	}
	t.capture->time_ns = realtime_ns();
	t.capture->period = 1;
	r = debug > 0 ? asking_spell(s, &t.names) : 0;
	if (r < 0) {
		; /* said below */
	} else if (debug > 1) {
		r = dump_text(&t, s->target, style, &s->ret->body);
		as_text(s);
	} else if (debug == 1) {
		r = count_text(t.capture, &t.names, NULL, NULL, &s->ret->body);
		as_text(s);
	} else {
		asking_encode(s, t.capture, &t.names);
	}
	if (r < 0)
		http_error(s->ret, 500, "failed to write the profile: %s", strerror(-r));
	threads_deinit(&t);
}

/* Now, less what was there then. */
static void answer_delta(const struct asking *s, const struct profile *p, int64_t seconds, bool tid)
{
	struct core *c = s->a->core;
	int64_t began = monotonic_ns();
	struct dump before = { 0 };
	struct threads t = { 0 };
	int r = dump_read(c, s->target, BROKER_THREADS_STACKS, &before);

	if (r == 0 && !asking_wait_delta(s, seconds)) {
		dump_deinit(&before);
		return;
	}
	if (r == 0)
		r = threads_less(c, s->target, p, tid, &before, &t);
	dump_deinit(&before);
	if (r < 0) {
		failed(s, r);
		return;
	}
	t.capture->time_ns = realtime_ns();
	t.capture->period = 1;
	t.capture->delta = true;
	t.capture->duration_ns = monotonic_ns() - began;
	asking_encode(s, t.capture, &t.names);
	threads_deinit(&t);
}

void answer_threads(const struct asking *s, const struct profile *p)
{
	const char *format = query_get(&s->q->query, "format");
	int64_t debug = query_number(&s->q->query, "debug"), seconds;
	bool tid = query_number(&s->q->query, "tid") > 0;
	bool dump = format && (!strcmp(format, "dump") || !strcmp(format, "panicparse"));

	if (!asking_delta_seconds(s, &seconds))
		return;
	if (!asking_known_format(format) && (!dump || seconds))
		http_error(s->ret, 400, "unknown format: " FORMAT_KNOWN ", and dump and panicparse here");
	else if (!target_alive(s->target))
		asking_gone(s);
	else if (!core_wait_kernel(s->a->core))
		http_error(s->ret, 500, "BPF programs are not loaded");
	else if (seconds)
		answer_delta(s, p, seconds, tid);
	else
		answer_now(s, p, dump ? 2 : debug, tid);
}

void answer_created(const struct asking *s, const struct profile *p, int64_t seconds)
{
	_cleanup_(totals_before_deinit) struct totals_before before = { 0 };
	_cleanup_(capture_freep) struct capture *capture = NULL;
	bool text = query_number(&s->q->query, "debug") > 0;
	struct core *c = s->a->core;
	int64_t began = monotonic_ns();
	struct naming n = { 0 };
	int r = capture_new(p, &capture);

	if (r == 0 && seconds)
		r = kept_read(c, &before);
	if (r == 0 && !asking_wait_delta(s, seconds))
		return;
	if (r == 0)
		r = created_capture(c, s->target, &before, seconds != 0, capture, s->demangle, &n,
				    text ? &s->ret->body : NULL);
	if (r < 0) {
		failed(s, r);
		naming_free(&n);
		return;
	}
	capture->time_ns = realtime_ns();
	capture->period = 1;
	capture->delta = seconds != 0;
	capture->duration_ns = seconds ? monotonic_ns() - began : 0;
	if (text)
		as_text(s);
	else
		asking_encode(s, capture, &n);
	naming_free(&n);
}

uint64_t answer_count_threads(const struct asking *s)
{
	struct dump d = { 0 };
	uint64_t n = 0;

	if (!target_alive(s->target) || !core_wait_kernel(s->a->core) ||
	    dump_read(s->a->core, s->target, BROKER_THREADS_LIST, &d) < 0)
		return 0;
	n = d.threads.n;
	dump_deinit(&d);
	return n;
}
