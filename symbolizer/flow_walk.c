/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/flow_walk.h"

#include <errno.h>
#include <string.h>

/* C libraries take one and a half a byte. */
#define MAX_STEPS (8u << 20)
#define STEPS_PER_BYTE 16
#define MORE_STEPS 65536
#define MAX_STATES 65000

uint32_t flow_position(struct flow *f, uint64_t address)
{
	size_t low = 0, n = f->pieces.n;
	const struct piece *p = &f->pieces.data[f->piece];

	if (address - p->start < p->n)
		return p->first + (uint32_t)(address - p->start);
	while (n > 1) {
		size_t half = n / 2;

		if (f->pieces.data[low + half].start <= address)
			low += half;
		n -= half;
	}
	p = &f->pieces.data[low];
	if (address - p->start >= p->n)
		return FLOW_NOWHERE;
	f->piece = low;
	return p->first + (uint32_t)(address - p->start);
}

/* The piece that holds a position. */
static const struct piece *piece_at(struct flow *f, uint32_t at)
{
	size_t low = 0, n = f->pieces.n;
	const struct piece *p = &f->pieces.data[f->piece];

	if (at - p->first < p->n)
		return p;
	while (n > 1) {
		size_t half = n / 2;

		if (f->pieces.data[low + half].first <= at)
			low += half;
		n -= half;
	}
	f->piece = low;
	return &f->pieces.data[low];
}

static bool state_equal(uint32_t item, const void *key, const void *context)
{
	const struct flow *f = context;

	return !memcmp(&f->states.data[item], key, sizeof(struct flow_state));
}

static int intern(struct flow *f, const struct flow_state *s, uint16_t *ret)
{
	uint64_t h = hash_bytes(HASH_SEED, s, sizeof(*s));
	uint32_t i = hash_get(&f->state_index, h, state_equal, s, f);
	int r = 0;

	if (i == HASH_NONE) {
		i = (uint32_t)f->states.n;
		if (i == MAX_STATES)
			return -E2BIG;
		r = vec_push(&f->states, *s);
		if (r == 0)
			r = hash_put(&f->state_index, h, i);
	}
	*ret = (uint16_t)(i + 1);
	return r;
}

int flow_meet_at(struct flow *f, uint16_t *cell, const struct flow_state *s, bool *ret)
{
	struct flow_state m = *cell ? flow_meet(&f->states.data[*cell - 1], s) : *s;
	uint16_t i;
	int r = intern(f, &m, &i);

	*ret = r == 0 && i != *cell;
	if (r == 0)
		*cell = i;
	return r;
}

int flow_op_at(struct flow *f, uint32_t at, const struct flow_op **ret)
{
	const struct piece *p;
	struct flow_op op;
	int r;

	*ret = NULL;
	if (f->op_of[at] == FLOW_NOWHERE)
		return 0;
	if (!f->op_of[at]) {
		p = piece_at(f, at);
		if (at - p->first >= p->n || !flow_decode(f->bytes + at, p->first + p->n - at,
							  p->start + (at - p->first), &op)) {
			f->op_of[at] = FLOW_NOWHERE;
			return 0;
		}
		r = vec_push(&f->ops, op);
		if (r < 0)
			return r;
		f->op_of[at] = (uint32_t)f->ops.n;
	}
	*ret = &f->ops.data[f->op_of[at] - 1];
	return 0;
}

static int find(struct flow *f, uint64_t address, enum trust trust)
{
	uint32_t at = flow_position(f, address);

	if (at == FLOW_NOWHERE)
		return 0;
	return vec_push(&f->found, ((struct function){ at, FLOW_NOWHERE, trust }));
}

/* A block of unknown origin comes to what is known: its state has to be what holds there. */
static void join(struct flow *f, uint32_t at, const struct flow_state *s)
{
	const struct flow_state *known = &f->states.data[f->committed[at] - 1];
	struct flow_state m = flow_meet(known, s);

	if (memcmp(&m, known, sizeof(m)))
		f->result.contradicted = true;
	else if (known->sp != FLOW_UNKNOWN || known->fp_value == FLOW_FRAME)
		f->result.proved = true;
}

static int visit(struct flow *f, uint32_t at, const struct flow_state *s)
{
	bool fresh = !f->local[at], changed;
	int r;

	if (f->function->trust == BLOCK && f->committed[at]) {
		join(f, at, s);
		return 0;
	}
	r = flow_meet_at(f, &f->local[at], s, &changed);

	if (r == 0 && fresh)
		r = vec_push(&f->touched, at);
	if (r == 0 && changed)
		r = vec_push(&f->work, at);
	return r;
}

