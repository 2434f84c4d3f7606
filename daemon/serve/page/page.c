/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/page/page.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/custom/custom.h"
#include "daemon/serve/door/redact.h"
#include "daemon/serve/page/assets.h"
#include "daemon/serve/page/html.h"
#include "daemon/serve/path.h"

#define MAX_CMDLINE 4096

/* Which process */

struct first {
	struct known_process *all;
	size_t n, n_all;
};

static bool take_first(void *context, const struct known_process *k)
{
	struct first *f = context;

	if (f->n < PLACE_MAX)
		f->all[f->n++] = *k;
	f->n_all++;
	return true;
}

/* One that has a slot, although it is not known (any more); of --pid's, or within its lease. */
static bool find_ended(struct core *c, int32_t pid, struct page_found *ret)
{
	bool found = false, ended = false;

	pthread_mutex_lock(&c->lease_lock);
	for (uint32_t i = 0; i < c->n_targets && pid; i++) {
		if (c->targets[i].pid != pid)
			continue;
		utf8_copy(ret->name, sizeof(ret->name), c->targets[i].comm, strnlen(c->targets[i].comm, sizeof(c->targets[i].comm)));
		found = true;
		ended = !target_alive(&c->targets[i]);
	}
	pthread_mutex_unlock(&c->lease_lock);
	ret->pid = found ? pid : 0;
	ret->ended = ended;
	return found;
}

/* Whoever was told that a process has ended is not shown it as one that runs: the watcher may be a moment behind. */
static void forget_ended(struct core *c)
{
	pthread_mutex_lock(&c->lease_lock);
	for (uint32_t i = 0; i < c->n_targets; i++)
		if (c->targets[i].pid && !target_alive(&c->targets[i]))
			known_gone(&c->known, c->targets[i].known);
	pthread_mutex_unlock(&c->lease_lock);
}

/* Of those that --pid names, which the list tells of for ever. */
static size_t count_ended(struct core *c)
{
	size_t n = 0;

	pthread_mutex_lock(&c->lease_lock);
	for (uint32_t i = 0; i < c->n_named; i++)
		n += c->targets[i].pid && !target_alive(&c->targets[i]);
	pthread_mutex_unlock(&c->lease_lock);
	return n;
}

static bool find_alone(const struct asking *s, struct page_found *ret)
{
	struct core *c = s->a->core;
	struct first f = { ret->all, 0, 0 };

	known_each(&c->known, take_first, &f);
	ret->n_all = f.n_all;
	if (core_is_single(c))
		return f.n || find_ended(c, c->targets[0].pid, ret);
	ret->n_all += count_ended(c);
	return true;
}

static bool find_pid(const struct asking *s, const struct place *p, struct page_found *ret)
{
	struct core *c = s->a->core;

	ret->n_all = p->pid && known_find(&c->known, p->pid, &ret->all[0]);
	return ret->n_all || find_ended(c, p->pid, ret);
}

bool page_find(const struct asking *s, const struct place *p, struct page_found *ret)
{
	bool found = false;

	*ret = (struct page_found){ .all = calloc(PLACE_MAX, sizeof(*ret->all)) };
	if (!ret->all)
		return false;
	known_wait(&s->a->core->known);
	forget_ended(s->a->core);
	if (p->kind == PLACE_ALONE)
		found = find_alone(s, ret);
	else if (p->kind == PLACE_PID)
		found = find_pid(s, p, ret);
	else
		ret->n_all = known_named(&s->a->core->known, p->name, ret->all, PLACE_MAX, NULL);
	ret->n = ret->n_all < PLACE_MAX ? ret->n_all : PLACE_MAX;
	if (ret->n_all == 1 && ret->all[0].pid) {
		ret->pid = ret->all[0].pid;
		memcpy(ret->name, ret->all[0].comm, sizeof(ret->all[0].comm));
	}
	if (p->kind == PLACE_NAME)
		utf8_copy(ret->name, sizeof(ret->name), p->name, strlen(p->name));
	return found || ret->n_all;
}

/* The list */

struct listing {
	VEC(struct page_row) rows;
	VEC(struct broker_who) who; /* of the first rows, which are alive */
};

