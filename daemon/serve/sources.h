/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* sources.h - finds the files that were split off an object: its debug file, what dwz made of several, a package of
 * .dwo files (FILE.dwp, beside it).
 *
 * Owns what it counts; the objects own the descriptors. The symbolizer says what to look for and whether what was
 * found belongs to the file, the broker opens; nothing here reads any of it. Once for each object, when it is first named: a
 * file that comes later is not seen. */

#include <pthread.h>
#include <stdint.h>

struct capture;
struct core;
struct target;

struct sources {
	pthread_mutex_t lock; /* sources_lock: guards objects' `sought` */
	uint64_t n_found, n_refused; /* lock; refused: there, but of another file */
	uint64_t n_dwos, n_dwos_missing, n_dwos_refused; /* likewise */
};

void sources_init(struct sources *s);
/* What was refused or left out, as comments. Takes the lock. */
void sources_say(struct core *c, const struct target *t, struct capture *to);
/* Takes sources_lock, lock and symbolizer_lock. */
void sources_seek(struct core *c, uint32_t object);
