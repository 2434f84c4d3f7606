/* SPDX-License-Identifier: Apache-2.0 */

/* answer_trace.c - trace: an answer that is written while its window is open. */

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/asking.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/lease.h"
#include "daemon/serve/log.h"
#include "daemon/serve/trace/format.h"
#include "daemon/serve/trace/record.h"

#define MAX_BYTES (64ll << 20)
#define EVENT_BYTES 16 /* more than an event takes in a trace, on average */

struct tracing {
	const struct answers *answers;
	struct target *target;
	struct trace_window *window;
	struct trace_format *format;
	int64_t max_bytes, n_bytes;
	uint64_t n_no_stack;
	bool cut, stopped, ended;
};

static void tracing_free(void *context)
{
	struct tracing *t = context;

	trace_close(t->window);
	lease_end(t->answers->core, t->target);
	trace_format_free(t->format);
	free(t);
}

/* Until there is something to say. Negative: the client is gone. */
static int wait_for_more(struct tracing *t, const struct http_request *q)
{
	struct pollfd alone[2] = { { .fd = trace_fd(t->window), .events = POLLIN },
				   { .fd = t->stopped ? -1 : t->answers->finish_fd, .events = POLLIN } };
	enum http_wait how = HTTP_WAITED;

	if (t->answers->finish_fd >= 0) {
		if (poll(alone, 2, -1) > 0 && alone[1].revents)
			how = HTTP_STOPPING;
	} else if (t->stopped) {
		poll(alone, 1, -1);
	} else {
		how = http_wait(q, INT64_MAX, trace_fd(t->window));
	}
	if (how == HTTP_CLIENT_GONE)
		return -EPIPE;
	if (how == HTTP_STOPPING) { /* what there is so far is a trace too */
		trace_stop(t->window);
		t->stopped = true;
	}
	return 0;
}

/* What does not fit any more is cut off: as many events as surely fit. */
static void bound(struct tracing *t, struct trace_generation *g)
{
	int64_t left = t->max_bytes - t->n_bytes;
	uint64_t most = left > 0 ? (uint64_t)left / EVENT_BYTES : 0;

	if (g->n <= most)
		return;
	g->n = (uint32_t)most;
	g->ended = g->n ? g->events[g->n - 1].time + 1 : g->began + 1;
	t->cut = true;
}

static void add_note(const struct tracing *t, struct bytes *to)
{
	if (t->cut)
		bytes_printf(to, "the trace ends early: it has come to its %lld bytes (maxbytes)", (long long)t->max_bytes);
	else if (t->stopped)
		bytes_puts(to, "the trace ends early: it was stopped");
	else if (trace_target_ended(t->window))
		bytes_printf(to, "the trace ends early: process %d has ended", t->target->pid);
	if (t->n_no_stack)
		bytes_printf(to, "%s%llu stacks could not be had", to->n ? "; " : "", (unsigned long long)t->n_no_stack);
}

static int finish(struct tracing *t, struct bytes *to)
{
	_cleanup_(bytes_deinit) struct bytes note = BYTES_INIT;

	t->ended = true;
	add_note(t, &note);
	return trace_format_end(t->format, note.n ? bytes_text(&note) : NULL, to);
}

/* One generation, or the end. */
static int write_next(struct tracing *t, struct bytes *to)
{
	struct trace_given g;
	int r = trace_next(t->window, &g);

	if (r == TRACE_ENDED)
		return finish(t, to);
	if (r != TRACE_GIVEN)
		return r;
	bound(t, &g.generation);
	t->n_no_stack += g.n_no_stack;
	r = trace_format_generation(t->format, &g.generation, to);
	trace_done(&g);
	if (r == 0 && t->cut)
		r = finish(t, to);
	t->n_bytes += (int64_t)to->n;
	return r;
}

/* Of the stream: more bytes, none at the end. */
static int read_more(void *context, const struct http_request *q, struct bytes *to)
{
	struct tracing *t = context;
	int r = 0;

	while (r == 0 && !to->n && !t->ended) {
		r = wait_for_more(t, q);
		if (r == 0)
			r = write_next(t, to);
	}
	return r < 0 ? r : to->bad ? -ENOMEM : 0;
}

