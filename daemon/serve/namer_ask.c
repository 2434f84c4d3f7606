/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/namer_ask.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/dwos.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/log.h"
#include "daemon/serve/sources.h"

#define KERNEL_AGAIN_NS (60 * NS_PER_S) /* a sysctl, or what was short, may be otherwise then */

/* What we need of an object while it is not ours to look at. */
struct named_object {
	uint32_t id;
	enum symbolizer_kind kind;
	int fd, debug_fd, alt_fd, dwp_fd;
	bool failed;
};

struct job {
	struct core *c;
	enum namer_question question;
	struct names_cache *cache;
	VEC(uint64_t) pending; /* words of one object, not in the cache */
	bool only_named; /* what has no name is asked about elsewhere, too */
	uint64_t left_out; /* of the file that was asked last */
};

typedef int ask_fn(struct symbolizer *s, const struct symbolizer_object *o,
		   enum symbolizer_demangle how, const uint64_t *addresses, uint32_t n,
		   symbolizer_frame_fn *frame, void *context);

static ask_fn *const asks[] = {
	[NAMER_NAMES] = symbolizer_ask_names,
	[NAMER_FULL] = symbolizer_ask_names,
	[NAMER_CALLEES] = symbolizer_ask_callees,
	[NAMER_VARIABLES] = symbolizer_ask_variables,
};

/* One answer of the symbolizer's, on its way into the cache. */
struct batch {
	struct job *job;
	const uint64_t *words;
	struct cached_address addresses[SYMBOLIZER_MAX_ADDRESSES];
	int error;
};

static void on_frame(void *context, const struct symbolizer_frame *f, const char *name,
		     const char *system_name, const char *file)
{
	struct batch *b = context;
	struct names_cache *cache = b->job->cache;
	struct cached_address *a = &b->addresses[f->index];

	a->shown = f->shown;
	if (!f->n_name || b->error)
		return;
	if (a->n_lines && a->first_line + a->n_lines != cache->lines.n)
		return; /* not in a row: the child breaks its own rule */
	if (!a->n_lines)
		a->first_line = (uint32_t)cache->lines.n;
	b->error = names_cache_add_line(cache, f, name, system_name, file);
	a->n_lines += b->error == 0;
}

/* Asks for one batch; the symbolizer_lock is held. Negative: give the object up. */
static int ask_once(struct job *j, const struct named_object *o, const uint64_t *words, uint32_t n)
{
	struct symbolizer_object question = {
		.id = o->id, .kind = o->kind, .fd = o->fd,
		.debug_fd = o->debug_fd, .alt_fd = o->alt_fd, .dwp_fd = o->dwp_fd,
		.beside = (o->debug_fd < 0 ? 0 : SYMBOLIZER_BESIDE_DEBUG) |
			  (o->alt_fd < 0 ? 0 : SYMBOLIZER_BESIDE_ALT) |
			  (o->dwp_fd < 0 ? 0 : SYMBOLIZER_BESIDE_DWP)
	};
	struct batch b = { .job = j, .words = words };
	uint64_t addresses[SYMBOLIZER_MAX_ADDRESSES];
	int r;

	for (uint32_t i = 0; i < n; i++) {
		addresses[i] = frame_kind(words[i]) == FRAME_KERNEL ? words[i] :
			       frame_kind(words[i]) == FRAME_RAW    ? frame_pc(words[i]) :
								      frame_address(words[i]);
		b.addresses[i].word = words[i];
	}
	if (o->kind == SYMBOLIZER_KERNEL && lseek(o->fd, 0, SEEK_SET) < 0)
		return -errno; /* a child that died may have read half of it */
	r = asks[j->question](&j->c->symbolizer, &question,
			      j->question == NAMER_FULL ? DEMANGLE_FULL : DEMANGLE_SIMPLE, addresses, n,
			      on_frame, &b);
	j->left_out = j->c->symbolizer.names_end.left_out;
	for (uint32_t i = 0; i < n && b.error == 0 && r == 0; i++)
		if (b.addresses[i].n_lines || !j->only_named)
			b.error = names_cache_add_address(j->cache, b.addresses[i]);
	return r < 0 ? r : b.error;
}

/* A child that is found dead may have died of something else, or by somebody's hand: the file is
 * blamed for the second one only. */
static int ask(struct job *j, const struct named_object *o, const uint64_t *words, uint32_t n)
{
	int r = ask_once(j, o, words, n);

	if (core_symbolizer_again(j->c, r))
		r = ask_once(j, o, words, n);
	if (core_symbolizer_failed(r))
		core_restart_symbolizer(j->c);
	return r;
}

