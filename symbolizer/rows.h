/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* rows.h - unwind rows as the symbolizer hands them over: from an address on, this rule.
 *
 * Shapes only. Architecture: registers are the ones the BPF walker follows (x86_64: rbp = "fp",
 * rbx = "bx"; arm64: x29 = "fp", and "bx" is x30, whose place is that of the return address). Every number came out of a stranger's file: whoever stores rows checks the rule
 * index and the order again. */

#include <stdint.h>

enum unwind_kind {
	UNWIND_GAP,	    /* no row covers this code */
	UNWIND_OUTERMOST,   /* nothing called this function; aux 1: and its pc is exact, no return address of a call */
	UNWIND_SP,	    /* CFA = sp + cfa_offset */
	UNWIND_FP,	    /* CFA = fp + cfa_offset */
	UNWIND_PLT,	    /* CFA = sp + 8; + 16 where (pc & 15) >= aux */
	UNWIND_DEREF_SP,    /* CFA = *(sp + cfa_offset) + aux */
	UNWIND_DEREF_FP,    /* CFA = *(fp + cfa_offset) + aux */
	UNWIND_SIGNAL,	    /* signal trampoline */
	UNWIND_REGISTER,    /* CFA = register + cfa_offset: only in the innermost frame */
	UNWIND_BX,	    /* CFA = bx + cfa_offset */
	UNWIND_UNSUPPORTED, /* a rule that the walker cannot follow */
	UNWIND_N_KINDS,
};

enum unwind_saved {
	UNWIND_SAME,
	UNWIND_AT_CFA, /* at CFA + offset */
	UNWIND_AT_FP,  /* at fp + offset; of arm64's x30: 8 behind where fp is */
	UNWIND_LOST,
};

#define UNWIND_RA_REGISTER 0x80 /* in reg: the return address is in register `aux` */

struct unwind_rule {
	uint8_t kind, fp_saved, bx_saved, reg;
	int32_t cfa_offset, fp_offset;
	int16_t bx_offset, aux;
};
_Static_assert(sizeof(struct unwind_rule) == 16, "compared and hashed as bytes");

struct unwind_row {
	uint32_t offset; /* from the lowest executable address of the file */
	uint32_t rule;	 /* index into the file's rules */
};
