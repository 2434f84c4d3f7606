/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* answer_target.h - which process a path means: the one there is, /pid/PID/, or /t/NAME/, which is what one or several
 * processes are called. Finds it, and holds it for the request (lease.h). */

#include "daemon/serve/asking.h"
#include "daemon/serve/lease.h"

enum place_kind { PLACE_ALONE, PLACE_PID, PLACE_NAME };

struct place {
	enum place_kind kind;
	int32_t pid;	/* 0: no number */
	char name[128]; /* "": too long */
	const char *rest; /* of the path: "/debug/pprof/..." */
};

void place_parse(const char *path, struct place *ret);

/* What a path behind the tree's name wants of its target. */
enum lease_wish place_wish(const char *name);

/* Whether its answer may know rows of what is kept by number (core.h). */
bool place_reads_kept(const char *name);

#define PLACE_MAX 64 /* processes of one name that are merged, or told of */

struct place_found {
	struct target *target; /* held; or NULL, and: */
	struct known_process *several; /* the caller's to free; NULL: it has been answered */
	size_t n; /* of these, PLACE_MAX at most */
	size_t n_all;
};

void place_find(const struct asking *s, const struct place *p, enum lease_wish wish, struct place_found *ret);
/* Holds one of several. NULL: it has been answered, unless it has ended, then with `gone` nothing is said. */
struct target *place_take(const struct asking *s, const struct known_process *k, enum lease_wish wish, bool *gone);
/* Whether several processes' answers to this can be one; the one that is. */
bool answer_can_merge(const struct asking *s, const char *name);
void answer_merged(const struct asking *s, const struct place_found *f, const char *name, enum lease_wish wish);
/* 409: they cannot be merged. */
void place_refuse(const struct asking *s, const struct place_found *f);
