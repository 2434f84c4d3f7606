/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* cursors.h - how far clients of delta profiles have read: what each was shown last, so that its next answer
 * begins there.
 *
 * Owns a copy of the counts of one reading for each (client, target, profile). Bounded: past CURSORS_MAX,
 * or CURSORS_MAX_ROWS in all of them, the one that was used longest ago is given up, and counted. Who comes
 * back after that begins anew, with nothing: what he had seen is not told twice. */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"

#define CURSORS_MAX 64
#define CURSORS_MAX_ROWS (1u << 20)

struct cursor_key {
	uint64_t client;
	uint32_t target; /* struct target.serial */
	const char *profile; /* of the table of profiles */
};

struct cursor_row {
	uint32_t row;
	int64_t v[2];
};

struct cursor {
	struct cursor_key key;
	int64_t taken_ns; /* monotonic */
	uint64_t used;
	VEC(struct cursor_row) rows; /* ascending; none of zeros */
};

struct cursors {
	pthread_mutex_t lock; /* held from a reading to cursors_move: taken before the core's */
	VEC(struct cursor) all;
	size_t n_rows;
	uint64_t used;
	uint64_t n_given_up;
};

#define CURSORS_INIT { .lock = PTHREAD_MUTEX_INITIALIZER }

enum cursor_was {
	CURSOR_KNOWN,
	CURSOR_FIRST,	 /* everything is new to this client */
	CURSOR_GIVEN_UP, /* nothing is: it may have been shown before */
};

/* What the client had seen, rows [0, n). */
struct cursor_before {
	enum cursor_was was;
	int64_t taken_ns; /* CURSOR_KNOWN */
	size_t n;
	int64_t (*v)[2];
};

/* `now`: rows [0, n) of the profile, rows of others 0. Sets what was seen until now; unless `stay`, it is `now`
 * from here on. The lock is held. 0 or -ENOMEM: then nothing has moved. */
int cursors_move(struct cursors *c, const struct cursor_key *key, int64_t (*now)[2], size_t n, int64_t now_ns,
		 bool stay, struct cursor_before *ret);
/* Rows have moved: row i is now map[i], in the same order, or has gone (HASH_NONE). */
void cursors_moved(struct cursors *c, const uint32_t *map);
void cursor_before_deinit(struct cursor_before *b);
void cursors_deinit(struct cursors *c);
