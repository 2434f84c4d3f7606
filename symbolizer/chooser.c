/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/chooser.h"

#include <Zydis/Zydis.h>

#define MAX_WALK 256 /* bytes from the entry: a prologue, not a function */
#define N_REGISTERS 16
#define RSP 4 /* in the hardware's numbers */

/* The hardware's numbers of registers as DWARF's. */
static const uint8_t dwarf_numbers[N_REGISTERS] = { 0, 2, 1,  3,  7,  6,  4,  5,
						    8, 9, 10, 11, 12, 13, 14, 15 };
/* Arguments at the entry, in the hardware's numbers: rdi, rsi, rdx. */
static const uint8_t argument_registers[SYMBOLIZER_N_ARGUMENTS] = { 7, 6, 2 };

struct walk {
	ZydisDecoder decoder;
	ZydisDecodedInstruction ins;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	uint32_t held[N_REGISTERS]; /* bit n: argument n + 1, whole */
};

static bool is_control(const ZydisDecodedInstruction *i)
{
	switch (i->meta.category) {
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_INTERRUPT:
		return true;
	default:
		return i->mnemonic == ZYDIS_MNEMONIC_UD0 || i->mnemonic == ZYDIS_MNEMONIC_UD1 ||
		       i->mnemonic == ZYDIS_MNEMONIC_UD2 || i->mnemonic == ZYDIS_MNEMONIC_HLT;
	}
}

/* The general register that an operand is, or is a part of; -1: none. */
static int general(const ZydisDecodedOperand *o)
{
	ZydisRegister whole;

	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return -1;
	whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, o->reg.value);
	return whole >= ZYDIS_REGISTER_RAX && whole <= ZYDIS_REGISTER_R15 ?
		       (int)(whole - ZYDIS_REGISTER_RAX) :
		       -1;
}

static bool is_whole(const ZydisDecodedOperand *o)
{
	return general(o) >= 0 && o->size == 64;
}

/* What the instruction does to registers; false when the stack pointer moves. */
static bool follow(struct walk *w)
{
	const ZydisDecodedOperand *o = w->operands;
	bool pair = w->ins.operand_count_visible == 2 && is_whole(&o[0]) && is_whole(&o[1]);
	bool copies = pair && w->ins.mnemonic == ZYDIS_MNEMONIC_MOV;
	bool swaps = pair && w->ins.mnemonic == ZYDIS_MNEMONIC_XCHG;
	int to = general(&o[0]), from = general(&o[1]);
	uint32_t first = to >= 0 ? w->held[to] : 0, second = from >= 0 ? w->held[from] : 0;

	for (unsigned i = 0; i < w->ins.operand_count; i++) {
		int reg = general(&o[i]);

		if (reg < 0 || !(o[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		if (reg == RSP)
			return false;
		w->held[reg] = 0;
	}
	if (copies || swaps)
		w->held[to] = second;
	if (swaps)
		w->held[from] = first;
	return true;
}

/* Where an argument is: in its own register if it can be. */
static uint8_t place_of(const struct walk *w, unsigned argument)
{
	if (w->held[argument_registers[argument]] >> argument & 1)
		return dwarf_numbers[argument_registers[argument]];
	for (unsigned reg = 0; reg < N_REGISTERS; reg++)
		if (w->held[reg] >> argument & 1)
			return dwarf_numbers[reg];
	return SYMBOLIZER_NO_REGISTER;
}

/* From the entry to the first instruction that is emulated. */
static enum symbolizer_probe_status walk(struct walk *w, const struct chooser_code *code,
					 struct choice *c)
{
	for (size_t at = 0; at < code->n && at < MAX_WALK; at += w->ins.length) {
		unsigned length;

		c->instruction = emulated_x86(code->data + at, code->n - at, &length);
		if (c->instruction == EMULATED_NOP5 && at)
			c->instruction = EMULATED_NOT;
		c->offset = at;
		if (c->instruction != EMULATED_NOT)
			return PROBE_FINE;
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&w->decoder, code->data + at, code->n - at,
							 &w->ins, w->operands)))
			return PROBE_UNDECODABLE;
		if (is_control(&w->ins))
			return PROBE_BRANCH_FIRST;
		if (!follow(w))
			return PROBE_STACK_MOVED;
	}
	return PROBE_NO_PLACE;
}

/* Where a relative branch goes, from the function's first byte. */
static bool relative(const ZydisDecodedInstruction *i, size_t at, int64_t *ret)
{
	if (!i->raw.imm[0].is_relative)
		return false;
	*ret = (int64_t)((uint64_t)i->raw.imm[0].value.s + at + i->length);
	return true;
}

