/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/heap/heap.h"
#include "daemon/serve/log.h"

void heap_say(struct target_heap *h, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(h->why, sizeof(h->why), format, ap);
	va_end(ap);
}

static void *map(int fd, size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Scans show it meanwhile. */
static void set_error(struct core *c, const char *text)
{
	pthread_mutex_lock(&c->scan_lock);
	snprintf(c->heap.error, sizeof(c->heap.error), "%s", text);
	pthread_mutex_unlock(&c->scan_lock);
}

int heap_load(struct core *c)
{
	const struct timespec pause = { .tv_nsec = 20 * NS_PER_MS };
	char error[sizeof(c->heap.error)] = "";
	struct heap *h = &c->heap;
	struct broker_heap answer;
	int fds[PP_N_HEAP_MAPS], r;

	while ((r = broker_heap(&c->broker, &answer, fds, error)) == -EAGAIN)
		nanosleep(&pause, NULL);
	if (r < 0) {
		set_error(c, error);
		return r;
	}
	h->sessions = answer.session;
	h->n_cpus = answer.n_cpus;
	h->hit_ns = answer.hit_ns ? answer.hit_ns : 1;
	h->shared_ns = answer.shared_ns > h->hit_ns ? answer.shared_ns : h->hit_ns;
	h->states = map(fds[PP_HEAP_MAP_STATE], PP_MAX_PROCESSES * sizeof(*h->states));
	h->cpus = map(fds[PP_HEAP_MAP_CPU], (size_t)h->n_cpus * PP_MAX_PROCESSES * sizeof(*h->cpus));
	h->keys = map(fds[PP_HEAP_MAP_KEY], sizeof(*h->keys) << PP_LIVE_BUCKET_BITS);
	h->live = map(fds[PP_HEAP_MAP_LIVE], (PP_LIVE_WAYS * sizeof(*h->live)) << PP_LIVE_BUCKET_BITS);
	h->turns = map(fds[PP_HEAP_MAP_TURN], PP_MAX_PROCESSES * PP_N_TURNS * sizeof(*h->turns));
	for (int i = 0; i < PP_N_HEAP_MAPS; i++)
		close_fd(&fds[i]);
	if (!h->states || !h->cpus || !h->keys || !h->live || !h->turns) {
		set_error(c, "no memory for the heap's tables");
		return -ENOMEM;
	}
	return 0;
}

/* Once a file. A symbolizer that dies on it is replaced, and the file has no allocator. */
static void ask_allocator(struct core *c, struct object *x)
{
	struct symbolizer_object o = { .id = x->id, .kind = x->kind, .fd = x->fd };
	int r;

	if (x->allocator_asked || x->kind != SYMBOLIZER_FILE || x->fd < 0)
		return;
	pthread_mutex_lock(&c->symbolizer_lock);
	r = symbolizer_ask_probes(&c->symbolizer, &o, &x->allocator);
	if (core_symbolizer_again(c, r))
		r = symbolizer_ask_probes(&c->symbolizer, &o, &x->allocator);
	x->allocator_asked = r != -ENOTCONN;
	if (core_symbolizer_failed(r)) {
		log_line("%s: the symbolizer failed on it (%s); its allocator is not probed", x->name,
			 strerror(-r));
		core_restart_symbolizer(c);
	}
	pthread_mutex_unlock(&c->symbolizer_lock);
}

static bool told(const struct symbolizer_probe *p)
{
	return p->function == ALLOCATOR_USDT_ALLOC || p->function == ALLOCATOR_USDT_FREE;
}

static bool knows(const struct target_heap *h, uint32_t object)
{
	for (size_t i = 0; i < h->functions.n; i++)
		if (h->functions.data[i].object == object)
			return true;
	return false;
}

/* The functions of files that are new to the target. True: there were some. */
static bool find_functions(struct core *c, struct target *t)
{
	struct target_heap *h = &t->heap;
	size_t before = h->functions.n;

	for (size_t i = 0; i < t->mappings.n; i++) {
		uint32_t id = t->mappings.data[i].object;
		struct object *x = objects_find(&c->objects, id);

		if (!x || knows(h, id))
			continue;
		ask_allocator(c, x);
		for (size_t k = 0; k < x->allocator.probes.n; k++) {
			struct heap_function f = { id, x->allocator.probes.data[k] };

			if (f.probe.status != PROBE_ELSEWHERE && vec_push(&h->functions, f) < 0)
				return false;
		}
	}
	return h->functions.n != before;
}

static enum heap_source choose_source(struct target_heap *h)
{
	bool functions = false;

	for (size_t i = 0; i < h->functions.n; i++) {
		const struct symbolizer_probe *p = &h->functions.data[i].probe;

		if (p->status != PROBE_FINE)
			continue;
		if (p->function == ALLOCATOR_USDT_ALLOC)
			return HEAP_TOLD;
		functions = functions || (!told(p) && p->function != ALLOCATOR_FREE);
	}
	return functions ? HEAP_PROBES : HEAP_NONE;
}

static uint32_t side_of(const struct symbolizer_probe *p)
{
	return told(p) ? BROKER_SIDE_TOLD :
	       p->function == ALLOCATOR_FREE ? BROKER_SIDE_FREE :
					       BROKER_SIDE_ALLOC;
}

static struct broker_probe translate(const struct symbolizer_probe *from)
{
	struct broker_probe to = { .offset = from->offset, .semaphore = from->semaphore };

	_Static_assert((int)ALLOCATOR_USDT_FREE == (int)PP_FUNCTION_USDT_FREE &&
		       (int)ALLOCATOR_NEW == (int)PP_FUNCTION_NEW, "the same numbers");
	_Static_assert(sizeof(from->arguments) == sizeof(to.probe.arguments) &&
		       (int)SYMBOLIZER_MEMORY == (int)PP_ARGUMENT_MEMORY, "the same shape");
	to.probe.function = from->function;
	if (from->flags & ALLOCATOR_MAY_THROW)
		to.probe.flags |= PP_PROBE_ENTRY_ONLY;
	if (from->flags & ALLOCATOR_TAIL)
		to.probe.flags |= PP_PROBE_TAIL;
	memcpy(to.probe.arguments, from->arguments, sizeof(to.probe.arguments));
	return to;
}

/* One that goes on in another on some paths would be drawn for twice there; realloc tells them apart by
 * its argument. */
static bool counted_twice(const struct symbolizer_probe *p)
{
	return p->flags & ALLOCATOR_TAIL && side_of(p) == BROKER_SIDE_ALLOC &&
	       p->function != ALLOCATOR_REALLOC && p->function != ALLOCATOR_REALLOCARRAY;
}

static const struct target_mapping *mapping_of(const struct target *t, uint32_t object)
{
	for (size_t i = 0; i < t->mappings.n; i++)
		if (t->mappings.data[i].object == object)
			return &t->mappings.data[i];
	return NULL;
}

static unsigned targets_on(const struct core *c, const struct target *but, uint32_t object)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < c->n_targets; i++)
		n += &c->targets[i] != but && c->targets[i].heap.sides &&
		     knows(&c->targets[i].heap, object);
	return n;
}

