/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* history.h - the captures of the last hour that somebody wanted kept: gzip'ed profiles, as they were answered.
 *
 * Owns copies of them, in memory alone. Bounded by age, bytes and number: what is too old goes by itself; where there is
 * no room the oldest without a name goes first, then the oldest, and is counted. What nobody asked to keep never comes
 * here. Has a lock of its own, innermost. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/vec.h"

#define HISTORY_MAX_BYTES (32ul << 20)
#define HISTORY_MAX 512
#define HISTORY_MAX_AGE_NS (3600 * 1000000000ll)
#define HISTORY_MAX_NAME 64 /* characters of what a person calls one: so many bytes */

/* Texts are strangers' words, made UTF-8 without control characters by history_add. */
struct history_entry {
	char id[17]; /* 16 hex digits, never used again */
	int32_t pid; /* 0: several processes, added up */
	char comm[17];
	char place[128]; /* the NAME of /t/NAME/, where it was asked for there; "": elsewhere */
	char profile[64];
	char query[200];
	char name[HISTORY_MAX_NAME + 1]; /* "": it has none */
	int64_t time_ns; /* since 1970, of its start */
	int64_t duration_ns;
	int64_t kept_ns; /* monotonic, when it came */
	size_t n;
	char *data; /* in the history alone */
};

struct history {
	pthread_mutex_t lock; /* guards what follows */
	VEC(struct history_entry) all; /* the oldest first */
	size_t n_bytes;
	uint64_t n_added, n_dropped; /* for want of room, since the start */
};

void history_init(struct history *h);
void history_deinit(struct history *h);

/* Keeps a copy of the n bytes; `e` says what they are, and gets its id. False: it is too large, or there is no memory,
 * which counts as dropped. */
bool history_add(struct history *h, struct history_entry *e, const void *data, size_t n, int64_t now_ns);
/* What is too old goes. When that is to be done again: monotonic ns, 0: never. */
int64_t history_run(struct history *h, int64_t now_ns);

/* Calls `each` for all, the youngest first. The lock is held: `each` asks nothing of this file. */
typedef void history_fn(void *context, const struct history_entry *e);
void history_each(struct history *h, int64_t now_ns, history_fn *each, void *context);
/* One, and a copy of its bytes, if `data` is not NULL. False: there is none (any more), or no memory. */
bool history_find(struct history *h, const char *id, int64_t now_ns, struct history_entry *ret, struct bytes *data);
/* False: there is none. */
bool history_rename(struct history *h, const char *id, int64_t now_ns, const char *name);

struct history_counts {
	size_t n, n_bytes;
	uint64_t n_added, n_dropped;
};
void history_count(struct history *h, struct history_counts *ret);
