/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/answer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/answer_target.h"
#include "daemon/serve/asking.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/collect/kept.h"
#include "daemon/serve/contention.h"
#include "daemon/serve/door/redact.h"
#include "daemon/serve/index.h"
#include "daemon/serve/page/page.h"
#include "daemon/serve/path.h"
#include "daemon/serve/profile.h"
#include "daemon/serve/session.h"
#include "daemon/serve/symbol.h"
#include "daemon/serve/text.h"

#define MAX_CMDLINE (2u << 20)

static void not_found(struct http_response *ret)
{
	ret->status = 404;
	ret->kind = HTTP_TEXT;
	bytes_puts(&ret->body, "404 page not found\n");
}

static void method_not_allowed(struct http_response *ret)
{
	ret->status = 405;
	ret->kind = HTTP_TEXT;
	ret->allow = "GET, HEAD";
	bytes_puts(&ret->body, "Method Not Allowed\n");
}

void asking_gone(const struct asking *s)
{
	http_error(s->ret, 404, "process %d (%s) has ended", s->target->pid, s->target->comm);
}

void asking_between(const struct asking *s)
{
	http_error(s->ret, 503, "process %d is in the middle of executing a program: try again", s->target->pid);
}

static void answer_cmdline(const struct asking *s)
{
	struct core *c = s->a->core;
	_cleanup_(closep) int fd = broker_open_proc(&c->broker, s->target->index,
						    BROKER_PROC_CMDLINE);
	struct bytes *b = &s->ret->body;
	char buffer[4096];
	ssize_t n = 0;

	if (fd < 0) {
		if (fd == -ESRCH)
			asking_gone(s);
		else
			http_error(s->ret, 500, "cannot read the command line: %s", strerror(-fd));
		return;
	}
	while (b->n < MAX_CMDLINE && (n = read(fd, buffer, sizeof(buffer))) > 0)
		bytes_add(b, buffer, (size_t)n);
	if (c->redact & BROKER_REDACT_CMDLINE)
		redact_cmdline(b);
	for (size_t i = 0; s->gperftools && i < b->n; i++) /* there, each has a line */
		if (b->data[i] == '\0')
			b->data[i] = '\n';
	if (b->n && b->data[b->n - 1] == '\0')
		b->n--; /* Go joins the arguments by NULs and puts none behind the last */
	s->ret->status = 200;
	s->ret->kind = HTTP_TEXT;
}

/* The one-shot run has no client: it waits for the user's interrupt or the end of the process. */
static enum session_wait wait_alone(const struct asking *s, int64_t until_ns, int target_fd)
{
	struct pollfd f[2] = { { .fd = s->a->finish_fd, .events = POLLIN },
			       { .fd = target_fd, .events = POLLIN } };
	int64_t left_ns;

	while ((left_ns = until_ns - monotonic_ns()) > 0) {
		struct timespec t = { left_ns / NS_PER_S, left_ns % NS_PER_S };

		if (ppoll(f, 2, &t, NULL) > 0)
			return f[1].revents ? SESSION_WAIT_TARGET : SESSION_WAITED;
	}
	return SESSION_WAITED;
}

static enum session_wait wait_one(const struct asking *s, int64_t until_ns, int target_fd)
{
	if (s->a->finish_fd >= 0)
		return wait_alone(s, until_ns, target_fd);
	switch (http_wait(s->q, until_ns, target_fd)) {
	case HTTP_WAITED:
		return SESSION_WAITED;
	case HTTP_CLIENT_GONE:
		return SESSION_WAIT_CLIENT_GONE;
	case HTTP_STOPPING:
		return SESSION_WAIT_STOPPING;
	case HTTP_EXTRA:
		return target_alive(s->target) ? SESSION_WAITED : SESSION_WAIT_TARGET;
	}
	return SESSION_WAITED;
}

static enum session_wait wait_for(void *context, int64_t until_ns, int target_fd)
{
	const struct asking *s = context;
	int64_t began = monotonic_ns();
	enum session_wait r = wait_one(s, until_ns, target_fd);

