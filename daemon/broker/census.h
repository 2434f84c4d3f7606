/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* census.h - the processes of the host that the command line describes, from their beginning to their end.
 *
 * Owns what is known of each, the socket on which serve is told of it, and, where something other than PIDs is
 * described, what the kernel tells (life.h): looked at a moment later, so that many events are one wake-up and
 * a fork and its exec one look. Bounded by BROKER_MAX_KNOWN; more are counted. Where the kernel cannot tell, or has told more than was read in time,
 * all of /proc is read again. Pprofd's own processes are left out. */

#include <poll.h>
#include <stdint.h>

#include "base/vec.h"
#include "daemon/broker/describe.h"
#include "daemon/broker/life.h"

#define CENSUS_FDS 2
#define CENSUS_BUCKETS 4096

struct census_entry {
	struct census_entry *next; /* in its bucket */
	struct broker_known known;
	uint64_t inherited; /* of known.matches: what a parent matched */
	bool dirty, sent, seen;
};

struct census_child {
	pid_t pid, parent;
};

struct census {
	const struct descriptions *descriptions;
	struct life *life; /* NULL: not there */
	bool news;	   /* others than --pid's are to be found */
	struct census_entry *buckets[CENSUS_BUCKETS];
	uint32_t n;
	uint64_t next_id;
	VEC(pid_t) changed;		/* to be looked at */
	VEC(struct census_child) forked; /* likewise, --follow */
	VEC(uint64_t) gone;		/* serve is to be told */
	struct broker_counts counts;
	bool counts_dirty;
	int socket; /* our end, never waited for; -1: none */
	int64_t due_ns, rescan_ns; /* monotonic; 0: not */
	uint64_t lost;
};

void census_init(struct census *c, const struct descriptions *d);
void census_deinit(struct census *c);

/* A process that --pid names, which has this slot. Its id; 0: no memory. */
uint64_t census_add(struct census *c, pid_t pid, uint32_t slot);
/* The other end of a new socket, on which everything is told anew; or -errno. The caller's. */
int census_connect(struct census *c);
/* From now on, processes are found. 0; or -errno with one line in `error` (KERNEL_MAX_TEXT): then /proc is read every
 * second. */
int census_start(struct census *c, const char *btf, char *error);

/* What to poll for, and how long at most: ms, -1: for ever. */
int census_poll(struct census *c, struct pollfd f[CENSUS_FDS]);
void census_run(struct census *c, const struct pollfd f[CENSUS_FDS]);

/* Both borrowed until census_run; NULL: it has ended, or is not described any more. */
const struct broker_known *census_find_pid(const struct census *c, uint64_t id, pid_t pid);
const struct broker_known *census_find(const struct census *c, uint64_t id);
