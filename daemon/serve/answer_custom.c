/* SPDX-License-Identifier: Apache-2.0 */

/* answer_custom.c - profiles that a target makes itself, and the index page, which lists them too. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/asking.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/custom/custom.h"
#include "daemon/serve/index.h"
#include "daemon/serve/threads/threads.h"

struct profile asking_custom_profile(const char *name)
{
	return (struct profile){
		.name = name,
		.arm = PROFILE_CUSTOM,
		.collector = PP_CUSTOM,
		.n_values = 1,
		.values = { { name, "count" } },
		.period_type = { name, "count" },
		.help = "A profile of the program's own (pprofd.h): stack traces that added the values that are held.",
	};
}

static bool is_listed(const struct asking *s, const char *name)
{
	struct custom_listing l;
	bool found = false;

	if (custom_list(s->a->core, s->target, &l) < 0)
		return false;
	for (size_t i = 0; i < l.all.n; i++)
		found |= !strcmp(l.all.data[i].name, name);
	custom_listing_deinit(&l);
	return found;
}

static int write_answer(const struct asking *s, struct capture *capture, struct naming *n, bool text)
{
	int r = text ? asking_spell(s, n) : 0;

	if (!text) {
		asking_encode(s, capture, n);
		return 0;
	}
	if (r == 0)
		r = count_text(capture, n, NULL, NULL, &s->ret->body);
	s->ret->status = 200;
	s->ret->kind = HTTP_TEXT;
	return r;
}

static void answer_values(const struct asking *s, const struct profile *p, int64_t seconds)
{
	_cleanup_(custom_reading_deinit) struct custom_reading before = { 0 }, after = { 0 };
	_cleanup_(capture_freep) struct capture *capture = NULL;
	bool text = query_number(&s->q->query, "debug") > 0;
	struct core *c = s->a->core;
	int64_t began = monotonic_ns();
	struct naming n = { 0 };
	int r = capture_new(p, &capture);

	if (r == 0 && seconds)
		r = custom_read(c, s->target, p->name, &before);
	if (r == 0 && !asking_wait_delta(s, seconds))
		return;
	if (r == 0)
		r = custom_read(c, s->target, p->name, &after);
	if (r == 0)
		r = custom_capture(c, s->target, seconds ? &before : NULL, &after, capture, &n);
	if (r == 0) {
		capture->time_ns = realtime_ns();
		capture->period = 1;
		capture->delta = seconds != 0;
		capture->duration_ns = seconds ? monotonic_ns() - began : 0;
		r = write_answer(s, capture, &n, text);
	}
	if (r < 0)
		http_error(s->ret, 500, "failed to collect profile: %s", strerror(-r));
	naming_free(&n);
}

/* Who sits at a terminal cannot look at the index. */
static void unknown(const struct asking *s)
{
	_cleanup_(bytes_deinit) struct bytes all = BYTES_INIT;

	for (size_t i = 0; i < n_profiles && s->a->finish_fd >= 0; i++)
		bytes_printf(&all, "%s%s", i ? ", " : "; there are ", profiles[i].name);
	if (all.n)
		bytes_puts(&all, ", and those of the program's own");
	http_error(s->ret, 404, "Unknown profile%s", bytes_text(&all) ? all.data : "");
}

void answer_custom(const struct asking *s, const char *name)
{
	struct profile p = asking_custom_profile(name);
	int64_t seconds;

	if (!target_alive(s->target))
		asking_gone(s);
	else if (!is_listed(s, name))
		unknown(s);
	else if (!asking_delta_seconds(s, &seconds))
		return;
	else if (!asking_known_format(query_get(&s->q->query, "format")))
		asking_unknown_format(s);
	else if (!core_wait_kernel(s->a->core))
		http_error(s->ret, 500, "BPF programs are not loaded");
	else
		answer_values(s, &p, seconds);
}

struct counting {
	const struct asking *s;
	index_count *others;
	const struct custom_listing *list;
};

static uint64_t count_of(void *context, const struct profile *p)
{
	const struct counting *k = context;

	if (p->arm != PROFILE_CUSTOM)
		return k->others((void *)k->s, p);
	for (size_t i = 0; i < k->list->all.n; i++)
		if (k->list->all.data[i].name == p->name)
			return k->list->all.data[i].n_held;
	return 0;
}

void answer_index(const struct asking *s, index_count *others)
{
	struct custom_listing list = { 0 };
	struct counting k = { s, others, &list };
	_cleanup_(freep) struct profile *table = NULL;
	int r = target_alive(s->target) ? custom_list(s->a->core, s->target, &list) : 0;

	table = r == 0 ? calloc(n_profiles + list.all.n, sizeof(*table)) : NULL;
	s->ret->status = 200;
	s->ret->kind = HTTP_HTML;
	if (table) {
		memcpy(table, profiles, n_profiles * sizeof(*table));
		for (size_t i = 0; i < list.all.n; i++)
			table[n_profiles + i] = asking_custom_profile(list.all.data[i].name);
		index_page_of(&s->ret->body, table, n_profiles + list.all.n, count_of, &k);
	} else {
		http_error(s->ret, 500, "no memory");
	}
	custom_listing_deinit(&list);
}
