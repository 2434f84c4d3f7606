/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* custom.h - profiles that a target makes itself (preload/pprofd.h): from the notes of its files to a capture.
 *
 * Owns the mappings of the tables that custom.bpf.c writes, and for each target which files are probed. Files:
 * attach.c finds and probes, govern.c keeps to --max-overhead, read.c reads values, capture.c makes a profile of them. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"
#include "bpf/custom.h"
#include "daemon/protocol.h"
#include "daemon/serve/capture.h"
#include "daemon/serve/naming.h"
#include "daemon/serve/profile.h"
#include "symbolizer/client.h"

struct core;
struct object;
struct target;

enum custom_state {
	CUSTOM_UNUSED, /* nobody has such a profile */
	CUSTOM_WANTED,
	CUSTOM_LOADING,
	CUSTOM_READY,
	CUSTOM_FAILED, /* `error` */
};

struct custom {
	enum custom_state state; /* scan_lock and lock to write */
	char error[BROKER_MAX_TEXT];
	/* these once READY: */
	struct pp_custom *states;
	struct pp_custom_profile *profiles;
	struct pp_held_bucket *keys;
	struct pp_held *held;
};

struct custom_file {
	uint32_t object;
	bool attached;
	uint32_t n_reserved; /* sites that add to names that are pprofd's own */
	uint32_t n_full;     /* sites of names past PP_MAX_CUSTOM */
};

/* What probes may cost a target: it grows with time and with the target's CPU time, up to a bound. */
struct custom_account {
	double credit_ns;
	int64_t looked_ns; /* monotonic; 0: never */
	int64_t cpu_ns;	   /* of the target */
	uint64_t spent_ns;
	int64_t due_ns;	   /* monotonic: when custom_govern wants to be called; 0: by notices only */
};

/* Of one target; guarded by the scan lock. */
struct target_custom {
	VEC(struct custom_file) files; /* that have such notes */
	int64_t armed_ns;	       /* monotonic: since when values are seen; 0: not yet */
	uint32_t n_lost;	       /* sites past a file's bound */
	int64_t clean_ns, cleaned_ns;  /* as of struct target_heap, these and the next */
	int64_t again_ns, pause_ns;
	struct custom_account account;
	bool paused;		       /* nothing is looked at */
	uint32_t n_pauses;
	uint32_t epoch;		       /* lock to write: what is held begins anew with each */
	char why[200];		       /* why there are no probes, or not all */
};

/* A name as answers show it: UTF-8, at most PP_CUSTOM_NAME bytes with its NUL. */
struct custom_listed {
	char name[PP_CUSTOM_NAME];
	uint64_t n_held;
};

struct custom_listing {
	VEC(struct custom_listed) all; /* sorted by name, at most CUSTOM_MAX_LISTED */
};
#define CUSTOM_MAX_LISTED (2 * PP_MAX_CUSTOM)

/* As the symbolizer says it. */
struct symbolizer_track custom_track(const struct broker_track *from);
/* Finds the notes of files that are new to the target, and probes them. The scan lock is held. */
void custom_follow(struct core *c, struct target *t, bool new_image);
/* again_ns has come: what could not be probed. The scan lock is held. */
void custom_again(struct core *c, struct target *t);
/* The target's slot becomes another's. The scan lock is held. */
void custom_leave(struct core *c, struct target *t);
/* Loads the programs if somebody wants them, and probes; waits for it. No lock is held. */
void custom_start(struct core *c);
/* The target has forked: its children are rid of the probes, soon. The scan lock is held. */
void custom_forked(struct core *c, struct target *t);
void custom_clean(struct core *c, struct target *t);
/* The account (govern.c): tells the kernel, before there are probes; when a mark has come, or due_ns: pauses, and
 * ends a pause. The scan lock is held. */
void custom_account_open(struct core *c, struct target *t);
void custom_govern(struct core *c, struct target *t);
/* Takes the probes out, and leaves what has been seen; forgets it, and puts them in again. The scan lock is held. */
void custom_detach(struct core *c, struct target *t);
void custom_attach_anew(struct core *c, struct target *t);

/* The target's profiles. Takes both locks. 0 or -ENOMEM. */
int custom_list(struct core *c, struct target *t, struct custom_listing *ret);
void custom_listing_deinit(struct custom_listing *l);
/* Whether the name is one of pprofd's own. */
bool custom_is_reserved(const char *name);

/* Values that are held, by stack. */
struct custom_group {
	uint32_t row; /* of core.kept; HASH_NONE: its stack is not known */
	uint32_t skip;
	int64_t n;
};

struct custom_reading {
	VEC(struct custom_group) groups;
	uint64_t n_values, n_unknown;
	uint32_t epoch;
	int64_t armed_ns;   /* monotonic: since when values are seen; 0: they are not */
	int64_t stopped_ns; /* monotonic: until when; 0: it goes on */
	struct pp_custom_profile counters;
};

/* Takes both locks. 0 or -ENOMEM. */
int custom_read(struct core *c, const struct target *t, const char *name, struct custom_reading *ret);
void custom_reading_deinit(struct custom_reading *r);
/* As it is shown; false: there is none yet. */
bool custom_name(const struct pp_custom_profile *p, char ret[PP_CUSTOM_NAME]);

/* `after`, less `before` unless it is NULL, with names and with as many functions left out as was asked for.
 * *names is the caller's. 0 or -ENOMEM. */
int custom_capture(struct core *c, struct target *t, const struct custom_reading *before,
		   const struct custom_reading *after, struct capture *to, struct naming *names);

/* Leaves out `skip` functions, inlined ones too, from the leaf of a stack of the capture; never all. The
 * new stack, HASH_NONE: no memory. */
uint32_t custom_skip(struct capture *to, struct naming *names, uint32_t stack, uint32_t skip);
