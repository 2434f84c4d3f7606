/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* debug_file.h - where files that were split off others may be, and opening them there.
 *
 * Owns the rules: serve gives a build-id and the bytes of a name that stand in a stranger's file; every path is made
 * here of fixed prefixes, hex digits, and names that are checked. First below the target's own root, then the host's, then
 * debuginfod's cache, and ours. Opens regular files alone, and where the target's owner may have put them only what he could read
 * without us: his own, or what all may read. Whether the file belongs there, the symbolizer finds out. */

#include <sys/stat.h>

#include "daemon/broker/process.h"

/* In an order of ours, from the environment of whoever started us: $DEBUGINFOD_CACHE_PATH,
 * $XDG_CACHE_HOME/debuginfod_client, $HOME/.cache/debuginfod_client; "": none. */
void debug_file_cache(char to[BROKER_MAX_PATH]);

struct debug_caches {
	const char *client;  /* debuginfod's own; "": none */
	const char *fetched; /* fetch_cache.h; "": none */
};

/* The path at this place, from the root it stands below; `directory`: where the file is that is asked about, "":
 * unknown; `cache`: the place's, if it is one. False: there is none, or the question is not in order. */
bool debug_file_path(const struct broker_debug *q, enum broker_place place, const char *directory,
		     const char *cache, char to[BROKER_MAX_PATH]);

/* The first file there is, from place q->place on. A descriptor, with *ret_place; -ENOENT: no more; -ETIMEDOUT: its
 * file system does not answer, and places of the host are still to be asked about; -errno. */
int debug_file_open(struct process *p, const struct broker_debug *q, const struct debug_caches *caches,
		    enum broker_place *ret_place);

/* For others that open in a target's name, in the child that process_open_guarded starts; dir: /proc/PID. Its root. */
int debug_file_root(int dir);
/* Where a file is that is mapped there, as the kernel tells it; "": it is not mapped any more. */
void debug_file_directory(int dir, uint64_t start, uint64_t end, char to[BROKER_MAX_PATH]);
/* A regular file for reading; no path leads out of root, or through /proc's links. A descriptor or -errno. */
int debug_file_open_below(int root, const char *path, uint64_t resolve, struct stat *ret);

/* /tmp/perf-PID.map below the target's root, where PID is as the target itself sees it. Only the target's own
 * files. A descriptor or -errno. */
int perf_map_open(struct process *p);
