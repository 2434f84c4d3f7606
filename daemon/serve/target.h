/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* target.h - one process to be profiled: its slot, its mappings, and its row in the kernel. Which process has which slot is
 * lease.h's business; pid 0: none.
 *
 * Owns the pidfd. What the kernel counts belongs to an image: exec begins a new one, so that
 * addresses are never read with the old program's files. */

#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"
#include "bpf/event.h"
#include "daemon/serve/carry.h"
#include "daemon/serve/custom/custom.h"
#include "daemon/serve/heap/heap.h"
#include "daemon/serve/label.h"
#include "daemon/serve/wait/data.h"

#define TARGET_MAX_IMAGES 256

struct core;

struct target_mapping {
	uint64_t start, end, offset, dev, ino;
	uint32_t object; /* 0: none */
	char *name;	 /* as in the maps line, to know it again */
};

struct target {
	uint32_t index;	    /* the broker's, and the row in pp_state.processes */
	int32_t pid;
	uint32_t uid; /* atomic: whose it is, as the broker knows */
	int pidfd;
	uint64_t known; /* struct known_process.id; 0: one-shot */
	uint32_t serial;   /* of what has had a slot, never the same */
	bool leased;	   /* not --pid's: the slot becomes another's one day (lease.h) */
	bool windows_only; /* scan_lock: nobody has asked for what counts all the time */
	bool keeps;	   /* atomic: somebody has, and it does count */
	uint32_t n_open;   /* lease_lock: requests */
	int64_t asked_ns;  /* lease_lock: when the last one ended, monotonic */
	int64_t armed_ns;  /* monotonic: since when it counts all the time; 0: since pprofd does */
	char comm[16];
	bool published;	    /* scan_lock: the kernel knows it */
	uint32_t host_tgid; /* scan_lock, these three */
	uint64_t start_boottime, exec_id;
	uint64_t entry;	       /* scan_lock, these two: the address at which the program was entered; 0: not known */
	int64_t unsettled_ns; /* monotonic: since when it could not be looked at; 0: it could */
	VEC(struct target_mapping) mappings; /* scan_lock */
	uint64_t list;			     /* scan_lock: as published */
	uint64_t exec_vm_error;		     /* scan_lock: what the kernel counts more than we */
	int64_t scanned_ns, due_ns; /* scan_lock: notices may scan from then on; next one, 0: none */
	int64_t files_ns, files_pause_ns; /* scan_lock: files that could not be had are tried again then, 0: none; likewise */
	uint32_t unchanged;	    /* scan_lock: scans in a row that found nothing new */
	int64_t ended_ns;	    /* lock: monotonic; 0: not that we know */
	uint32_t main_object;	    /* lock */
	uint32_t jitdump_object;    /* lock: the file that tells of its code without a file; 0: none */
	uint64_t jit_left_out;	    /* lock: of such files, what was of no use, or past a bound */
	int perf_map_fd;	    /* lock: likewise, as it was opened last; -1: none */
	VEC(uint32_t) images;	    /* lock: ids in counts, the newest last */
	uint64_t n_left_out;	    /* lock: mappings past our bounds */
	struct target_labels labels; /* lock */
	struct carry carry;
	struct target_heap heap;    /* scan_lock */
	struct target_custom custom; /* likewise */
	struct wait_data wait_data; /* scan_lock and lock to write */
};

enum target_result { TARGET_OK, TARGET_GONE };

bool target_alive(const struct target *t);
/* CPU time of the process, all its threads, in ns; 0: it has ended. */
int64_t target_cpu_ns(const struct target *t);
/* What has ended is remembered for a while. Takes the core's lock. */
#define TARGET_KEPT_NS (600ll * 1000000000)
bool target_kept(struct core *c, const struct target *t);

/* Reads the process's mappings, has the rows of new files made, and tells the kernel. `fresh`: also
 * ask whether it has executed another program. The scan_lock is held. TARGET_*, or -errno: it is looked
 * at again by itself, soon; -EAGAIN: it was in the middle of an exec. */
int target_scan(struct core *c, struct target *t, bool fresh);
/* The same, fresh, for who wants the answer: what is in the middle of an exec is waited for, two seconds at most and
 * without the lock. */
int target_settle(struct core *c, struct target *t);

/* No slot any more. First the kernel does not know it; when no program runs that knew it, the rest of it is let go
 * but what other files have of it. The scan_lock is held, for the second the lock, too. */
void target_unpublish(struct core *c, struct target *t);
void target_clear(struct core *c, struct target *t);

/* A notice of the kernel's about one of its images. The scan_lock is held. */
void target_notice(struct core *c, struct target *t, const struct pp_notice *n);

/* Whether the image id is one of the target's. The lock is held. */
bool target_has_image(const struct target *t, uint32_t image);