	if (s->waited_ns)
		*s->waited_ns += monotonic_ns() - began;
	return r;
}

/* Go: an int64 in base 10, else 30; ours is at most an hour. */
static int64_t window_seconds(const struct query *q)
{
	const char *text = query_get(q, "seconds");
	int64_t v;

	if (!text || !query_int(text, &v) || v <= 0)
		return ANSWER_DEFAULT_SECONDS;
	return v < ANSWER_MAX_SECONDS ? v : ANSWER_MAX_SECONDS;
}

static void answer_result(const struct asking *s, const struct session *session, int r)
{
	switch (r) {
	case SESSION_GONE:
		asking_gone(s);
		return;
	case -EAGAIN:
		asking_between(s);
		return;
	case SESSION_NO_KERNEL:
		http_error(s->ret, 500, "Could not enable CPU profiling: BPF programs are not loaded");
		return;
	case SESSION_REFUSED:
		http_error(s->ret, 500, "Could not enable CPU profiling: %s", session->error);
		return;
	case SESSION_CLIENT_GONE:
		s->ret->hang_up = true;
		return;
	case SESSION_STOPPING:
		http_error(s->ret, 503, "pprofd is stopping");
		return;
	}
	http_error(s->ret, 500, "failed to collect profile: %s", strerror(-r));
}

static void capture_window(struct asking *s, const struct profile *p)
{
	_cleanup_(capture_freep) struct capture *capture = NULL;
	const char *kernel = query_get(&s->q->query, "kernel");
	struct session session = { .core = s->a->core,
				   .target = s->target,
				   .profile = p,
				   .kernel = !kernel || strcmp(kernel, "0"),
				   .wait = wait_for,
				   .context = s };
	struct naming n = { 0 };
	int r;

	session.window_ns = window_seconds(&s->q->query) * NS_PER_S;
	r = session_run(&session, &capture);
	if (r != SESSION_OK) {
		answer_result(s, &session, r);
		return;
	}
	r = namer_run(s->a->core, s->target, capture, &n);
	session_close(&session);
	if (r < 0)
		http_error(s->ret, 500, "failed to name the profile: %s", strerror(-r));
	else
		asking_encode(s, capture, &n);
	naming_free(&n);
}

/* Go's serveDeltaProfile: "seconds" must be a number, and goes with no text. */
bool asking_delta_seconds(const struct asking *s, int64_t *ret)
{
	const char *text = query_get(&s->q->query, "seconds");

	*ret = 0;
	if (!text || s->cursor)
		return true;
	if (!query_int(text, ret) || *ret <= 0) {
		http_error(s->ret, 400, "invalid value for \"seconds\" - must be a positive integer");
		return false;
	}
	if (query_number(&s->q->query, "debug") && s->a->finish_fd >= 0) {
		int64_t seconds = *ret;

		*ret = 0; /* on the command line both make sense: as it is after the window */
		return asking_wait_delta(s, seconds);
	}
	if (query_number(&s->q->query, "debug") && !s->gperftools) {
		http_error(s->ret, 400, "seconds and debug params are incompatible");
		return false;
	}
	if (*ret > ANSWER_MAX_SECONDS)
		*ret = ANSWER_MAX_SECONDS;
	return true;
}

bool asking_wait_delta(const struct asking *s, int64_t seconds)
{
	int64_t until = monotonic_ns() + seconds * NS_PER_S;

	switch (seconds ? wait_for((void *)s, until, s->target->pidfd) : SESSION_WAITED) {
	case SESSION_WAIT_CLIENT_GONE:
		s->ret->hang_up = true;
		return false;
	case SESSION_WAIT_STOPPING:
		http_error(s->ret, 503, "pprofd is stopping");
		return false;
	default:
		return true;
	}
}

bool asking_text(const struct asking *s)
{
	return query_number(&s->q->query, "debug") > 0 && !s->gperftools && !s->cursor;
}

