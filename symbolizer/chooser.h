/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* chooser.h - which instruction of an allocation function can be probed cheaply and without harm?
 *
 * The first one that the kernel emulates (base/emulated.h), when every call passes it exactly
 * once, the stack pointer is still as at the entry, and each argument that is wanted is in some
 * register; or the reason why there is none. Owns nothing, knows no file: it is given the
 * function's bytes, which are a stranger's. Parts of the function that stand elsewhere (.cold) are
 * asked about separately. One for each machine: chooser.c is
 * x86-64's (System V psABI 1.0, 3.2.3), chooser_arm64.c arm64's. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/emulated.h"
#include "symbolizer/probes.h"

struct chooser_code {
	const uint8_t *data; /* the whole function */
	size_t n;
	uint64_t address; /* of its first byte */
};

struct choice {
	size_t offset; /* of the instruction, from the function's first byte */
	enum emulated instruction;
	uint8_t registers[SYMBOLIZER_N_ARGUMENTS]; /* DWARF: where argument n + 1 is; NO_REGISTER
						    * where it was not asked for */
};

/* arguments: bit n - 1 for argument n, below bit SYMBOLIZER_N_ARGUMENTS. PROBE_FINE, or why not;
 * *ret is written for PROBE_FINE only. */
enum symbolizer_probe_status chooser_choose(const struct chooser_code *code, unsigned arguments,
					    struct choice *ret);

enum chooser_exit_kind {
	EXIT_CALL,	/* call rel32 */
	EXIT_JUMP,	/* jmp out of the function, or back to its first byte */
	EXIT_BRANCH,	/* the same under a condition */
	EXIT_CALL_SLOT, /* call *target(%rip) */
	EXIT_JUMP_SLOT, /* jmp *target(%rip) */
	EXIT_CALL_ANY,	/* a call through a register or other memory: no target */
	EXIT_JUMP_ANY,	/* a jump of that kind; perhaps a jump table, and no exit at all */
	EXIT_RETURN,
};

struct chooser_exit {
	enum chooser_exit_kind kind;
	bool thunk;	 /* no branch or call is in front of it */
	uint64_t target; /* 0: none */
	uint64_t address; /* of the instruction */
};

typedef void chooser_exit_fn(void *context, const struct chooser_exit *e);

/* Calls `leave` for every way out of the function, in the order of addresses. PROBE_FINE, or
 * PROBE_UNDECODABLE after those in front of the bad instruction. */
enum symbolizer_probe_status chooser_exits(const struct chooser_code *code, chooser_exit_fn *leave,
					   void *context);

/* Does this code, up to where it ends without a condition, jump into (low, high]? For the parts of
 * a function that its own branches lead to; also true where it cannot be told. */
bool chooser_leads_into(const struct chooser_code *part, uint64_t low, uint64_t high);
