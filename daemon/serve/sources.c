/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/sources.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/serve/capture.h"
#include "daemon/serve/core.h"
#include "daemon/serve/dwos.h"
#include "daemon/serve/log.h"

_Static_assert(BROKER_MAX_BUILD_ID == SYMBOLIZER_MAX_BUILD_ID, "an id is handed through");
_Static_assert(BROKER_MAX_LINK == SYMBOLIZER_MAX_LINK + 1, "a name is handed through");

#define MAX_TRIES 16 /* files looked at for one object: more than there are places */

/* What we need of an object while it is not ours to look at. */
struct search {
	struct core *c;
	struct symbolizer_object o;
	struct broker_debug q;
	char name[256];
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
	if (r == -EPIPE) {
		core_restart_symbolizer(c);
		r = ask_once(s, &q);
	}
	if (core_symbolizer_failed(r))
		core_restart_symbolizer(c);
	pthread_mutex_unlock(&c->symbolizer_lock);
	return r;
}

/* In whatever place: by the build-id the file says who it is, by the link someone else says it. */
static enum symbolizer_fit fit_of(uint32_t place)
{
	return place == BROKER_PLACE_BUILD_ID || place == BROKER_PLACE_HOST_BUILD_ID ||
			       place == BROKER_PLACE_CACHE ?
		       SYMBOLIZER_FIT_ID :
		       SYMBOLIZER_FIT_LINK;
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
		if (r == 0)
			break;
		close_fd(fd);
		n_refused++;
		s->q.place = place + 1;
	}
	if (*fd >= 0 && r)
		close_fd(fd);
	if (n_refused)
		log_line("%s: %llu files that could have been split off it belong to others, or are damaged",
			 s->name, (unsigned long long)n_refused);
	pthread_mutex_lock(&c->lock);
	c->sources.n_refused += n_refused;
	c->sources.n_found += *fd >= 0;
	pthread_mutex_unlock(&c->lock);
	return *fd < 0 ? -1 : *fd;
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
	if (s->o.debug_fd < 0)
		s->o.beside = 0;
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
	s->o.alt_fd = find(s, &s->o.alt_fd);
}

/* Beside the file itself, whoever has its DWARF. */
static void find_package(struct search *s, const struct symbolizer_links *l)
{
	if (!l->may_be_split || strlen(s->name) + sizeof(".dwp") > sizeof(s->q.name))
		return;
	s->q.n_id = 0;
	memset(s->q.name, 0, sizeof(s->q.name));
	snprintf(s->q.name, sizeof(s->q.name), "%s.dwp", s->name);
	s->o.beside = SYMBOLIZER_BESIDE_DWP;
	s->o.dwp_fd = find(s, &s->o.dwp_fd);
}

static void search(struct search *s)
{
	struct symbolizer_links l;

	if (ask(s, (struct question){ .links = &l }) < 0)
		return;
	s->may_be_split = l.may_be_split;
	find_debug(s, &l);
	find_alt(s, &l);
	s->may_be_split |= l.may_be_split;
	find_package(s, &l);
}

/* False: there is nothing to search for, or it is done. The sources_lock is held. */
static bool begin(struct core *c, uint32_t id, struct search *ret)
{
	struct search s = { .c = c };
	struct object *x;
	bool wanted;

	pthread_mutex_lock(&c->lock);
	x = objects_find(&c->objects, id);
	wanted = x && !x->sought && x->kind == SYMBOLIZER_FILE && x->fd >= 0 && !x->not_elf &&
		 !x->names_failed;
	if (wanted) {
		x->sought = true;
		s.o = (struct symbolizer_object){
			.id = id, .kind = x->kind, .fd = x->fd, .debug_fd = -1, .alt_fd = -1, .dwp_fd = -1
		};
		s.q.target = x->seen_target;
		s.q.start = x->seen_start;
		s.q.end = x->seen_end;
		strncpy(s.name, object_short_name(x), sizeof(s.name) - 1);
	}
	pthread_mutex_unlock(&c->lock);
	*ret = s;
	return wanted;
}

void sources_seek(struct core *c, uint32_t object)
{
	struct search s;
	struct object *x;

	pthread_mutex_lock(&c->sources.lock);
	if (begin(c, object, &s)) {
		search(&s);
		pthread_mutex_lock(&c->lock);
		x = objects_find(&c->objects, object);
		if (x) {
			x->debug_fd = TAKE_FD(s.o.debug_fd);
			x->alt_fd = TAKE_FD(s.o.alt_fd);
			x->may_be_split = s.may_be_split && s.o.dwp_fd < 0;
			x->dwp_fd = TAKE_FD(s.o.dwp_fd);
		}
		pthread_mutex_unlock(&c->lock);
		close_fd(&s.o.debug_fd);
		close_fd(&s.o.alt_fd);
		close_fd(&s.o.dwp_fd);
	}
	pthread_mutex_unlock(&c->sources.lock);
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
}
