/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/dwos.h"

#include <errno.h>
#include <string.h>

#include "daemon/serve/capture.h"
#include "daemon/serve/core.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/log.h"

_Static_assert(BROKER_MAX_DWO == SYMBOLIZER_MAX_DWO + 1, "a name is handed through");

struct search {
	struct core *c;
	struct symbolizer_object o; /* borrows the object's descriptors */
	struct broker_dwo q;
	uint32_t n_left; /* tries */
	uint64_t n_found, n_missing, n_refused;
	bool stop; /* the child dies of them, or the target does not answer */
};

/* False: it has none, or has had enough. The sources_lock is held. */
static bool begin(struct core *c, uint32_t id, struct search *ret)
{
	struct object *x;
	bool wanted;

	pthread_mutex_lock(&c->lock);
	x = objects_find(&c->objects, id);
	wanted = x && x->may_be_split && x->fd >= 0 && !x->not_elf && !x->names_failed;
	if (wanted) {
		ret->o = (struct symbolizer_object){
			.id = id, .kind = x->kind, .fd = x->fd,
			.debug_fd = x->beside.debug_fd, .alt_fd = x->beside.alt_fd, .dwp_fd = -1,
			.beside = (x->beside.debug_fd < 0 ? 0 : SYMBOLIZER_BESIDE_DEBUG) |
				  (x->beside.alt_fd < 0 ? 0 : SYMBOLIZER_BESIDE_ALT)
		};
		ret->q.target = x->seen_target;
		ret->q.start = x->seen_start;
		ret->q.end = x->seen_end;
		ret->n_left = DWOS_MAX - x->n_dwos;
	}
	pthread_mutex_unlock(&c->lock);
	ret->c = c;
	return wanted;
}

static void end(struct search *s)
{
	struct core *c = s->c;
	struct object *x;

	pthread_mutex_lock(&c->lock);
	x = objects_find(&c->objects, s->o.id);
	if (x) {
		x->n_dwos = DWOS_MAX - s->n_left;
		x->may_be_split = !s->stop && s->n_left;
	}
	c->sources.n_dwos += s->n_found;
	c->sources.n_dwos_missing += s->n_missing;
	c->sources.n_dwos_refused += s->n_refused;
	pthread_mutex_unlock(&c->lock);
}

/* A child that is found dead may have died of something else. */
static int ask(struct search *s, const uint64_t *addresses, uint32_t n, struct symbolizer_dwos *ret)
{
	struct core *c = s->c;
	int r;

	pthread_mutex_lock(&c->symbolizer_lock);
	r = symbolizer_ask_dwos(&c->symbolizer, &s->o, addresses, n, ret);
	if (core_symbolizer_again(c, r)) {
		ret->all.n = 0;
		r = symbolizer_ask_dwos(&c->symbolizer, &s->o, addresses, n, ret);
	}
	if (core_symbolizer_failed(r))
		core_restart_symbolizer(c);
	pthread_mutex_unlock(&c->symbolizer_lock);
	s->stop = core_symbolizer_failed(r);
	return r;
}

/* Whether it is the one that is lacked. */
static int give(struct search *s, int fd)
{
	struct symbolizer_object o = s->o;
	struct core *c = s->c;
	int r;

	o.beside |= SYMBOLIZER_BESIDE_DWP;
	o.dwp_fd = fd;
	pthread_mutex_lock(&c->symbolizer_lock);
	r = symbolizer_give_dwo(&c->symbolizer, &o);
	if (core_symbolizer_failed(r))
		core_restart_symbolizer(c);
	pthread_mutex_unlock(&c->symbolizer_lock);
	s->stop = core_symbolizer_failed(r);
	return r;
}

/* Somewhere below the target's root. */
static void find(struct search *s, const struct symbolizer_dwo *dwo)
{
	bool found = false, refused = false;

	memcpy(s->q.name, dwo->name, sizeof(s->q.name));
	memcpy(s->q.directory, dwo->directory, sizeof(s->q.directory));
	s->n_left--;
	for (s->q.place = 0; s->q.place < BROKER_N_DWO_PLACES && !found && !s->stop; s->q.place++) {
		uint32_t place = s->q.place;
		_cleanup_(closep) int fd = broker_open_dwo(&s->c->broker, &s->q, &place);

		s->stop = fd == -ETIMEDOUT;
		if (fd < 0 || place < s->q.place || place >= BROKER_N_DWO_PLACES)
			break;
		s->q.place = place;
		found = give(s, fd) == 0;
		refused |= !found;
	}
	s->n_found += found;
	s->n_refused += !found && refused;
	s->n_missing += !found && !refused;
}

static void search(struct search *s, const uint64_t *addresses, uint32_t n)
{
	struct symbolizer_dwos missing = { 0 };
	size_t i = 0;

	if (ask(s, addresses, n, &missing) == 0)
		for (; i < missing.all.n && s->n_left && !s->stop; i++)
			find(s, &missing.all.data[i]);
	s->n_missing += missing.all.n - i;
	vec_deinit(&missing.all);
}

void dwos_seek(struct core *c, uint32_t object, const uint64_t *words, uint32_t n)
{
	uint64_t addresses[SYMBOLIZER_MAX_ADDRESSES];
	struct search s = { 0 };

	if (n > SYMBOLIZER_MAX_ADDRESSES)
		return;
	for (uint32_t i = 0; i < n; i++)
		addresses[i] = frame_address(words[i]);
	pthread_mutex_lock(&c->sources.lock);
	if (begin(c, object, &s)) {
		search(&s, addresses, n);
		end(&s);
	}
	pthread_mutex_unlock(&c->sources.lock);
}

void dwos_note_lost(struct core *c, uint32_t object, uint64_t n_lost)
{
	struct object *x;

	pthread_mutex_lock(&c->lock);
	x = objects_find(&c->objects, object);
	if (x && !x->n_lost)
		log_line("%s: some of its debug information is past a bound, and not read", x->name);
	if (x && n_lost > x->n_lost)
		x->n_lost = n_lost;
	pthread_mutex_unlock(&c->lock);
}

void dwos_say(struct core *c, struct capture *to)
{
	uint64_t n_missing, n_refused, n_files = 0, n_lost = 0;

	pthread_mutex_lock(&c->lock);
	n_missing = c->sources.n_dwos_missing;
	n_refused = c->sources.n_dwos_refused;
	for (size_t i = 0; i < c->objects.all.n; i++) {
		const struct object *x = c->objects.all.data[i];

		n_files += x && x->n_lost;
		n_lost += x ? x->n_lost : 0;
	}
	pthread_mutex_unlock(&c->lock);
	if (n_missing || n_refused)
		capture_comment(to, "split DWARF: %llu .dwo files are not there, %llu more belong to other files, or are damaged",
				(unsigned long long)n_missing, (unsigned long long)n_refused);
	if (n_lost)
		capture_comment(to, "names: debug information of %llu files is past a bound: %llu sections or units of it are not read",
				(unsigned long long)n_files, (unsigned long long)n_lost);
}