/* A cumulative profile: two readings and their difference, or one. */
static void kept_answer(const struct asking *s, const struct profile *p, int64_t seconds)
{
	_cleanup_(totals_before_deinit) struct totals_before before = { 0 };
	_cleanup_(capture_freep) struct capture *capture = NULL;
	struct core *c = s->a->core;
	int64_t began = monotonic_ns();
	struct naming n = { 0 };
	int r = capture_new(p, &capture);

	if (r == 0 && seconds)
		r = kept_read(c, &before);
	if (r == 0 && !asking_wait_delta(s, seconds))
		return;
	if (r == 0)
		r = kept_capture(c, s->target, &before, capture);
	if (r < 0) {
		http_error(s->ret, 500, "failed to collect profile: %s", strerror(-r));
		return;
	}
	capture->time_ns = realtime_ns();
	capture->period = 1;
	capture->delta = seconds != 0;
	capture->duration_ns = seconds ? monotonic_ns() - began : 0;
	r = namer_run(c, s->target, capture, &n);
	if (r == 0 && asking_text(s)) {
		r = asking_spell(s, &n);
		if (r == 0)
			r = text_top(capture, &n, &s->ret->body); /* Go has no text form of its own for it */
		s->ret->status = 200;
		s->ret->kind = HTTP_TEXT;
	} else if (r == 0) {
		asking_encode(s, capture, &n);
	}
	if (r < 0)
		http_error(s->ret, 500, "failed to name the profile: %s", strerror(-r));
	naming_free(&n);
}

static void encode_wait(const struct asking *s, struct capture *capture, struct naming *n)
{
	int r;

	if (!asking_text(s)) {
		asking_encode(s, capture, n);
		return;
	}
	r = asking_spell(s, n);
	if (r == 0)
		r = capture->profile->n_values == 2 ? contention_text(capture, n, &s->ret->body) :
						      text_top(capture, n, &s->ret->body);
	s->ret->status = 200;
	s->ret->kind = HTTP_TEXT;
	if (r < 0)
		http_error(s->ret, 500, "failed to write the profile: %s", strerror(-r));
}

/* The rows of one profile and target, of a reading of all. */
static void own_rows(const struct asking *s, const struct profile *p, const struct wait_reading *from,
		     int64_t (*to)[2])
{
	struct core *c = s->a->core;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < from->n; i++)
		if (c->kept.rows.data[i].collector == p->collector &&
		    target_has_image(s->target, c->kept.rows.data[i].target))
			memcpy(to[i], from->v[i], sizeof(to[i]));
	pthread_mutex_unlock(&c->lock);
}

static int wait_since(const struct asking *s, struct capture *capture, struct wait_reading *before,
		      struct wait_reading *after)
{
	_cleanup_(cursor_before_deinit) struct cursor_before seen = { 0 };
	_cleanup_(freep) int64_t (*now)[2] = NULL;
	int r;

	pthread_mutex_lock(&s->a->cursors.lock);
	r = wait_read(s->a->core, s->target, after);
	if (r == 0)
		now = calloc(after->n + 1, sizeof(*now));
	if (now)
		own_rows(s, capture->profile, after, now);
	if (r == 0)
		r = now ? asking_cursor(s, now, after->n, capture, &seen) : -ENOMEM;
	pthread_mutex_unlock(&s->a->cursors.lock);
	if (r == 0)
		*before = (struct wait_reading){ .n = seen.n, .v = TAKE_PTR(seen.v) };
	return r;
}

