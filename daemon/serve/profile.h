/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* profile.h - the table of profile kinds: the index page, --help and the tests walk it. */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/serve/capture.h"

struct profile_value {
	const char *type, *unit;
};

enum profile_arm {
	PROFILE_INSTANT,  /* nothing to arm: an answer from /proc */
	PROFILE_SYMBOL,   /* likewise: names for addresses */
	PROFILE_THREADS,  /* at the request: how it is now; `seconds` gives the difference of two */
	PROFILE_TRACE,	  /* while a request is open, and answered meanwhile */
	PROFILE_WINDOWED, /* while a request is open */
	PROFILE_WALL,	  /* likewise, and what waits have been counted meanwhile */
	PROFILE_CUSTOM,	    /* likewise; no row of the table: the target makes them */
	PROFILE_CUMULATIVE, /* from the start on; `seconds` gives the difference of two */
};

struct profile {
	const char *name; /* behind /debug/pprof/ */
	enum profile_arm arm;
	unsigned collector; /* enum pp_collector; 0: none */
	unsigned n_values;
	struct profile_value values[CAPTURE_MAX_VALUES];
	struct profile_value period_type;
	const char *default_type; /* or NULL */
	const char *help;
};

extern const struct profile profiles[];
extern const size_t n_profiles;

const struct profile *profile_find(const char *name);
