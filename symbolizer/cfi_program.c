/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/cfi_program.h"

#include <dwarf.h>
#include <elf.h>
#include <errno.h>
#include <string.h>

/* System V psABI for x86_64, figure 3.36; DWARF for the Arm 64-bit Architecture, 4.1. */
static const struct cfi_registers x86_64 = { .bx = 3, .fp = 6, .sp = 7, .ra = 16, .n = 16 };
static const struct cfi_registers arm64 = { .bx = CFI_NO_REGISTER, .fp = 29, .sp = 31, .ra = 30, .n = 32, .link = true };

#define DW_CFA_AARCH64_negate_ra_state_with_pc 0x2c

#define MAX_REMEMBERED 16

const struct cfi_registers *cfi_registers_of(unsigned machine)
{
	return machine == EM_X86_64 ? &x86_64 : machine == EM_AARCH64 ? &arm64 : NULL;
}

uint64_t cfi_pointer(struct cursor *c, uint8_t encoding, uint64_t position)
{
	uint64_t v;

	switch (encoding & 0x0f) {
	case DW_EH_PE_absptr:
	case DW_EH_PE_udata8:
	case DW_EH_PE_sdata8:
		v = cursor_u64(c);
		break;
	case DW_EH_PE_udata4:
		v = cursor_u32(c);
		break;
	case DW_EH_PE_sdata4:
		v = (uint64_t)(int64_t)(int32_t)cursor_u32(c);
		break;
	case DW_EH_PE_udata2:
		v = cursor_u16(c);
		break;
	case DW_EH_PE_sdata2:
		v = (uint64_t)(int64_t)(int16_t)cursor_u16(c);
		break;
	case DW_EH_PE_uleb128:
		v = cursor_uleb128(c);
		break;
	case DW_EH_PE_sleb128:
		v = (uint64_t)cursor_sleb128(c);
		break;
	default:
		c->bad = true;
		return 0;
	}
	switch (encoding & 0xf0) {
	case DW_EH_PE_absptr:
		return v;
	case DW_EH_PE_pcrel:
		return v + position;
	}
	c->bad = true;
	return 0;
}

static struct cfi_saved *saved(const struct cfi_cie *cie, struct cfi_state *s, uint64_t reg)
{
	const struct cfi_registers *g = cie->registers;

	return reg == g->fp ? &s->fp : reg == g->ra ? &s->ra : reg == g->bx && !g->link ? &s->bx : NULL;
}

static void set(const struct cfi_cie *cie, struct cfi_state *s, uint64_t reg, enum cfi_how how, int64_t offset)
{
	struct cfi_saved *v = saved(cie, s, reg);

	if (v)
		*v = (struct cfi_saved){ .how = how, .offset = offset };
}

static void restore(const struct cfi_cie *cie, struct cfi_state *s, uint64_t reg)
{
	struct cfi_saved *v = saved(cie, s, reg);
	struct cfi_state initial = cie->initial;

	if (v)
		*v = *saved(cie, &initial, reg);
}

/* What overflows is no offset of a real frame: INT64_MAX fits no rule. */
static int64_t scaled(const struct cfi_cie *cie, int64_t v)
{
	int64_t product;

	return __builtin_mul_overflow(v, cie->data_align, &product) || product == INT64_MIN ?
		       INT64_MAX :
		       product;
}

struct run {
	const struct cfi_cie *cie;
	struct cursor c;
	struct cfi_state *s;
	struct cfi_state remembered[MAX_REMEMBERED];
	unsigned depth;
};

