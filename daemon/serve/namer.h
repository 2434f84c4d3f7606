/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* namer.h - gives the frames of a capture their names, addresses and mappings.
 *
 * Owns the caches of names, callees and variables. Asks the symbolizer once for all frames it does
 * not know. What cannot be named gets a stub (libfoo.so+0x1231), so an answer never hangs on a file
 * that the symbolizer fails on. Addresses in answers are synthetic: they tell nothing of where the
 * target or the kernel was loaded, and the same code has the same address in every run. */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/serve/capture.h"
#include "daemon/serve/names_cache.h"
#include "daemon/serve/naming.h"

struct core;
struct target;

struct namer {
	struct names_cache cache;
	struct names_cache full;      /* of the same words: names with all that they say */
	struct names_cache callees;   /* of the same words: whom they call */
	struct names_cache variables; /* of words that stand for addresses of data */
	uint32_t n_running;
	bool kernel_hidden; /* /proc/kallsyms shows no addresses, or could not be had; said once */
	int64_t kernel_ns;  /* monotonic: it is looked at again then */
};

struct namer_shown {
	uint64_t shown, word;
};

/* Names every frame of the capture; mapping 0 is the target's main executable. Takes
 * symbolizer_lock and lock, in turn. The capture's window must still be open (core.n_windows):
 * it keeps the objects. 0 or -ENOMEM. */
int namer_run(struct core *c, const struct target *t, const struct capture *capture,
	      struct naming *ret);
/* Asks whom the calls at these frame words call, in any order, and writes it to the callees of
 * their locations in *named, where the file tells. Asks once for each word. Conditions and errors
 * as above. */
int namer_callees(struct core *c, const uint64_t *words, size_t n, struct naming *named);
/* Asks which variables are at these places in files, given as PP_FRAME words in any order, 0: none.
 * Sets ret[i] to "name" or "name+0x28", which the caller frees, or to NULL. Conditions and errors
 * as above. */
int namer_variables(struct core *c, const uint64_t *words, size_t n, char **ret);
/* The frame words of shown addresses that are of no file and of no code without one: of the kernel, as far as names
 * of its frames are still in the cache, and why stacks are not complete. Words that are set stay, others stay 0
 * where nobody knows. 0 or -ENOMEM. */
int namer_words(struct core *c, struct namer_shown *all, size_t n);
/* Spells the functions' names otherwise: as they are linked (DEMANGLE_NONE) or with parameters and template arguments
 * (DEMANGLE_FULL). To be done last: who looks for a name looks for a simple one. 0 or -ENOMEM. */
int namer_spell(struct core *c, enum symbolizer_demangle how, struct naming *named);
/* Moves to the front those words that have no answer yet and could have one, each once and those of one object
 * together; returns how many. Takes symbolizer_lock. */
size_t namer_unknown(struct core *c, uint64_t *words, size_t n);
/* Asks about them, which is as if they were named: names become no better ones meanwhile. 0 or -ENOMEM. */
int namer_ahead(struct core *c, const uint64_t *words, size_t n);
void namer_deinit(struct namer *n);