/* In between, the cost grows with their number: the kernel asks each of them whether the hit is its own. */
double heap_hit_ns(const struct core *c, const struct target *t, unsigned *ret_others)
{
	const struct target_heap *h = &t->heap;
	unsigned most = 0;

	for (size_t i = 0; i < h->functions.n; i++) {
		unsigned n;

		if (i && h->functions.data[i].object == h->functions.data[i - 1].object)
			continue;
		n = targets_on(c, t, h->functions.data[i].object);
		most = n > most ? n : most;
	}
	if (ret_others)
		*ret_others = most;
	return c->heap.hit_ns + (c->heap.shared_ns - c->heap.hit_ns) * most / (BROKER_MAX_SHARERS - 1);
}

/* Probes have come or gone: what a hit costs each target now. */
static void tell_cost(struct core *c)
{
	for (uint32_t i = 0; i < c->n_targets; i++)
		__atomic_store_n(&c->heap.states[c->targets[i].index].hit_ns,
				 (uint64_t)heap_hit_ns(c, &c->targets[i], NULL), __ATOMIC_SEQ_CST);
}

/* All functions of one file and side. 0, also where there are none. */
static int attach_file(struct core *c, struct target *t, uint32_t object, uint32_t side,
		       uint32_t again)
{
	const struct target_mapping *m = mapping_of(t, object);
	struct broker_probe probes[BROKER_MAX_PROBES];
	struct broker_probes q = { .target = t->index, .side = side | again };
	char error[BROKER_MAX_TEXT] = "";
	int r;

	for (size_t i = 0; i < t->heap.functions.n && q.n < BROKER_MAX_PROBES; i++) {
		const struct heap_function *f = &t->heap.functions.data[i];

		if (f->object == object && f->probe.status == PROBE_FINE &&
		    side_of(&f->probe) == side && !counted_twice(&f->probe))
			probes[q.n++] = translate(&f->probe);
	}
	if (!q.n || !m)
		return 0;
	if (targets_on(c, t, object) >= BROKER_MAX_SHARERS) {
		heap_say(&t->heap, "%d other processes that use %s are probed already",
			 BROKER_MAX_SHARERS, objects_find(&c->objects, object)->name);
		return -EUSERS;
	}
	q.start = m->start;
	q.end = m->end;
	r = broker_probe(&c->broker, &q, probes, error);
	if (r < 0)
		heap_say(&t->heap, "%s cannot be probed: %s", objects_find(&c->objects, object)->name,
			 *error ? error : strerror(-r));
	return r;
}

