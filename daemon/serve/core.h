/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* core.h - what serve is made of, as one value that is passed along.
 *
 * Owns every part. Locks, in the order in which they are taken:
 *   arming_lock      what counts for as long as targets live: on or off
 *   lease_lock       who has which slot (lease.h)
 *   dump_lock        one reading of all threads at a time, which may take many MB
 *   scan_lock        one scan of a process at a time; tables, every target's mapping list
 *   sources_lock     the search for files that were split off others, one at a time
 *   carry_lock       writing what is to outlive us
 *   lock             totals, pool, images, counters; short, never held while waiting for anything
 *                    but the grace period of a flip
 *   symbolizer_lock  the conversation with the symbolizer and the cache of names
 * (the broker's client has a lock of its own, innermost). The registry of objects is written under
 * scan_lock and lock, so either is enough to read it. arm_lock stands apart: it orders
 * arming and disarming and is never taken inside another. Traces have locks of their own (trace/record.h). */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/serve/broker_client.h"
#include "daemon/serve/custom/custom.h"
#include "daemon/serve/heap/heap.h"
#include "daemon/serve/known.h"
#include "daemon/serve/namer.h"
#include "daemon/serve/object.h"
#include "daemon/serve/page/history.h"
#include "daemon/serve/pool.h"
#include "daemon/serve/ring.h"
#include "daemon/serve/sources.h"
#include "daemon/serve/table.h"
#include "daemon/serve/tally.h"
#include "daemon/serve/target.h"
#include "daemon/serve/threads/created.h"
#include "daemon/serve/totals.h"
#include "daemon/serve/trace/record.h"
#include "daemon/serve/wait/wait.h"

/* Captures that are open, by the epoch in which they were opened. An epoch ends when none of the one before it is open any
 * more: what nobody used at some time can be missed by nobody two epochs later, however captures overlap. */
struct windows {
	uint64_t epoch;
	uint32_t n[2]; /* of this epoch and the one before it: [epoch & 1] and the other */
};

enum core_kernel { CORE_LOADING, CORE_READY, CORE_FAILED };

struct core {
	struct broker_client broker;
	uint32_t hz;
	uint64_t period_ns;
	int stop_fd; /* readable: the daemon ends */
	uint64_t secret; /* of addresses that must tell nothing */
	uint32_t redact; /* enum broker_redact, bits */

	pthread_mutex_t arming_lock;
	bool kept_armed;

	pthread_mutex_t lease_lock;
	uint64_t n_evicted, n_refused; /* leases (lease.h) */
	uint32_t next_serial;
	int64_t lease_ns; /* never changes */

	pthread_mutex_t dump_lock;
	pthread_mutex_t scan_lock;
	struct tables tables;
	struct target targets[BROKER_MAX_TARGETS];
	uint32_t n_targets; /* slots that have been used: of one that is free now, pid is 0 */
	uint32_t n_named;   /* the first of them are --pid's, for ever; never changes */
	bool follow;	    /* never changes */
	struct known known; /* has a lock of its own, innermost */

	pthread_mutex_t carry_lock;

	pthread_mutex_t lock;
	pthread_cond_t kernel_changed;
	enum core_kernel kernel;
	struct objects objects;
	struct pool pool;
	struct totals totals; /* of what is counted in windows only */
	struct totals kept;   /* of what is counted for as long as a target lives */
	uint32_t n_reading;  /* atomic: requests that may know rows of `kept` by number */
	bool untidy;	     /* counts of processes that are gone wait to be dropped */
	void (*rows_moved)(void *context, const uint32_t *map); /* of `kept`: row i is now map[i], or gone (HASH_NONE) */
	void *rows_context;
	struct windows windows; /* open captures: totals may not be cleared */
	struct totals_before *readings; /* of `totals`: where windows began whose end has not been read */
	size_t compact_at; /* rows of `totals` */
	size_t n_marked;   /* words of `kept` whose objects are known to be kept */
	uint32_t next_image; /* ids in the kernel's counts */
	uint32_t n_ahead;    /* threads that ask for names before a window ends */

	struct sources sources;

	pthread_mutex_t symbolizer_lock;
	struct symbolizer symbolizer;
	struct namer namer;

	pthread_mutex_t arm_lock;
	uint32_t n_armed[PP_N_COLLECTORS];
	int64_t armed_ns[PP_N_COLLECTORS];  /* monotonic: those that are armed from the start; 0: not */
	char arm_error[PP_N_COLLECTORS][BROKER_MAX_TEXT];

	struct heap heap; /* scan_lock; its tables never change once `loaded` says, under both
			   * locks, that they are there */
	struct custom custom; /* its state: both locks to write; its tables as those of the heap */
	struct symbolizer_track tracks[BROKER_MAX_TRACKS]; /* --track; never change */
	uint32_t n_tracks;
	bool started; /* scan_lock: who wants programs must load them himself */
	struct waits waits;
	struct created created; /* lock */
	struct traces traces;
	int targets_fd; /* PP_MAP_TARGETS */
	struct ring ring;
	struct tallies tally; /* atomic */
	struct history history; /* has a lock of its own, innermost */
	int wake_fd; /* eventfd: the watcher looks again */
	int64_t trim_ns; /* atomic; when free memory is given back; 0: no answer since */
};

void core_init(struct core *c, int broker_fd);

/* Asks the broker for the kernel's maps; from then on targets can be scanned. 0 or -errno. */
int core_load(struct core *c);
/* Waits for core_load in another thread. False: it failed. */
bool core_wait_kernel(struct core *c);

/* The thread that hears of exec, new mappings and filling tables; returns when stop_fd is, or the broker is gone. */
void core_watch(struct core *c);

/* The watcher looks again what it has to do, and when. */
void core_wake(struct core *c);
/* An answer was made: soon the watcher gives back what memory it took. */
void core_answered(struct core *c);

/* Captures that are open. */
static inline uint32_t core_n_windows(const struct core *c)
{
	return c->windows.n[0] + c->windows.n[1];
}

/* One process is named, and no other can come. */
static inline bool core_is_single(const struct core *c)
{
	return c->n_named == 1 && !c->known.wide && !c->follow;
}

/* After the symbolizer has failed: a new one. The symbolizer_lock is held. */
void core_restart_symbolizer(struct core *c);
/* Whether it is to be asked once more, a new one: it was found dead, which may have been of something else, or there was
 * none. The symbolizer_lock is held. */
bool core_symbolizer_again(struct core *c, int err);
/* Whether an answer of the symbolizer's means that it is of no more use. -ENOTCONN means that there is none, which is no
 * fault of the file's, and passes. */
bool core_symbolizer_failed(int err);
