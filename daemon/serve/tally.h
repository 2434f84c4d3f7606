/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* tally.h - what serve does, counted for /metrics.
 *
 * Owns counters that any thread may add to: atomic, without order among them. What the core counts anyway is read where
 * it stands (metrics/page.c) and is not in here. */

#include <stddef.h>
#include <stdint.h>

enum tally_what {
	TALLY_DUMP_LATE,	/* these of dumps, as their comments say */
	TALLY_DUMP_DEEP,
	TALLY_DUMP_UNLABELLED,
	TALLY_DUMP_LEFT_OUT,
	TALLY_TRACE_EVENTS,	/* of traces: not seen, or not taken in time */
	TALLY_TRACE_STACKS,
	TALLY_NAMES_HITS,	/* addresses whose names were known, and not */
	TALLY_NAMES_MISSES,
	TALLY_NAMES_BYTES,	/* of all the caches; set */
	TALLY_NAMES_ADDRESSES,	/* likewise */
	TALLY_NAMES_EMPTIED,	/* likewise: how often they were */
	TALLY_NAMES_FILL,	/* likewise: the fullest of them, millionths of its bound */
	TALLY_FUNCTIONS_BYTES,	/* set: of those that the symbolizer has told of */
	TALLY_SYMBOLIZER_BYTES, /* set: what it says that it remembers */
	TALLY_N,
};

#define TALLY_BOUNDS { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 }
#define TALLY_N_BOUNDS 11
#define TALLY_MAX_PROFILES 24 /* rows of the table, and one for all that programs make themselves */

/* Answers of one profile: how long each took besides its window. */
struct tally_captures {
	uint64_t n_running;
	uint64_t n[TALLY_N_BOUNDS + 1];
	uint64_t sum_ns;
};

struct tallies {
	uint64_t all[TALLY_N];
	struct tally_captures captures[TALLY_MAX_PROFILES];
};

extern const double tally_bounds[TALLY_N_BOUNDS]; /* seconds */

static inline void tally_add(struct tallies *t, enum tally_what what, uint64_t n)
{
	__atomic_add_fetch(&t->all[what], n, __ATOMIC_RELAXED);
}

static inline void tally_set(struct tallies *t, enum tally_what what, uint64_t n)
{
	__atomic_store_n(&t->all[what], n, __ATOMIC_RELAXED);
}

static inline uint64_t tally_get(const struct tallies *t, enum tally_what what)
{
	return __atomic_load_n(&t->all[what], __ATOMIC_RELAXED);
}

/* An answer of this row of the table of profiles begins; n_profiles: of none of them. */
void tally_begin(struct tallies *t, size_t profile);
/* It has ended, after so long besides its window. */
void tally_end(struct tallies *t, size_t profile, int64_t took_ns);
/* As they are now. */
void tally_read(const struct tallies *t, size_t profile, struct tally_captures *ret);
