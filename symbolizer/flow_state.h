/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* flow_state.h - what is known about the frame in front of an instruction, and what the
 * instruction makes of it.
 *
 * Offsets are from the CFA, the stack pointer before the call: a fresh function has it at
 * rsp + 8. Knows one place for each of rbp and rbx where the caller's value was put. x86-64 (System
 * V psABI 3.2: calls preserve rsp, rbp, rbx and leave nothing on the stack; 128 bytes below rsp
 * are the function's own). */

#include <stdbool.h>
#include <stdint.h>

#include "symbolizer/flow_op.h"
#include "symbolizer/rows.h"

#define FLOW_UNKNOWN INT32_MIN

enum flow_value {
	FLOW_CALLERS, /* as it was when the function was called */
	FLOW_FRAME,   /* rbp: CFA - state.fp */
	FLOW_OTHER,
};

struct flow_state {
	int32_t sp;		    /* CFA - rsp, FLOW_UNKNOWN */
	int32_t fp;		    /* CFA - rbp for FLOW_FRAME, else 0 */
	int32_t fp_slot, bx_slot;   /* CFA + slot is where the caller's value is; 0: nowhere */
	uint8_t fp_value, bx_value; /* enum flow_value */
	uint8_t ra; /* register + 1 that holds the return address; 0: the stack does */
	uint8_t outermost;
};
_Static_assert(sizeof(struct flow_state) == 20, "compared and hashed as bytes");

struct flow_state flow_entry(void);
bool flow_is_entry(const struct flow_state *s);
/* Nothing is known: no row. */
bool flow_is_lost(const struct flow_state *s);
/* Do a caller's registers hold again, and is nothing on the stack but the return address? */
bool flow_may_return(const struct flow_state *s);
/* Does it take more from the stack than the function has put there? */
bool flow_takes_too_much(const struct flow_op *op, const struct flow_state *before);
/* What holds whichever of the two is true. */
struct flow_state flow_meet(const struct flow_state *a, const struct flow_state *b);
/* Behind the instruction; for branches, at either side; for calls, after their return. */
struct flow_state flow_step(const struct flow_op *op, const struct flow_state *s);
/* UNWIND_GAP for a lost one. */
struct unwind_rule flow_rule(const struct flow_state *s);