static int attach(struct core *c, struct target *t, uint32_t side, uint32_t again)
{
	const struct target_heap *h = &t->heap;
	int r = 0;

	for (size_t i = 0; i < h->functions.n && r == 0; i++)
		if (!i || h->functions.data[i].object != h->functions.data[i - 1].object)
			r = attach_file(c, t, h->functions.data[i].object, side, again);
	if (r < 0 && !again)
		broker_unprobe(&c->broker, t->index, side);
	return r;
}

/* Live objects of the target that were born before: their frees may have gone unseen. */
static void purge(struct core *c, const struct target *t, int64_t before_ns)
{
	struct heap *h = &c->heap;

	for (size_t b = 0; b < 1u << PP_LIVE_BUCKET_BITS; b++) {
		for (unsigned i = 0; i < PP_LIVE_WAYS; i++) {
			__u64 *key = &h->keys[b].key[i], k = __atomic_load_n(key, __ATOMIC_ACQUIRE);
			struct pp_live *e = &h->live[b * PP_LIVE_WAYS + i];

			if (!k || (k >> 1) % PP_MAX_PROCESSES != t->index ||
			    e->born >= (uint64_t)before_ns)
				continue;
			__atomic_store_n(&e->born, 0, __ATOMIC_SEQ_CST);
			__atomic_compare_exchange_n(key, &k, 0, false, __ATOMIC_SEQ_CST,
						    __ATOMIC_SEQ_CST);
		}
	}
}

static uint32_t wanted_sides(const struct core *c, const struct target_heap *h,
			     enum heap_level level)
{
	if (h->source == HEAP_TOLD)
		return BROKER_SIDE_TOLD;
	if (h->source != HEAP_PROBES || (level == HEAP_OFF && !h->window))
		return 0;
	return level != HEAP_ALLOCS && c->heap.mode == BROKER_HEAP_INUSE ?
		       BROKER_SIDE_ALLOC | BROKER_SIDE_FREE :
		       BROKER_SIDE_ALLOC;
}

static void account(struct target_heap *h, int64_t now)
{
	if (h->since_ns)
		h->covered_ns += now - h->since_ns;
	if (h->since_ns && h->level == HEAP_OFF)
		h->windows_ns += now - h->since_ns;
	h->since_ns = h->sides ? now : 0;
}

