/* SPDX-License-Identifier: Apache-2.0 */

/* history_answer.c - -/history and -/history/ID, below the place whose captures they are. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/format/load.h"
#include "daemon/serve/json.h"
#include "daemon/serve/page/history.h"
#include "daemon/serve/page/page.h"

/* Whose captures a place shows: of "/" all, of a name those that were asked for under it and those of who is called so. */
struct scope {
	const struct place *p;
	struct known_process *named;
	size_t n_named;
};

static void scope_init(const struct asking *s, const struct place *p, struct scope *ret)
{
	*ret = (struct scope){ .p = p };
	if (p->kind != PLACE_NAME)
		return;
	ret->named = calloc(PLACE_MAX, sizeof(*ret->named));
	if (ret->named)
		ret->n_named = known_named(&s->a->core->known, p->name, ret->named, PLACE_MAX, NULL);
	if (ret->n_named > PLACE_MAX)
		ret->n_named = PLACE_MAX;
}

static bool shows(const struct scope *x, const struct history_entry *e)
{
	if (x->p->kind == PLACE_ALONE)
		return true;
	if (x->p->kind == PLACE_PID)
		return e->pid && e->pid == x->p->pid;
	for (size_t i = 0; i < x->n_named; i++)
		if (e->pid && x->named[i].pid == e->pid)
			return true;
	return *x->p->name && !strcmp(e->place, x->p->name);
}

struct listing {
	const struct scope *scope;
	struct bytes *to;
	size_t n;
};

static void add_text(struct bytes *b, const char *key, const char *text)
{
	bytes_printf(b, ",\"%s\":", key);
	json_string(b, text);
}

static void add_entry(struct bytes *b, const struct history_entry *e)
{
	bytes_printf(b, "{\"id\":\"%s\",\"pid\":%d", e->id, e->pid);
	add_text(b, "comm", e->comm);
	add_text(b, "profile", e->profile);
	add_text(b, "query", e->query);
	add_text(b, "name", e->name);
	add_text(b, "place", e->place);
	bytes_printf(b, ",\"time\":%lld,\"seconds\":%.3f,\"bytes\":%zu}", (long long)(e->time_ns / NS_PER_MS),
		     (double)e->duration_ns / 1e9, e->n);
}

static void list(void *context, const struct history_entry *e)
{
	struct listing *l = context;

	if (!shows(l->scope, e))
		return;
	bytes_puts(l->to, l->n++ ? ",\n" : "\n");
	add_entry(l->to, e);
}

static void answer_list(const struct asking *s, const struct scope *x)
{
	struct history *h = &s->a->core->history;
	struct listing l = { x, &s->ret->body, 0 };
	struct history_counts counts;

	history_count(h, &counts);
	bytes_printf(l.to, "{\"now\":%lld,\"bytes\":%zu,\"max_bytes\":%lu,\"max\":%d,\"max_age_s\":%lld,\"dropped\":%llu,\"captures\":[",
		     (long long)(realtime_ns() / NS_PER_MS), counts.n_bytes, HISTORY_MAX_BYTES, HISTORY_MAX,
		     HISTORY_MAX_AGE_NS / NS_PER_S, (unsigned long long)counts.n_dropped);
	history_each(h, monotonic_ns(), list, &l);
	bytes_puts(l.to, "]}\n");
	s->ret->status = 200;
	s->ret->kind = HTTP_JSON;
}

static void not_kept(const struct asking *s)
{
	http_error(s->ret, 404, "there is no such capture (any more)");
}

/* name=TEXT, as forms send it. */
static void rename_it(const struct asking *s, const struct history_entry *e)
{
	struct query form = { 0 };
	const char *name;

	if (!s->q->body || query_parse(s->q->body, &form) < 0) {
		http_error(s->ret, 400, "name=TEXT is wanted");
		return;
	}
	name = query_get(&form, "name");
	if (name && strlen(name) > 4 * HISTORY_MAX_NAME)
		http_error(s->ret, 400, "a name of at most %d bytes is wanted", HISTORY_MAX_NAME);
	else if (!history_rename(&s->a->core->history, e->id, monotonic_ns(), name ? name : ""))
		not_kept(s);
	else {
		struct history_entry now;

		if (history_find(&s->a->core->history, e->id, monotonic_ns(), &now, NULL))
			add_entry(&s->ret->body, &now);
		bytes_puts(&s->ret->body, "\n");
		s->ret->status = 200;
		s->ret->kind = HTTP_JSON;
	}
	query_deinit(&form);
}

static void give(const struct asking *s, const struct history_entry *e, struct bytes *data)
{
	enum format f = format_find(query_get(&s->q->query, "format"));
	char filename[48];
	int r = 0;

	s->ret->capture = true;
	s->ret->pid = e->pid;
	if (f == FORMAT_NONE) {
		http_error(s->ret, 400, "unknown format: " FORMAT_KNOWN);
		return;
	}
	if (f == FORMAT_PPROF) {
		s->ret->body = *data;
		*data = (struct bytes)BYTES_INIT;
	} else {
		r = load_and_write(data, f, e->comm, &s->ret->body);
	}
	s->ret->status = 200;
	snprintf(filename, sizeof(filename), "%.30s%s", e->profile, f == FORMAT_PPROF ? ".pb.gz" : "");
	format_head(f, filename, s->ret);
	if (r < 0)
		http_error(s->ret, 500, "cannot write the profile so: %s", strerror(-r));
}

static void answer_one(const struct asking *s, const struct scope *x, const char *id)
{
	_cleanup_(bytes_deinit) struct bytes data = BYTES_INIT;
	struct history_entry e;

	if (!history_find(&s->a->core->history, id, monotonic_ns(), &e, s->q->post ? NULL : &data) || !shows(x, &e))
		not_kept(s);
	else if (s->q->post)
		rename_it(s, &e);
	else
		give(s, &e, &data);
}

void page_history(const struct asking *s, const struct place *p, const char *id)
{
	struct scope x;

	scope_init(s, p, &x);
	if (id)
		answer_one(s, &x, id);
	else
		answer_list(s, &x);
	free(x.named);
}