static void wait_answer(const struct asking *s, const struct profile *p, int64_t seconds)
{
	_cleanup_(wait_reading_deinit) struct wait_reading before = { 0 }, after = { 0 };
	_cleanup_(capture_freep) struct capture *capture = NULL;
	bool objects = query_number(&s->q->query, "objects") > 0;
	struct core *c = s->a->core;
	int64_t began = monotonic_ns();
	struct naming n = { 0 };
	int r = capture_new(p, &capture);

	if (r == 0 && seconds)
		r = wait_read(c, s->target, &before);
	if (r == 0 && !asking_wait_delta(s, seconds))
		return;
	if (r == 0)
		r = s->cursor ? wait_since(s, capture, &before, &after) : wait_read(c, s->target, &after);
	if (r == 0)
		label_refresh(c, s->target);
	if (r == 0 && seconds)
		capture->began_ns = began;
	if (r == 0)
		r = wait_capture(c, s->target, seconds || s->cursor ? &before : NULL, &after, objects, capture, &n);
	if (r < 0) {
		http_error(s->ret, 500, "failed to collect profile: %s", strerror(-r));
		return;
	}
	capture->time_ns = realtime_ns();
	capture->period = 1;
	capture->delta = seconds || s->cursor;
	if (seconds)
		capture->duration_ns = monotonic_ns() - began;
	encode_wait(s, capture, &n);
	naming_free(&n);
}

static void answer_kept(const struct asking *s, const struct profile *p)
{
	int64_t seconds;

	if (!asking_delta_seconds(s, &seconds))
		return;
	if (!asking_known_format(query_get(&s->q->query, "format")))
		asking_unknown_format(s);
	else if (!target_alive(s->target))
		asking_gone(s);
	else if (!core_wait_kernel(s->a->core))
		http_error(s->ret, 500, "BPF programs are not loaded");
	else if (p->collector == PP_CREATE)
		answer_created(s, p, seconds);
	else if (p->collector == PP_GROWTH)
		kept_answer(s, p, seconds);
	else
		wait_answer(s, p, seconds);
}