/* Instructions about where registers are saved. False: not one of them. */
static bool run_saved(struct run *r, uint8_t op)
{
	struct cursor *c = &r->c;
	uint64_t reg, n;

	switch (op) {
	case DW_CFA_offset_extended:
		reg = cursor_uleb128(c);
		set(r->cie, r->s, reg, CFI_OFFSET, scaled(r->cie, (int64_t)cursor_uleb128(c)));
		return true;
	case DW_CFA_offset_extended_sf:
		reg = cursor_uleb128(c);
		set(r->cie, r->s, reg, CFI_OFFSET, scaled(r->cie, cursor_sleb128(c)));
		return true;
	case DW_CFA_GNU_negative_offset_extended:
		reg = cursor_uleb128(c);
		set(r->cie, r->s, reg, CFI_OFFSET, -scaled(r->cie, (int64_t)cursor_uleb128(c)));
		return true;
	case DW_CFA_restore_extended:
		restore(r->cie, r->s, cursor_uleb128(c));
		return true;
	case DW_CFA_undefined:
		set(r->cie, r->s, cursor_uleb128(c), CFI_UNDEFINED, 0);
		return true;
	case DW_CFA_same_value:
		set(r->cie, r->s, cursor_uleb128(c), CFI_SAME, 0);
		return true;
	case DW_CFA_register:
		reg = cursor_uleb128(c);
		set(r->cie, r->s, reg, CFI_REGISTER, (int64_t)cursor_uleb128(c));
		return true;
	case DW_CFA_val_offset:
	case DW_CFA_val_offset_sf:
		reg = cursor_uleb128(c);
		cursor_sleb128(c);
		set(r->cie, r->s, reg, CFI_OTHER, 0);
		return true;
	case DW_CFA_expression:
	case DW_CFA_val_expression:
		reg = cursor_uleb128(c);
		n = cursor_uleb128(c);
		set(r->cie, r->s, reg, op == DW_CFA_expression ? CFI_EXPRESSION : CFI_OTHER, 0);
		if (saved(r->cie, r->s, reg))
			saved(r->cie, r->s, reg)->expression = cursor_sub(c, n);
		else
			cursor_skip(c, n);
		return true;
	}
	return false;
}

/* Instructions about the CFA, and the rest that take no row. False: unknown. */
static bool run_cfa(struct run *r, uint8_t op)
{
	struct cursor *c = &r->c;
	struct cfi_state *s = r->s;

	switch (op) {
	case DW_CFA_nop:
		return true;
	case DW_CFA_GNU_window_save: /* arm64: negate_ra_state. The walker takes signatures off wherever there are any */
		return true;
	case DW_CFA_AARCH64_negate_ra_state_with_pc:
		return r->cie->registers->link;
	case DW_CFA_def_cfa:
	case DW_CFA_def_cfa_sf:
		s->cfa_is_expression = false;
		s->cfa_register = cursor_uleb128(c);
		s->cfa_offset = op == DW_CFA_def_cfa ? (int64_t)cursor_uleb128(c) :
						       scaled(r->cie, cursor_sleb128(c));
		return true;
	case DW_CFA_def_cfa_register:
		s->cfa_is_expression = false;
		s->cfa_register = cursor_uleb128(c);
		return true;
	case DW_CFA_def_cfa_offset:
		s->cfa_is_expression = false;
		s->cfa_offset = (int64_t)cursor_uleb128(c);
		return true;
	case DW_CFA_def_cfa_offset_sf:
		s->cfa_is_expression = false;
		s->cfa_offset = scaled(r->cie, cursor_sleb128(c));
		return true;
	case DW_CFA_def_cfa_expression:
		s->cfa_is_expression = true;
		s->cfa_expression = cursor_sub(c, cursor_uleb128(c));
		return true;
	case DW_CFA_GNU_args_size:
		cursor_uleb128(c);
		return true;
	case DW_CFA_remember_state:
		if (r->depth == MAX_REMEMBERED)
			return false;
		r->remembered[r->depth++] = *s;
		return true;
	case DW_CFA_restore_state:
		if (!r->depth)
			return false;
		*s = r->remembered[--r->depth];
		return true;
	}
	return run_saved(r, op);
}

/* How far an advance instruction moves the address; false: not one of them. */
static bool advance(struct run *r, uint8_t op, uint64_t address, uint64_t *ret)
{
	switch (op) {
	case DW_CFA_advance_loc1:
		*ret = address + cursor_u8(&r->c) * r->cie->code_align;
		return true;
	case DW_CFA_advance_loc2:
		*ret = address + cursor_u16(&r->c) * r->cie->code_align;
		return true;
	case DW_CFA_advance_loc4:
		*ret = address + cursor_u32(&r->c) * r->cie->code_align;
		return true;
	}
	if ((op & 0xc0) != DW_CFA_advance_loc)
		return false;
	*ret = address + (op & 0x3f) * r->cie->code_align;
	return true;
}