/* The symbolizer_lock is held. */
static void on_kernel_failure(struct core *c, int err)
{
	if (!c->namer.kernel_hidden)
		log_line("kernel frames go without names: /proc/kallsyms%s%s",
			 err == -EPERM ? " hides addresses (kernel.kptr_restrict, or CAP_SYSLOG is "
					 "missing)" :
					 ": ",
			 err == -EPERM ? "" : strerror(-err));
	c->namer.kernel_hidden = true;
	c->namer.kernel_ns = monotonic_ns() + KERNEL_AGAIN_NS;
}

/* Marks the file, so that the symbolizer is not sent there again. */
static void on_failure(struct core *c, uint32_t id, int err)
{
	struct object *x;

	if (sources_blame(c, id))
		return;
	pthread_mutex_lock(&c->lock);
	x = objects_find(&c->objects, id);
	if (x && !x->names_failed)
		log_line("%s: the symbolizer failed on it (%s); its frames go without names",
			 x->name, strerror(-err));
	if (x)
		x->names_failed = true;
	pthread_mutex_unlock(&c->lock);
}

static bool find_object(struct core *c, uint32_t id, struct named_object *ret)
{
	struct object *x;

	sources_seek(c, id);
	pthread_mutex_lock(&c->lock);
	x = objects_find(&c->objects, id);
	if (x)
		*ret = (struct named_object){ x->id, x->kind, x->fd, x->beside.debug_fd,
					      x->beside.alt_fd, x->beside.dwp_fd,
					      x->names_failed || x->not_elf || x->beside.spoiled ||
						      (x->kind == SYMBOLIZER_FILE && x->fd < 0) };
	pthread_mutex_unlock(&c->lock);
	return x && !ret->failed;
}

static int ask_batch(struct job *j, const struct named_object *o, const uint64_t *words, uint32_t n)
{
	struct core *c = j->c;
	int r;

	if (o->kind == SYMBOLIZER_FILE && j->question != NAMER_VARIABLES)
		dwos_seek(c, o->id, words, n);
	pthread_mutex_lock(&c->symbolizer_lock);
	r = ask(j, o, words, n);
	if (r < 0 && o->kind == SYMBOLIZER_KERNEL)
		on_kernel_failure(c, r);
	else if (o->kind == SYMBOLIZER_KERNEL)
		c->namer.kernel_hidden = false;
	pthread_mutex_unlock(&c->symbolizer_lock);
	if (r == 0 && o->kind == SYMBOLIZER_FILE && j->left_out)
		dwos_note_lost(c, o->id, j->left_out);
	if (core_symbolizer_failed(r) && o->id < NAMER_KERNEL)
		on_failure(c, o->id, r);
	return r;
}

static bool kernel_object(struct core *c, int *fd, struct named_object *ret)
{
	pthread_mutex_lock(&c->symbolizer_lock);
	*fd = -EPERM;
	if (!c->namer.kernel_hidden || c->namer.kernel_ns <= monotonic_ns()) {
		*fd = broker_open_kallsyms(&c->broker);
		if (*fd < 0)
			on_kernel_failure(c, *fd);
	}
	pthread_mutex_unlock(&c->symbolizer_lock);
	*ret = (struct named_object){ NAMER_KERNEL, SYMBOLIZER_KERNEL, *fd, -1, -1, -1, false };
	return *fd >= 0;
}

/* The lock is let go between batches, so that a capture with many new names does not keep others waiting. */
static void ask_object(struct job *j, const struct named_object *o)
{
	bool usable = true;

	for (size_t i = 0; usable && i < j->pending.n;) {
		size_t n = j->pending.n - i;

		if (n > SYMBOLIZER_MAX_ADDRESSES)
			n = SYMBOLIZER_MAX_ADDRESSES;
		usable = ask_batch(j, o, j->pending.data + i, (uint32_t)n) == 0;
		i += n;
	}
}

/* All pending words are of one object. */
static void ask_pending(struct job *j)
{
	_cleanup_(closep) int kallsyms = -1;
	struct named_object o;
	bool usable;

	if (!j->pending.n)
		return;
	usable = frame_kind(j->pending.data[0]) == FRAME_KERNEL ?
			 kernel_object(j->c, &kallsyms, &o) :
			 find_object(j->c, frame_object(j->pending.data[0]), &o);
	if (usable)
		ask_object(j, &o);
}

uint32_t namer_object(uint64_t word)
{
	return frame_kind(word) == FRAME_KERNEL ? NAMER_KERNEL : frame_object(word);
}

