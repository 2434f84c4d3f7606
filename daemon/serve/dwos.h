/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* dwos.h - finds the .dwo files of units that are asked about (-gsplit-dwarf without a package).
 *
 * Owns nothing: the symbolizer keeps what was found. It tells once which ones units lack, in a stranger's words; those have
 * to be in order here, the broker opens them below the target's root, and the symbolizer takes those with the id that it
 * lacks. Bounded: DWOS_MAX for an object, counted. Once the target has ended nothing is found any more. Says, too, which
 * objects' debug information is past a bound. */

#include <stdint.h>

#define DWOS_MAX 1024 /* tries, over an object's life */

struct capture;
struct core;

/* Before names of these words, all of one file, are asked for. Takes sources_lock, lock and symbolizer_lock. */
void dwos_seek(struct core *c, uint32_t object, const uint64_t *words, uint32_t n);
/* So much of the object's debug information was past a bound. Takes the lock. */
void dwos_note_lost(struct core *c, uint32_t object, uint64_t n_lost);
/* What is missing, as comments. Takes the lock. */
void dwos_say(struct core *c, struct capture *to);
