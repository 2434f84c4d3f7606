/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/custom/custom.h"
#include "daemon/serve/log.h"

/* A part of each CPU second and, as a program that sleeps between its calls may be looked at too, a part of time: not
 * more than the former. */
#define ACCOUNT_NS (5 * NS_PER_S) /* how long nothing must be spent until the account is full */
#define FLOOR 0.01
#define FULL 0.5 /* enough to begin again */
#define LEAST_PAUSE_NS NS_PER_S
#define MOST_PAUSE_NS (10 * NS_PER_S)
#define NO_MARK UINT64_MAX

static double floor_of(const struct core *c)
{
	return c->heap.budget < FLOOR ? c->heap.budget : FLOOR;
}

static double bound_of(const struct core *c)
{
	return (c->heap.budget + floor_of(c)) * ACCOUNT_NS;
}

static uint64_t spent_of(const struct core *c, const struct target *t)
{
	return __atomic_load_n(&c->custom.states[t->index].spent_ns, __ATOMIC_RELAXED);
}

static void set_marks(const struct core *c, const struct target *t)
{
	struct pp_custom *state = &c->custom.states[t->index];
	const struct custom_account *a = &t->custom.account;
	bool none = isinf(c->heap.budget);
	double left = none || a->credit_ns < 2 ? 2 : a->credit_ns;

	__atomic_store_n(&state->stop_at, none ? NO_MARK : a->spent_ns + (uint64_t)left, __ATOMIC_SEQ_CST);
	__atomic_store_n(&state->notify_at, none ? NO_MARK : a->spent_ns + (uint64_t)(left / 2), __ATOMIC_SEQ_CST);
}

static void look(struct core *c, struct target *t)
{
	struct custom_account *a = &t->custom.account;
	int64_t now = monotonic_ns(), cpu_ns = target_cpu_ns(t);
	uint64_t spent_ns = spent_of(c, t);

	a->credit_ns += floor_of(c) * (double)(now - a->looked_ns);
	if (cpu_ns > a->cpu_ns)
		a->credit_ns += c->heap.budget * (double)(cpu_ns - a->cpu_ns);
	if (a->credit_ns > bound_of(c))
		a->credit_ns = bound_of(c);
	a->credit_ns -= (double)(spent_ns - a->spent_ns);
	a->looked_ns = now;
	a->cpu_ns = cpu_ns;
	a->spent_ns = spent_ns;
}

void custom_account_open(struct core *c, struct target *t)
{
	struct custom_account *a = &t->custom.account;

	if (!a->looked_ns)
		*a = (struct custom_account){ .credit_ns = isinf(c->heap.budget) ? 0 : bound_of(c),
					      .looked_ns = monotonic_ns(),
					      .cpu_ns = target_cpu_ns(t),
					      .spent_ns = spent_of(c, t) };
	set_marks(c, t);
}

/* The kernel looks at nothing since then; what it has written stays as it was. */
static void pause_probes(struct core *c, struct target *t)
{
	struct target_custom *x = &t->custom;

	custom_detach(c, t);
	x->paused = true;
	if (!x->n_pauses++)
		log_line("process %d: its own profiles (pprofd.h, --track) cost more than --max-overhead lets them: they are seen "
			 "for moments only",
			 t->pid);
}

static void resume(struct core *c, struct target *t)
{
	struct custom_account *a = &t->custom.account;

	a->spent_ns = 0; /* the kernel's begins anew, too */
	a->due_ns = 0;
	custom_attach_anew(c, t);
}

/* When the account will be full again, at the least. */
static void plan(struct core *c, struct custom_account *a)
{
	double pause = (bound_of(c) * FULL - a->credit_ns) / (c->heap.budget + floor_of(c));

	if (pause < LEAST_PAUSE_NS)
		pause = LEAST_PAUSE_NS;
	a->due_ns = a->looked_ns + (pause < MOST_PAUSE_NS ? (int64_t)pause : MOST_PAUSE_NS);
}

void custom_govern(struct core *c, struct target *t)
{
	struct target_custom *x = &t->custom;
	bool stopped;

	if (c->custom.state != CUSTOM_READY || !x->account.looked_ns || !target_alive(t)) {
		x->account.due_ns = 0;
		return;
	}
	look(c, t);
	stopped = __atomic_load_n(&c->custom.states[t->index].stopped_ns, __ATOMIC_SEQ_CST) != 0;
	if (!x->paused && stopped)
		pause_probes(c, t);
	else if (!x->paused)
		set_marks(c, t);
	else if (x->account.due_ns && x->account.looked_ns >= x->account.due_ns &&
		 x->account.credit_ns >= bound_of(c) * FULL)
		return resume(c, t);
	if (x->paused)
		plan(c, &x->account);
}