/* The broker answers at once. Where the last look is not over yet, the next one finds the same. */
void heap_look(struct core *c, struct target *t, bool begins)
{
	struct pp_heap *state = &c->heap.states[t->index];

	if (begins)
		__atomic_store_n(&state->window_ns, (uint64_t)monotonic_ns(), __ATOMIC_SEQ_CST);
	if (t->heap.n_windows)
		broker_look(&c->broker, t->index);
}

/* A new epoch: what was live before has left. */
static void forget_live(struct core *c, struct target *t)
{
	struct pp_heap *state = &c->heap.states[t->index];

	t->heap.epoch_ns = monotonic_ns();
	t->heap.windows_ns = 0;
	purge(c, t, t->heap.epoch_ns);
	memset(&c->heap.turns[t->index * PP_N_TURNS], 0, PP_N_TURNS * sizeof(*c->heap.turns));
	state->live_bytes = state->peak_at = 0;
	state->n_held = 0;
}

#define MIN_AGAIN_NS (1 * NS_PER_S)
#define MAX_AGAIN_NS (60 * NS_PER_S)

/* No notice comes of what is not probed. A window has its own plan. */
static void try_again(struct core *c, struct target_heap *h, uint32_t missing, int64_t now)
{
	if (!missing || h->window) {
		h->again_ns = h->pause_ns = 0;
		return;
	}
	h->pause_ns = h->pause_ns ? 2 * h->pause_ns : MIN_AGAIN_NS;
	if (h->pause_ns > MAX_AGAIN_NS)
		h->pause_ns = MAX_AGAIN_NS;
	h->again_ns = now + h->pause_ns;
	core_wake(c);
}

/* The frees come first and go last: what is kept as live must be seen freed. */
bool heap_apply(struct core *c, struct target *t, enum heap_level level)
{
	struct target_heap *h = &t->heap;
	struct pp_heap *state = &c->heap.states[t->index];
	const uint32_t frees = BROKER_SIDE_FREE | BROKER_SIDE_TOLD;
	uint32_t want = wanted_sides(c, h, level), gone = h->sides & ~want, come = want & ~h->sides;
	uint64_t window = level == HEAP_OFF && h->window ? PP_HEAP_WINDOW : 0;
	int64_t now = monotonic_ns();

	if (gone & frees) {
		__atomic_and_fetch(&state->flags, ~(uint64_t)PP_HEAP_FREES, __ATOMIC_SEQ_CST);
		h->n_gaps++;
	}
	if (gone)
		broker_unprobe(&c->broker, t->index, gone);
	h->sides &= ~gone;
	if (level == HEAP_OFF && h->level != HEAP_OFF)
		forget_live(c, t);
	if (window)
		__atomic_or_fetch(&state->flags, window, __ATOMIC_SEQ_CST);
	else
		__atomic_and_fetch(&state->flags, ~(uint64_t)PP_HEAP_WINDOW, __ATOMIC_SEQ_CST);
	for (uint32_t side = BROKER_SIDE_TOLD; side; side /= 2) {
		if (!(come & side) || attach(c, t, side, 0) < 0)
			continue;
		h->sides |= side;
		if (!(side & frees))
			continue;
		if (!window)
			forget_live(c, t);
		__atomic_or_fetch(&state->flags, PP_HEAP_FREES, __ATOMIC_SEQ_CST);
	}
	if (h->sides)
		__atomic_or_fetch(&state->flags, PP_HEAP_PROBED, __ATOMIC_SEQ_CST);
	else
		__atomic_and_fetch(&state->flags, ~(uint64_t)PP_HEAP_PROBED, __ATOMIC_SEQ_CST);
	if (gone || come)
		tell_cost(c);
	if (come && !(want & ~h->sides))
		*h->why = '\0';
	try_again(c, h, want & ~h->sides, now);
	h->level = level;
	account(h, now);
	return !(want & ~h->sides);
}

