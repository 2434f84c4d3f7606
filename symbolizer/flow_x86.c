/* SPDX-License-Identifier: Apache-2.0 */
#include <Zydis/Zydis.h>
#include <string.h>

#include "symbolizer/flow_op.h"

/* The general register that an operand is, or is a part of; FLOW_NONE: none. */
static uint8_t general(const ZydisDecodedOperand *o)
{
	ZydisRegister whole;

	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return FLOW_NONE;
	whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, o->reg.value);
	return whole >= ZYDIS_REGISTER_RAX && whole <= ZYDIS_REGISTER_R15 ?
		       (uint8_t)(whole - ZYDIS_REGISTER_RAX) :
		       FLOW_NONE;
}

/* Memory at rsp + displacement or rbp + displacement; FLOW_NONE: elsewhere. */
static uint8_t stack_base(const ZydisDecodedOperand *o)
{
	if (o->type != ZYDIS_OPERAND_TYPE_MEMORY || o->mem.index != ZYDIS_REGISTER_NONE)
		return FLOW_NONE;
	return o->mem.base == ZYDIS_REGISTER_RSP ? FLOW_SP :
	       o->mem.base == ZYDIS_REGISTER_RBP ? FLOW_FP :
						   FLOW_NONE;
}

static bool is_here(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->mem.base == ZYDIS_REGISTER_RIP;
}

