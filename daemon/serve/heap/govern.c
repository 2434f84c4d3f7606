/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/heap/heap.h"
#include "daemon/serve/log.h"

/* The budget is an account: it grows with the target's CPU time, hits draw on it. What it may hold
 * bounds a burst; a part of the budget is left for what the account does not see (attaching,
 * children that have inherited the probes). */
#define ACCOUNT_NS (5 * NS_PER_S) /* of CPU time: how much the account may hold */
#define SPENT 0.8
#define BETTER_AFTER_NS (10 * NS_PER_S)
#define MIN_PAUSE_NS (1 * NS_PER_S)
#define MAX_PAUSE_NS (10 * NS_PER_S)
#define LEAST_WINDOW_NS (2 * NS_PER_MS) /* in the account: less is over before both sides are probed */
#define LEAST_HITS 1024 /* of a window, to conclude from */
#define NO_MARK UINT64_MAX

static void count(const struct heap *h, const struct target *t, struct heap_counters *ret)
{
	*ret = (struct heap_counters){ 0 };
	for (uint32_t cpu = 0; h->loaded && cpu < h->n_cpus; cpu++) { /* not while the tables are being mapped */
		const struct pp_heap_cpu *p = &h->cpus[cpu * PP_MAX_PROCESSES + t->index];

		ret->n_allocs += __atomic_load_n(&p->n_allocs, __ATOMIC_RELAXED);
		ret->n_frees += __atomic_load_n(&p->n_frees, __ATOMIC_RELAXED);
		ret->n_bytes += __atomic_load_n(&p->n_bytes, __ATOMIC_RELAXED);
		ret->n_sampled += __atomic_load_n(&p->n_sampled, __ATOMIC_RELAXED);
		ret->n_hits += __atomic_load_n(&p->n_hits, __ATOMIC_RELAXED);
	}
}

void heap_count(const struct core *c, const struct target *t, struct heap_counters *ret)
{
	count(&c->heap, t, ret);
	ret->n_allocs += t->carry.allocs[0];
	ret->n_frees += t->carry.allocs[1];
	ret->n_bytes += t->carry.allocs[2];
	ret->n_sampled += t->carry.allocs[3];
}

/* What happened in a stretch of the target's CPU time. */
struct lately {
	double cpu_ns; /* of the target, without what the hits cost; never 0 */
	double hits;
	double overhead; /* what the hits cost, as a part of cpu_ns */
	double spent_ns; /* with what samples cost besides */
};

static struct lately between(double hit_ns, double cpu_ns, double hits, double spent_ns)
{
	struct lately l = { .cpu_ns = cpu_ns - spent_ns, .hits = hits, .spent_ns = spent_ns };

	if (l.cpu_ns < cpu_ns / 50 || l.cpu_ns < 1) /* the cost of a hit is not known that well */
		l.cpu_ns = cpu_ns / 50 + 1;
	l.overhead = hits * hit_ns / l.cpu_ns;
	return l;
}

static struct lately look(struct core *c, struct target *t)
{
	struct heap_budget *b = &t->heap.budget;
	struct heap_counters now;
	struct lately l = { .cpu_ns = 1 };
	int64_t cpu_ns = target_cpu_ns(t);
	uint64_t spent_ns = __atomic_load_n(&c->heap.states[t->index].spent_ns, __ATOMIC_RELAXED);
	double limit = c->heap.budget * ACCOUNT_NS;

	count(&c->heap, t, &now);
	if (!b->looked_ns)
		b->credit_ns = limit / 2;
	else
		l = between(heap_hit_ns(c, t, NULL), (double)(cpu_ns - b->cpu_ns), (double)(now.n_hits - b->hits),
			    (double)(spent_ns - b->spent_ns));
	b->credit_ns += SPENT * c->heap.budget * l.cpu_ns - l.spent_ns;
	if (b->credit_ns > limit)
		b->credit_ns = limit;
	b->looked_ns = monotonic_ns();
	b->cpu_ns = cpu_ns;
	b->hits = now.n_hits;
	b->spent_ns = spent_ns;
	return l;
}

