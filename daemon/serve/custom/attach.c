/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/custom/custom.h"
#include "daemon/serve/log.h"

#define CLEAN_PAUSE_NS (500 * NS_PER_MS)
#define MIN_AGAIN_NS NS_PER_S
#define MAX_AGAIN_NS (60 * NS_PER_S)

bool custom_is_reserved(const char *name)
{
	static const char *const others[] = { "trace", "goroutineleak", "fgprof", "delta_heap", "delta_block",
					      "delta_mutex" };

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		if (!strcmp(name, others[i]))
			return true;
	return profile_find(name) != NULL;
}

static void __attribute__((format(printf, 2, 3))) say(struct target_custom *x, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(x->why, sizeof(x->why), format, ap);
	va_end(ap);
}

static void *map(int fd, size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int load(struct core *c, char *error)
{
	const struct timespec pause = { .tv_nsec = 10 * NS_PER_MS };
	struct custom *x = &c->custom;
	int fds[PP_N_CUSTOM_MAPS], r;

	while ((r = broker_custom(&c->broker, fds, error)) == -EAGAIN)
		nanosleep(&pause, NULL);
	if (r < 0)
		return r;
	x->states = map(fds[PP_CUSTOM_MAP_STATE], PP_MAX_PROCESSES * sizeof(*x->states));
	x->profiles = map(fds[PP_CUSTOM_MAP_PROFILE],
			  (size_t)PP_MAX_PROCESSES * PP_MAX_CUSTOM * sizeof(*x->profiles));
	x->keys = map(fds[PP_CUSTOM_MAP_KEY], sizeof(*x->keys) << PP_HELD_BUCKET_BITS);
	x->held = map(fds[PP_CUSTOM_MAP_HELD], (PP_HELD_WAYS * sizeof(*x->held)) << PP_HELD_BUCKET_BITS);
	for (int i = 0; i < PP_N_CUSTOM_MAPS; i++)
		close_fd(&fds[i]);
	if (x->states && x->profiles && x->keys && x->held)
		return 0;
	snprintf(error, BROKER_MAX_TEXT, "no memory for the tables of custom profiles");
	return -ENOMEM;
}

static void set_state(struct core *c, enum custom_state state)
{
	pthread_mutex_lock(&c->lock);
	c->custom.state = state;
	pthread_mutex_unlock(&c->lock);
}

static const uint32_t kinds[CUSTOM_N_KINDS] = {
	[CUSTOM_ADD] = PP_CUSTOM_ADD,		    [CUSTOM_REMOVE] = PP_CUSTOM_REMOVE,
	[CUSTOM_RESULT] = PP_CUSTOM_RESULT,	    [CUSTOM_DESCRIPTOR] = PP_CUSTOM_DESCRIPTOR,
	[CUSTOM_OUT] = PP_CUSTOM_OUT,		    [CUSTOM_OUT_PAIR] = PP_CUSTOM_OUT_PAIR,
	[CUSTOM_ENTER] = PP_CUSTOM_ENTER,
};

struct symbolizer_track custom_track(const struct broker_track *from)
{
	struct symbolizer_track to = { .argument = from->argument };

	_Static_assert(sizeof(to.name) == sizeof(from->name) && sizeof(to.function) == sizeof(from->function),
		       "the same shape");
	memcpy(to.name, from->name, sizeof(to.name) - 1);
	memcpy(to.function, from->function, sizeof(to.function) - 1);
	for (uint32_t k = CUSTOM_ADD; k < CUSTOM_N_KINDS; k++)
		if (kinds[k] == from->kind)
			to.kind = k;
	return to;
}

/* The functions that --track names, behind what its notes say. */
static int ask_tracks(struct core *c, const struct symbolizer_object *o, struct symbolizer_customs *to)
{
	int r = 0;

	for (uint32_t i = 0; i < c->n_tracks && r == 0; i += SYMBOLIZER_MAX_TRACKS) {
		uint32_t n = c->n_tracks - i;
		struct symbolizer_customs more = { 0 };

		r = symbolizer_ask_track(&c->symbolizer, o, c->tracks + i,
					 n < SYMBOLIZER_MAX_TRACKS ? n : SYMBOLIZER_MAX_TRACKS, &more);
		for (size_t k = 0; k < more.all.n && r == 0; k++) {
			if (to->all.n < SYMBOLIZER_MAX_CUSTOM)
				r = vec_push(&to->all, more.all.data[k]);
			else
				to->end.n_lost++;
		}
		symbolizer_customs_deinit(&more);
	}
	return r;
}

static int ask_all(struct core *c, const struct symbolizer_object *o, struct symbolizer_customs *to)
{
	int r;

	symbolizer_customs_deinit(to); /* of the first time */
	r = symbolizer_ask_custom(&c->symbolizer, o, to);
	return r == 0 ? ask_tracks(c, o, to) : r;
}

/* Once a file, as ask_allocator of the heap. */
static void ask_file(struct core *c, struct object *x)
{
	struct symbolizer_object o = { .id = x->id, .kind = x->kind, .fd = x->fd };
	int r;

	if (x->custom_asked || x->kind != SYMBOLIZER_FILE || x->fd < 0 || x->not_elf)
		return;
	pthread_mutex_lock(&c->symbolizer_lock);
	r = ask_all(c, &o, &x->custom);
	if (core_symbolizer_again(c, r))
		r = ask_all(c, &o, &x->custom);
	x->custom_asked = r != -ENOTCONN;
	if (core_symbolizer_failed(r)) {
		log_line("%s: the symbolizer failed on it (%s); its own profiles are not seen", x->name,
			 strerror(-r));
		core_restart_symbolizer(c);
	}
	pthread_mutex_unlock(&c->symbolizer_lock);
}

static bool knows(const struct target_custom *x, uint32_t object)
{
	for (size_t i = 0; i < x->files.n; i++)
		if (x->files.data[i].object == object)
			return true;
	return false;
}

/* Not what a trace shows alone. */
static bool has_profiles(const struct object *x)
{
	for (size_t i = 0; i < x->custom.all.n; i++)
		if (x->custom.all.data[i].kind < CUSTOM_TASK_BEGIN)
			return true;
	return false;
}

static void find_files(struct core *c, struct target *t)
{
	for (size_t i = 0; i < t->mappings.n; i++) {
		struct object *x = objects_find(&c->objects, t->mappings.data[i].object);
		struct custom_file f = { .object = t->mappings.data[i].object };

		if (!x || knows(&t->custom, f.object))
			continue;
		ask_file(c, x);
		if (has_profiles(x) && vec_push(&t->custom.files, f) == 0)
			t->custom.n_lost += x->custom.end.n_lost;
	}
}

static const struct target_mapping *mapping_of(const struct target *t, uint32_t object)
{
	for (size_t i = 0; i < t->mappings.n; i++)
		if (t->mappings.data[i].object == object)
			return &t->mappings.data[i];
	return NULL;
}

/* The row of a name, made if need be, as the kernel does it; + 1, 0: there is no room. */
static uint32_t row_of(const struct core *c, const struct target *t, const char name[PP_CUSTOM_NAME])
{
	struct pp_custom_profile *rows = c->custom.profiles + (size_t)t->index * PP_MAX_CUSTOM;
	uint64_t words[PP_CUSTOM_NAME / 8], hash;

	memcpy(words, name, sizeof(words));
	hash = pp_custom_hash((const __u64 *)words);
	for (uint32_t i = 0; i < PP_MAX_CUSTOM; i++) {
		uint32_t row = (uint32_t)((hash >> 8) + i) & (PP_MAX_CUSTOM - 1);
		__u64 was = 0;

		if (__atomic_compare_exchange_n(&rows[row].hash, &was, hash, false, __ATOMIC_SEQ_CST,
						__ATOMIC_SEQ_CST)) {
			memcpy(rows[row].name, words, sizeof(words));
			__atomic_store_n(&rows[row].ready, 1, __ATOMIC_SEQ_CST);
			return row + 1;
		}
		if (was == hash)
			return row + 1;
	}
	return 0;
}

/* What the site is to do; false: no probe. */
static bool translate(const struct core *c, const struct target *t, struct custom_file *f,
		      const struct symbolizer_custom *from, struct broker_custom_probe *to)
{
	*to = (struct broker_custom_probe){ .offset = from->offset };
	if (from->status != PROBE_FINE || !kinds[from->kind])
		return false;
	if (from->n_name && custom_is_reserved(from->name)) {
		f->n_reserved += from->kind == CUSTOM_ADD;
		return false;
	}
	to->probe.kind = kinds[from->kind];
	to->probe.row = from->n_name ? row_of(c, t, from->name) : 0;
	f->n_full += from->n_name && !to->probe.row;
	memcpy(to->probe.arguments, from->arguments, sizeof(to->probe.arguments));
	return to->probe.kind && (to->probe.row || !from->n_name);
}

static int attach_some(struct core *c, struct target *t, const struct target_mapping *m, uint32_t n,
		       const struct broker_custom_probe *probes, uint32_t side)
{
	struct broker_probes q = { .target = t->index, .side = side, .start = m->start, .end = m->end, .n = n };
	char error[BROKER_MAX_TEXT] = "";
	int r = n ? broker_custom_probe(&c->broker, &q, probes, error) : 0;

	if (r < 0 && !side)
		say(&t->custom, "%s cannot be probed: %s", m->name, *error ? error : strerror(-r));
	return r;
}

/* False: there are no probes, and were to be some. */
static bool attach_file(struct core *c, struct target *t, struct custom_file *f, uint32_t side)
{
	const struct target_mapping *m = mapping_of(t, f->object);
	struct object *x = objects_find(&c->objects, f->object);
	struct broker_custom_probe probes[BROKER_MAX_PROBES];
	uint32_t n = 0;
	bool any = false;
	int r = 0;

	f->n_reserved = f->n_full = 0; /* it may be done again */
	for (size_t i = 0; m && x && i < x->custom.all.n && r == 0; i++) {
		n += translate(c, t, f, &x->custom.all.data[i], &probes[n]);
		if (n < BROKER_MAX_PROBES)
			continue;
		r = attach_some(c, t, m, n, probes, side);
		any |= r == 0;
		n = 0;
	}
	if (r == 0 && m && x)
		r = attach_some(c, t, m, n, probes, side);
	return r == 0 || any;
}

/* What could not be had now: nobody else would ask again. */
static void try_again(struct core *c, struct target_custom *x)
{
	x->pause_ns = x->pause_ns ? 2 * x->pause_ns : MIN_AGAIN_NS;
	if (x->pause_ns > MAX_AGAIN_NS)
		x->pause_ns = MAX_AGAIN_NS;
	x->again_ns = monotonic_ns() + x->pause_ns;
	core_wake(c);
}

static void attach(struct core *c, struct target *t)
{
	struct target_custom *x = &t->custom;
	bool lacking = false;

	if (x->paused)
		return;
	if (c->heap.budget <= 0 && x->files.n) {
		say(x, "--max-overhead 0: there are no probes");
		return;
	}
	if (x->files.n)
		custom_account_open(c, t);
	for (size_t i = 0; i < x->files.n; i++) {
		if (x->files.data[i].attached)
			continue;
		x->files.data[i].attached = attach_file(c, t, &x->files.data[i], 0);
		lacking |= !x->files.data[i].attached;
	}
	if (lacking)
		try_again(c, x);
	else if (x->pause_ns)
		*x->why = '\0', x->pause_ns = 0;
	if (x->files.n && !x->armed_ns)
		x->armed_ns = monotonic_ns();
	__atomic_store_n(&c->custom.states[t->index].probed, x->files.n != 0, __ATOMIC_SEQ_CST);
}

/* The probes do nothing any more. */
static void empty_tables(struct core *c, const struct target *t)
{
	struct custom *x = &c->custom;

	for (size_t slot = 0; slot < (size_t)PP_HELD_WAYS << PP_HELD_BUCKET_BITS; slot++) {
		__u64 *key = &x->keys[slot / PP_HELD_WAYS].key[slot % PP_HELD_WAYS], k = *key;
		struct pp_held *e = &x->held[slot];

		if (!k || e->profile / PP_MAX_CUSTOM != t->index)
			continue;
		__atomic_store_n(&e->born, 0, __ATOMIC_SEQ_CST);
		__atomic_compare_exchange_n(key, &k, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
	memset(x->profiles + (size_t)t->index * PP_MAX_CUSTOM, 0, PP_MAX_CUSTOM * sizeof(*x->profiles));
	memset(&x->states[t->index], 0, sizeof(x->states[t->index]));
}

void custom_detach(struct core *c, struct target *t)
{
	struct target_custom *x = &t->custom;

	broker_custom_off(&c->broker, t->index);
	for (size_t i = 0; i < x->files.n; i++)
		x->files.data[i].attached = false;
	__atomic_store_n(&c->custom.states[t->index].probed, 0, __ATOMIC_SEQ_CST);
}

static void begin_epoch(struct core *c, struct target *t)
{
	pthread_mutex_lock(&c->lock);
	empty_tables(c, t);
	t->custom.epoch++;
	pthread_mutex_unlock(&c->lock);
}

void custom_attach_anew(struct core *c, struct target *t)
{
	begin_epoch(c, t);
	t->custom.paused = false;
	t->custom.armed_ns = 0;
	attach(c, t);
}

static void forget_image(struct core *c, struct target *t)
{
	struct target_custom *x = &t->custom;

	if (c->custom.state == CUSTOM_READY && x->files.n) {
		custom_detach(c, t);
		begin_epoch(c, t);
	}
	vec_deinit(&x->files);
	*x = (struct target_custom){ .epoch = x->epoch };
}

void custom_leave(struct core *c, struct target *t)
{
	if (c->custom.state == CUSTOM_READY) { /* the broker has taken the probes off */
		pthread_mutex_lock(&c->lock);
		empty_tables(c, t);
		pthread_mutex_unlock(&c->lock);
	}
	vec_deinit(&t->custom.files);
	t->custom = (struct target_custom){ 0 };
}

static void *load_now(void *context)
{
	custom_start(context);
	return NULL;
}

/* A process has come to have such a profile while we run. */
static void load_soon(struct core *c)
{
	pthread_attr_t detached;
	pthread_t thread;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &detached, load_now, c))
		set_state(c, CUSTOM_UNUSED);
	pthread_attr_destroy(&detached);
}

void custom_follow(struct core *c, struct target *t, bool new_image)
{
	if (new_image)
		forget_image(c, t);
	find_files(c, t);
	if (c->custom.state == CUSTOM_UNUSED && t->custom.files.n) {
		set_state(c, CUSTOM_WANTED);
		if (c->started)
			load_soon(c);
		if (c->custom.state == CUSTOM_UNUSED)
			try_again(c, &t->custom);
	}
	if (c->custom.state == CUSTOM_READY)
		attach(c, t);
	else if (c->custom.state == CUSTOM_FAILED)
		say(&t->custom, "%s", c->custom.error);
}

void custom_again(struct core *c, struct target *t)
{
	t->custom.again_ns = 0;
	if (t->published)
		custom_follow(c, t, false);
}

void custom_start(struct core *c)
{
	char error[BROKER_MAX_TEXT] = "";
	int r;

	pthread_mutex_lock(&c->scan_lock);
	c->started = true;
	if (c->custom.state != CUSTOM_WANTED) {
		pthread_mutex_unlock(&c->scan_lock);
		return;
	}
	set_state(c, CUSTOM_LOADING);
	pthread_mutex_unlock(&c->scan_lock);
	r = load(c, error);
	if (r < 0)
		log_line("custom profiles cannot be seen: %s", *error ? error : strerror(-r));
	pthread_mutex_lock(&c->scan_lock);
	snprintf(c->custom.error, sizeof(c->custom.error), "%s", *error || r == 0 ? error : strerror(-r));
	set_state(c, r == 0 ? CUSTOM_READY : CUSTOM_FAILED);
	for (uint32_t i = 0; i < c->n_targets; i++)
		custom_follow(c, &c->targets[i], false);
	pthread_mutex_unlock(&c->scan_lock);
}

/* Attaching and detaching take a while: not for every child. */
void custom_forked(struct core *c, struct target *t)
{
	struct target_custom *x = &t->custom;
	int64_t now = monotonic_ns();

	x->clean_ns = now > x->cleaned_ns + CLEAN_PAUSE_NS ? now : x->cleaned_ns + CLEAN_PAUSE_NS;
	if (x->clean_ns == now)
		custom_clean(c, t);
}

void custom_clean(struct core *c, struct target *t)
{
	struct target_custom *x = &t->custom;

	x->clean_ns = 0;
	if (c->custom.state != CUSTOM_READY || x->paused)
		return;
	__atomic_store_n(&c->custom.states[t->index].fork_noted, 0, __ATOMIC_SEQ_CST);
	x->cleaned_ns = monotonic_ns();
	for (size_t i = 0; i < x->files.n; i++)
		attach_file(c, t, &x->files.data[i], BROKER_SIDE_AGAIN);
}
