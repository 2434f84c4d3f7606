/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* fetch_cache.h - the directory of debug files that came over the network: CACHE/BUILDID/debuginfo, as debuginfod's own.
 *
 * Owns what lies in it by that pattern and touches nothing else there. A file comes into being without a name and gets one
 * when it is whole, so nothing is left behind whenever we end. Bounded in bytes and in files: what was not used
 * for longest goes. Nobody else may write there, or read. */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/protocol.h"

#define FETCH_CACHE_MAX (4ull << 30)
#define FETCH_CACHE_MAX_FILES 2048

struct fetch_cache {
	int dir; /* -1: there is none */
	char path[BROKER_MAX_PATH];
	uint64_t max_bytes;
	uint32_t max_files;
};

/* In the given directory, or NULL: /var/cache/pprofd/debuginfod for root, else pprofd/debuginfod below
 * $XDG_CACHE_HOME or $HOME/.cache. Made where it is not there. 0; -EPERM: it belongs to others, or they may write to
 * it; -errno; and its path, as far as it is known. */
int fetch_cache_open(const char *path, struct fetch_cache *ret);
void fetch_cache_close(struct fetch_cache *c);

/* A new file without a name, or -errno. */
int fetch_cache_create(const struct fetch_cache *c);
/* Gives the file its name, and makes room for it. 0 or -errno. */
int fetch_cache_publish(const struct fetch_cache *c, int fd, const char *hex);
void fetch_cache_discard(const struct fetch_cache *c, const char *hex);
/* The file was used now. */
void fetch_cache_used(int fd);

bool fetch_hex(const uint8_t *id, uint32_t n, char to[2 * BROKER_MAX_BUILD_ID + 1]);