/* strconv.ParseFloat, as far as it matters: no blanks, no hexadecimal without exponent. Else, or not above 0: 1. */
static int64_t window_ns(const struct query *q)
{
	const char *text = query_get(q, "seconds");
	char *end = NULL;
	double v = text && !strpbrk(text, " \t\n\v\f\r(") ? strtod(text, &end) : 0;

	if (!end || *end || end == text || (strpbrk(text, "xX") && !strpbrk(text, "pP")) || !(v > 0) ||
	    (isinf(v) && !strpbrk(text, "iI")))
		return NS_PER_S;
	return v < ANSWER_MAX_SECONDS ? (int64_t)(v * NS_PER_S) : ANSWER_MAX_SECONDS * NS_PER_S;
}

/* False: it has been answered. */
static bool read_flag(const struct asking *s, const char *key, bool *ret)
{
	const char *text = query_get(&s->q->query, key);

	if (text && strcmp(text, "0") && strcmp(text, "1")) {
		http_error(s->ret, 400, "invalid value for \"%s\" - must be 0 or 1", key);
		return false;
	}
	*ret = text ? *text == '1' : *ret;
	return true;
}

static bool read_max_bytes(const struct asking *s, int64_t *ret)
{
	const char *text = query_get(&s->q->query, "maxbytes");

	*ret = MAX_BYTES;
	if (!text || (query_int(text, ret) && *ret > 0))
		return true;
	http_error(s->ret, 400, "invalid value for \"maxbytes\" - must be a positive integer");
	return false;
}

static bool read_format(const struct asking *s, unsigned *version)
{
	const char *text = query_get(&s->q->query, "goversion"), *format = query_get(&s->q->query, "format");
	int64_t v = 23;

	if (format && strcmp(format, "go") && strcmp(format, "perfetto")) {
		http_error(s->ret, 400, "unknown format: go and perfetto are known");
		return false;
	}
	if (text && (!query_int(text, &v) || (v != 22 && v != 23 && v != 25 && v != 26))) {
		http_error(s->ret, 400, "invalid value for \"goversion\" - must be 22, 23, 25 or 26");
		return false;
	}
	*version = format && !strcmp(format, "perfetto") ? TRACE_PERFETTO : (unsigned)v;
	return true;
}

static void answer_failure(const struct asking *s, int r, const char *error)
{
	if (r == TRACE_GONE)
		asking_gone(s);
	else if (r == -EAGAIN)
		asking_between(s);
	else if (r == TRACE_TOO_MANY)
		http_error(s->ret, 503, "%d traces are running already", TRACE_MAX_WINDOWS);
	else if (r == TRACE_NO_KERNEL)
		http_error(s->ret, 500, "Could not enable tracing: BPF programs are not loaded");
	else
		http_error(s->ret, 500, "Could not enable tracing: %s", r < 0 ? strerror(-r) : error);
}

/* A request without a body is run all the same, as in Go. */
static void discard(struct http_response *ret, const struct http_request *q)
{
	struct bytes b = { 0 };
	int r = 0;

	do {
		bytes_clear(&b);
		r = ret->stream.read(ret->stream.context, q, &b);
	} while (r == 0 && b.n);
	ret->hang_up = r < 0;
	bytes_deinit(&b);
}

void answer_trace(const struct asking *s)
{
	struct trace_wish wish = { .window_ns = window_ns(&s->q->query), .stacks = true };
	struct tracing *t = calloc(1, sizeof(*t));
	char error[BROKER_MAX_TEXT];
	unsigned version = 0;
	int r;

	if (!t) {
		http_error(s->ret, 500, "out of memory");
		return;
	}
	s->ret->stream = (struct http_stream){ read_more, tracing_free, t };
	t->answers = s->a;
	t->target = s->target;
	lease_hold(s->a->core, s->target); /* an answer that is made while it is sent */
	if (!read_format(s, &version) || !read_max_bytes(s, &t->max_bytes) || !read_flag(s, "stacks", &wish.stacks) ||
	    !read_flag(s, "syscalls", &wish.calls))
		return;
	r = target_alive(s->target) ? trace_open(s->a->core, s->target, &wish, &t->window, error) : TRACE_GONE;
	if (r == TRACE_OPEN)
		r = trace_format_new(trace_start(t->window), version, &t->format);
	if (r != TRACE_OPEN) {
		answer_failure(s, r, error);
		return;
	}
	s->ret->status = 200;
	s->ret->kind = HTTP_BINARY;
	snprintf(s->ret->filename, sizeof(s->ret->filename), "trace");
	if (s->q->head)
		discard(s->ret, s->q);
}