int cfi_run(const struct cfi_cie *cie, struct cursor program, uint64_t *at, uint64_t end,
	    struct cfi_state *s, cfi_row_fn *row, void *context)
{
	struct run r = { .cie = cie, .c = program, .s = s };
	int err;

	while (r.c.p < r.c.end && !r.c.bad) {
		uint8_t op = cursor_u8(&r.c);
		uint64_t next;

		if (advance(&r, op, *at, &next)) {
			if (r.c.bad || next < *at)
				return -EBADMSG;
			if (next == *at)
				continue;
			err = row && *at < end ? row(context, *at, s) : 0;
			if (err < 0)
				return err;
			*at = next;
		} else if ((op & 0xc0) == DW_CFA_offset) {
			set(cie, s, op & 0x3f, CFI_OFFSET, scaled(cie, (int64_t)cursor_uleb128(&r.c)));
		} else if ((op & 0xc0) == DW_CFA_restore) {
			restore(cie, s, op & 0x3f);
		} else if (!run_cfa(&r, op)) {
			return -EBADMSG;
		}
	}
	if (r.c.bad)
		return -EBADMSG;
	return row && *at < end ? row(context, *at, s) : 0;
}

/* The lazy-binding stubs of binutils: sp + 8 + ((((pc & 15) >= N) ? 1 : 0) << 3). -1: not it. */
static int plt_threshold(struct cursor c)
{
	static const uint8_t head[] = { DW_OP_breg7, 8, DW_OP_breg16, 0, DW_OP_lit15, DW_OP_and };
	static const uint8_t tail[] = { DW_OP_ge, DW_OP_lit3, DW_OP_shl, DW_OP_plus };
	size_t n = sizeof(head);

	if (cursor_left(&c) != n + 1 + sizeof(tail) || memcmp(c.p, head, n) ||
	    memcmp(c.p + n + 1, tail, sizeof(tail)) || c.p[n] < DW_OP_lit0 || c.p[n] > DW_OP_lit15)
		return -1;
	return c.p[n] - DW_OP_lit0;
}

/* register + offset, or *(register + offset) + add. */
struct simple {
	unsigned reg;
	int64_t offset, add;
	bool deref;
};

/* False: something else. */
static bool simple_expression(struct cursor c, struct simple *ret)
{
	struct simple e = { 0 };
	uint8_t op = cursor_u8(&c);
	int64_t *sum = &e.offset;

	if (op < DW_OP_breg0 || op > DW_OP_breg31)
		return false;
	e.reg = op - DW_OP_breg0;
	e.offset = cursor_sleb128(&c);
	while (c.p < c.end && !c.bad) {
		op = cursor_u8(&c);
		if (op == DW_OP_deref && !e.deref) {
			e.deref = true;
			sum = &e.add;
		} else if (op != DW_OP_plus_uconst ||
			   __builtin_add_overflow(*sum, cursor_uleb128(&c), sum)) {
			return false;
		}
	}
	*ret = e;
	return !c.bad;
}

static bool fits16(int64_t v)
{
	return v >= INT16_MIN && v <= INT16_MAX;
}

static bool fits32(int64_t v)
{
	return v >= INT32_MIN && v <= INT32_MAX;
}

static void cfa_by_expression(const struct cfi_registers *g, const struct cfi_state *s, struct unwind_rule *q)
{
	int threshold = g->link ? -1 : plt_threshold(s->cfa_expression);
	struct simple e;

	if (threshold >= 0) {
		q->kind = UNWIND_PLT;
		q->aux = (int16_t)threshold;
	} else if (simple_expression(s->cfa_expression, &e) && e.deref && fits16(e.add) &&
		   fits32(e.offset) && (e.reg == g->fp || e.reg == g->sp)) {
		q->kind = e.reg == g->fp ? UNWIND_DEREF_FP : UNWIND_DEREF_SP;
		q->cfa_offset = (int32_t)e.offset;
		q->aux = (int16_t)e.add;
	}
}

