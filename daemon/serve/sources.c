/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/sources.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/serve/capture.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/dwos.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/log.h"

_Static_assert(BROKER_MAX_BUILD_ID == SYMBOLIZER_MAX_BUILD_ID, "an id is handed through");
_Static_assert(BROKER_MAX_LINK == SYMBOLIZER_MAX_LINK + 1, "a name is handed through");

#define AGAIN_NS (60 * NS_PER_S)
#define AGAIN_REFUSED_NS (3600 * NS_PER_S) /* where files have to be read to be refused */
#define MAX_AGAIN_NS (50 * NS_PER_MS)	   /* of a capture's time */
#define MAX_TRIES 16 /* files looked at for one object: more than there are places */

/* What we need of an object while it is not ours to look at. */
struct search {
	struct core *c;
	struct symbolizer_object o;
	struct broker_debug q;
	char name[256];
	uint64_t n_refused;
	bool fetched; /* one of them came over the network */
	bool there;   /* it has come, and is the one that was asked for: there is no other */
	struct object_search result;
	bool may_be_split;
};

void sources_init(struct sources *s)
{
	pthread_mutex_init(&s->lock, NULL);
}

struct question {
	enum symbolizer_fit how;
	struct symbolizer_links *links; /* NULL: whether it fits */
};

static int ask_once(struct search *s, const struct question *q)
{
	return q->links ? symbolizer_ask_links(&s->c->symbolizer, &s->o, q->links) :
			  symbolizer_ask_fits(&s->c->symbolizer, &s->o, q->how);
}

/* A child that is found dead may have died of something else: the question is asked twice. */
static int ask(struct search *s, struct question q)
{
	struct core *c = s->c;
	int r;

	pthread_mutex_lock(&c->symbolizer_lock);
	r = ask_once(s, &q);
	if (core_symbolizer_again(c, r))
		r = ask_once(s, &q);
	if (core_symbolizer_failed(r))
		core_restart_symbolizer(c);
	pthread_mutex_unlock(&c->symbolizer_lock);
	return r;
}

/* In whatever place: by the build-id the file says who it is, by the link someone else says it. */
static enum symbolizer_fit fit_of(uint32_t place)
{
	return place == BROKER_PLACE_BUILD_ID || place == BROKER_PLACE_HOST_BUILD_ID ||
			       place == BROKER_PLACE_CACHE || place == BROKER_PLACE_FETCHED ?
		       SYMBOLIZER_FIT_ID :
		       SYMBOLIZER_FIT_LINK;
}

static void refuse(struct core *c, const uint8_t *id, uint32_t n_id)
{
	struct broker_fetch q = { .what = BROKER_FETCH_REFUSE, .n_id = n_id };
	struct broker_fetched f;

	memcpy(q.id, id, n_id);
	broker_fetch(&c->broker, &q, &f);
}

/* A file from the network has to be what was asked for, whole enough to have names, or it goes. If it is and does not
 * fit, it stays: a build-id can be forged by the file that is mapped, too, and then others have use for it. */
static bool check_fetched(struct search *s, int fd)
{
	struct search it = *s;
	struct symbolizer_links l;

	it.o.debug_fd = fd;
	it.o.beside = SYMBOLIZER_BESIDE_DEBUG;
	s->there = ask(&it, (struct question){ .links = &l }) == 0 && l.has_dwarf &&
		   l.n_build_id == s->q.n_id && !memcmp(l.build_id, s->q.id, l.n_build_id);
	if (!s->there)
		refuse(s->c, s->q.id, s->q.n_id);
	return s->there;
}

