/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/flow.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "symbolizer/flow_walk.h"

#define MAX_ROUNDS 8
#define MAX_FUNCTIONS (1u << 18)
#define MAX_GUESSES 8
#define MAX_ODD 16
#define MAX_SWEEP (32u << 20)
#define CALL 5 /* bytes of call rel32 */

static int add_function(struct flow *f, struct function fn)
{
	if (fn.trust < JUMPED)
		f->flags[fn.at] &= (uint8_t)~(JUMPED_TO | NO_FUNCTION);
	if (f->flags[fn.at] & FUNCTION)
		return 0;
	if (fn.trust == JUMPED)
		f->flags[fn.at] |= JUMPED_TO;
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
	if ((f->flags[fn.at] & FUNCTION) || ((f->flags[fn.at] & ASKED) && fn.trust == POINTER))
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

		if (q.trust <= JUMPED) {
			r = add_function(f, q);
			continue;
		}
		if (f->result.indirect || f->local[q.at] ||
		    (fn->end != FLOW_NOWHERE && q.at >= fn->at && q.at < fn->end))
			q.trust = POINTER;
		r = add_candidate(f, q);
	}
	return r;
}

static bool is_believed(const struct flow *f, const struct function *fn)
{
	const struct result *q = &f->result;

	if (q->contradicted || (fn->trust >= ADDRESS && flow_is_padding(f, fn->at)))
		return false;
	if (fn->trust <= JUMPED)
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

		r = flow_meet_at(f, &f->committed[at], &f->states.data[f->local[at] - 1], &changed);
	}
	if (r == 0 && (*ret || fn->trust <= JUMPED))
		r = take_found(f, fn);
	forget(f);
	if (fn->trust == JUMPED && f->result.contradicted)
		f->flags[fn->at] |= UNLIKELY;
	if (*ret && fn->trust != BLOCK && !f->result.returns &&
	    !(f->flags[fn->at] & NEVER_RETURNS)) {
		f->flags[fn->at] |= NEVER_RETURNS;
		f->changed = true;
	}
	f->counts.n_odd += !*ret && fn->trust <= JUMPED;
	return r;
}