int64_t page_started_ms(uint64_t ticks)
{
	int64_t boot_ns = realtime_ns() - clock_ns(CLOCK_BOOTTIME);

	return (boot_ns + (int64_t)(ticks * (uint64_t)(NS_PER_S / sysconf(_SC_CLK_TCK)))) / NS_PER_MS;
}

static bool list_known(void *context, const struct known_process *k)
{
	struct listing *l = context;
	struct page_row r = { .pid = k->pid, .started_ms = page_started_ms(k->start) };

	memcpy(r.name, k->comm, sizeof(k->comm));
	if (strcmp(k->service, k->comm))
		memcpy(r.service, k->service, sizeof(r.service));
	return vec_push(&l->rows, r) == 0 && vec_push(&l->who, ((struct broker_who){ .known = k->id, .pid = k->pid })) == 0;
}

/* What the one question in so many of them says. */
static void add_stats(struct core *c, struct listing *l)
{
	struct broker_stat stats[BROKER_MAX_STATS];

	for (size_t at = 0; at < l->who.n; at += BROKER_MAX_STATS) {
		size_t n = l->who.n - at < BROKER_MAX_STATS ? l->who.n - at : BROKER_MAX_STATS;

		if (broker_stats(&c->broker, l->who.data + at, (uint32_t)n, stats) < 0)
			return;
		for (size_t i = 0; i < n; i++) {
			struct page_row *r = &l->rows.data[at + i];

			r->known = stats[i].n_threads != 0;
			r->cpu_ns = stats[i].cpu_ns;
			r->resident_bytes = stats[i].resident_bytes;
			r->n_threads = stats[i].n_threads;
		}
	}
}

static void list_ended(struct core *c, struct listing *l)
{
	pthread_mutex_lock(&c->lease_lock);
	for (uint32_t i = 0; i < c->n_targets; i++) {
		const struct target *t = &c->targets[i];
		struct page_row r = { .pid = t->pid, .ended = true };

		if (!t->pid || target_alive(t))
			continue;
		utf8_copy(r.name, sizeof(r.name), t->comm, strnlen(t->comm, sizeof(t->comm)));
		vec_push(&l->rows, r); /* without memory it is not told of any more */
	}
	pthread_mutex_unlock(&c->lease_lock);
}

static bool is_gone(const struct page_row *r, const struct listing *l, size_t n_alive)
{
	for (size_t i = n_alive; i < l->rows.n; i++)
		if (l->rows.data[i].pid == r->pid)
			return true;
	return false;
}

/* What has ended a moment ago may be known still: one row each. */
static void drop_twice(struct listing *l, size_t n_alive)
{
	size_t n = 0;

	for (size_t i = 0; i < l->rows.n; i++)
		if (i >= n_alive || l->rows.data[i].known || !is_gone(&l->rows.data[i], l, n_alive))
			l->rows.data[n++] = l->rows.data[i];
	l->rows.n = n;
}

static void answer_list(const struct asking *s)
{
	struct core *c = s->a->core;
	struct listing l = { 0 };
	size_t n_alive;

	known_wait(&c->known);
	known_each(&c->known, list_known, &l);
	n_alive = l.rows.n;
	add_stats(c, &l);
	list_ended(c, &l);
	drop_twice(&l, n_alive);
	s->ret->status = 200;
	s->ret->kind = HTTP_PAGE;
	page_list(&s->ret->body, l.rows.data, l.rows.n, page_order(query_get(&s->q->query, "sort")));
	vec_deinit(&l.rows);
	vec_deinit(&l.who);
}

/* One target */

/* NULs become blanks. "": it cannot be read. */
static void read_cmdline(struct core *c, const struct known_process *k, struct bytes *to)
{
	struct broker_who who = { .known = k->id, .pid = k->pid };
	_cleanup_(closep) int fd = broker_open_cmdline(&c->broker, &who);
	char buffer[1024];
	ssize_t n = 0;

	while (fd >= 0 && to->n < MAX_CMDLINE && (n = read(fd, buffer, sizeof(buffer))) > 0)
		bytes_add(to, buffer, (size_t)n);
	if (c->redact & BROKER_REDACT_CMDLINE)
		redact_cmdline(to);
	while (to->n && !to->data[to->n - 1])
		to->n--;
	for (size_t i = 0; i < to->n; i++)
		if (!to->data[i])
			to->data[i] = ' ';
	if (to->n >= MAX_CMDLINE)
		bytes_puts(to, "...");
}