static void cfa_by_register(const struct cfi_registers *g, const struct cfi_state *s, struct unwind_rule *q)
{
	if (!fits32(s->cfa_offset) || s->cfa_register >= g->n)
		return;
	q->cfa_offset = (int32_t)s->cfa_offset;
	q->kind = s->cfa_register == g->sp ? UNWIND_SP :
		  s->cfa_register == g->fp ? UNWIND_FP :
		  s->cfa_register == g->bx ? UNWIND_BX :
					     UNWIND_REGISTER;
	if (q->kind == UNWIND_REGISTER)
		q->reg = (uint8_t)s->cfa_register;
}

static void rule_saved(const struct cfi_registers *g, const struct cfi_state *s, struct unwind_rule *q)
{
	struct simple e;

	q->fp_saved = UNWIND_LOST;
	if (s->fp.how == CFI_SAME)
		q->fp_saved = UNWIND_SAME;
	if (s->fp.how == CFI_OFFSET && fits32(s->fp.offset)) {
		q->fp_saved = UNWIND_AT_CFA;
		q->fp_offset = (int32_t)s->fp.offset;
	}
	if (s->fp.how == CFI_EXPRESSION && simple_expression(s->fp.expression, &e) && !e.deref &&
	    e.reg == g->fp && fits32(e.offset)) {
		q->fp_saved = UNWIND_AT_FP;
		q->fp_offset = (int32_t)e.offset;
	}
	if (g->link)
		return;
	q->bx_saved = s->bx.how == CFI_SAME ? UNWIND_SAME : UNWIND_LOST;
	if (s->bx.how == CFI_OFFSET && fits16(s->bx.offset)) {
		q->bx_saved = UNWIND_AT_CFA;
		q->bx_offset = (int16_t)s->bx.offset;
	}
}

/* False: at a place that no rule tells. */
static bool rule_link(const struct cfi_state *s, struct unwind_rule *q)
{
	q->bx_saved = UNWIND_SAME;
	if (s->ra.how == CFI_OFFSET && fits16(s->ra.offset)) {
		q->bx_saved = UNWIND_AT_CFA;
		q->bx_offset = (int16_t)s->ra.offset;
	} else if (s->ra.how == CFI_OFFSET && q->fp_saved == UNWIND_AT_CFA && s->ra.offset == s->fp.offset + 8) {
		q->bx_saved = UNWIND_AT_FP;
	} else {
		return s->ra.how == CFI_SAME || q->reg & UNWIND_RA_REGISTER;
	}
	return true;
}

struct unwind_rule cfi_rule(const struct cfi_cie *cie, const struct cfi_state *s)
{
	static const struct unwind_rule unsupported = { .kind = UNWIND_UNSUPPORTED };
	const struct cfi_registers *g = cie->registers;
	struct unwind_rule q = unsupported;

	if (cie->signal)
		return (struct unwind_rule){ .kind = UNWIND_SIGNAL };
	if (s->ra.how == CFI_UNDEFINED)
		return (struct unwind_rule){ .kind = UNWIND_OUTERMOST };
	if (cie->ra_register != g->ra)
		return unsupported;
	if (s->cfa_is_expression)
		cfa_by_expression(g, s, &q);
	else
		cfa_by_register(g, s, &q);
	if (s->ra.how == CFI_REGISTER && s->ra.offset >= 0 && s->ra.offset < g->n &&
	    !s->cfa_is_expression) { /* whose rules need aux for themselves */
		q.reg |= UNWIND_RA_REGISTER;
		q.aux = (int16_t)s->ra.offset;
	} else if (!g->link && (s->ra.how != CFI_OFFSET || s->ra.offset != -8)) {
		return unsupported;
	}
	if (q.kind == UNWIND_UNSUPPORTED)
		return unsupported;
	/* The return address was popped, and the caller's frame pointer cleared: musl's clone, where a thread begins. */
	if (!g->link && !q.reg && q.kind == UNWIND_SP && q.cfa_offset < 8 && s->fp.how == CFI_UNDEFINED)
		return (struct unwind_rule){ .kind = UNWIND_OUTERMOST };
	rule_saved(g, s, &q);
	return g->link && !rule_link(s, &q) ? unsupported : q;
}
