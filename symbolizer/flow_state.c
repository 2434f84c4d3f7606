/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/flow_state.h"

#include <string.h>

#define RED_ZONE 128
#define MAX_FRAME (1 << 28)
#define RETURN_ADDRESS 8

/* The hardware's numbers of registers as DWARF's. */
static const uint8_t dwarf_numbers[16] = { 0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15 };

static struct flow_state lost(const struct flow_state *s)
{
	return (struct flow_state){ .sp = FLOW_UNKNOWN,
				    .fp_value = FLOW_OTHER,
				    .bx_value = FLOW_OTHER,
				    .outermost = s->outermost };
}

struct flow_state flow_entry(void)
{
	return (struct flow_state){ .sp = RETURN_ADDRESS };
}

bool flow_is_entry(const struct flow_state *s)
{
	struct flow_state entry = flow_entry();

	return !memcmp(s, &entry, sizeof(entry));
}

bool flow_is_lost(const struct flow_state *s)
{
	return s->sp == FLOW_UNKNOWN && s->fp_value != FLOW_FRAME && !s->outermost;
}

bool flow_may_return(const struct flow_state *s)
{
	return s->sp == RETURN_ADDRESS && s->fp_value == FLOW_CALLERS &&
	       s->bx_value == FLOW_CALLERS && !s->ra && !s->outermost;
}

struct flow_state flow_meet(const struct flow_state *a, const struct flow_state *b)
{
	struct flow_state m = *a;

	if (a->outermost != b->outermost || a->ra != b->ra) {
		m = lost(a);
		m.outermost = 0;
		return m;
	}
	if (a->sp != b->sp)
		m.sp = FLOW_UNKNOWN;
	if (a->fp_value != b->fp_value || a->fp != b->fp) {
		m.fp_value = FLOW_OTHER;
		m.fp = 0;
	}
	if (a->bx_value != b->bx_value)
		m.bx_value = FLOW_OTHER;
	if (a->fp_slot != b->fp_slot)
		m.fp_slot = 0;
	if (a->bx_slot != b->bx_slot)
		m.bx_slot = 0;
	return m;
}

/* Moves rsp; what was saved below the red zone is anyone's now. */
static void set_sp(struct flow_state *s, int64_t sp)
{
	if (s->outermost)
		return;
	if (sp < 0 || sp > MAX_FRAME) {
		s->sp = FLOW_UNKNOWN;
		return;
	}
	s->sp = (int32_t)sp;
	if (s->fp_slot < -s->sp - RED_ZONE)
		s->fp_slot = 0;
	if (s->bx_slot < -s->sp - RED_ZONE)
		s->bx_slot = 0;
}

/* The offset from the CFA of base + value; 0: unknown, or above the frame. */
static int64_t place(const struct flow_state *s, uint8_t base, int64_t value)
{
	int64_t at = 0;

	if (base == FLOW_SP && s->sp != FLOW_UNKNOWN)
		at = value - s->sp;
	if (base == FLOW_FP && s->fp_value == FLOW_FRAME)
		at = value - s->fp;
	return at < 0 && at > -MAX_FRAME ? at : 0;
}

/* Something else is written to these bytes. */
static void overwrite(struct flow_state *s, int64_t at, int64_t n)
{
	if (!at)
		return;
	if (s->fp_slot && at < s->fp_slot + 8 && s->fp_slot < at + n)
		s->fp_slot = 0;
	if (s->bx_slot && at < s->bx_slot + 8 && s->bx_slot < at + n)
		s->bx_slot = 0;
}

static void save(struct flow_state *s, uint8_t reg, int64_t at)
{
	bool callers = reg == FLOW_FP ? s->fp_value == FLOW_CALLERS : s->bx_value == FLOW_CALLERS;
	int32_t *slot = reg == FLOW_FP ? &s->fp_slot : &s->bx_slot;

	if (!at || (callers && *slot == at))
		return;
	overwrite(s, at, 8);
	if (callers && (reg == FLOW_FP || reg == FLOW_BX) && at <= -2 * RETURN_ADDRESS && !*slot)
		*slot = (int32_t)at;
}

static void write_registers(struct flow_state *s, uint16_t registers)
{
	if (registers >> FLOW_FP & 1) {
		s->fp_value = FLOW_OTHER;
		s->fp = 0;
	}
	if (registers >> FLOW_BX & 1)
		s->bx_value = FLOW_OTHER;
	if (s->ra && registers >> (s->ra - 1) & 1)
		*s = lost(s);
}

static void load(struct flow_state *s, uint8_t reg, int64_t at)
{
	write_registers(s, (uint16_t)(1u << reg));
	if (reg == FLOW_FP && at && at == s->fp_slot)
		s->fp_value = FLOW_CALLERS;
	if (reg == FLOW_BX && at && at == s->bx_slot)
		s->bx_value = FLOW_CALLERS;
}

static void push(struct flow_state *s, uint8_t reg)
{
	if (s->ra && s->ra - 1 == reg && !s->sp) {
		s->ra = 0;
		s->sp = RETURN_ADDRESS;
		return;
	}
	if (s->sp == FLOW_UNKNOWN)
		return;
	if (s->ra) {
		*s = lost(s);
		return;
	}
	set_sp(s, (int64_t)s->sp + 8);
	save(s, reg, -(int64_t)s->sp);
}

