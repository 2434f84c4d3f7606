/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* flow.h - unwind rows for code without FDEs, from what its instructions do to the stack.
 *
 * Follows direct branches from where functions are known to begin: symbols, the targets of calls
 * in code that was followed, the entry point. Pointers to code are believed only where following
 * them proves that a function begins there: each way to a return comes out with the stack as at a
 * call. What no way leads to gets no row; where ways meet that differ, only what they agree on is
 * said. Calls of functions that never return are not followed past. Owns nothing after its return.
 * The code is a stranger's: bounded by FLOW_MAX_CODE, and by a number of steps, beyond which there
 * is no row at all. x86-64 only. */

#include <stdint.h>

#include "symbolizer/elf_file.h"
#include "symbolizer/flow_state.h"

#define FLOW_MAX_CODE (4u << 20) /* bytes; of more, the first */

struct flow_range {
	uint64_t start, end;
};

/* Ranges ascend and do not touch. Negative ends it and is passed on. */
typedef int flow_row_fn(void *context, uint64_t start, uint64_t end, const struct flow_state *s);

struct flow_counts {
	uint32_t n_functions, n_odd, n_instructions, n_rounds;
	uint64_t n_steps;
};

/* ranges: executable, ascending, apart. 0, also where there is nothing to follow; -E2BIG past a
 * bound: no row was told; -ENOMEM; what row answered. ret may be NULL. */
int flow_build(struct elf_file *f, const struct flow_range *ranges, size_t n, flow_row_fn *row,
	       void *context, struct flow_counts *ret);
