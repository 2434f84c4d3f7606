/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* flow_seeds.h - where functions of a file begin, or may: what it says outside of its code.
 *
 * Refuses nothing for being odd; whoever asks checks the addresses. */

#include "base/vec.h"
#include "symbolizer/elf_file.h"

#define FLOW_MAX_SEEDS (1u << 18)

struct flow_seed {
	uint64_t start, size; /* size 0: unknown */
};

struct flow_seeds {
	VEC(struct flow_seed) functions; /* by symbols; ascending, the largest first */
	VEC(uint64_t) pointers;		 /* words of data that may be functions; ascending */
	VEC(uint64_t) never_return;	 /* slots of functions that do not; ascending */
	VEC(uint64_t) known_to_return;	 /* slots of such as do */
};

/* Those in [low, high). 0, -ENOMEM, -E2BIG: more than FLOW_MAX_SEEDS of a kind. */
int flow_seeds(struct elf_file *f, uint64_t low, uint64_t high, struct flow_seeds *ret);
void flow_seeds_deinit(struct flow_seeds *s);
