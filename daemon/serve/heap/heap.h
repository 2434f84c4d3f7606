/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* heap.h - who allocates in a target, and who holds what was allocated: from its allocator's functions to
 * a capture.
 *
 * Owns the mappings of the heap's tables, and for each target which functions are probed and how much that
 * may cost. Files: attach.c finds and probes, govern.c keeps the cost within its budget, read.c
 * reads counts and live objects, capture.c makes profiles of them, memstats.c the text. */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/vec.h"
#include "bpf/heap.h"
#include "daemon/protocol.h"
#include "symbolizer/client.h"

struct core;
struct target;
struct capture;
struct totals;

/* The tables, once the programs are loaded. */
struct heap {
	bool loaded;
	bool sessions; /* the kernel has them: unsampled calls have no return probe */
	uint32_t n_cpus;
	struct pp_heap *states;
	struct pp_heap_cpu *cpus;
	struct pp_live_bucket *keys;
	struct pp_live *live;
	struct pp_turn *turns;
	enum broker_heap_mode mode;
	double budget; /* of the target's CPU time; 0: no probes; infinite: no limit */
	double hit_ns; /* CPU time that one hit costs a target, as the broker has measured it */
	double shared_ns; /* the same where BROKER_MAX_SHARERS probe a file */
	char error[BROKER_MAX_TEXT];
};

enum heap_source {
	HEAP_NOT_YET,
	HEAP_NONE,   /* nothing to probe: `why` says so */
	HEAP_PROBES, /* the allocator's functions */
	HEAP_TOLD,   /* otel_memory probes: the process samples itself */
};

/* How much is probed. */
enum heap_level {
	HEAP_OFF,     /* too dear: probes come for short windows only, sampled finely; objects that
		       * stay are held to be in use while they look the same */
	HEAP_ALLOCS,  /* allocations; frees are too dear */
	HEAP_ALL,
};

/* A function of the target's that is probed, or that cannot be. */
struct heap_function {
	uint32_t object;
	struct symbolizer_probe probe;
};

/* What was live when most was. */
struct heap_peak {
	size_t n;
	struct heap_row *rows;
	int64_t taken_ns; /* monotonic; 0: not yet */
};

struct heap_budget {
	double credit_ns;   /* what hits may still cost */
	int64_t looked_ns;  /* when; 0: never. These as they were then: */
	int64_t cpu_ns;	    /* of the target */
	uint64_t hits, spent_ns;
	int64_t base_cpu_ns; /* likewise, where the present level or window began */
	uint64_t base_hits, base_spent_ns;
	double tail_ns; /* what hits still cost, of late, from the end of a window until the probes are gone */
	uint64_t ended_ns;  /* spent_ns when the last window ended, or the level */
	int64_t resume_ns;  /* HEAP_OFF: when to look again; else 0 */
	int64_t better_ns;  /* since when a higher level could be afforded; 0: it could not */
};

/* Of one target. Guarded by the scan lock; what readers need by the core's lock too. */
struct target_heap {
	enum heap_source source;
	enum heap_level level;
	bool window;	/* HEAP_OFF: all is probed for a moment */
	uint32_t n_windows;
	int64_t windows_ns; /* how long they were, since epoch_ns */
	uint32_t sides; /* enum broker_side: attached now */
	VEC(struct heap_function) functions;
	struct heap_budget budget;
	int64_t armed_ns;   /* monotonic */
	uint64_t unseen;    /* anonymous memory that was resident then, bytes */
	int64_t epoch_ns;   /* monotonic: objects born before have left in-use */
	uint32_t n_gaps;    /* times that frees went unseen */
	int64_t covered_ns, since_ns; /* time with probes on; since when they are, 0: off */
	uint32_t n_changes; /* of level */
	int64_t again_ns, pause_ns; /* when what could not be probed is tried again, 0: nothing; how long that is put off */
	int64_t clean_ns, cleaned_ns; /* when children are to be rid of probes, 0: not; when they last were */
	uint64_t functions_of; /* exec_id that `functions` were found for */
	struct heap_peak peak;
	char why[200];
};

struct heap_counters {
	uint64_t n_allocs, n_frees, n_bytes, n_sampled, n_hits;
};