/* The first file that fits, or -1. *fd is where the question holds the file that is tried. */
static int find(struct search *s, int *fd)
{
	struct core *c = s->c;
	uint64_t n_refused = 0;
	int r = -ENOENT;

	s->q.place = 0;
	for (int i = 0; i < MAX_TRIES && s->q.place < BROKER_N_PLACES; i++) {
		uint32_t place = s->q.place;

		*fd = broker_open_debug(&c->broker, &s->q, &place);
		if (*fd < 0 && *fd != -ENOENT && s->q.place < BROKER_PLACE_HOST_BUILD_ID) {
			s->q.place = BROKER_PLACE_HOST_BUILD_ID; /* the target is gone, or hangs */
			continue;
		}
		if (*fd < 0 || place >= BROKER_N_PLACES)
			break;
		r = ask(s, (struct question){ .how = fit_of(place) });
		if (place == BROKER_PLACE_FETCHED && !check_fetched(s, *fd))
			r = -ESTALE;
		else if (r < 0 && place != BROKER_PLACE_FETCHED)
			n_refused++;
		if (r == 0) {
			s->fetched |= place == BROKER_PLACE_FETCHED;
			break;
		}
		close_fd(fd);
		s->q.place = place + 1;
	}
	if (*fd >= 0 && r)
		close_fd(fd);
	s->n_refused += n_refused;
	return *fd < 0 ? -1 : *fd;
}

/* It is in no place: over the network, perhaps. */
static void on_missing(struct search *s)
{
	struct broker_fetch q = { .what = BROKER_FETCH_WANT, .n_id = s->q.n_id };
	struct broker_fetched f;

	s->result.lacking = true;
	if (!s->c->sources.servers || s->q.n_id < 2 || s->there)
		return;
	memcpy(q.id, s->q.id, sizeof(q.id));
	if (broker_fetch(&s->c->broker, &q, &f) < 0 || f.state != BROKER_FETCH_PENDING)
		return;
	s->result.fetching = true;
	s->result.n_wanted_id = q.n_id;
	memcpy(s->result.wanted_id, q.id, sizeof(q.id));
}

static void find_debug(struct search *s, const struct symbolizer_links *l)
{
	if (l->has_dwarf || (!l->n_build_id && !*l->debug_name))
		return;
	s->q.n_id = l->n_build_id;
	memcpy(s->q.id, l->build_id, sizeof(s->q.id));
	memcpy(s->q.name, l->debug_name, sizeof(s->q.name));
	s->o.beside = SYMBOLIZER_BESIDE_DEBUG;
	s->o.debug_fd = find(s, &s->o.debug_fd);
	if (s->o.debug_fd < 0) {
		s->o.beside = 0;
		on_missing(s);
	}
}

/* Of the debug file, where there is one. */
static void find_alt(struct search *s, struct symbolizer_links *l)
{
	if (s->o.beside && ask(s, (struct question){ .links = l }) < 0)
		return;
	if (!l->n_alt_id)
		return;
	s->q.n_id = l->n_alt_id;
	memcpy(s->q.id, l->alt_id, sizeof(s->q.id));
	memcpy(s->q.name, l->alt_name, sizeof(s->q.name));
	s->o.beside |= SYMBOLIZER_BESIDE_ALT;
	s->there = false;
	s->o.alt_fd = find(s, &s->o.alt_fd);
	if (s->o.alt_fd < 0)
		on_missing(s);
}

/* Beside the file itself, whoever has its DWARF. */
static void find_package(struct search *s, const struct symbolizer_links *l)
{
	size_t n = strlen(s->name);

	if (!l->may_be_split || n + sizeof(".dwp") > sizeof(s->q.name))
		return;
	s->q.n_id = 0;
	memset(s->q.name, 0, sizeof(s->q.name));
	memcpy(s->q.name, s->name, n);
	memcpy(s->q.name + n, ".dwp", sizeof(".dwp"));
	s->o.beside = SYMBOLIZER_BESIDE_DWP;
	s->o.dwp_fd = find(s, &s->o.dwp_fd);
}

static void search(struct search *s)
{
	struct symbolizer_links l;
	int r = ask(s, (struct question){ .links = &l });

	s->result.lacking = r == -ENOTCONN; /* it is asked another time */
	if (r < 0)
		return;
	s->may_be_split = l.may_be_split;
	find_debug(s, &l);
	find_alt(s, &l);
	s->may_be_split |= l.may_be_split;
	find_package(s, &l);
}

/* Whether it can be looked for at all. The lock is held. */
static bool searchable(const struct object *x)
{
	return x && x->kind == SYMBOLIZER_FILE && x->fd >= 0 && !x->not_elf && !x->names_failed;
}

static struct search begin(struct core *c, const struct object *x)
{
	struct search s = { .c = c };