/* Where the kernel is to tell us, and where it is to stop by itself. */
static void set_marks(const struct core *c, const struct target *t)
{
	struct pp_heap *state = &c->heap.states[t->index];
	double hit_ns = heap_hit_ns(c, t, NULL);
	uint64_t spent = __atomic_load_n(&state->spent_ns, __ATOMIC_RELAXED);
	uint64_t batch = (uint64_t)(PP_HEAP_BATCH * hit_ns);
	double left = t->heap.budget.credit_ns;

	__atomic_store_n(&state->hit_ns, (uint64_t)hit_ns, __ATOMIC_SEQ_CST);
	if (isinf(c->heap.budget) || t->heap.source == HEAP_TOLD) {
		__atomic_store_n(&state->notify_at, NO_MARK, __ATOMIC_SEQ_CST);
		__atomic_store_n(&state->stop_at, NO_MARK, __ATOMIC_SEQ_CST);
		return;
	}
	if (left < 0)
		left = 0;
	__atomic_store_n(&state->stop_at, spent + (uint64_t)left + batch, __ATOMIC_SEQ_CST);
	left = (left - (t->heap.window ? t->heap.budget.tail_ns : 0)) / 2;
	if (left < 0)
		left = 0;
	/* nothing is learnt from the hits of probes that are going */
	__atomic_store_n(&state->notify_at,
			 t->heap.level != HEAP_OFF || t->heap.window ? spent + (uint64_t)left + 4 * batch : NO_MARK,
			 __ATOMIC_SEQ_CST);
}

static const char *const level_names[] = {
	[HEAP_OFF] = "for moments only",
	[HEAP_ALLOCS] = "without frees",
	[HEAP_ALL] = "in full",
};

/* Rates are those of a whole level or window: of a short stretch they are chance. */
static void begin_level(struct target_heap *h)
{
	h->budget.base_cpu_ns = h->budget.cpu_ns;
	h->budget.base_hits = h->budget.hits;
	h->budget.base_spent_ns = h->budget.spent_ns;
}

static struct lately of_level(const struct core *c, const struct target *t)
{
	const struct target_heap *h = &t->heap;

	return between(heap_hit_ns(c, t, NULL), (double)(h->budget.cpu_ns - h->budget.base_cpu_ns),
		       (double)(h->budget.hits - h->budget.base_hits),
		       (double)(h->budget.spent_ns - h->budget.base_spent_ns));
}

static void change(struct core *c, struct target *t, enum heap_level level, double rate)
{
	struct target_heap *h = &t->heap;

	if (level != h->level) {
		h->n_changes++;
		log_line("process %d: its allocator is probed %s from now on (%.0f calls in a second of "
			 "its CPU time, %.2f us each)",
			 t->pid, level_names[level], rate * NS_PER_S, heap_hit_ns(c, t, NULL) / 1000);
	}
	h->budget.better_ns = 0;
	heap_apply(c, t, level);
	begin_level(h);
}

/* HEAP_OFF: when the account will be full again, at the target's pace of late. */
static void plan(struct core *c, struct target *t, double cpu_ns, double wall_ns)
{
	struct heap_budget *b = &t->heap.budget;
	double missing = c->heap.budget * ACCOUNT_NS * 0.9 - b->credit_ns;
	double pace = wall_ns > 0 ? cpu_ns / wall_ns : 1, pause = MAX_PAUSE_NS;

	if (missing < 0)
		missing = 0;
	if (pace > 0)
		pause = missing / (SPENT * c->heap.budget * pace);
	if (pause < MIN_PAUSE_NS)
		pause = MIN_PAUSE_NS;
	b->resume_ns = b->looked_ns + (pause < MAX_PAUSE_NS ? (int64_t)pause : MAX_PAUSE_NS);
}

/* What the rates allow, to stay. There are about as many frees as allocations. */
static enum heap_level affordable(const struct core *c, const struct target_heap *h,
				  const struct lately *l)
{
	double all = h->sides & BROKER_SIDE_FREE ? l->overhead : 2 * l->overhead, allocs = all / 2;

	if (all < SPENT * c->heap.budget)
		return HEAP_ALL;
	return allocs < SPENT * c->heap.budget ? HEAP_ALLOCS : HEAP_OFF;
}