static int follow_functions(struct flow *f, size_t *at)
{
	bool believed;
	int r = 0;

	for (; *at < f->functions.n && r == 0; ++*at) {
		struct function fn = f->functions.data[*at];

		r = flow_follow(f, &fn, 0);
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
		r = flow_follow(f, &fn, 0);
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
	return f->committed[at] && f->op_of[at] && f->op_of[at] != FLOW_NOWHERE;
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
	struct function fn = { at, FLOW_NOWHERE, BLOCK };
	uint16_t fits = 0;
	unsigned n = 0;
	int r = 0;

	*ret = false;
	for (unsigned i = 0; i < g->n && r == 0; i++) {
		r = flow_follow(f, &fn, g->states[i]);
		if (r == 0 && is_believed(f, &fn)) {
			fits = g->states[i];
			n++;
		}
		forget(f);
	}
	if (r < 0 || n != 1)
		return r;
	r = flow_follow(f, &fn, fits);
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
		r = flow_op_at(f, at, &op);
		if (r == 0 && begins && !f->committed[at] && op && !flow_is_padding(f, at)) {
			r = try_block(f, at, &g, &believed);
			*ret |= believed;
			if (r == 0)
				r = flow_op_at(f, at, &op); /* the array may have moved */
		}
		begins = op &&
			 (ends_block(op) || (begins && flow_is_padding(f, at)) ||
			  ((op->kind == FLOW_CALL || op->kind == FLOW_CALL_ANY) && is_told(f, at) &&
			   at + op->length < high && !f->committed[at + op->length]));
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
	uint32_t at = entry ? flow_position(f, entry) : FLOW_NOWHERE;
	int r = 0;

	if (at != FLOW_NOWHERE)
		r = add_function(f, (struct function){ at, FLOW_NOWHERE, ENTRY_POINT });
	for (size_t i = 0; i < s->functions.n && r == 0; i++) {
		uint64_t end = s->functions.data[i].start + s->functions.data[i].size;
		struct function fn = { flow_position(f, s->functions.data[i].start), FLOW_NOWHERE,
				       KNOWN };

		if (fn.at == FLOW_NOWHERE)
			continue;
		if (s->functions.data[i].size && flow_position(f, end - 1) != FLOW_NOWHERE)
			fn.end = flow_position(f, end - 1) + 1;
		if (fn.end < fn.at)
			fn.end = FLOW_NOWHERE;
		r = add_function(f, fn);
	}
	for (size_t i = 0; i < s->pointers.n && r == 0; i++) {
		at = flow_position(f, s->pointers.data[i]);
		if (at != FLOW_NOWHERE && flow_may_begin(f, at))
			r = add_candidate(f, (struct function){ at, FLOW_NOWHERE, POINTER });
	}
	return r;
}

/* Calls in code that has FDEs of its own: five bytes that look like one, and lead to where a
 * function can begin; what is there has to prove it. */
static int sweep(struct flow *f, const struct elf_file *elf, uint64_t low, uint64_t high)
{
	uint8_t code[1 << 16];
	int32_t distance;
	size_t n = sizeof(code);
	int r = 0;

	for (; low < high && n > CALL && r == 0; low += n - CALL + 1) {
		const uint8_t *p = code, *end;

		n = elf_file_read(elf, low, code,
				  high - low < sizeof(code) ? high - low : sizeof(code));
		end = n >= CALL ? code + n - CALL : code;
		while (r == 0 && p < end && (p = memchr(p, 0xe8, (size_t)(end - p)))) {
			uint32_t at;

			memcpy(&distance, ++p, sizeof(distance));
			at = flow_position(f, low + (uint64_t)(p - code) + 4 +
						      (uint64_t)(int64_t)distance);
			if (at != FLOW_NOWHERE && !(f->flags[at] & ASKED) &&
			    flow_may_be_called(f, at))
				r = add_candidate(f,
						  (struct function){ at, FLOW_NOWHERE, POINTER });
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
		f->flags[i] &= f->flags[i] & NO_FUNCTION ? NO_FUNCTION : NEVER_RETURNS | SEEN | UNLIKELY;
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
		if (!f->committed[i] || !f->op_of[i] || f->op_of[i] == FLOW_NOWHERE)
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

			if (!f->committed[at] || !f->op_of[at] || f->op_of[at] == FLOW_NOWHERE) {
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

/* Of a range, what the file has bytes for. */
static uint64_t in_file(const struct elf_file *f, const struct flow_range *range)
{
	for (unsigned i = 0; i < f->n_segments; i++) {
		const struct elf_segment *s = &f->segments[i];
		uint64_t left, n = s->filesz < f->size ? s->filesz : f->size;

		if (range->start < s->vaddr || range->start - s->vaddr >= n)
			continue;
		left = n - (range->start - s->vaddr);
		return range->end - range->start < left ? range->end - range->start : left;
	}
	return 0;
}

static int read_code(struct flow *f, struct elf_file *elf, const struct flow_range *ranges,
		     size_t n)
{
	uint64_t left = FLOW_MAX_CODE;
	int r = 0;

	for (size_t i = 0; i < n && r == 0 && left; i++) {
		uint64_t size = in_file(elf, &ranges[i]);

		if (!size)
			continue;
		size = size < left ? size : left;
		left -= size;
		r = vec_push(&f->pieces,
			     ((struct piece){ ranges[i].start, 0, (uint32_t)size, true }));
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

/* Code of a convention of its own (V8's builtins, where the callee drops its arguments): many
 * functions do not return like C's, so the rest is not to be believed either. */
static bool has_other_ways(const struct flow_counts *n)
{
	return n->n_odd > MAX_ODD && n->n_odd > n->n_functions / 16;
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
	if (r == 0 && f.n && !has_other_ways(&f.counts))
		r = tell(&f, row, context);
	if (ret)
		*ret = f.counts;
	deinit(&f);
	return r;
}