static bool can_be_asked(const struct job *j, uint64_t word)
{
	enum frame_kind kind = frame_kind(word);

	return kind == FRAME_FILE || (kind == FRAME_KERNEL && j->question == NAMER_NAMES);
}

static int ask_unknown(struct job *j, const uint64_t *words, size_t n)
{
	struct core *c = j->c;

	for (size_t i = 0; i < n; i++) {
		bool known;

		if (!can_be_asked(j, words[i]))
			continue;
		if (j->pending.n && namer_object(words[i]) != namer_object(j->pending.data[0])) {
			ask_pending(j);
			j->pending.n = 0;
		}
		pthread_mutex_lock(&c->symbolizer_lock);
		known = names_cache_find(j->cache, words[i]);
		pthread_mutex_unlock(&c->symbolizer_lock);
		tally_add(&c->tally, known ? TALLY_NAMES_HITS : TALLY_NAMES_MISSES, 1);
		if (!known && vec_push(&j->pending, words[i]) < 0)
			return -ENOMEM;
	}
	ask_pending(j);
	return 0;
}

int namer_ask(struct core *c, enum namer_question q, const uint64_t *words, size_t n)
{
	struct names_cache *const caches[] = { [NAMER_NAMES] = &c->namer.cache,
					       [NAMER_FULL] = &c->namer.full,
					       [NAMER_CALLEES] = &c->namer.callees,
					       [NAMER_VARIABLES] = &c->namer.variables };
	struct job j = { .c = c, .question = q, .cache = caches[q] };
	int r = ask_unknown(&j, words, n);

	vec_deinit(&j.pending);
	return r;
}

/* The jitdump file that the target has mapped; the lock is held. -1: none. */
static int jitdump_fd(struct core *c, const struct target *t)
{
	const struct object *x = objects_find(&c->objects, t->jitdump_object);

	return x ? x->fd : -1;
}

/* A copy of the target's perf map file; of a process that has ended the last one that could be opened. -1: none. */
static int perf_map_fd(struct core *c, const struct target *t)
{
	struct target *owner = &c->targets[t->index];
	_cleanup_(closep) int fd = broker_open_perf_map(&c->broker, t->index);
	int copy;

	pthread_mutex_lock(&c->lock);
	if (fd >= 0 || target_alive(t)) {
		close_fd(&owner->perf_map_fd);
		owner->perf_map_fd = fd < 0 ? -1 : TAKE_FD(fd);
	}
	copy = owner->perf_map_fd < 0 ? -1 : fcntl(owner->perf_map_fd, F_DUPFD_CLOEXEC, 3);
	pthread_mutex_unlock(&c->lock);
	return copy;
}

/* What the file says of the words that have no name yet. */
static int ask_jit_file(struct job *j, const struct named_object *o, const uint64_t *words, size_t n)
{
	j->pending.n = 0;
	for (size_t i = 0; i < n; i++)
		if (frame_kind(words[i]) == FRAME_RAW && !names_cache_find(j->cache, words[i]) &&
		    vec_push(&j->pending, words[i]) < 0)
			return -ENOMEM;
	if (o->fd >= 0 && j->pending.n)
		ask_object(j, o);
	return 0;
}

int namer_ask_jit(struct core *c, const struct target *t, const uint64_t *words, size_t n,
		  struct names_cache *to)
{
	struct job j = { .c = c, .question = NAMER_NAMES, .cache = to, .only_named = true };
	struct named_object dump = { NAMER_JITDUMP(t->index), SYMBOLIZER_JITDUMP, -1, -1, -1, -1, false };
	struct named_object map = { NAMER_PERF_MAP(t->index), SYMBOLIZER_PERF_MAP, -1, -1, -1, -1, false };
	_cleanup_(closep) int fd = -1;
	uint64_t left_out;
	int r;

	while (n && frame_kind(*words) != FRAME_RAW)
		words++, n--;
	if (!n)
		return 0;
	map.fd = fd = perf_map_fd(c, t);
	pthread_mutex_lock(&c->lock);
	dump.fd = jitdump_fd(c, t);
	pthread_mutex_unlock(&c->lock);
	r = ask_jit_file(&j, &dump, words, n);
	left_out = j.left_out;
	j.left_out = 0;
	if (r == 0)
		r = ask_jit_file(&j, &map, words, n);
	pthread_mutex_lock(&c->lock);
	c->targets[t->index].jit_left_out = left_out + j.left_out;
	pthread_mutex_unlock(&c->lock);
	vec_deinit(&j.pending);
	return r;
}