/* The account is empty, or a window has told what calls there are. */
static void step_down(struct core *c, struct target *t)
{
	struct target_heap *h = &t->heap;
	struct lately l = of_level(c, t);
	enum heap_level level = affordable(c, h, &l);
	bool was;

	if (h->window && l.hits < LEAST_HITS) /* spent before all probes were there: nothing is known */
		level = HEAP_OFF;
	if (level >= h->level && !h->window) /* it cannot have been: the rates are those of a burst */
		level = h->level == HEAP_ALL ? HEAP_ALLOCS : HEAP_OFF;
	if (level == HEAP_ALL)
		level = HEAP_ALLOCS; /* frees come back when it has been quiet for a while */
	was = h->window;
	h->window = false;
	change(c, t, level, l.hits / l.cpu_ns);
	if (was && level == HEAP_OFF)
		heap_look(c, t, false);
	h->budget.ended_ns = level == HEAP_OFF ? h->budget.spent_ns : 0;
}

/* The next window ends so much earlier. */
static void learn_tail(const struct core *c, struct heap_budget *b)
{
	double most = c->heap.budget * ACCOUNT_NS / 2;

	b->tail_ns = (b->tail_ns + (double)(b->spent_ns - b->ended_ns)) / 2;
	if (b->tail_ns > most)
		b->tail_ns = most;
}

static void begin_window(struct core *c, struct target *t)
{
	struct target_heap *h = &t->heap;

	learn_tail(c, &h->budget);
	heap_look(c, t, true); /* what the last window has left must have stayed as it was */
	h->window = true;
	h->n_windows++;
	h->window = heap_apply(c, t, HEAP_OFF);
	if (!h->window) /* there are no hits that would tell when it is to end */
		heap_apply(c, t, HEAP_OFF);
	look(c, t); /* what comes from here on is the window's */
	begin_level(h);
}

/* Frees are seen again when that could have been afforded for a while. */
static void step_up(struct core *c, struct target *t)
{
	struct target_heap *h = &t->heap;
	struct heap_budget *b = &h->budget;
	struct lately l = of_level(c, t);

	if (affordable(c, h, &l) != HEAP_ALL)
		b->better_ns = 0;
	else if (!b->better_ns)
		b->better_ns = b->looked_ns;
	else if (b->looked_ns - b->better_ns >= BETTER_AFTER_NS)
		change(c, t, HEAP_ALL, l.hits / l.cpu_ns);
	if (b->cpu_ns - b->base_cpu_ns > ACCOUNT_NS) /* what was long ago says little */
		begin_level(h);
}

static void consider(struct core *c, struct target *t, const struct lately *l, double wall_ns)
{
	struct target_heap *h = &t->heap;
	struct heap_budget *b = &h->budget;

	double least = PP_HEAP_BATCH * heap_hit_ns(c, t, NULL) * 2 + (h->window ? b->tail_ns : 0);

	if (h->sides && b->credit_ns < least) {
		step_down(c, t);
	} else if (h->level == HEAP_OFF && !h->window && b->looked_ns >= b->resume_ns &&
		   b->credit_ns >= b->tail_ns + LEAST_WINDOW_NS) {
		begin_window(c, t);
	} else if (h->level == HEAP_ALLOCS && c->heap.mode == BROKER_HEAP_INUSE) {
		step_up(c, t);
	}
	if (h->level == HEAP_OFF && !h->window)
		plan(c, t, l->cpu_ns, wall_ns);
	else
		b->resume_ns = 0;
}

void heap_govern(struct core *c, struct target *t)
{
	struct target_heap *h = &t->heap;
	int64_t before = h->budget.looked_ns;
	struct lately l;

	if (h->clean_ns && monotonic_ns() >= h->clean_ns)
		heap_clean(c, t);
	if (!c->heap.loaded || (h->source != HEAP_PROBES && h->source != HEAP_TOLD) ||
	    !target_alive(t)) {
		h->budget.resume_ns = h->again_ns = 0;
		return;
	}
	if (h->again_ns && monotonic_ns() >= h->again_ns)
		heap_apply(c, t, h->level);
	l = look(c, t);
	if (!before || h->source == HEAP_TOLD || isinf(c->heap.budget)) {
		h->budget.resume_ns = 0;
		set_marks(c, t);
		heap_apply(c, t, HEAP_ALL);
		begin_level(h);
		set_marks(c, t); /* now that there are probes */
		return;
	}
	consider(c, t, &l, (double)(h->budget.looked_ns - before));
	set_marks(c, t);
}

int64_t heap_due(const struct target *t)
{
	const int64_t all[] = { t->heap.clean_ns, t->heap.budget.resume_ns, t->heap.again_ns };
	int64_t due = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] && (!due || all[i] < due))
			due = all[i];
	return due;
}
