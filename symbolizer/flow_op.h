/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* flow_op.h - what one instruction does to the stack: shared by flow.c and its decoder.
 *
 * Registers have the hardware's numbers. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FLOW_BX = 3, FLOW_SP = 4, FLOW_FP = 5, FLOW_NONE = 0xff };

enum flow_op_kind {
	FLOW_PLAIN, /* `writes` and nothing else that matters */
	FLOW_PUSH,  /* reg, or FLOW_NONE */
	FLOW_POP,   /* the same */
	FLOW_COPY,  /* reg = base + value; both rsp or rbp */
	FLOW_LEAVE,
	FLOW_LOSE_SP,  /* the stack pointer becomes we do not know what */
	FLOW_SAVE,     /* rbp or rbx to base + value */
	FLOW_LOAD,     /* rbp or rbx from base + value */
	FLOW_STORE,    /* `size` bytes of something at base + value; and `writes` */
	FLOW_ADDRESS,  /* a register becomes the address `value`; and `writes` */
	FLOW_CONSTANT, /* a register becomes `value`, an address perhaps; and `writes` */
	FLOW_CALL,     /* value: the target's address */
	FLOW_CALL_ANY, /* value: the address of the slot, 0: none */
	FLOW_JUMP,
	FLOW_JUMP_ANY,
	FLOW_BRANCH, /* under a condition */
	FLOW_RETURN, /* value: bytes of arguments that it drops */
	FLOW_STOP,   /* nothing is behind it */
};

struct flow_op {
	uint8_t length, kind, reg, base;
	uint16_t writes; /* bit n: register n */
	uint16_t size;
	int64_t value;
};

/* False where the bytes are no instruction. `n` may be more than one has. */
bool flow_decode(const uint8_t *code, size_t n, uint64_t address, struct flow_op *ret);