/* A jump, with or without a condition. */
static int jump(struct flow *f, const struct flow_op *op, const struct flow_state *s)
{
	const struct function *fn = f->function;
	uint32_t at = flow_position(f, (uint64_t)op->value);
	bool entry = flow_is_entry(s), outside;

	if (at == FLOW_NOWHERE) {
		f->result.returns = true;
		return 0;
	}
	outside = fn->end != FLOW_NOWHERE && (at < fn->at || at >= fn->end);
	if (entry && (f->flags[at] & NO_FUNCTION)) {
		f->result.returns = true;
		return 0;
	}
	if (entry && at != fn->at && (outside || (f->flags[at] & FUNCTION))) {
		if (!(f->flags[at] & NEVER_RETURNS))
			f->result.returns = true;
		f->result.proved |= f->flags[at] & FUNCTION;
		return find(f, (uint64_t)op->value, JUMPED);
	}
	if (f->flags[at] & FUNCTION && !entry) {
		if ((f->flags[at] & (JUMPED_TO | UNLIKELY)) == (JUMPED_TO | UNLIKELY)) {
			f->flags[at] |= NO_FUNCTION; /* from the next round on */
			f->changed = true;
		}
		f->result.contradicted = true;
		return 0;
	}
	return visit(f, at, s);
}

/* On to the next instruction. A function that begins there is not fallen into with a frame: what
 * is in front of it does not return. */
static int fall(struct flow *f, uint32_t at, const struct flow_op *op, const struct flow_state *s)
{
	const struct piece *p = piece_at(f, at);
	uint32_t next = at + op->length;

	if (next >= p->first + p->n) {
		f->result.returns = true;
		return 0;
	}
	if (!flow_is_entry(s) && (next == f->function->end || (f->flags[next] & (FUNCTION | SEEN))))
		return 0;
	return visit(f, next, s);
}

bool flow_is_padding(const struct flow *f, uint32_t at)
{
	const uint8_t *p = f->bytes + at;
	uint32_t left = f->n - at;

	while (left && (*p == 0x66 || *p == 0x2e))
		p++, left--;
	return left && (*p == 0x90 || (left > 1 && p[0] == 0x0f && p[1] == 0x1f));
}

static bool has_slot(const uint64_t *slots, size_t n, uint64_t slot)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (slots[middle] < slot)
			low = middle + 1;
		else
			high = middle;
	}
	return low < n && slots[low] == slot;
}

static bool never_returns(const struct flow *f, uint64_t slot)
{
	return has_slot(f->seeds.never_return.data, f->seeds.never_return.n, slot);
}

/* A function that we do not see may be one that never returns: then what is behind its call is the
 * room to the next function, or that function. */
static bool is_behind_unseen(struct flow *f, uint32_t at, uint64_t slot)
{
	const struct piece *p = piece_at(f, at);

	return !has_slot(f->seeds.known_to_return.data, f->seeds.known_to_return.n, slot) &&
	       (!((p->start + (at - p->first)) & 15) || (at < f->n && flow_is_padding(f, at)));
}

/* The slot that a stub leads through; 0: it is none. */
static int stub_slot(struct flow *f, uint32_t at, uint64_t *ret)
{
	const struct flow_op *op = NULL;
	int r = 0;

	*ret = 0;
	for (int i = 0; i < 2 && at < f->n && r == 0; i++) {
		r = flow_op_at(f, at, &op);
		if (r < 0 || !op)
			return r;
		if (op->kind == FLOW_JUMP_ANY)
			*ret = (uint64_t)op->value;
		if (op->kind != FLOW_PLAIN)
			break;
		at += op->length;
	}
	return r;
}

static int call(struct flow *f, uint32_t at, const struct flow_op *op, const struct flow_state *s)
{
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	uint32_t to = FLOW_NOWHERE;
	uint64_t slot;
	int r = 0;

	if (op->kind == FLOW_CALL) {
		to = flow_position(f, (uint64_t)op->value);
		r = find(f, (uint64_t)op->value, KNOWN);
	} else if (op->value && never_returns(f, (uint64_t)op->value)) {
		return 0;
	}
	if (r < 0 || (to != FLOW_NOWHERE && (f->flags[to] & NEVER_RETURNS)))
		return r;
	if (at + op->length + sizeof(endbr64) <= f->n &&
	    !memcmp(f->bytes + at + op->length, endbr64, sizeof(endbr64)))
		return 0; /* only functions begin like this, and where setjmp returns */
	slot = (uint64_t)op->value;
	if (to != FLOW_NOWHERE) {
		r = stub_slot(f, to, &slot);
		op = &f->ops.data[f->op_of[at] - 1]; /* the array may have moved */
	}
	if (slot && is_behind_unseen(f, at + op->length, slot))
		return r;
	return r < 0 ? r : fall(f, at, op, s);
}

/* A new thread's first steps: the caller's rbp, which nobody has saved, becomes 0 (psABI 3.4.1),
 * and what is called is in a register. Clone of glibc and of musl. */
