/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/flow.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/hash.h"
#include "base/vec.h"
#include "symbolizer/flow_seeds.h"

#define MAX_STEPS (24u << 20)
#define MAX_ROUNDS 8
#define MAX_FUNCTIONS (1u << 18)
#define MAX_STATES 65000
#define MAX_GUESSES 8
#define MAX_SWEEP (32u << 20)
#define CALL 5 /* bytes of call rel32 */
#define NOWHERE UINT32_MAX

/* Code is looked at as one array of bytes, `n` of them; a position is an index into it. */
struct piece {
	uint64_t start;
	uint32_t first, n;
	bool told; /* rows are wanted */
};

enum { NEVER_RETURNS = 1, FUNCTION = 2, SEEN = 4, ASKED = 8 };

/* Why something is believed to be a function, in the order of how much it is. */
enum trust { ENTRY_POINT, KNOWN, ADDRESS, POINTER, BLOCK };

struct function {
	uint32_t at, end; /* end: NOWHERE where its size is unknown */
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
	uint32_t *op_of; /* index + 1 in ops; 0: not decoded yet, NOWHERE: undecodable */
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

static uint32_t position(struct flow *f, uint64_t address)
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
		return NOWHERE;
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

/* *cell becomes what holds in both; *ret: did it change? */
static int meet(struct flow *f, uint16_t *cell, const struct flow_state *s, bool *ret)
{
	struct flow_state m = *cell ? flow_meet(&f->states.data[*cell - 1], s) : *s;
	uint16_t i;
	int r = intern(f, &m, &i);

	*ret = r == 0 && i != *cell;
	if (r == 0)
		*cell = i;
	return r;
}

/* NULL: undecodable, also what runs out of its piece. */
static int op_at(struct flow *f, uint32_t at, const struct flow_op **ret)
{
	const struct piece *p;
	struct flow_op op;
	int r;

	*ret = NULL;
	if (f->op_of[at] == NOWHERE)
		return 0;
	if (!f->op_of[at]) {
		p = piece_at(f, at);
		if (!flow_decode(f->bytes + at, p->first + p->n - at, p->start + (at - p->first),
				 &op)) {
			f->op_of[at] = NOWHERE;
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
	uint32_t at = position(f, address);

	if (at == NOWHERE)
		return 0;
	return vec_push(&f->found, ((struct function){ at, NOWHERE, trust }));
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
	r = meet(f, &f->local[at], s, &changed);

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
	uint32_t at = position(f, (uint64_t)op->value);
	bool entry = flow_is_entry(s), outside;

	if (at == NOWHERE) {
		f->result.returns = true;
		return 0;
	}
	outside = fn->end != NOWHERE && (at < fn->at || at >= fn->end);
	if (entry && at != fn->at && (outside || (f->flags[at] & FUNCTION))) {
		if (!(f->flags[at] & NEVER_RETURNS))
			f->result.returns = true;
		f->result.proved |= f->flags[at] & FUNCTION;
		return find(f, (uint64_t)op->value, KNOWN);
	}
	if (f->flags[at] & FUNCTION && !entry) {
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

/* What fills the room in front of a function flows into it. */
static bool is_padding(const struct flow *f, uint32_t at)
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
	       (!((p->start + (at - p->first)) & 15) || (at < f->n && is_padding(f, at)));
}

/* The slot that a stub leads through; 0: it is none. */
static int stub_slot(struct flow *f, uint32_t at, uint64_t *ret)
{
	const struct flow_op *op = NULL;
	int r = 0;

	*ret = 0;
	for (int i = 0; i < 2 && at < f->n && r == 0; i++) {
		r = op_at(f, at, &op);
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
	uint32_t to = NOWHERE;
	uint64_t slot;
	int r = 0;

	if (op->kind == FLOW_CALL) {
		to = position(f, (uint64_t)op->value);
		r = find(f, (uint64_t)op->value, KNOWN);
	} else if (op->value && never_returns(f, (uint64_t)op->value)) {
		return 0;
	}
	if (r < 0 || (to != NOWHERE && (f->flags[to] & NEVER_RETURNS)))
		return r;
	if (at + op->length + sizeof(endbr64) <= f->n &&
	    !memcmp(f->bytes + at + op->length, endbr64, sizeof(endbr64)))
		return 0; /* only functions begin like this, and where setjmp returns */
	slot = (uint64_t)op->value;
	if (to != NOWHERE) {
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
		r = op_at(f, at, &op);
		if (r < 0 || !op)
			return r;
		*ret = op->kind == FLOW_CALL_ANY && !op->value;
		if (*ret || (op->kind != FLOW_PLAIN && op->kind != FLOW_POP &&
			     op->kind != FLOW_LOSE_SP))
			break;
	}
	return r;
}

/* What is an address by chance is rarely that of a function's place. */
static bool may_be_called(struct flow *f, uint32_t at)
{
	const struct piece *p = piece_at(f, at);
	uint8_t before;

	if (at == p->first)
		return true;
	before = f->bytes[at - 1]; /* nop, int3, ret, the end of a long nop */
	return before == 0x90 || before == 0xcc || before == 0xc3 || !before ||
	       !((p->start + (at - p->first)) & 15);
}

static bool may_begin(struct flow *f, uint32_t at)
{
	const struct piece *p = at == NOWHERE ? NULL : piece_at(f, at);

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
	int r = op_at(f, at, &o);

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
		if (f->fixed && may_begin(f, position(f, (uint64_t)op.value)))
			r = find(f, (uint64_t)op.value, ADDRESS);
	}
	return r < 0 ? r : fall(f, at, &op, &next);
}

/* state: in front of a BLOCK; the others say by themselves. */
static int follow(struct flow *f, const struct function *fn, uint16_t state)
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
		if (++f->counts.n_steps > MAX_STEPS)
			return -E2BIG;
		r = follow_one(f, f->work.data[--f->work.n]);
	}
	return r;
}

static int add_function(struct flow *f, struct function fn)
{
	if (f->flags[fn.at] & FUNCTION)
		return 0;
	if (f->functions.n == MAX_FUNCTIONS)
		return -E2BIG;
	f->flags[fn.at] |= FUNCTION;
	if (!(f->flags[fn.at] & SEEN))
		f->changed = true;
	f->flags[fn.at] |= SEEN;
	return vec_push(&f->functions, fn);
}

static int add_candidate(struct flow *f, struct function fn)
{
	if ((f->flags[fn.at] & FUNCTION) ||
	    ((f->flags[fn.at] & ASKED) && fn.trust == POINTER))
		return 0;
	if (f->candidates.n == MAX_FUNCTIONS)
		return -E2BIG;
	f->flags[fn.at] |= ASKED;
	return vec_push(&f->candidates, fn);
}

/* Addresses in instructions are functions or, where a function jumps to what it has computed,
 * labels. */
static int take_found(struct flow *f, const struct function *fn)
{
	int r = 0;

	for (size_t i = 0; i < f->found.n && r == 0; i++) {
		struct function q = f->found.data[i];

		if (q.trust == KNOWN) {
			r = add_function(f, q);
			continue;
		}
		if (f->result.indirect || f->local[q.at] ||
		    (fn->end != NOWHERE && q.at >= fn->at && q.at < fn->end))
			q.trust = POINTER;
		r = add_candidate(f, q);
	}
	return r;
}

static bool is_believed(const struct flow *f, const struct function *fn)
{
	const struct result *q = &f->result;

	if (q->contradicted || (fn->trust >= ADDRESS && is_padding(f, fn->at)))
		return false;
	if (fn->trust <= KNOWN)
		return true;
	for (size_t i = 0; i < f->touched.n; i++) {
		uint32_t at = f->touched.data[i];

		if (f->committed[at] && f->committed[at] != f->local[at])
			return false;
	}
	if (q->proved)
		return fn->trust != BLOCK || (!q->lost && !q->undecodable);
	return fn->trust == ADDRESS && !q->returns && !q->lost && !q->undecodable && !q->indirect;
}

static void forget(struct flow *f)
{
	for (size_t i = 0; i < f->touched.n; i++)
		f->local[f->touched.data[i]] = 0;
}

/* Keeps what was found, if it is believed, and forgets the rest. */
static int settle(struct flow *f, const struct function *fn, bool *ret)
{
	bool changed;
	int r = 0;

	*ret = is_believed(f, fn);
	for (size_t i = 0; *ret && i < f->touched.n && r == 0; i++) {
		uint32_t at = f->touched.data[i];

		r = meet(f, &f->committed[at], &f->states.data[f->local[at] - 1], &changed);
	}
	if (r == 0 && (*ret || fn->trust <= KNOWN))
		r = take_found(f, fn);
	forget(f);
	if (*ret && fn->trust != BLOCK && !f->result.returns && !(f->flags[fn->at] & NEVER_RETURNS)) {
		f->flags[fn->at] |= NEVER_RETURNS;
		f->changed = true;
	}
	f->counts.n_odd += !*ret && fn->trust <= KNOWN;
	return r;
}

static int follow_functions(struct flow *f, size_t *at)
{
	bool believed;
	int r = 0;

	for (; *at < f->functions.n && r == 0; ++*at) {
		struct function fn = f->functions.data[*at];

		r = follow(f, &fn, 0);
		if (r == 0)
			r = settle(f, &fn, &believed);
	}
	return r;
}

/* In the midst of what is known, or at an instruction of another state, no function begins. */
static bool is_impossible(const struct flow *f, uint32_t at)
{
	return f->committed[at] && !flow_is_entry(&f->states.data[f->committed[at] - 1]);
}

/* One more of those that may be functions; what follows from it. *ret: was there any that is? */
static int try_candidates(struct flow *f, size_t *at, bool *ret)
{
	int r = 0;

	*ret = false;
	for (size_t i = 0; i < f->candidates.n && r == 0; i++) {
		struct function fn = f->candidates.data[i];
		bool believed = false;

		if ((f->flags[fn.at] & FUNCTION) || is_impossible(f, fn.at))
			continue;
		r = follow(f, &fn, 0);
		if (r == 0 && is_believed(f, &fn))
			f->flags[fn.at] |= FUNCTION | SEEN;
		if (r == 0)
			r = settle(f, &fn, &believed);
		f->counts.n_functions += believed;
		*ret |= believed;
		if (r == 0)
			r = follow_functions(f, at);
	}
	return r;
}

/* States in front of computed jumps, each once. */
struct guesses {
	uint16_t states[MAX_GUESSES];
	unsigned n;
};

static bool is_told(const struct flow *f, uint32_t at)
{
	return f->committed[at] && f->op_of[at] && f->op_of[at] != NOWHERE;
}

static void computed_jumps(const struct flow *f, uint32_t low, uint32_t high, struct guesses *ret)
{
	ret->n = 0;
	for (uint32_t at = low; at < high && ret->n < MAX_GUESSES; at++) {
		const struct flow_op *op;
		bool known = false;

		if (!is_told(f, at))
			continue;
		op = &f->ops.data[f->op_of[at] - 1];
		if (op->kind != FLOW_JUMP_ANY || op->value ||
		    flow_is_lost(&f->states.data[f->committed[at] - 1]))
			continue;
		for (unsigned i = 0; i < ret->n; i++)
			known |= ret->states[i] == f->committed[at];
		if (!known)
			ret->states[ret->n++] = f->committed[at];
	}
}

/* A block that a computed jump leads to, perhaps: it is believed where exactly one of the states
 * in front of such jumps makes it come out right. */
static int try_block(struct flow *f, uint32_t at, const struct guesses *g, bool *ret)
{
	struct function fn = { at, NOWHERE, BLOCK };
	uint16_t fits = 0;
	unsigned n = 0;
	int r = 0;

	*ret = false;
	for (unsigned i = 0; i < g->n && r == 0; i++) {
		r = follow(f, &fn, g->states[i]);
		if (r == 0 && is_believed(f, &fn)) {
			fits = g->states[i];
			n++;
		}
		forget(f);
	}
	if (r < 0 || n != 1)
		return r;
	r = follow(f, &fn, fits);
	return r < 0 ? r : settle(f, &fn, ret);
}

static bool ends_block(const struct flow_op *op)
{
	return op->kind == FLOW_JUMP || op->kind == FLOW_JUMP_ANY || op->kind == FLOW_RETURN ||
	       op->kind == FLOW_STOP;
}

/* Between low and high, where no function is known to begin: what is behind the end of a block and
 * was not reached. */
static int fill_holes(struct flow *f, uint32_t low, uint32_t high, bool *ret)
{
	const struct flow_op *op;
	struct guesses g;
	bool begins = false, believed;
	int r = 0;

	computed_jumps(f, low, high, &g);
	for (uint32_t at = low; g.n && at < high && r == 0; at += op ? op->length : 1) {
		r = op_at(f, at, &op);
		if (r == 0 && begins && !f->committed[at] && op && !is_padding(f, at)) {
			r = try_block(f, at, &g, &believed);
			*ret |= believed;
			if (r == 0)
				r = op_at(f, at, &op); /* the array may have moved */
		}
		begins = op && (ends_block(op) || (begins && is_padding(f, at)) ||
				((op->kind == FLOW_CALL || op->kind == FLOW_CALL_ANY) &&
				 is_told(f, at) && at + op->length < high &&
				 !f->committed[at + op->length]));
	}
	return r;
}

static int fill_all_holes(struct flow *f, size_t *functions_at, bool *ret)
{
	int r = 0;

	*ret = false;
	for (size_t k = 0; k < f->pieces.n && r == 0; k++) {
		uint32_t low = f->pieces.data[k].first, end = low + f->pieces.data[k].n;

		while (low < end && r == 0) {
			uint32_t high = low + 1;

			while (high < end && !(f->flags[high] & FUNCTION))
				high++;
			r = fill_holes(f, low, high, ret);
			low = high;
		}
	}
	return r < 0 ? r : follow_functions(f, functions_at);
}

static int add_seeds(struct flow *f, uint64_t entry)
{
	const struct flow_seeds *s = &f->seeds;
	uint32_t at = entry ? position(f, entry) : NOWHERE;
	int r = 0;

	if (at != NOWHERE)
		r = add_function(f, (struct function){ at, NOWHERE, ENTRY_POINT });
	for (size_t i = 0; i < s->functions.n && r == 0; i++) {
		uint64_t end = s->functions.data[i].start + s->functions.data[i].size;
		struct function fn = { position(f, s->functions.data[i].start), NOWHERE, KNOWN };

		if (fn.at == NOWHERE)
			continue;
		if (s->functions.data[i].size && position(f, end - 1) != NOWHERE)
			fn.end = position(f, end - 1) + 1;
		if (fn.end < fn.at)
			fn.end = NOWHERE;
		r = add_function(f, fn);
	}
	for (size_t i = 0; i < s->pointers.n && r == 0; i++) {
		at = position(f, s->pointers.data[i]);
		if (at != NOWHERE && may_begin(f, at))
			r = add_candidate(f, (struct function){ at, NOWHERE, POINTER });
	}
	return r;
}

/* Calls in code that has FDEs of its own: five bytes that look like one, and lead to where a function
 * can begin; what is there has to prove it. */
static int sweep(struct flow *f, const struct elf_file *elf, uint64_t low, uint64_t high)
{
	uint8_t code[1 << 16];
	int32_t distance;
	size_t n = sizeof(code);
	int r = 0;

	for (; low < high && n > CALL && r == 0; low += n - CALL + 1) {
		const uint8_t *p = code, *end;

		n = elf_file_read(elf, low, code, high - low < sizeof(code) ? high - low : sizeof(code));
		end = n >= CALL ? code + n - CALL : code;
		while (r == 0 && p < end && (p = memchr(p, 0xe8, (size_t)(end - p)))) {
			uint32_t at;

			memcpy(&distance, ++p, sizeof(distance));
			at = position(f, low + (uint64_t)(p - code) + 4 + (uint64_t)(int64_t)distance);
			if (at != NOWHERE && !(f->flags[at] & ASKED) && may_be_called(f, at))
				r = add_candidate(f, (struct function){ at, NOWHERE, POINTER });
		}
	}
	return r;
}

static int sweep_all(struct flow *f, const struct elf_file *elf)
{
	uint64_t low, high, left = MAX_SWEEP;
	int r = 0;

	if (!elf_file_text(elf, &low, &high))
		return 0;
	for (size_t i = 0; i <= f->pieces.n && r == 0; i++) {
		uint64_t end = i < f->pieces.n ? f->pieces.data[i].start : high;

		if (end > low && end - low > left)
			end = low + left;
		if (end > low) {
			left -= end - low;
			r = sweep(f, elf, low, end);
		}
		if (i < f->pieces.n)
			low = f->pieces.data[i].start + f->pieces.data[i].n;
	}
	return r;
}

/* All functions once. Those that never return are found on the way, so that the next round follows
 * fewer ways. */
static int run_round(struct flow *f, const struct elf_file *elf)
{
	bool more = true;
	size_t at = 0;
	int r;

	f->changed = false;
	f->functions.n = f->candidates.n = 0;
	f->counts.n_functions = f->counts.n_odd = 0;
	f->counts.n_rounds++;
	memset(f->committed, 0, f->n * sizeof(*f->committed));
	for (uint32_t i = 0; i < f->n; i++)
		f->flags[i] &= NEVER_RETURNS | SEEN;
	r = add_seeds(f, elf->entry);
	if (r == 0)
		r = sweep_all(f, elf);
	if (r == 0)
		r = follow_functions(f, &at);
	for (int i = 0; i < MAX_ROUNDS && more && r == 0; i++) {
		r = try_candidates(f, &at, &more);
		if (r == 0 && !more)
			r = fill_all_holes(f, &at, &more);
	}
	f->counts.n_functions += (uint32_t)f->functions.n;
	return r;
}

/* Instructions that overlap are none, unless they agree (a jump behind a lock prefix). */
static uint32_t instruction_end(struct flow *f, uint32_t at, bool *ret_agreed)
{
	uint32_t end = at + f->ops.data[f->op_of[at] - 1].length;

	*ret_agreed = true;
	for (uint32_t i = at + 1; i < end; i++) {
		if (!f->committed[i] || !f->op_of[i] || f->op_of[i] == NOWHERE)
			continue;
		*ret_agreed = f->committed[i] == f->committed[at];
		return i;
	}
	return end;
}

static int tell(struct flow *f, flow_row_fn *row, void *context)
{
	int r = 0;

	for (size_t k = 0; k < f->pieces.n && r == 0; k++) {
		const struct piece *p = &f->pieces.data[k];

		for (uint32_t at = p->first; at < p->first + p->n && p->told && r == 0;) {
			uint64_t address = p->start + (at - p->first);
			uint32_t end;
			bool agreed;

			if (!f->committed[at] || !f->op_of[at] || f->op_of[at] == NOWHERE) {
				at++;
				continue;
			}
			f->counts.n_instructions++;
			end = instruction_end(f, at, &agreed);
			if (!agreed)
				f->committed[end] = 0;
			else if (!flow_is_lost(&f->states.data[f->committed[at] - 1]))
				r = row(context, address, address + (end - at),
					&f->states.data[f->committed[at] - 1]);
			at = end;
		}
	}
	return r;
}

static int by_start(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Stubs are followed even where they have FDEs: they tell which calls never return. */
static int add_stubs(struct flow *f, struct elf_file *elf)
{
	static const char *const names[] = { ".plt", ".plt.sec", ".plt.got" };
	struct elf_section s;
	int r = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && r == 0; i++) {
		bool overlaps = !elf_file_section(elf, names[i], &s) || s.n > FLOW_MAX_CODE;

		for (size_t k = 0; k < f->pieces.n && !overlaps; k++)
			overlaps = f->pieces.data[k].start < s.address + s.n &&
				   s.address < f->pieces.data[k].start + f->pieces.data[k].n;
		if (!overlaps)
			r = vec_push(&f->pieces,
				     ((struct piece){ s.address, 0, (uint32_t)s.n, false }));
	}
	return r;
}

static int read_code(struct flow *f, struct elf_file *elf, const struct flow_range *ranges,
		     size_t n)
{
	uint64_t left = FLOW_MAX_CODE;
	int r = 0;

	for (size_t i = 0; i < n && r == 0 && left; i++) {
		uint64_t size = ranges[i].end - ranges[i].start;

		size = size < left ? size : left;
		left -= size;
		r = vec_push(&f->pieces, ((struct piece){ ranges[i].start, 0, (uint32_t)size, true }));
	}
	if (r == 0)
		r = add_stubs(f, elf);
	if (r < 0 || !f->pieces.n)
		return r;
	qsort(f->pieces.data, f->pieces.n, sizeof(struct piece), by_start);
	for (size_t i = 0; i < f->pieces.n; i++) {
		f->pieces.data[i].first = f->n;
		f->n += f->pieces.data[i].n;
	}
	f->bytes = calloc(f->n, 1);
	f->flags = calloc(f->n, 1);
	f->op_of = calloc(f->n, sizeof(*f->op_of));
	f->local = calloc(f->n, sizeof(*f->local));
	f->committed = calloc(f->n, sizeof(*f->committed));
	if (!f->bytes || !f->flags || !f->op_of || !f->local || !f->committed)
		return -ENOMEM;
	for (size_t i = 0; i < f->pieces.n; i++) {
		struct piece *p = &f->pieces.data[i];

		p->n = (uint32_t)elf_file_read(elf, p->start, f->bytes + p->first, p->n);
	}
	return 0;
}

static void deinit(struct flow *f)
{
	vec_deinit(&f->pieces);
	vec_deinit(&f->ops);
	vec_deinit(&f->states);
	vec_deinit(&f->functions);
	vec_deinit(&f->candidates);
	vec_deinit(&f->found);
	vec_deinit(&f->touched);
	vec_deinit(&f->work);
	hash_deinit(&f->state_index);
	flow_seeds_deinit(&f->seeds);
	free(f->bytes);
	free(f->flags);
	free(f->op_of);
	free(f->local);
	free(f->committed);
}

int flow_build(struct elf_file *elf, const struct flow_range *ranges, size_t n, flow_row_fn *row,
	       void *context, struct flow_counts *ret)
{
	struct flow f = { 0 };
	int r;

	if (elf->machine != EM_X86_64 || !n)
		return 0;
	r = read_code(&f, elf, ranges, n);
	if (r == 0 && f.n)
		r = flow_seeds(elf, f.pieces.data[0].start, ranges[n - 1].end, &f.seeds);
	f.fixed = elf->type == ET_EXEC;
	f.changed = true;
	while (r == 0 && f.n && f.changed && f.counts.n_rounds < MAX_ROUNDS)
		r = run_round(&f, elf);
	if (r == 0 && f.n)
		r = tell(&f, row, context);
	if (ret)
		*ret = f.counts;
	deinit(&f);
	return r;
}
