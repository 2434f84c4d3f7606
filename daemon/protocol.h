/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* protocol.h - between the broker, which holds the capabilities, and serve, which holds none.
 *
 * Serve asks, one record at a time (base/record.h); the broker answers with the same type and
 * serial, a status (0, -errno) and descriptors. Everything the broker does is one of these, for a
 * process that was named to it on its command line. No path ever crosses: files are named by
 * target and address range, /proc files by an enum. */

#include <stdint.h>

#include "base/record.h"

enum broker_request {
	BROKER_START = 1, /* broker -> serve, unasked, first: struct broker_start, then the payload
			   * below it; fds: listeners */
	BROKER_TARGET,	  /* broker -> serve, unasked, one a target: struct broker_target; fd: pidfd */
	BROKER_MAPS,	  /* waits until programs are loaded; answer: struct broker_maps; fds: maps in
			   * the order of enum pp_map */
	BROKER_PROC,	  /* struct broker_proc -> fd */
	BROKER_OBJECT,	  /* struct broker_range -> struct broker_file; fd */
	BROKER_KALLSYMS,  /* -> fd */
	BROKER_SLAB,	  /* uint32_t index -> fd of a new slab of unwind rows, in its place */
	BROKER_ARM,	  /* uint32_t collector; attaches for as long as serve wants */
	BROKER_DISARM,	  /* uint32_t collector */
	BROKER_SYMBOLIZER, /* starts the symbolizer afresh (killing the one there is) -> its socket */
	BROKER_READY,	  /* serve -> broker: it listens */
	BROKER_RESULT,	  /* serve -> broker in one-shot mode: status, text of an error */
};

#define BROKER_MAX_TARGETS 64
#define BROKER_MAX_TEXT 512

enum broker_proc_file { BROKER_PROC_MAPS, BROKER_PROC_CMDLINE, BROKER_PROC_STATUS, BROKER_N_PROC };

struct broker_start {
	uint32_t n_targets;
	uint32_t hz;
	uint64_t period_ns;
	uint32_t owner_uid; /* who started pprofd: may use its Unix sockets */
	uint32_t n_uids;
	uint32_t insecure;
	uint32_t one_shot; /* no listeners: run the request in `text` and write it to the fd */
	uint32_t n_text;   /* bytes of NUL-terminated strings that follow: allowed hosts; or
			    * the one-shot request (path, query) */
	uint32_t pad;
};

struct broker_target {
	uint32_t index; /* how later requests name it */
	int32_t pid;	/* in the broker's own PID namespace */
	uint32_t uid;
	uint32_t host_tgid; /* 0 until BROKER_MAPS has been answered */
	uint64_t start_boottime, exec_id;
	char comm[16];
};

struct broker_maps {
	uint32_t n_stacks, n_counts, n_pool_chunks; /* of one half */
	uint32_t n_targets;
	struct broker_target targets[BROKER_MAX_TARGETS]; /* with host_tgid */
};

struct broker_proc {
	uint32_t target;
	uint32_t file; /* enum broker_proc_file */
};

struct broker_range {
	uint32_t target;
	uint32_t pad;
	uint64_t start, end; /* a line of /proc/PID/maps */
};

struct broker_file { /* fstat of what was opened */
	uint64_t dev, ino, size;
	int64_t mtime_ns, ctime_ns;
};