/* Attaching and detaching take a while: not for every child. */
#define CLEAN_PAUSE_NS (500 * NS_PER_MS)

void heap_forked(struct core *c, struct target *t)
{
	struct target_heap *h = &t->heap;
	int64_t now = monotonic_ns();

	h->clean_ns = now > h->cleaned_ns + CLEAN_PAUSE_NS ? now : h->cleaned_ns + CLEAN_PAUSE_NS;
	if (h->clean_ns == now)
		heap_clean(c, t);
}

/* Takes the probes out of the children that there are. */
void heap_clean(struct core *c, struct target *t)
{
	struct target_heap *h = &t->heap;

	__atomic_store_n(&c->heap.states[t->index].fork_noted, 0, __ATOMIC_SEQ_CST);
	h->clean_ns = 0;
	h->cleaned_ns = monotonic_ns();
	for (uint32_t side = BROKER_SIDE_TOLD; side; side /= 2)
		if (h->sides & side)
			attach(c, t, side, BROKER_SIDE_AGAIN);
}

static void forget_image(struct core *c, struct target *t)
{
	struct target_heap *h = &t->heap;

	h->window = false;
	heap_apply(c, t, HEAP_OFF);
	h->level = HEAP_ALL; /* another program: what the last one did is no reason; the account stays */
	if (h->source == HEAP_TOLD) {
		broker_unprobe(&c->broker, t->index, h->sides);
		h->sides = 0;
	}
	purge(c, t, INT64_MAX);
	vec_deinit(&h->functions);
	h->source = HEAP_NOT_YET;
}

void heap_leave(struct core *c, struct target *t)
{
	struct target_heap *h = &t->heap;

	h->sides = 0; /* the broker has taken them off */
	if (c->heap.loaded) {
		purge(c, t, INT64_MAX);
		memset(&c->heap.turns[t->index * PP_N_TURNS], 0, PP_N_TURNS * sizeof(*c->heap.turns));
		memset(&c->heap.states[t->index], 0, sizeof(*c->heap.states));
		for (uint32_t cpu = 0; cpu < c->heap.n_cpus; cpu++)
			memset(&c->heap.cpus[cpu * PP_MAX_PROCESSES + t->index], 0, sizeof(*c->heap.cpus));
	}
	vec_deinit(&h->functions);
	free(h->peak.rows);
	*h = (struct target_heap){ 0 };
	if (c->heap.loaded)
		tell_cost(c);
}

void heap_follow(struct core *c, struct target *t, bool new_image)
{
	struct target_heap *h = &t->heap;

	if (c->heap.mode == BROKER_HEAP_OFF) {
		heap_say(h, "the heap is not looked at (--heap=off)");
		return;
	}
	if (t->windows_only)
		return;
	if (!c->heap.loaded) { /* said once: loading is tried once */
		heap_say(h, "%s", c->heap.error);
		return;
	}
	if (new_image)
		forget_image(c, t);
	if (!find_functions(c, t) && h->source != HEAP_NOT_YET)
		return;
	h->source = choose_source(h);
	if (h->sides) { /* all anew: there are more files to probe now */
		broker_unprobe(&c->broker, t->index, h->sides);
		h->sides = 0;
	}
	if (!h->armed_ns || new_image) {
		h->armed_ns = monotonic_ns();
		h->unseen = heap_resident(c, t);
	}
	*h->why = '\0';
	if (h->source == HEAP_NONE)
		heap_say(h, "no allocation function was found in its files%s",
			 h->functions.n ? " that could be probed safely" : "");
	if (h->source == HEAP_PROBES && c->heap.budget <= 0) {
		heap_say(h, "probes are refused (--max-overhead 0)");
		h->source = HEAP_NONE;
	}
	if (h->budget.looked_ns)
		heap_apply(c, t, h->level);
	if (!h->budget.looked_ns || new_image)
		heap_govern(c, t); /* the marks may have been passed: then no notice would come */
}
