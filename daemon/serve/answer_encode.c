/* SPDX-License-Identifier: Apache-2.0 */

/* answer_encode.c - a capture in the format that was asked for, and into the history where that was asked for too. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/serve/asking.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/contention.h"
#include "daemon/serve/encode.h"
#include "daemon/serve/format/format.h"
#include "daemon/serve/gperftools.h"
#include "daemon/serve/merge.h"
#include "daemon/serve/sources.h"

static int encode_gperftools(const struct asking *s, const struct capture *capture, const struct naming *n)
{
	const struct profile *p = capture->profile;
	struct bytes *to = &s->ret->body;

	if (p->collector == PP_HEAP)
		return gperftools_heap(capture, n, capture->delta || heap_scales(s->target) ? 0 : PP_HEAP_RATE, to);
	if (p->collector == PP_GROWTH)
		return gperftools_growth(capture, n, to);
	if (p->collector == PP_RELEASE)
		return gperftools_contention(capture, n, to);
	s->ret->kind = HTTP_BINARY;
	snprintf(s->ret->filename, sizeof(s->ret->filename), "%s", p->name);
	return gperftools_cpu(capture, n, to);
}

static const char *suffix_of(const struct asking *s, const struct capture *capture)
{
	return s->cursor ? ".pprof.gz" : capture->delta ? "-delta" : "";
}

static enum format format_asked(const struct asking *s)
{
	return format_find(query_get(&s->q->query, "format"));
}

bool asking_known_format(const char *format)
{
	return format_find(format) != FORMAT_NONE;
}

void asking_unknown_format(const struct asking *s)
{
	http_error(s->ret, 400, "unknown format: " FORMAT_KNOWN);
}

/* The query, but for what only says that it is to be kept. */
static void plain_query(const char *raw, char *to, size_t size)
{
	size_t n = 0;

	for (const char *s = raw; *s;) {
		size_t one = strcspn(s, "&");

		if (one && strncmp(s, "keep=", 5) && strncmp(s, "keepname=", 9) && n + one + 1 < size)
			n += (size_t)snprintf(to + n, size - n, "%s%.*s", n ? "&" : "", (int)one, s);
		s += one;
		s += *s == '&';
	}
	to[n] = '\0';
}

static void keep(const struct asking *s, const struct capture *capture, const struct bytes *pprof)
{
	const char *name = query_get(&s->q->query, "keepname");
	struct core *c = s->a->core;
	struct history_entry e = { .pid = s->target ? s->target->pid : 0,
				   .time_ns = capture->time_ns,
				   .duration_ns = capture->duration_ns };

	snprintf(e.comm, sizeof(e.comm), "%.16s", s->target ? s->target->comm : s->place ? s->place : "");
	snprintf(e.place, sizeof(e.place), "%s", s->place ? s->place : "");
	snprintf(e.profile, sizeof(e.profile), "%s", capture->profile->name);
	snprintf(e.name, sizeof(e.name), "%s", name ? name : "");
	plain_query(s->q->raw_query, e.query, sizeof(e.query));
	if (history_add(&c->history, &e, pprof->data, pprof->n, monotonic_ns()))
		snprintf(s->ret->kept, sizeof(s->ret->kept), "%s", e.id);
	core_wake(c); /* it goes one day */
}

int asking_write(const struct asking *s, const struct capture *capture, const struct naming *n, const char *filename)
{
	bool keeps = query_number(&s->q->query, "keep") > 0 && !s->q->head;
	_cleanup_(bytes_deinit) struct bytes pprof = BYTES_INIT;
	enum format f = format_asked(s);
	struct http_response *ret = s->ret;
	int r = 0;

	if (f == FORMAT_PPROF || keeps)
		r = encode_pprof(capture, n, &pprof);
	if (r < 0)
		return r;
	if (keeps)
		keep(s, capture, &pprof);
	if (f == FORMAT_PPROF) {
		ret->body = pprof;
		pprof = (struct bytes)BYTES_INIT;
	} else {
		r = format_write(f, capture, n, s->target ? s->target->comm : s->place, &ret->body);
	}
	ret->status = 200;
	format_head(f, filename, ret);
	return r;
}

int asking_say_newcomers(const struct asking *s, struct capture *capture)
{
	uint64_t n = s->newcomers ? known_watched(&s->a->core->known, s->newcomers) : 0;

	return n ? capture_comment(capture, "pprofd: not in it: %llu that came to be called so after it had begun",
				   (unsigned long long)n) : 0;
}

void asking_encode(const struct asking *s, struct capture *capture, struct naming *n)
{
	struct http_response *ret = s->ret;
	char filename[64];
	int r = asking_spell(s, n);

	sources_say(s->a->core, s->target, capture);
	if (r == 0 && !s->merge)
		r = asking_say_newcomers(s, capture);
	ret->status = 200;
	ret->kind = HTTP_TEXT;
	snprintf(filename, sizeof(filename), "%s%s", capture->profile->name, suffix_of(s, capture));
	if (r < 0)
		; /* said below */
	else if (s->merge)
		r = merge_add(s->merge, capture, n, s->target->pid);
	else if (s->gperftools)
		r = encode_gperftools(s, capture, n);
	else
		r = asking_write(s, capture, n, filename);
	if (r < 0)
		http_error(ret, 500, "cannot encode the profile: %s", strerror(-r));
}
