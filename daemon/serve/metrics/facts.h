/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* facts.h - the numbers of /metrics, taken from where they are counted.
 *
 * Owns nothing that lasts: a copy for one answer. Takes the core's lock, for as long as a fold of the kernel's table
 * lasts, and no other: an answer must not wait for the symbolizer, or for a scan. Bounded: targets are those that have
 * a place in the kernel's tables. */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/protocol.h"
#include "daemon/serve/core.h"
#include "daemon/serve/lease.h"

/* What was lost, in the order of facts_lost. */
enum facts_lost {
	FACTS_SAMPLE_TABLE,
	FACTS_SAMPLE_MEMORY,
	FACTS_STACK_TABLE,
	FACTS_STACK_SCRATCH,
	FACTS_STACK_MERGED,
	FACTS_STACK_BAD,
	FACTS_LABELS_TABLE,
	FACTS_LABELS_MEMORY,
	FACTS_LABEL_IDS,
	FACTS_LOCK_ROWS,
	FACTS_NOTICE,
	FACTS_OBJECTS,
	FACTS_OBJECTS_DROPPED,
	FACTS_UNWIND_TABLE,
	FACTS_CURSORS,
	FACTS_DEBUG_REFUSED,
	FACTS_DWO_MISSING,
	FACTS_DWO_REFUSED,
	FACTS_DEBUG_BOUND,
	FACTS_FETCH_REFUSED,
	FACTS_FETCH_NONE,
	FACTS_FETCH_FAILED,
	FACTS_FETCH_QUEUE,
	FACTS_DUMP_LATE,
	FACTS_DUMP_DEEP,
	FACTS_DUMP_LABELS,
	FACTS_DUMP_THREADS,
	FACTS_TRACE_EVENTS,
	FACTS_TRACE_STACKS,
	FACTS_HISTORY,
	FACTS_N_LOST,
};

/* Of one target. */
enum facts_target_lost {
	FACTS_WAIT_ROOM,
	FACTS_LOCK_ROOM,
	FACTS_LOCK_BUSY,
	FACTS_WAIT_UNSEEN,
	FACTS_LIVE_ROOM,
	FACTS_CALL_ROOM,
	FACTS_POINTER,
	FACTS_HELD_ROOM,
	FACTS_HELD_BLANK,
	FACTS_VALUE_ROOM,
	FACTS_VALUE_TWICE,
	FACTS_VALUE_ABSENT,
	FACTS_NAME_ROOM,
	FACTS_NAME_BAD,
	FACTS_CALL_EARLY,
	FACTS_CALL_PAUSED,
	FACTS_MAPPING_STALE,
	FACTS_N_TARGET_LOST,
};

/* How much of one target is left out, now. */
enum facts_left_out { FACTS_MAPPINGS, FACTS_LABEL_VARIABLES, FACTS_JIT_LINES, FACTS_LOCK_FILES, FACTS_N_LEFT_OUT };

struct facts_why {
	const char *what, *reason;
};
extern const struct facts_why facts_lost[FACTS_N_LOST];
extern const struct facts_why facts_target_lost[FACTS_N_TARGET_LOST];
extern const char *const facts_left_out[FACTS_N_LEFT_OUT];

struct facts_target {
	char pid[16], comm[16];
	bool alive;
	double cpu_s;
	double heap_s, wait_s, custom_s, sample_s; /* what we cost it */
	uint64_t n_events, n_heap_hits, n_custom_hits, n_heap_forks, n_custom_forks;
	uint64_t n_waits_seen, n_waits_taken;
	uint64_t lost[FACTS_N_TARGET_LOST];
	uint64_t left_out[FACTS_N_LEFT_OUT];
};

/* What is kept in memory and bounded. */
enum facts_table { FACTS_WINDOWS, FACTS_KEPT, FACTS_FILES, FACTS_CURSOR_ROWS, FACTS_HISTORY_BYTES, FACTS_NAMES, FACTS_FUNCTIONS, FACTS_SYMBOLIZER,
		   FACTS_N_TABLES };
extern const char *const facts_tables[FACTS_N_TABLES];

struct facts_size {
	uint64_t n_bytes;
	double fill; /* of its bound: 0 to 1 */
};

struct facts {
	enum core_kernel kernel;
	double n_ends[PP_N_COLLECTORS][PP_N_ENDS];
	uint64_t lost[FACTS_N_LOST];
	uint64_t n_flips, n_duplicates, n_spilled, clock_stood_ns, n_rows, n_objects, n_windows, n_armed[PP_N_COLLECTORS];
	uint64_t slab_bytes;
	struct facts_size tables[FACTS_N_TABLES];
	bool has_usage; /* the broker has said: */
	struct broker_usage usage;
	struct history_counts history;
	uint64_t n_known; /* processes that are described */
	struct broker_counts known;
	struct lease_counts leases;
	uint64_t n_targets;
	struct facts_target *targets;
};

/* Asks the broker, too. 0 or -ENOMEM; facts_deinit in any case. */
struct answers;
int facts_read(const struct answers *a, struct facts *ret);
/* Of one; the core's lock is held. */
void facts_target_read(const struct core *c, const struct target *t, struct facts_target *ret);
void facts_deinit(struct facts *f);