/* The lowest place behind the first byte that the function itself jumps to. */
static enum symbolizer_probe_status lowest_target(struct walk *w, const struct chooser_code *code,
						  size_t *ret)
{
	*ret = SIZE_MAX;
	for (size_t at = 0; at < code->n; at += w->ins.length) {
		int64_t to;

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&w->decoder, NULL, code->data + at,
								code->n - at, &w->ins)))
			return PROBE_UNDECODABLE;
		if (relative(&w->ins, at, &to) && to > 0 && (size_t)to < *ret)
			*ret = (size_t)to;
	}
	return PROBE_FINE;
}

enum symbolizer_probe_status chooser_choose(const struct chooser_code *code, unsigned arguments,
					    struct choice *ret)
{
	enum symbolizer_probe_status status;
	struct walk w = { 0 };
	struct choice c;
	size_t lowest;

	if (!ZYAN_SUCCESS(
		    ZydisDecoderInit(&w.decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)))
		return PROBE_UNDECODABLE;
	for (unsigned i = 0; i < SYMBOLIZER_N_ARGUMENTS; i++)
		w.held[argument_registers[i]] = 1u << i;
	status = walk(&w, code, &c);
	for (unsigned i = 0; i < SYMBOLIZER_N_ARGUMENTS && status == PROBE_FINE; i++) {
		c.registers[i] = arguments >> i & 1 ? place_of(&w, i) : SYMBOLIZER_NO_REGISTER;
		if (arguments >> i & 1 && c.registers[i] == SYMBOLIZER_NO_REGISTER)
			status = PROBE_ARGUMENT;
	}
	if (status == PROBE_FINE)
		status = lowest_target(&w, code, &lowest);
	if (status == PROBE_FINE && lowest <= c.offset)
		status = PROBE_LOOP;
	if (status == PROBE_FINE)
		*ret = c;
	return status;
}

/* Does this instruction leave the function, and where to? */
static bool exit_of(const ZydisDecodedInstruction *i, size_t at, const struct chooser_code *code,
		    struct chooser_exit *e)
{
	bool call = i->meta.category == ZYDIS_CATEGORY_CALL;
	bool jump = i->meta.category == ZYDIS_CATEGORY_UNCOND_BR;
	int64_t to;

	if (relative(i, at, &to)) {
		e->kind = call ? EXIT_CALL : jump ? EXIT_JUMP : EXIT_BRANCH;
		e->target = code->address + (uint64_t)to;
		return call || to <= 0 || (uint64_t)to >= code->n;
	}
	if (i->meta.category == ZYDIS_CATEGORY_RET) {
		e->kind = EXIT_RETURN;
		return true;
	}
	if (!call && !jump)
		return false;
	if (i->opcode == 0xff && i->raw.modrm.mod == 0 && i->raw.modrm.rm == 5) {
		e->kind = call ? EXIT_CALL_SLOT : EXIT_JUMP_SLOT;
		e->target = code->address + at + i->length + (uint64_t)i->raw.disp.value;
		return true;
	}
	e->kind = call ? EXIT_CALL_ANY : EXIT_JUMP_ANY;
	return true;
}

enum symbolizer_probe_status chooser_exits(const struct chooser_code *code, chooser_exit_fn *leave,
					   void *context)
{
	bool first = true;
	struct walk w;

	if (!ZYAN_SUCCESS(
		    ZydisDecoderInit(&w.decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)))
		return PROBE_UNDECODABLE;
	for (size_t at = 0; at < code->n; at += w.ins.length) {
		struct chooser_exit e = { .thunk = first, .address = code->address + at };

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&w.decoder, NULL, code->data + at,
								code->n - at, &w.ins)))
			return PROBE_UNDECODABLE;
		if (exit_of(&w.ins, at, code, &e))
			leave(context, &e);
		if (is_control(&w.ins))
			first = false;
	}
	return PROBE_FINE;
}

bool chooser_leads_into(const struct chooser_code *part, uint64_t low, uint64_t high)
{
	struct walk w;

	if (!ZYAN_SUCCESS(
		    ZydisDecoderInit(&w.decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)))
		return true;
	for (size_t at = 0; at < part->n; at += w.ins.length) {
		int64_t to;

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&w.decoder, NULL, part->data + at,
								part->n - at, &w.ins)))
			return part->n - at >= ZYDIS_MAX_INSTRUCTION_LENGTH;
		if (w.ins.meta.category != ZYDIS_CATEGORY_CALL && relative(&w.ins, at, &to) &&
		    part->address + (uint64_t)to - low - 1 < high - low)
			return true;
		if (w.ins.meta.category == ZYDIS_CATEGORY_UNCOND_BR ||
		    w.ins.meta.category == ZYDIS_CATEGORY_RET)
			return false;
	}
	return false;
}
