/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* fetches.h - debug files that are wanted from the network: which, in what order, and not again too soon.
 *
 * Owns the children that get them (pprofd-fetch; one a file, FETCHES_AT_ONCE at a time) and what is remembered of
 * FETCHES_MAX build-ids: what a server does not have is asked for again after an hour, what failed after one minute, then
 * two, up to an hour; what turned out to be another file, after a day. At most FETCHES_MAX_WAITING wait; what is past that
 * is counted, and may be asked for again. Each child has its time and is killed after it. Nothing here waits. */

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/broker/child.h"
#include "daemon/broker/fetch_cache.h"
#include "daemon/fetch_protocol.h"
#include "daemon/protocol.h"

#define FETCHES_AT_ONCE 2
#define FETCHES_MAX 512
#define FETCHES_MAX_WAITING 64

enum fetch_state { FETCH_FREE, FETCH_WAITING, FETCH_RUNNING, FETCH_DONE, FETCH_ABSENT, FETCH_FAILED, FETCH_REFUSED };

struct fetch_item {
	enum fetch_state state;
	uint32_t n_id, n_failures;
	uint8_t id[BROKER_MAX_BUILD_ID];
	uint64_t order;	    /* of waiting ones, and of those to be forgotten */
	int64_t not_before; /* seconds: it is not asked for again before */
};

struct fetch_child {
	struct child child;
	struct fetch_item *item; /* NULL: idle */
	int file;
	int64_t deadline; /* seconds */
};

struct fetches {
	const char *const *urls; /* borrowed */
	unsigned n_urls;
	struct fetch_cache cache;
	struct fetch_item items[FETCHES_MAX];
	struct fetch_child children[FETCHES_AT_ONCE];
	uint64_t order;
	struct broker_fetched counts;
	bool complained; /* of a failure, since the last success */
};

/* `cache`: the directory, NULL: the default (fetch_cache.h). 0 or -errno. */
int fetches_init(struct fetches *f, const char *const *urls, unsigned n_urls, const char *cache);
/* Kills the children. */
void fetches_deinit(struct fetches *f);

/* What serve asks, answered at once. 0; -EINVAL. */
int fetches_answer(struct fetches *f, const struct broker_fetch *q, struct broker_fetched *ret);

/* What to wait for: fills FETCHES_AT_ONCE descriptors (-1: none); milliseconds to wait at most, -1: none. */
int fetches_poll(struct fetches *f, struct pollfd to[FETCHES_AT_ONCE]);
/* After poll(): takes what has ended, starts what waits. */
void fetches_run(struct fetches *f, const struct pollfd from[FETCHES_AT_ONCE]);

/* The parts that a test can look at without children. */
enum broker_fetch_state fetches_want(struct fetches *f, const uint8_t *id, uint32_t n_id, int64_t now);
struct fetch_item *fetches_next(struct fetches *f);
/* status: 0, FETCH_NONE or -errno. */
void fetches_ended(struct fetches *f, struct fetch_item *item, int status, int64_t now);
void fetches_refuse(struct fetches *f, const uint8_t *id, uint32_t n_id, int64_t now);