/* What any instruction does: registers written, and a word of the stack. */
static void plain(const ZydisDecodedInstruction *i, const ZydisDecodedOperand *o,
		  struct flow_op *op)
{
	op->kind = FLOW_PLAIN;
	for (unsigned k = 0; k < i->operand_count; k++) {
		uint8_t reg = general(&o[k]);

		if (!(o[k].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		if (reg != FLOW_NONE) {
			op->writes |= (uint16_t)(1u << reg);
		} else if (stack_base(&o[k]) != FLOW_NONE) {
			op->kind = FLOW_STORE;
			op->base = stack_base(&o[k]);
			op->size = o[k].size / 8;
			op->value = o[k].mem.disp.value;
		}
	}
	if (op->writes >> FLOW_SP & 1)
		op->kind = FLOW_LOSE_SP;
}

static void branch(const ZydisDecodedInstruction *i, const ZydisDecodedOperand *o, uint64_t address,
		   struct flow_op *op)
{
	bool call = i->meta.category == ZYDIS_CATEGORY_CALL;

	if (i->raw.imm[0].is_relative) {
		op->kind = call						? FLOW_CALL :
			   i->meta.category == ZYDIS_CATEGORY_UNCOND_BR ? FLOW_JUMP :
									  FLOW_BRANCH;
		op->value = (int64_t)(address + i->length + (uint64_t)i->raw.imm[0].value.s);
		return;
	}
	op->kind = call ? FLOW_CALL_ANY : FLOW_JUMP_ANY;
	if (is_here(&o[0]))
		op->value = (int64_t)(address + i->length + (uint64_t)o[0].mem.disp.value);
}

/* mov and lea of the registers that frames are made with. False: nothing of the kind. */
static bool copy(const ZydisDecodedInstruction *i, const ZydisDecodedOperand *o, uint64_t address,
		 struct flow_op *op)
{
	bool lea = i->mnemonic == ZYDIS_MNEMONIC_LEA;
	uint8_t to = general(&o[0]), from = general(&o[1]), base = stack_base(&o[1]);

	if (lea && is_here(&o[1]) && o[0].size == 64 && to != FLOW_SP) {
		op->kind = FLOW_ADDRESS;
		op->writes = (uint16_t)(1u << to);
		op->value = (int64_t)(address + i->length + (uint64_t)o[1].mem.disp.value);
		return true;
	}
	if (!lea && o[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && to != FLOW_NONE && to != FLOW_SP &&
	    o[0].size >= 32) {
		op->kind = FLOW_CONSTANT;
		op->writes = (uint16_t)(1u << to);
		op->value =
			(int64_t)(o[0].size == 32 ? (uint32_t)o[1].imm.value.u : o[1].imm.value.u);
		return true;
	}
	if (i->operand_width != 64)
		return false;
	op->reg = to;
	if (lea || (from != FLOW_NONE && to != FLOW_NONE)) { /* to = base + value */
		op->base = lea ? base : from;
		op->value = lea ? o[1].mem.disp.value : 0;
		op->kind = FLOW_COPY;
		return (to == FLOW_SP || to == FLOW_FP) &&
		       (op->base == FLOW_SP || op->base == FLOW_FP);
	}
	if ((to == FLOW_FP || to == FLOW_BX) && base != FLOW_NONE) {
		op->kind = FLOW_LOAD;
		op->base = base;
		op->value = o[1].mem.disp.value;
		return true;
	}
	base = stack_base(&o[0]);
	if ((from == FLOW_FP || from == FLOW_BX) && base != FLOW_NONE) {
		op->kind = FLOW_SAVE;
		op->reg = from;
		op->base = base;
		op->value = o[0].mem.disp.value;
		return true;
	}
	return false;
}

/* add and sub of a constant to rsp or rbp. */
static bool add(const ZydisDecodedInstruction *i, const ZydisDecodedOperand *o, struct flow_op *op)
{
	uint8_t reg = general(&o[0]);

	if (i->operand_width != 64 || o[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE ||
	    (reg != FLOW_SP && reg != FLOW_FP))
		return false;
	op->kind = FLOW_COPY;
	op->reg = op->base = reg;
	op->value = i->mnemonic == ZYDIS_MNEMONIC_SUB ? -o[1].imm.value.s : o[1].imm.value.s;
	return true;
}

static bool push_or_pop(const ZydisDecodedInstruction *i, const ZydisDecodedOperand *o,
			struct flow_op *op)
{
	bool push = i->mnemonic == ZYDIS_MNEMONIC_PUSH || i->mnemonic == ZYDIS_MNEMONIC_PUSHFQ;

	if (i->operand_width != 64)
		return false;
	op->kind = push ? FLOW_PUSH : FLOW_POP;
	op->reg = general(&o[0]);
	return op->reg != FLOW_SP;
}

static bool special(const ZydisDecodedInstruction *i, const ZydisDecodedOperand *o,
		    uint64_t address, struct flow_op *op)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_LEA:
		return copy(i, o, address, op);
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
		return add(i, o, op);
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_PUSHFQ:
	case ZYDIS_MNEMONIC_POP:
	case ZYDIS_MNEMONIC_POPFQ:
		return push_or_pop(i, o, op);
	case ZYDIS_MNEMONIC_LEAVE:
		op->kind = FLOW_LEAVE;
		return i->operand_width == 64;
	case ZYDIS_MNEMONIC_HLT:
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_UD2:
	case ZYDIS_MNEMONIC_INT3:
	case ZYDIS_MNEMONIC_IRETQ:
		op->kind = FLOW_STOP;
		return true;
	default:
		return false;
	}
}

bool flow_decode(const uint8_t *code, size_t n, uint64_t address, struct flow_op *ret)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction i;
	ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
	struct flow_op op = { .reg = FLOW_NONE, .base = FLOW_NONE };

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code, n, &i, o)))
		return false;
	switch (i.meta.category) {
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_UNCOND_BR:
		branch(&i, o, address, &op);
		break;
	case ZYDIS_CATEGORY_RET:
		op.kind = i.mnemonic == ZYDIS_MNEMONIC_RET ? FLOW_RETURN : FLOW_STOP;
		op.value = i.raw.imm[0].size ? i.raw.imm[0].value.s : 0;
		break;
	default:
		if (!special(&i, o, address, &op)) {
			op = (struct flow_op){ .reg = FLOW_NONE, .base = FLOW_NONE };
			plain(&i, o, &op);
		}
	}
	op.length = i.length;
	*ret = op;
	return true;
}
