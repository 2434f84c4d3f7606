/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* namer_ask.h - asks the symbolizer about the frame words that a cache does not know.
 *
 * Owns nothing: answers go into the namer's caches. A file that the symbolizer dies on is marked,
 * and not asked about again, whatever the question. */

#include <stddef.h>
#include <stdint.h>

#include "bpf/event.h"

struct core;
struct names_cache;
struct target;

/* Under which the symbolizer knows the kernel; no file gets that far. */
#define NAMER_KERNEL (PP_MAX_OBJECT - 1)

/* And the files of a target that tell of its code without a file: beyond all frames' objects. */
#define NAMER_PERF_MAP(target) (PP_MAX_OBJECT + 2 * (target))
#define NAMER_JITDUMP(target) (PP_MAX_OBJECT + 2 * (target) + 1)

enum namer_question {
	NAMER_NAMES,	 /* what is there? -> namer.cache */
	NAMER_FULL,	 /* the same, with parameters and template arguments -> namer.full */
	NAMER_CALLEES,	 /* what was called there? of files only -> namer.callees */
	NAMER_VARIABLES, /* which variable is there? of files only -> namer.variables */
};

/* The object of a word that is a file's or the kernel's. */
uint32_t namer_object(uint64_t word);
/* Words of one object stand together. Takes lock and symbolizer_lock in turn, the latter for a
 * batch at a time. What could not be asked is not in the cache afterwards. 0 or -ENOMEM. */
int namer_ask(struct core *c, enum namer_question q, const uint64_t *words, size_t n);
/* About code without a file: what the target's jitdump file says, else its perf map file. Into a cache of the caller's,
 * because these words mean something in this target only, and not for ever. Likewise. */
int namer_ask_jit(struct core *c, const struct target *t, const uint64_t *words, size_t n,
		  struct names_cache *to);
