/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* index.h - the pages for people: the index of a target's profiles, byte for byte in the shape of
 * Go's (go-endpoints.md 2), and the list of targets.
 *
 * Appends text and owns none. Names of processes are strangers' words: they come out as UTF-8
 * without control characters, and escaped. */

#include "base/bytes.h"
#include "daemon/serve/profile.h"

/* What the column Count says. */
typedef uint64_t index_count(void *context, const struct profile *p);

void index_page(struct bytes *b, index_count *count, void *context);
/* The same over any table. */
void index_page_of(struct bytes *b, const struct profile *table, size_t n, index_count *count,
		   void *context);

struct index_target {
	int pid;
	const char *name;
	const char *service; /* what it is called at /t/; NULL: nothing else */
	bool ended;
};

/* The page at "/". */
void index_targets(struct bytes *b, const struct index_target *targets, size_t n);