static int begins_thread(struct flow *f, uint32_t at, const struct flow_op *op,
			 const struct flow_state *s, bool *ret)
{
	static const uint8_t xor_ebp[] = { 0x31, 0xed };
	int r = 0;

	*ret = false;
	if (op->length != sizeof(xor_ebp) || memcmp(f->bytes + at, xor_ebp, sizeof(xor_ebp)) ||
	    s->sp != 8 || s->fp_value != FLOW_CALLERS || s->fp_slot)
		return 0;
	for (int i = 0; i < 4 && r == 0; i++) {
		at += op->length;
		if (at >= f->n)
			return 0;
		r = flow_op_at(f, at, &op);
		if (r < 0 || !op)
			return r;
		*ret = op->kind == FLOW_CALL_ANY && !op->value;
		if (*ret ||
		    (op->kind != FLOW_PLAIN && op->kind != FLOW_POP && op->kind != FLOW_LOSE_SP))
			break;
	}
	return r;
}

bool flow_may_be_called(struct flow *f, uint32_t at)
{
	const struct piece *p = piece_at(f, at);
	uint8_t before;

	if (at == p->first)
		return true;
	before = f->bytes[at - 1]; /* nop, int3, ret, the end of a long nop */
	return before == 0x90 || before == 0xcc || before == 0xc3 || !before ||
	       !((p->start + (at - p->first)) & 15);
}

bool flow_may_begin(struct flow *f, uint32_t at)
{
	const struct piece *p = at == FLOW_NOWHERE ? NULL : piece_at(f, at);

	return p && (at == p->first || (!((p->start + (at - p->first)) & 15) &&
					memchr("\x90\xcc\xc3", f->bytes[at - 1], 4)));
}

static int leave_function(struct flow *f, const struct flow_op *op, const struct flow_state *s,
			  const struct flow_state *next)
{
	if (op->kind == FLOW_JUMP_ANY && op->value && never_returns(f, (uint64_t)op->value))
		return 0;
	if (op->kind == FLOW_JUMP_ANY) {
		/* on another stack (longjmp), it is not to its caller that it goes */
		f->result.returns |= !flow_is_lost(next);
		/* a label that is jumped to in the state of an entry has the state of one */
		f->result.indirect |= !op->value && !flow_is_entry(next);
		return 0;
	}
	f->result.returns = true;
	if (flow_may_return(s) && !op->value)
		f->result.proved = true;
	else if (!flow_is_lost(s))
		f->result.contradicted = true;
	return 0;
}

static int follow_one(struct flow *f, uint32_t at)
{
	struct flow_state s = f->states.data[f->local[at] - 1], next;
	const struct flow_op *o;
	struct flow_op op;
	bool thread;
	int r = flow_op_at(f, at, &o);

	if (r < 0 || !o) {
		f->result.undecodable |= !o;
		return r;
	}
	op = *o;
	r = begins_thread(f, at, &op, &s, &thread);
	if (r < 0)
		return r;
	if (thread) {
		s = (struct flow_state){ .sp = FLOW_UNKNOWN, .outermost = 1 };
		r = intern(f, &s, &f->local[at]);
	}
	if (r < 0)
		return r;
	next = flow_step(&op, &s);
	if (flow_is_lost(&next))
		f->result.lost = true;
	if (f->function->trust >= JUMPED && flow_takes_too_much(&op, &s))
		f->result.contradicted = true; /* no function begins where it began */
	switch (op.kind) {
	case FLOW_CALL:
	case FLOW_CALL_ANY:
		return call(f, at, &op, &next);
	case FLOW_JUMP:
		return jump(f, &op, &next);
	case FLOW_BRANCH:
		r = jump(f, &op, &next);
		return r < 0 ? r : fall(f, at, &op, &next);
	case FLOW_JUMP_ANY:
	case FLOW_RETURN:
		return leave_function(f, &op, &s, &next);
	case FLOW_STOP:
		return 0;
	case FLOW_ADDRESS:
		r = find(f, (uint64_t)op.value, ADDRESS);
		break;
	case FLOW_CONSTANT:
		if (f->fixed && flow_may_begin(f, flow_position(f, (uint64_t)op.value)))
			r = find(f, (uint64_t)op.value, ADDRESS);
	}
	return r < 0 ? r : fall(f, at, &op, &next);
}

int flow_follow(struct flow *f, const struct function *fn, uint16_t state)
{
	struct flow_state start = flow_entry();
	int r;

	f->function = fn;
	f->result = (struct result){ 0 };
	f->found.n = f->touched.n = f->work.n = 0;
	if (fn->trust == ENTRY_POINT)
		start = (struct flow_state){ .sp = FLOW_UNKNOWN, .outermost = 1 };
	if (fn->trust == BLOCK)
		start = f->states.data[state - 1];
	r = visit(f, fn->at, &start);
	while (r == 0 && f->work.n) {
		if (++f->counts.n_steps > MAX_STEPS ||
		    f->counts.n_steps > (uint64_t)f->n * STEPS_PER_BYTE + MORE_STEPS)
			return -E2BIG;
		r = follow_one(f, f->work.data[--f->work.n]);
	}
	return r;
}
