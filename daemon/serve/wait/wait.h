/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* wait.h - where the threads of a target wait, for what, and who makes them wait: from the kernel's counts
 * and open records to a capture.
 *
 * Owns the mappings of the waits' tables. Files: read.c loads, and reads at one moment; initial.c
 * finds those who wait already; kind.c tells what a
 * wait is for; data.c tells which locks can have a name; capture.c makes profiles. Four profiles come of it: block and mutex (synchronisation only, as
 * Go has them), offcpu (everything), and wall's part that is not CPU time. */

#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"
#include "bpf/wait.h"
#include "daemon/protocol.h"

struct core;
struct target;
struct pp_thread;
struct capture;
struct naming;
struct profile;
struct ahead_words;

struct wait_shown {
	int64_t v[2];
};

/* The tables, once the programs are loaded; core.lock guards what changes afterwards. */
struct waits {
	bool loaded;
	bool mapped; /* scan_lock: the tables are there */
	enum broker_wait_mode mode;
	uint32_t n_cpus;
	struct pp_wait_bucket *keys;
	struct pp_wait *open;
	struct pp_wait_state *states;
	struct pp_wait_cpu *cpus;
	struct pp_wait_filter *filter;
	int64_t armed_ns; /* monotonic; 0: not */
	struct wait_shown *shown; /* by row of core.kept: the most that an answer has said */
	size_t n_shown;
	char error[BROKER_MAX_TEXT];
};

/* Once, by one thread, after the first scans; no lock is held. Attaches as well. */
void wait_load(struct core *c);
/* Threads that wait already are taken to wait from now on. Takes the locks in turn. */
void wait_initial(struct core *c, struct target *t);
/* What its waits may cost; the tables are there. */
void wait_limit(struct core *c, const struct target *t);
/* The target's slot becomes another's: its waits that are not over are forgotten. The scan lock is held. */
void wait_leave(struct core *c, struct target *t);
/* A target that the kernel knows by another number now: which events are its. The scan lock is held. */
void wait_filter(struct core *c);

/* One reading: rows in the order of core.kept, open waits added up to now. */
struct wait_reading {
	size_t n;
	int64_t (*v)[2];
	size_t n_open;
};

/* Both take the core's lock. 0 or -ENOMEM. */
int wait_read(struct core *c, const struct target *t, struct wait_reading *ret);
void wait_reading_deinit(struct wait_reading *r);

/* What a thread of a dump that is not on a CPU waits for, as the kernel's side says it in a count row's item. */
uint32_t wait_item(const struct pp_thread *t);

/* Waits that are not over: who, since when (ns, monotonic). */
struct wait_open {
	uint32_t host_tid;
	uint64_t began;
};
struct wait_list {
	VEC(struct wait_open) all; /* by host_tid */
};
/* None where waits are not looked at. Takes the core's lock. 0 or -ENOMEM; free it with vec_deinit. */
int wait_list(struct core *c, const struct target *t, struct wait_list *ret);
/* 0: it is not in the list. */
uint64_t wait_began(const struct wait_list *l, uint32_t host_tid);

enum wait_kind {
	WAIT_NONE,   /* not for synchronisation */
	WAIT_FUTEX,  /* it is, and nothing tells what kind */
	WAIT_MUTEX,
	WAIT_RWLOCK,
	WAIT_COND,
	WAIT_SEM,
	WAIT_BARRIER,
	WAIT_JOIN,
	WAIT_ONCE,
	WAIT_QUEUE,
	WAIT_RUNTIME, /* a scheduler of the program's own that has nothing to do: Go's */
	WAIT_N_KINDS,
};

/* Whether the item can be synchronisation at all, names aside. */
bool wait_may_be_sync(uint32_t item);
/* The frames whose callees tell more than their names: of a function that ends in a jump to another one only
 * the call is left. At most WAIT_MAX_CALLERS of the stack's words; none where names say enough. */
#define WAIT_MAX_CALLERS 8
uint32_t wait_callers(uint32_t item, const uint64_t *words, uint32_t n, const struct naming *named,
		      uint64_t *ret);
/* By the item and the nearest known function on the stack, or callee of one of the callers. `named` holds
 * names of all the words. */
enum wait_kind wait_kind(uint32_t item, const uint64_t *words, uint32_t n, const struct naming *named);
const char *wait_kind_name(enum wait_kind k);
/* "futex", "sleep", "poll"...: never NULL. */
const char *wait_reason(uint32_t item);

/* How many rows the profile has, about: before names. Takes the core's lock. */
uint64_t wait_count(struct core *c, const struct target *t, const struct profile *p);

/* Adds the samples of `after`, less those of `before` unless it is NULL, with their labels, and comments;
 * sets `names`. Takes the core's locks in turn. 0 or -errno. */
int wait_capture(struct core *c, const struct target *t, const struct wait_reading *before,
		 const struct wait_reading *after, bool objects, struct capture *to, struct naming *names);
/* Adds the words of the stacks that have waited since `before`, for ahead.h. 0 or -ENOMEM. */
int wait_words(struct core *c, const struct target *t, const struct wait_reading *before, struct ahead_words *to);
/* The off-CPU part of wall: samples of `period` ns each, and ns. */
int wait_add_wall(struct core *c, const struct target *t, const struct wait_reading *before,
		  const struct wait_reading *after, int64_t period, struct capture *to);
