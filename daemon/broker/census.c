/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/census.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/record.h"
#include "daemon/broker/procfs.h"

#define MS 1000000ll
#define PAUSE_NS (20 * MS)	    /* from the first event until they are looked at */
#define RESCAN_NS (1000 * MS)	    /* where the kernel cannot tell */
#define MAKE_ROOM_NS (10 * 1000 * MS) /* between looks for those that found no room */
#define MAX_GONE 65536

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

void census_init(struct census *c, const struct descriptions *d)
{
	*c = (struct census){ .descriptions = d, .socket = -1, .next_id = 1, .news = describe_needs_news(d) };
}

static struct census_entry **bucket_of(struct census *c, pid_t pid)
{
	return &c->buckets[(uint32_t)pid % CENSUS_BUCKETS];
}

static struct census_entry *find(struct census *c, pid_t pid)
{
	struct census_entry *e = *bucket_of(c, pid);

	while (e && e->known.pid != pid)
		e = e->next;
	return e;
}

static void forget(struct census *c, struct census_entry *e)
{
	struct census_entry **at = bucket_of(c, e->known.pid);

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	c->n--;
	if (e->sent && c->gone.n < MAX_GONE)
		vec_push(&c->gone, e->known.id);
	free(e);
}

void census_deinit(struct census *c)
{
	for (unsigned i = 0; i < CENSUS_BUCKETS; i++)
		while (c->buckets[i])
			forget(c, c->buckets[i]);
	life_free(TAKE_PTR(c->life));
	vec_deinit(&c->changed);
	vec_deinit(&c->forked);
	vec_deinit(&c->gone);
	close_fd(&c->socket);
}

static struct census_entry *add(struct census *c, const struct broker_known *k)
{
	struct census_entry *e, **at = bucket_of(c, k->pid);

	if (c->n >= BROKER_MAX_KNOWN) {
		c->counts.n_left_out++;
		c->counts_dirty = true;
		return NULL;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->known = *k;
	e->known.id = c->next_id++;
	e->next = *at;
	*at = e;
	c->n++;
	return e;
}

static bool differ(const struct broker_known *a, const struct broker_known *b)
{
	return a->matches != b->matches || a->uid != b->uid || a->followed != b->followed ||
	       a->parent != b->parent || memcmp(a->comm, b->comm, sizeof(a->comm)) || strcmp(a->exe, b->exe) ||
	       strcmp(a->cgroup, b->cgroup);
}

/* Reads what it is now; `parent`: it is followed as a child of that one, or NULL. */
static struct census_entry *look(struct census *c, pid_t pid, const struct broker_known *parent)
{
	struct census_entry *e = find(c, pid);
	uint64_t own, inherited = parent ? parent->matches : 0;
	char cgroups[PROCFS_MAX_CGROUPS];
	struct broker_known k;
	bool followed = parent;

	if (pid == getpid() || procfs_read(pid, &k, cgroups) != PROCFS_OK || (k.parent == getpid() && !(e && e->known.target))) {
		if (e)
			forget(c, e);
		return NULL;
	}
	if (e && e->known.start != k.start) { /* the number is another one's now */
		forget(c, e);
		e = NULL;
	}
	if (e) {
		inherited |= e->inherited;
		followed |= e->known.followed != 0;
		k.target = e->known.target;
	}
	own = describe_matches(c->descriptions, &k, cgroups);
	k.matches = own | inherited;
	k.followed = followed;
	if (!own && !followed && !k.target) {
		if (e)
			forget(c, e);
		return NULL;
	}
	if (!e)
		e = add(c, &k);
	if (!e)
		return NULL;
	e->inherited = inherited;
	e->seen = true;
	k.id = e->known.id;
	e->dirty |= !e->sent || differ(&e->known, &k);
	e->known = k;
	return e;
}

uint64_t census_add(struct census *c, pid_t pid, uint32_t slot)
{
	char cgroups[PROCFS_MAX_CGROUPS];
	struct broker_known k;
	struct census_entry *e;

	if (procfs_read(pid, &k, cgroups) != PROCFS_OK)
		k = (struct broker_known){ .pid = pid };
	k.target = slot + 1;
	k.matches = describe_matches(c->descriptions, &k, cgroups);
	e = add(c, &k);
	if (e)
		e->dirty = true;
	return e ? e->known.id : 0;
}

/* Children of what is known, and theirs, of those that were there before us. */
static void follow_all(struct census *c, const struct census_child *others, size_t n)
{
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < n; i++) {
			struct census_entry *parent = find(c, others[i].parent);

			if (parent && !find(c, others[i].pid))
				more |= look(c, others[i].pid, &parent->known) != NULL;
		}
	}
}