bool asking_begin_captures(const struct asking *s, int n)
{
	int now = __atomic_load_n(&s->a->n_captures, __ATOMIC_RELAXED);

	while (now + n <= ANSWER_MAX_CAPTURES) /* what is refused is in nobody's way meanwhile */
		if (__atomic_compare_exchange_n(&s->a->n_captures, &now, now + n, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return true;
	http_error(s->ret, 503, "%d captures are running already", ANSWER_MAX_CAPTURES);
	return false;
}

void asking_end_captures(const struct asking *s, int n)
{
	__atomic_sub_fetch(&s->a->n_captures, n, __ATOMIC_RELAXED);
}

static void answer_window(struct asking *s, const struct profile *p)
{
	if (!asking_known_format(query_get(&s->q->query, "format"))) {
		asking_unknown_format(s);
		return;
	}
	if (s->merge) { /* counted with the others of its name */
		capture_window(s, p);
		return;
	}
	if (!asking_begin_captures(s, 1))
		return;
	capture_window(s, p);
	asking_end_captures(s, 1);
}

static void answer_symbol(const struct asking *s)
{
	const struct http_request *q = s->q;
	const char *input = q->post ? q->body : q->raw_query;
	size_t n = q->post ? q->n_body : strlen(q->raw_query);
	int r = -ENODEV;

	if (core_wait_kernel(s->a->core))
		r = symbol_answer(s->a->core, s->target, input ? input : "", n, &s->ret->body);
	s->ret->status = 200;
	s->ret->kind = HTTP_TEXT;
	if (r < 0)
		http_error(s->ret, 500, "cannot look up symbols: %s", strerror(-r));
}

static void run_profile(struct asking *s, const struct profile *p, const char *name)
{
	if (p && p->arm == PROFILE_CUMULATIVE)
		carry_wait(s->a->core, s->target);
	if (!p)
		answer_custom(s, name);
	else if (p->arm == PROFILE_WINDOWED || p->arm == PROFILE_WALL)
		answer_window(s, p);
	else if (p->arm == PROFILE_SYMBOL)
		answer_symbol(s);
	else if (p->arm == PROFILE_THREADS)
		answer_threads(s, p);
	else if (p->arm == PROFILE_TRACE)
		answer_trace(s);
	else if (p->arm == PROFILE_CUMULATIVE && p->collector == PP_HEAP)
		answer_heap(s, p);
	else if (p->arm == PROFILE_CUMULATIVE)
		answer_kept(s, p);
	else
		answer_cmdline(s);
	if (p && p->arm == PROFILE_CUMULATIVE && s->ret->status == 200)
		carry_save(s->a->core, s->target);
}

void answer_profile(struct asking *s, const char *name)
{
	const char *alias = s->gperftools ? NULL : asking_godeltaprof(s, name);
	const struct profile *p = profile_find(alias ? alias : name);
	size_t row = p ? (size_t)(p - profiles) : n_profiles;
	int64_t began = monotonic_ns(), waited = 0;

	if (s->q->post && (!p || p->arm != PROFILE_SYMBOL)) {
		method_not_allowed(s->ret);
		return;
	}
	if (!asking_demangle(s))
		return;
	s->ret->capture = !p || p->arm != PROFILE_SYMBOL;
	s->ret->pid = s->target->pid;
	s->waited_ns = &waited;
	tally_begin(&s->a->core->tally, row);
	run_profile(s, p, name);
	tally_end(&s->a->core->tally, row, monotonic_ns() - began - waited);
}

/* Rows that the profile has, as in Go; 0 of cmdline and profile. */
static uint64_t count_of(void *context, const struct profile *p)
{
	const struct asking *s = context;

	if (p->arm == PROFILE_THREADS)
		return answer_count_threads(s);
	if (p->arm != PROFILE_CUMULATIVE)
		return 0;
	if (p->collector == PP_CREATE)
		return created_count(s->a->core, s->target);
	if (p->collector == PP_WAIT || p->collector == PP_RELEASE)
		return wait_count(s->a->core, s->target, p);
	return kept_count(s->a->core, s->target, p->collector);
}

/* What is behind `tree`, or NULL: it is no path below it. */
static const char *behind(const char *path, const char *tree)
{
	size_t n = strlen(tree);

	return strncmp(path, tree, n) ? NULL : path + n;
}

static void answer_root(const struct asking *s)
{
	if (s->q->post) {
		method_not_allowed(s->ret);
		return;
	}
	answer_index(s, count_of);
}

/* `name` "": the page. */
static void answer_found(struct asking *s, const struct place_found *found, const char *name, enum lease_wish wish)
{
	struct core *c = s->a->core;
	bool reads = place_reads_kept(name);

	if (reads)
		__atomic_add_fetch(&c->n_reading, 1, __ATOMIC_SEQ_CST);
	if (found->several && answer_can_merge(s, name))
		answer_merged(s, found, name, wish);
	else if (found->several)
		place_refuse(s, found);
	else if (*name)
		answer_profile(s, name);
	else
		answer_root(s);
	if (reads)
		__atomic_sub_fetch(&c->n_reading, 1, __ATOMIC_SEQ_CST);
}

static void answer_path(struct answers *a, const struct http_request *q, struct http_response *ret)
{
	struct asking s = { .a = a, .q = q, .ret = ret };
	const char *name, *old;
	struct place_found found;
	struct known_watch newcomers = { 0 };
	struct place p;

	place_parse(q->path, &p);
	name = !strcmp(p.rest, "/debug/fgprof") ? "wall" : behind(p.rest, "/debug/pprof/");
	old = behind(p.rest, "/pprof/");
	if (old)
		old = asking_gperftools(&s, old);
	if (p.kind == PLACE_NAME)
		s.place = p.name, s.newcomers = &newcomers;
	if (!name && !old && page_answer(&s, &p))
		return;
	if (q->post && !name && !old) {
		method_not_allowed(ret);
		return;
	}
	if (!name && !old) {
		if (!answer_service(&s))
			not_found(ret);
		return;
	}
	name = old ? old : name;
	place_find(&s, &p, place_wish(name), &found);
	s.target = found.target;
	if (s.target || found.several)
		answer_found(&s, &found, name, place_wish(name));
	if (s.target)
		lease_end(s.a->core, s.target);
	known_unwatch(&a->core->known, &newcomers);
	free(found.several);
}

void answer(void *context, const struct http_request *q, struct http_response *ret)
{
	struct answers *a = context;

	answer_path(a, q, ret);
	core_answered(a->core);
}