	s.o = (struct symbolizer_object){
		.id = x->id, .kind = x->kind, .fd = x->fd, .debug_fd = -1, .alt_fd = -1, .dwp_fd = -1
	};
	s.q.target = x->seen_target;
	s.q.start = x->seen_start;
	s.q.end = x->seen_end;
	strncpy(s.name, object_short_name(x), sizeof(s.name) - 1);
	return s;
}

/* What was refused, and found, is counted and said once. The lock is held. */
static void account(struct core *c, struct search *s, const struct object_search *before)
{
	uint64_t more = s->n_refused > before->n_refused ? s->n_refused - before->n_refused : 0;

	if (more)
		log_line("%s: %llu files that could have been split off it belong to others, or are damaged",
			 s->name, (unsigned long long)more);
	c->sources.n_refused += more;
}

static int n_beside(const struct object_beside *b)
{
	return (b->debug_fd >= 0) + (b->alt_fd >= 0) + (b->dwp_fd >= 0);
}

/* The first files are there before anybody has asked for names; others wait for sources_take. The lock is held. */
static void give(struct core *c, struct object *x, struct object_beside *found)
{
	int more = n_beside(found) - n_beside(&x->beside);

	if (more > 0)
		c->sources.n_found += (uint64_t)more;
	if (!x->search.done) {
		x->beside = *found;
		x->may_be_split = found->may_be_split;
	} else if (more > 0) {
		c->sources.n_next += !x->has_next;
		object_beside_close(&x->next);
		x->next = *found;
		x->has_next = true;
	} else {
		object_beside_close(found);
	}
}

/* The sources_lock is held. */
static void seek(struct core *c, uint32_t id)
{
	struct object_beside found;
	struct object *x;
	struct search s;

	pthread_mutex_lock(&c->lock);
	x = objects_find(&c->objects, id);
	if (searchable(x))
		s = begin(c, x);
	else
		x = NULL;
	pthread_mutex_unlock(&c->lock);
	if (!x)
		return;
	search(&s);
	found = (struct object_beside){ s.o.debug_fd, s.o.alt_fd, s.o.dwp_fd, s.fetched, false,
					 s.may_be_split && s.o.dwp_fd < 0 };
	s.result.done = true;
	s.result.at_ns = monotonic_ns();
	s.result.n_refused = s.n_refused;
	pthread_mutex_lock(&c->lock);
	x = objects_find(&c->objects, id);
	if (x) {
		account(c, &s, &x->search);
		give(c, x, &found);
		x->search = s.result;
	} else {
		object_beside_close(&found);
	}
	pthread_mutex_unlock(&c->lock);
}

void sources_seek(struct core *c, uint32_t object)
{
	const struct object *x;
	bool done;

	pthread_mutex_lock(&c->sources.lock);
	pthread_mutex_lock(&c->lock);
	x = objects_find(&c->objects, object);
	done = !x || x->search.done;
	pthread_mutex_unlock(&c->lock);
	if (!done)
		seek(c, object);
	pthread_mutex_unlock(&c->sources.lock);
}

void sources_seek_all(struct core *c, struct target *t)
{
	VEC(uint32_t) ids = { 0 };

	pthread_mutex_lock(&c->scan_lock);
	target_scan(c, t, false);
	for (size_t i = 0; i < t->mappings.n; i++)
		if (t->mappings.data[i].object && vec_push(&ids, t->mappings.data[i].object) < 0)
			break;
	pthread_mutex_unlock(&c->scan_lock);
	for (size_t i = 0; i < ids.n; i++)
		sources_seek(c, ids.data[i]);
	vec_deinit(&ids);
}

static bool still_pending(struct core *c, const struct object_search *s)
{
	struct broker_fetch q = { .what = BROKER_FETCH_ASK, .n_id = s->n_wanted_id };
	struct broker_fetched f;

	memcpy(q.id, s->wanted_id, sizeof(q.id));
	return broker_fetch(&c->broker, &q, &f) == 0 && f.state == BROKER_FETCH_PENDING;
}