static void rescan(struct census *c)
{
	VEC(struct census_child) others = { 0 };
	DIR *d = opendir("/proc");
	struct dirent *e;
	struct broker_known k;

	if (!d) {
		c->rescan_ns = now_ns() + RESCAN_NS;
		return;
	}
	c->counts.n_left_out = 0;
	for (unsigned i = 0; i < CENSUS_BUCKETS; i++)
		for (struct census_entry *x = c->buckets[i]; x; x = x->next)
			x->seen = false;
	while ((e = readdir(d))) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);

		if (pid <= 0 || look(c, pid, NULL) || !c->descriptions->follow)
			continue;
		if (procfs_read(pid, &k, NULL) == PROCFS_OK)
			vec_push(&others, ((struct census_child){ pid, k.parent }));
	}
	closedir(d);
	follow_all(c, others.data, others.n);
	vec_deinit(&others);
	for (unsigned i = 0; i < CENSUS_BUCKETS; i++)
		for (struct census_entry *x = c->buckets[i], *next; x; x = next) {
			next = x->next;
			if (!x->seen)
				forget(c, x);
		}
	c->counts_dirty = true;
}

static int by_pid(const void *a, const void *b)
{
	return *(const pid_t *)a - *(const pid_t *)b;
}

/* A child is known as its parent was when it forked, even if that one has ended since. */
static void on_life(void *context, const struct pp_life *l)
{
	struct census *c = context;
	pid_t pid = (pid_t)l->pid, parent = (pid_t)l->parent;
	struct census_entry *e = find(c, pid);

	if (l->what == PP_LIFE_EXIT) {
		if (e)
			forget(c, e);
		return;
	}
	if (parent == getpid())
		return;
	if (l->what == PP_LIFE_FORK && c->descriptions->follow) {
		e = find(c, parent);
		if (!e) /* it may have come a moment ago */
			e = look(c, parent, NULL);
		if (e && look(c, pid, &e->known))
			return;
	}
	vec_push(&c->changed, pid); /* without memory: the next one, or the next exec of it */
}

static void look_at_changed(struct census *c)
{
	pid_t *all = c->changed.data, last = 0;

	if (c->changed.n)
		qsort(all, c->changed.n, sizeof(*all), by_pid);
	for (size_t i = 0; i < c->changed.n; i++) {
		if (all[i] != last)
			look(c, all[i], NULL);
		last = all[i];
	}
	c->changed.n = 0;
	if (c->changed.cap > 4096)
		vec_deinit(&c->changed);
}

static void hear(struct census *c, int64_t now)
{
	uint64_t lost;

	life_read(c->life);
	look_at_changed(c);
	lost = life_lost(c->life);
	if (lost != c->lost) {
		c->lost = lost;
		c->counts.n_lost++;
		c->rescan_ns = now;
	} else if (c->counts.n_left_out && c->n + c->n / 16 < BROKER_MAX_KNOWN && !c->rescan_ns) {
		c->rescan_ns = now + MAKE_ROOM_NS;
	}
}

int census_start(struct census *c, const char *btf, char *error)
{
	int r = 0;

	if (c->news) {
		r = life_start(btf, on_life, c, &c->life, error);
		c->rescan_ns = r < 0 ? now_ns() + RESCAN_NS : 0;
		rescan(c);
	}
	c->counts.complete = true;
	c->counts_dirty = true;
	return r;
}