/* Once, by one thread; no lock is held, because it takes a while. `loaded` is set by the caller. */
int heap_load(struct core *c);
/* Finds the allocator and probes it, once for each image and new file. The scan lock is held. */
void heap_follow(struct core *c, struct target *t, bool new_image);
/* The target's slot becomes another's: nothing of it stays in the tables. The scan lock is held. */
void heap_leave(struct core *c, struct target *t);
/* A notice, or a time that has come. The scan lock is held. */
void heap_govern(struct core *c, struct target *t);
/* Those of an earlier pprofd among them. */
void heap_count(const struct core *c, const struct target *t, struct heap_counters *ret);
/* More is live than ever: that is kept. The scan lock is held. */
void heap_peak(struct core *c, struct target *t);
/* The target has forked. The scan lock is held. */
void heap_forked(struct core *c, struct target *t);
/* When heap_govern wants to be called, 0: by notices only. */
int64_t heap_due(const struct target *t);
/* Attaches or detaches to reach what the level wants. False: not all could be probed; but for windows, that is tried
 * again (heap_due). */
bool heap_apply(struct core *c, struct target *t, enum heap_level level);
/* What a hit costs the target now: with those that share its files, how many others at most. */
double heap_hit_ns(const struct core *c, const struct target *t, unsigned *ret_others);
/* A window begins, or has ended: what is held is looked at. */
void heap_look(struct core *c, struct target *t, bool begins);
void heap_clean(struct core *c, struct target *t);
void heap_say(struct target_heap *h, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One reading of what a target has allocated and holds: rows in the order of core.kept. */
struct heap_row {
	int64_t allocs, alloc_bytes; /* sampled; or as weighed */
	int64_t live, live_bytes;
	double live_objects, live_space; /* each object by its own size */
};

struct heap_reading {
	size_t n;
	struct heap_row *rows;
	int64_t lost, lost_bytes; /* live objects whose row is not there */
	double unsure; /* bytes of held objects that may be gone unseen: left out */
	struct heap_counters counters;
};

struct heap_question {
	int64_t min_age_ns; /* live objects younger than this are left out */
	bool peak;	    /* live as it was when most was */
	bool unseen;	    /* a row for what was allocated before */
	bool raw;	    /* sampled figures, for clients that scale them */
};

/* Takes the core's lock. 0 or -ENOMEM. */
int heap_read(struct core *c, struct target *t, const struct heap_question *q,
	      struct heap_reading *ret);
void heap_reading_deinit(struct heap_reading *r);

/* Adds the samples of `after`, less those of `before` unless it is NULL, and comments. Takes the core's
 * lock. 0 or -ENOMEM. */
int heap_capture(struct core *c, struct target *t, const struct heap_question *q,
		 const struct heap_reading *before, const struct heap_reading *after,
		 struct capture *to);

/* Takes the allocator's own frames off the leaf end of every stack, unless nothing would remain. */
struct naming;
int heap_strip(struct core *c, const struct target *t, struct capture *to, struct naming *n);

/* What runtime.MemStats shows; unsampled. */
struct heap_totals {
	uint64_t alloc_objects, alloc_space, live_objects, live_space;
	uint64_t tables; /* bytes of ours for this target */
};

/* Anonymous memory that is resident, bytes; 0: not known. */
uint64_t heap_resident(struct core *c, const struct target *t);
void heap_sum(struct core *c, const struct target *t, const struct heap_reading *r,
	      struct heap_totals *ret);

/* The whole text of debug=1: head, raw samples with `n`'s names, and runtime.MemStats. Sets `ret`. 0;
 * -ENOMEM; -E2BIG. */
int heap_text(struct core *c, struct target *t, const struct heap_totals *totals,
	      const struct capture *capture, const struct naming *n, struct bytes *ret);

int64_t heap_period(const struct target *t);
/* False: what was in use once has not been watched since. */
bool heap_knows_in_use(const struct target *t);
/* In use are the objects of windows that have been found the same. */
bool heap_holds(const struct core *c, const struct target *t);
#define HEAP_HELD_NS (10 * NS_PER_S) /* how old they are at least */
/* Samples are of more than one rate: clients must not scale them. */
bool heap_scales(const struct target *t);
/* The process has ended: probes are let go, its heap is written to --keep-dir. */
void heap_last_word(struct core *c, struct target *t);

/* 1 / P(sampled) of an object of this size, of a row with this item (name[1]). */
double heap_scale(double size, uint64_t item);
