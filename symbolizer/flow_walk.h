/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* flow_walk.h - follows one function: what is in front of each of its instructions.
 *
 * The state that flow.c keeps between functions, and what it asks of one. Nothing here believes
 * anything: a result says what was seen. */

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/vec.h"
#include "symbolizer/flow.h"
#include "symbolizer/flow_seeds.h"

#define FLOW_NOWHERE UINT32_MAX

/* Code is looked at as one array of bytes, `n` of them; a position is an index into it. */
struct piece {
	uint64_t start;
	uint32_t first, n;
	bool told; /* rows are wanted */
};

enum {
	NEVER_RETURNS = 1,
	FUNCTION = 2,
	SEEN = 4,
	ASKED = 8,
	JUMPED_TO = 16, /* nothing but jumps leads to the function */
	UNLIKELY = 32,	/* following it did not come out */
	NO_FUNCTION = 64, /* both, and others jump there with a frame: a part of theirs, where an empty part of another one stood */
};

/* Why something is believed to be a function, in the order of how much it is. */
enum trust { ENTRY_POINT, KNOWN, JUMPED, ADDRESS, POINTER, BLOCK };

struct function {
	uint32_t at, end; /* end: FLOW_NOWHERE where its size is unknown */
	enum trust trust;
};

/* What following one function has shown. */
struct result {
	bool returns, proved, contradicted, lost, undecodable, indirect;
};

struct flow {
	VEC(struct piece) pieces;
	size_t piece; /* the last one found */
	uint32_t n;
	uint8_t *bytes, *flags;
	uint32_t *op_of; /* index + 1 in ops; 0: not decoded yet, FLOW_NOWHERE: undecodable */
	uint16_t *local, *committed; /* index + 1 in states; 0: not reached */
	VEC(struct flow_op) ops;
	VEC(struct flow_state) states;
	struct hash_index state_index;
	struct flow_seeds seeds;
	VEC(struct function) functions, candidates;
	VEC(struct function) found; /* by the function that is being followed */
	VEC(uint32_t) touched, work;
	const struct function *function;
	struct result result;
	struct flow_counts counts;
	bool changed, fixed; /* fixed: loaded at the addresses that it names */
};

/* Of an address; FLOW_NOWHERE outside of all pieces. */
uint32_t flow_position(struct flow *f, uint64_t address);
/* *ret, until the next call: NULL where the bytes are no instruction, or leave their piece. */
int flow_op_at(struct flow *f, uint32_t at, const struct flow_op **ret);
/* *cell becomes what holds in both; *ret: did it change? */
int flow_meet_at(struct flow *f, uint16_t *cell, const struct flow_state *s, bool *ret);
/* Sets f->result, f->found, and f->local of what f->touched lists. state: in front of a BLOCK; the
 * others say by themselves. */
int flow_follow(struct flow *f, const struct function *fn, uint16_t state);

/* What fills the room in front of a function, and flows into it. */
bool flow_is_padding(const struct flow *f, uint32_t at);
/* What is an address by chance is rarely that of a function's place. May a call lead there? A
 * pointer? */
bool flow_may_be_called(struct flow *f, uint32_t at);
bool flow_may_begin(struct flow *f, uint32_t at);
