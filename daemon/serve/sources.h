/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* sources.h - finds the files that were split off an object: its debug file, what dwz made of several, a package of
 * .dwo files (FILE.dwp, beside it).
 *
 * Owns what it counts; the objects own the descriptors. The symbolizer says what to look for and whether what was
 * found belongs to the file, the broker opens; nothing here reads any of it. When an object is first named; and
 * where a file is missing then, again with a later capture: a minute after, or when it has come over the network. What
 * is found then is used from the next naming on that no other runs beside, so that each answer has names of one kind. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct capture;
struct core;
struct target;

struct sources {
	pthread_mutex_t lock; /* sources_lock: guards objects' `search` */
	bool servers;	      /* there are debuginfod servers; never changes */
	uint32_t n_next;      /* lock: objects that have_next */
	uint64_t n_found, n_refused; /* lock; refused: there, but of another file */
	uint64_t n_dwos, n_dwos_missing, n_dwos_refused; /* likewise */
};

void sources_init(struct sources *s);
/* What was refused or left out, as comments. Takes the lock. */
void sources_say(struct core *c, const struct target *t, struct capture *to);
/* Takes sources_lock, lock and symbolizer_lock. */
void sources_seek(struct core *c, uint32_t object);
/* Of all that the target has mapped, before anybody asks. Takes scan_lock besides. */
void sources_seek_all(struct core *c, struct target *t);
/* Looks again for what is missing of the objects of these words (sorted), as far as there is time. Takes the same. */
void sources_seek_again(struct core *c, const uint64_t *words, size_t n);
/* Whether objects have other files now; their names are to be forgotten. The lock is held, and nobody names. */
bool sources_take(struct core *c);
/* The symbolizer has failed on this object: if with files that came over the network, those go. True: they did. Takes the
 * lock. */
bool sources_blame(struct core *c, uint32_t object);