int census_connect(struct census *c)
{
	_cleanup_(closep) int theirs = -1;
	int pair[2], r = record_pair(pair);

	if (r < 0)
		return r;
	close_fd(&c->socket);
	c->socket = pair[0];
	theirs = pair[1];
	if (fcntl(c->socket, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	c->gone.n = 0;
	c->counts_dirty = true;
	for (unsigned i = 0; i < CENSUS_BUCKETS; i++)
		for (struct census_entry *e = c->buckets[i]; e; e = e->next) {
			e->dirty = true;
			e->sent = false;
		}
	return TAKE_FD(theirs);
}

/* False: the socket takes no more now, or is gone. */
static bool tell(struct census *c, enum broker_news type, const void *data, uint32_t n)
{
	static struct record r;

	r.type = type;
	r.n = n;
	memcpy(r.data, data, n);
	return record_send(c->socket, &r) == 0;
}

static bool has_news(const struct census *c)
{
	if (c->socket < 0)
		return false;
	if (c->gone.n || c->counts_dirty)
		return true;
	for (unsigned i = 0; i < CENSUS_BUCKETS; i++)
		for (const struct census_entry *e = c->buckets[i]; e; e = e->next)
			if (e->dirty)
				return true;
	return false;
}

static void tell_all(struct census *c)
{
	while (c->gone.n) {
		if (!tell(c, BROKER_NEWS_GONE, &c->gone.data[c->gone.n - 1], sizeof(uint64_t)))
			return;
		c->gone.n--;
	}
	for (unsigned i = 0; i < CENSUS_BUCKETS; i++)
		for (struct census_entry *e = c->buckets[i]; e; e = e->next) {
			if (!e->dirty)
				continue;
			if (!tell(c, BROKER_NEWS_KNOWN, &e->known, sizeof(e->known)))
				return;
			e->dirty = false;
			e->sent = true;
		}
	if (c->counts_dirty && tell(c, BROKER_NEWS_COUNTS, &c->counts, sizeof(c->counts)))
		c->counts_dirty = false;
}

int census_poll(struct census *c, struct pollfd f[CENSUS_FDS])
{
	int64_t now = now_ns(), at = c->due_ns;

	if (c->rescan_ns && (!at || c->rescan_ns < at))
		at = c->rescan_ns;
	/* once there is something, it is let gather */
	f[0] = (struct pollfd){ .fd = c->life && !c->due_ns ? life_fd(c->life) : -1, .events = POLLIN };
	f[1] = (struct pollfd){ .fd = has_news(c) ? c->socket : -1, .events = POLLOUT };
	return !at ? -1 : at <= now ? 0 : (int)((at - now) / MS) + 1;
}

void census_run(struct census *c, const struct pollfd f[CENSUS_FDS])
{
	int64_t now = now_ns();

	if (f[0].revents && !c->due_ns)
		c->due_ns = now + PAUSE_NS;
	if (c->due_ns && c->due_ns <= now) {
		c->due_ns = 0;
		hear(c, now);
	}
	if (c->rescan_ns && c->rescan_ns <= now) {
		c->rescan_ns = c->life ? 0 : now + RESCAN_NS;
		rescan(c);
	}
	if (c->socket >= 0)
		tell_all(c);
}

const struct broker_known *census_find(const struct census *c, uint64_t id)
{
	for (unsigned i = 0; i < CENSUS_BUCKETS; i++)
		for (const struct census_entry *e = c->buckets[i]; e; e = e->next)
			if (e->known.id == id)
				return &e->known;
	return NULL;
}

const struct broker_known *census_find_pid(const struct census *c, uint64_t id, pid_t pid)
{
	const struct census_entry *e = c->buckets[(uint32_t)pid % CENSUS_BUCKETS];

	while (e && e->known.id != id)
		e = e->next;
	return e ? &e->known : NULL;
}
