/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/tally.h"

const double tally_bounds[TALLY_N_BOUNDS] = TALLY_BOUNDS;

static size_t row(size_t profile)
{
	return profile < TALLY_MAX_PROFILES ? profile : TALLY_MAX_PROFILES - 1;
}

void tally_begin(struct tallies *t, size_t profile)
{
	__atomic_add_fetch(&t->captures[row(profile)].n_running, 1, __ATOMIC_RELAXED);
}

void tally_end(struct tallies *t, size_t profile, int64_t took_ns)
{
	struct tally_captures *c = &t->captures[row(profile)];
	unsigned i = 0;

	if (took_ns < 0)
		took_ns = 0;
	while (i < TALLY_N_BOUNDS && (double)took_ns > tally_bounds[i] * 1e9)
		i++;
	__atomic_sub_fetch(&c->n_running, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&c->n[i], 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&c->sum_ns, (uint64_t)took_ns, __ATOMIC_RELAXED);
}

void tally_read(const struct tallies *t, size_t profile, struct tally_captures *ret)
{
	const struct tally_captures *c = &t->captures[row(profile)];

	ret->n_running = __atomic_load_n(&c->n_running, __ATOMIC_RELAXED);
	for (unsigned i = 0; i <= TALLY_N_BOUNDS; i++)
		ret->n[i] = __atomic_load_n(&c->n[i], __ATOMIC_RELAXED);
	ret->sum_ns = __atomic_load_n(&c->sum_ns, __ATOMIC_RELAXED);
}
