/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/known.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"

#define PATIENCE_S 10
#define SHORT_ID 12 /* digits of a container's id, as engines shorten it */

void known_init(struct known *k)
{
	pthread_condattr_t monotonic;

	memset(k, 0, sizeof(*k));
	k->socket = -1;
	pthread_mutex_init(&k->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&k->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

void known_deinit(struct known *k)
{
	for (size_t i = 0; i < k->all.n; i++)
		free(k->all.data[i]);
	vec_deinit(&k->all);
	close_fd(&k->socket);
}

int known_orders(struct known *k, struct record *r)
{
	const size_t one = sizeof(struct broker_description);

	if (r->n % one || r->n / one > BROKER_MAX_DESCRIPTIONS || r->n_fds != 1)
		return -EBADMSG;
	k->n_descriptions = (uint32_t)(r->n / one);
	memcpy(k->descriptions, r->data, r->n);
	for (uint32_t i = 0; i < k->n_descriptions; i++) {
		struct broker_description *d = &k->descriptions[i];

		d->name[sizeof(d->name) - 1] = d->what[sizeof(d->what) - 1] = '\0';
		k->wide |= d->kind != BROKER_BY_PID;
	}
	k->socket = TAKE_FD(r->fds[0]);
	r->n_fds = 0;
	return 0;
}

/* Where it is, or would be. */
static size_t place_of(const struct known *k, uint64_t id)
{
	size_t from = 0, to = k->all.n;

	while (from < to) {
		size_t middle = (from + to) / 2;

		if (k->all.data[middle]->id < id)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

#define COPY(to, from) utf8_copy((to), sizeof(to), (from), strnlen((from), sizeof(from)))

static const char *described_name(const struct known *k, uint64_t matches)
{
	for (uint32_t i = 0; i < k->n_descriptions; i++)
		if (matches >> i & 1 && *k->descriptions[i].name)
			return k->descriptions[i].name;
	return NULL;
}

/* How long a unit's name is without .service. */
static size_t short_unit(const char *unit)
{
	const char *end = strstr(unit, ".service");

	return end && !end[8] ? (size_t)(end - unit) : strlen(unit);
}

static void translate(const struct known *k, const struct broker_known *from, struct known_process *to)
{
	const char *name = described_name(k, from->matches);

	*to = (struct known_process){ .id = from->id, .matches = from->matches, .start = from->start,
				      .pid = from->pid, .parent = from->parent, .uid = from->uid,
				      .target = from->target <= BROKER_MAX_TARGETS ? from->target : 0,
				      .followed = from->followed };
	COPY(to->comm, from->comm);
	COPY(to->exe, from->exe);
	COPY(to->cgroup, from->cgroup);
	COPY(to->unit, from->unit);
	COPY(to->container, from->container);
	COPY(to->pod, from->pod);
	if (name)
		snprintf(to->service, sizeof(to->service), "%s", name);
	else if (*to->unit)
		snprintf(to->service, sizeof(to->service), "%.*s", (int)short_unit(to->unit), to->unit);
	else if (*to->container)
		snprintf(to->service, sizeof(to->service), "%.*s", SHORT_ID, to->container);
	else
		snprintf(to->service, sizeof(to->service), "%s", to->comm);
}

static void remove_at(struct known *k, size_t at)
{
	free(k->all.data[at]);
	memmove(k->all.data + at, k->all.data + at + 1, (--k->all.n - at) * sizeof(*k->all.data));
}

enum by { BY_DESCRIPTION, BY_UNIT, BY_CONTAINER, BY_COMM, N_BYS };

static bool is_called(const struct known *k, const struct known_process *p, enum by by, const char *name)
{
	bool is = false;

	switch (by) {
	case BY_DESCRIPTION:
		for (uint32_t i = 0; i < k->n_descriptions; i++)
			is |= p->matches >> i & 1 && !strcmp(k->descriptions[i].name, name);
		return is;
	case BY_UNIT:
		return *p->unit && (!strcmp(p->unit, name) || (!strncmp(p->unit, name, short_unit(p->unit)) &&
							      !name[short_unit(p->unit)]));
	case BY_CONTAINER:
		return strlen(name) >= SHORT_ID && !strncmp(p->container, name, strlen(name));
	case BY_COMM:
		return !strcmp(p->comm, name);
	case N_BYS:
		break;
	}
	return false;
}

/* For whoever watches: `p` was not called so, or not there, `before` it was told again. */
static void tell_watches(struct known *k, const struct known_process *before, const struct known_process *p)
{
	for (struct known_watch *w = k->watches; w; w = w->next)
		w->n += is_called(k, p, (enum by)w->by, w->name) &&
			!(before && is_called(k, before, (enum by)w->by, w->name));
}

static void put(struct known *k, const struct broker_known *from)
{
	size_t at = place_of(k, from->id);
	struct known_process *p, before;

	if (at < k->all.n && k->all.data[at]->id == from->id) {
		before = *k->all.data[at];
		translate(k, from, k->all.data[at]);
		tell_watches(k, &before, k->all.data[at]);
		return;
	}
	p = k->all.n < BROKER_MAX_KNOWN && vec_reserve(&k->all, k->all.n + 1) == 0 ? malloc(sizeof(*p)) : NULL;
	if (!p)
		return;
	translate(k, from, p);
	memmove(k->all.data + at + 1, k->all.data + at, (k->all.n++ - at) * sizeof(*k->all.data));
	k->all.data[at] = p;
	tell_watches(k, NULL, p);
}

void known_gone(struct known *k, uint64_t id)
{
	size_t at;

	pthread_mutex_lock(&k->lock);
	at = place_of(k, id);
	if (at < k->all.n && k->all.data[at]->id == id)
		remove_at(k, at);
	pthread_mutex_unlock(&k->lock);
}

void known_hear(struct known *k, const struct record *r)
{
	const struct broker_counts *counts = record_payload(r, struct broker_counts);
	const struct broker_known *process = record_payload(r, struct broker_known);
	const uint64_t *gone = record_payload(r, uint64_t);

	if (r->type == BROKER_NEWS_GONE && gone) {
		known_gone(k, *gone);
		return;
	}
	pthread_mutex_lock(&k->lock);
	if (r->type == BROKER_NEWS_KNOWN && process)
		put(k, process);
	if (r->type == BROKER_NEWS_COUNTS && counts) {
		k->counts = *counts;
		pthread_cond_broadcast(&k->changed);
	}
	pthread_mutex_unlock(&k->lock);
}

void known_listen(struct known *k, int stop_fd)
{
	struct record *r = malloc(sizeof(*r));

	while (r) {
		struct pollfd f[2] = { { .fd = k->socket, .events = POLLIN }, { .fd = stop_fd, .events = POLLIN } };
		int got;

		if ((poll(f, 2, -1) < 0 && errno != EINTR) || f[1].revents)
			break;
		if (!f[0].revents)
			continue;
		got = record_receive(k->socket, r, 0);
		if (got < 0 && got != -ETIMEDOUT)
			break;
		if (got < 0)
			continue;
		record_close_fds(r);
		known_hear(k, r);
	}
	free(r);
}

void known_wait(struct known *k)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&k->lock);
	while (k->socket >= 0 && !k->counts.complete &&
	       pthread_cond_timedwait(&k->changed, &k->lock, &until) == 0)
		;
	pthread_mutex_unlock(&k->lock);
}

void known_each(struct known *k, known_fn *each, void *context)
{
	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < k->all.n && each(context, k->all.data[i]); i++)
		;
	pthread_mutex_unlock(&k->lock);
}

size_t known_count(struct known *k, struct broker_counts *ret)
{
	size_t n;

	pthread_mutex_lock(&k->lock);
	n = k->all.n;
	if (ret)
		*ret = k->counts;
	pthread_mutex_unlock(&k->lock);
	return n;
}

bool known_find(struct known *k, int32_t pid, struct known_process *ret)
{
	bool found = false;

	pthread_mutex_lock(&k->lock);
	for (size_t i = k->all.n; i > 0 && !found; i--) { /* of a number that is used again, the last one */
		found = k->all.data[i - 1]->pid == pid;
		if (found)
			*ret = *k->all.data[i - 1];
	}
	pthread_mutex_unlock(&k->lock);
	return found;
}

bool known_find_id(struct known *k, uint64_t id, struct known_process *ret)
{
	size_t at;
	bool found;

	pthread_mutex_lock(&k->lock);
	at = place_of(k, id);
	found = at < k->all.n && k->all.data[at]->id == id;
	if (found)
		*ret = *k->all.data[at];
	pthread_mutex_unlock(&k->lock);
	return found;
}

static bool is_described(const struct known *k, const char *name)
{
	for (uint32_t i = 0; i < k->n_descriptions; i++)
		if (!strcmp(k->descriptions[i].name, name))
			return true;
	return false;
}

static void begin_watch(struct known *k, struct known_watch *w, const char *name, enum by by)
{
	if (w->on || strlen(name) >= sizeof(w->name))
		return;
	*w = (struct known_watch){ .next = k->watches, .by = by, .on = true };
	snprintf(w->name, sizeof(w->name), "%s", name);
	k->watches = w;
}

size_t known_named(struct known *k, const char *name, struct known_process *ret, size_t max, struct known_watch *watch)
{
	enum by last = is_described(k, name) ? BY_DESCRIPTION : BY_COMM, by;
	size_t n = 0;

	if (!*name)
		return 0;
	pthread_mutex_lock(&k->lock);
	for (by = BY_DESCRIPTION; by <= last && !n; by++)
		for (size_t i = 0; i < k->all.n; i++) {
			if (!is_called(k, k->all.data[i], by, name))
				continue;
			if (n < max)
				ret[n] = *k->all.data[i];
			n++;
		}
	if (n && watch)
		begin_watch(k, watch, name, by - 1);
	pthread_mutex_unlock(&k->lock);
	return n;
}

uint64_t known_watched(struct known *k, const struct known_watch *watch)
{
	uint64_t n;

	pthread_mutex_lock(&k->lock);
	n = watch->n;
	pthread_mutex_unlock(&k->lock);
	return n;
}

void known_unwatch(struct known *k, struct known_watch *watch)
{
	if (!watch->on)
		return;
	pthread_mutex_lock(&k->lock);
	for (struct known_watch **at = &k->watches; *at; at = &(*at)->next)
		if (*at == watch) {
			*at = watch->next;
			break;
		}
	watch->on = false;
	pthread_mutex_unlock(&k->lock);
}
