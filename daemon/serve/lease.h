/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* lease.h - which of the known processes have a slot: a struct target, and its row in every table of the kernel's.
 *
 * Those of --pid have theirs for ever. Every other process gets one with its first request, and keeps it while requests
 * for it are open and for a while after the last (a lease), or after its end. Then all of it is detached, its counts are
 * dropped, and the next one finds nothing of it. When all slots are taken, the one that nobody has asked for the longest
 * goes early; one with an open request never does.
 *
 * lease_lock is taken before all other locks: it guards who has which slot, n_open and asked_ns. A request holds its
 * target from lease_take to lease_end, and until then its fields are as target.h says. arming_lock comes before it. */

#include <stdint.h>

#include "daemon/serve/core.h"

enum lease_result {
	LEASE_OK,
	LEASE_GONE, /* it has ended */
	LEASE_FULL, /* every slot has an open request */
};

/* What the request wants of it. */
enum lease_wish {
	LEASE_WINDOW, /* what is armed while a request is open */
	LEASE_KEPT,   /* what counts from now on as long as the lease lasts: heap, waits, threads' creators, growth */
};

/* LEASE_OK: *ret is held, scanned, and armed as wished, which may take a moment; or -errno, with one line in `error`
 * (BROKER_MAX_TEXT) if there is one. */
int lease_take(struct core *c, const struct known_process *p, enum lease_wish wish, struct target **ret, char *error);
/* A slot that is taken, whether its process has ended or not, held; NULL: none has this number. */
struct target *lease_find(struct core *c, int32_t pid);
/* The process that is meant where none is named: the one that there is. Likewise. */
void lease_hold(struct core *c, struct target *t);
void lease_end(struct core *c, struct target *t);
/* What a held target is to count, too. */
void lease_wish(struct core *c, struct target *t, enum lease_wish wish);

/* Lets go of what has run out. The watcher's. */
void lease_run(struct core *c);
/* When it wants to be called: ns, monotonic; 0: not. */
int64_t lease_due(struct core *c);

/* How many slots are taken, and leased. */
struct lease_counts {
	uint32_t n_taken, n_leased;
	uint64_t n_evicted; /* early, since the start */
	uint64_t n_refused; /* because every slot had an open request */
};
void lease_count(struct core *c, struct lease_counts *ret);

/* Since when this target is counted, where all are since `armed_ns` (monotonic). */
int64_t lease_since(const struct target *t, int64_t armed_ns);

/* Counts of processes that are gone are dropped, where nobody is reading. Takes the core's lock. */
void lease_tidy(struct core *c);