static void pop(struct flow_state *s, uint8_t reg)
{
	int64_t from = place(s, FLOW_SP, 0);

	if (from == -RETURN_ADDRESS && !s->outermost) { /* the return address itself */
		if (reg == FLOW_NONE || reg == FLOW_FP || reg == FLOW_BX) {
			*s = lost(s);
			return;
		}
		s->ra = (uint8_t)(reg + 1);
		s->sp = 0;
		return;
	}
	if (reg != FLOW_NONE)
		load(s, reg, from);
	if (reg == FLOW_FP && from && from == s->fp_slot)
		s->fp_slot = 0;
	if (reg == FLOW_BX && from && from == s->bx_slot)
		s->bx_slot = 0;
	if (s->sp != FLOW_UNKNOWN)
		set_sp(s, (int64_t)s->sp - 8);
}

static void copy(struct flow_state *s, const struct flow_op *op)
{
	int64_t from = op->base == FLOW_SP	 ? s->sp :
		       s->fp_value == FLOW_FRAME ? s->fp :
						   FLOW_UNKNOWN;
	bool known = from != FLOW_UNKNOWN && op->value > -MAX_FRAME && op->value < MAX_FRAME;

	if (op->reg == FLOW_SP) {
		set_sp(s, known ? from - op->value : -1);
		return;
	}
	write_registers(s, 1u << FLOW_FP);
	if (known && !s->outermost && !s->ra) {
		s->fp_value = FLOW_FRAME;
		s->fp = (int32_t)(from - op->value);
	}
}

struct flow_state flow_step(const struct flow_op *op, const struct flow_state *before)
{
	struct flow_state s = *before;

	switch (op->kind) {
	case FLOW_PUSH:
		push(&s, op->reg);
		break;
	case FLOW_POP:
		pop(&s, op->reg);
		break;
	case FLOW_COPY:
		copy(&s, op);
		break;
	case FLOW_LEAVE:
		set_sp(&s, s.fp_value == FLOW_FRAME ? s.fp : -1);
		pop(&s, FLOW_FP);
		break;
	case FLOW_LOSE_SP:
		write_registers(&s, op->writes);
		set_sp(&s, -1);
		break;
	case FLOW_SAVE:
		save(&s, op->reg, place(&s, op->base, op->value));
		break;
	case FLOW_LOAD:
		load(&s, op->reg, place(&s, op->base, op->value));
		break;
	case FLOW_STORE:
		overwrite(&s, place(&s, op->base, op->value), op->size);
		write_registers(&s, op->writes);
		break;
	case FLOW_CALL:
	case FLOW_CALL_ANY:
		if (s.ra)
			s = lost(&s);
		break;
	default:
		write_registers(&s, op->writes);
	}
	/* the return address is no longer known to be where it was */
	if (!s.outermost && !s.ra && s.sp != FLOW_UNKNOWN && s.sp < RETURN_ADDRESS)
		s = lost(&s);
	if (s.ra && s.sp)
		s = lost(&s);
	return s;
}

bool flow_takes_too_much(const struct flow_op *op, const struct flow_state *before)
{
	int64_t sp = before->sp;

	if (before->outermost || before->sp == FLOW_UNKNOWN)
		return false;
	if (op->kind == FLOW_POP)
		sp -= 8;
	else if (op->kind == FLOW_COPY && op->reg == FLOW_SP && op->base == FLOW_SP)
		sp -= op->value;
	else
		return false;
	return sp < 0;
}

static void rule_saved(const struct flow_state *s, struct unwind_rule *q)
{
	q->fp_saved = s->fp_value == FLOW_CALLERS ? UNWIND_SAME :
		      s->fp_slot		  ? UNWIND_AT_CFA :
						    UNWIND_LOST;
	q->bx_saved = s->bx_value == FLOW_CALLERS	    ? UNWIND_SAME :
		      s->bx_slot && s->bx_slot >= INT16_MIN ? UNWIND_AT_CFA :
							      UNWIND_LOST;
	if (q->fp_saved == UNWIND_AT_CFA)
		q->fp_offset = s->fp_slot;
	if (q->bx_saved == UNWIND_AT_CFA)
		q->bx_offset = (int16_t)s->bx_slot;
}

struct unwind_rule flow_rule(const struct flow_state *s)
{
	struct unwind_rule q = { .kind = UNWIND_GAP };

	if (s->outermost)
		return (struct unwind_rule){ .kind = UNWIND_OUTERMOST };
	if (s->fp_value == FLOW_FRAME) {
		q.kind = UNWIND_FP;
		q.cfa_offset = s->fp;
	} else if (s->sp != FLOW_UNKNOWN) {
		q.kind = UNWIND_SP;
		q.cfa_offset = s->sp;
	} else {
		return q;
	}
	if (s->ra) {
		q.reg = UNWIND_RA_REGISTER;
		q.aux = dwarf_numbers[s->ra - 1];
	}
	rule_saved(s, &q);
	return q;
}