/* The profiles of its own, of one that has a slot. */
static void list_customs(struct core *c, int32_t pid, struct custom_listing *to)
{
	struct target *t = pid ? lease_find(c, pid) : NULL;

	if (!t)
		return;
	if (target_alive(t))
		custom_list(c, t, to);
	lease_end(c, t);
}

static struct profile *profiles_of(const struct custom_listing *l)
{
	struct profile *table = calloc(n_profiles + l->all.n, sizeof(*table));

	if (!table)
		return NULL;
	memcpy(table, profiles, n_profiles * sizeof(*table));
	for (size_t i = 0; i < l->all.n; i++)
		table[n_profiles + i] = asking_custom_profile(l->all.data[i].name);
	return table;
}

static void answer_target_page(const struct asking *s, const struct place *p, const struct page_found *f)
{
	_cleanup_(bytes_deinit) struct bytes cmdline = BYTES_INIT;
	struct page_row *several = f->n > 1 ? calloc(f->n, sizeof(*several)) : NULL;
	struct custom_listing customs = { 0 };
	struct profile *table;

	if (f->n == 1)
		read_cmdline(s->a->core, &f->all[0], &cmdline);
	list_customs(s->a->core, f->pid, &customs);
	table = profiles_of(&customs);
	for (size_t i = 0; several && i < f->n; i++) {
		several[i].pid = f->all[i].pid;
		memcpy(several[i].name, f->all[i].comm, sizeof(f->all[i].comm));
	}
	if (table && bytes_text(&cmdline)) {
		s->ret->status = 200;
		s->ret->kind = HTTP_PAGE;
		page_target(&s->ret->body, &(struct page_target){ .name = f->name,
								  .pid = f->pid,
								  .cmdline = cmdline.data,
								  .root = p->kind == PLACE_ALONE ? "./" : "../../",
								  .ended = f->ended,
								  .several = several,
								  .n_several = several ? f->n : 0,
								  .n_all = f->n_all,
								  .profiles = table,
								  .n_profiles = n_profiles + customs.all.n });
	} else {
		http_error(s->ret, 500, "out of memory");
	}
	custom_listing_deinit(&customs);
	free(several);
	free(table);
}

static void answer_found(const struct asking *s, const struct place *p, const char *rest)
{
	struct page_found f;
	bool found = page_find(s, p, &f), alone = p->kind == PLACE_ALONE;

	if (alone && (!f.pid || f.n_all > 1))
		found = false;
	if (alone && !*rest && (!found || query_get(&s->q->query, "sort")))
		answer_list(s);
	else if (!found)
		http_error(s->ret, 404, "there is no such process: / lists those that there are");
	else if (!*rest)
		answer_target_page(s, p, &f);
	else
		page_live(s, &f);
	free(f.all);
}

/* /pid/PID is where its page is not: a step aside, whatever stands in front of it. */
static void redirect(const struct asking *s)
{
	const char *last = strrchr(s->q->path, '/');

	s->ret->status = 307;
	s->ret->kind = HTTP_REDIRECT;
	path_escape_name(&s->ret->location, last + 1);
	bytes_puts(&s->ret->location, "/");
	if (*s->q->raw_query)
		bytes_printf(&s->ret->location, "?%s", s->q->raw_query);
}

bool page_answer(const struct asking *s, const struct place *p)
{
	const char *rest = p->rest;
	size_t n = strlen(ASSET_TREE);

	if (!strncmp(rest, "/-/history/", 11) && rest[11]) {
		page_history(s, p, rest + 11);
		return true;
	}
	if (s->q->post)
		return false;
	if (!*rest && p->kind != PLACE_ALONE)
		redirect(s);
	else if (!strcmp(rest, "/"))
		answer_found(s, p, "");
	else if (!strcmp(rest, "/-/live"))
		answer_found(s, p, rest);
	else if (!strcmp(rest, "/-/history"))
		page_history(s, p, NULL);
	else
		return p->kind == PLACE_ALONE && !strncmp(rest, ASSET_TREE, n) && asset_answer(s->q, rest + n, s->ret);
	return true;
}