static void seek_again(struct core *c, uint32_t id, int64_t now)
{
	const struct object *x;
	struct object_search s;
	bool wanted;

	pthread_mutex_lock(&c->lock);
	x = objects_find(&c->objects, id);
	wanted = x && x->search.done && x->search.lacking && !x->has_next;
	if (wanted)
		s = x->search;
	pthread_mutex_unlock(&c->lock);
	if (!wanted || (s.fetching && still_pending(c, &s)))
		return;
	if (s.fetching || now - s.at_ns >= (s.n_refused ? AGAIN_REFUSED_NS : AGAIN_NS))
		seek(c, id);
}

void sources_seek_again(struct core *c, const uint64_t *words, size_t n)
{
	int64_t began = monotonic_ns(), now = began;
	uint32_t last = 0;

	pthread_mutex_lock(&c->sources.lock);
	for (size_t i = 0; i < n && now - began < MAX_AGAIN_NS; i++) {
		uint32_t id = frame_kind(words[i]) == FRAME_FILE ? frame_object(words[i]) : 0;

		if (!id || id == last)
			continue;
		last = id;
		seek_again(c, id, now);
		now = monotonic_ns();
	}
	pthread_mutex_unlock(&c->sources.lock);
}

bool sources_take(struct core *c)
{
	if (!c->sources.n_next)
		return false;
	for (size_t i = 0; i < c->objects.all.n; i++) {
		struct object *x = c->objects.all.data[i];

		if (!x || !x->has_next)
			continue;
		object_beside_close(&x->beside);
		x->beside = x->next;
		x->may_be_split = x->beside.may_be_split;
		x->next = (struct object_beside)OBJECT_ALONE;
		x->has_next = false;
	}
	c->sources.n_next = 0;
	return true;
}

bool sources_blame(struct core *c, uint32_t object)
{
	struct object_search s = { 0 };
	struct symbolizer_info info = { 0 };
	struct object *x;
	bool fetched;

	pthread_mutex_lock(&c->lock);
	x = objects_find(&c->objects, object);
	fetched = x && x->beside.fetched;
	if (fetched && !x->has_next) {
		c->sources.n_next++;
		x->has_next = true; /* it goes on alone */
		x->beside.spoiled = true;
		x->search.lacking = false;
		s = x->search;
		info = x->info;
		log_line("%s: the symbolizer could not do with a debug file that was fetched for it, which is thrown away",
			 object_short_name(x));
	}
	pthread_mutex_unlock(&c->lock);
	if (info.n_build_id)
		refuse(c, info.build_id, info.n_build_id);
	if (s.n_wanted_id)
		refuse(c, s.wanted_id, s.n_wanted_id);
	return fetched;
}

/* What came over the network, or did not: also since the start, and of other targets. */
static void say_fetched(struct core *c, struct capture *to)
{
	struct broker_fetch q = { .what = BROKER_FETCH_COUNT };
	struct broker_fetched f;

	if (!c->sources.servers || broker_fetch(&c->broker, &q, &f) < 0)
		return;
	if (f.n_pending || f.n_fetched || f.n_none || f.n_failed || f.n_left_out || f.n_refused)
		capture_comment(to, "debuginfod: %llu debug files were fetched, %llu thrown away (of other files, or damaged), "
				"%llu are on no server, %llu could not be fetched, %llu were too many; %u are pending%s",
				(unsigned long long)f.n_fetched, (unsigned long long)f.n_refused,
				(unsigned long long)f.n_none, (unsigned long long)f.n_failed,
				(unsigned long long)f.n_left_out, f.n_pending,
				f.n_pending ? ": a later profile has their names" : "");
}

void sources_say(struct core *c, const struct target *t, struct capture *to)
{
	uint64_t n_found, n_refused, n_left_out;

	pthread_mutex_lock(&c->lock);
	n_found = c->sources.n_found;
	n_refused = c->sources.n_refused;
	n_left_out = t->jit_left_out;
	pthread_mutex_unlock(&c->lock);
	dwos_say(c, to);
	if (n_refused)
		capture_comment(to, "debug files: %llu were found, %llu more belong to other files, or are damaged",
				(unsigned long long)n_found, (unsigned long long)n_refused);
	if (n_left_out)
		capture_comment(to, "code without a file: %llu lines of those that tell of it cannot be read, or are too many",
				(unsigned long long)n_left_out);
	say_fetched(c, to);
}
