/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* cfi_program.h - runs the instructions of one CIE or FDE.
 *
 * Knows the registers the walker follows and drops the rest: x86_64's and arm64's (AADWARF64). Pointers in the state point into the
 * section. */

#include <stdbool.h>
#include <stdint.h>

#include "base/cursor.h"
#include "symbolizer/rows.h"

/* DWARF's numbers of them. A link register is where the return address is unless a rule says otherwise: "bx" of the
 * rules, which has none of its own there. */
struct cfi_registers {
	uint8_t bx, fp, sp, ra, n;
	bool link;
};
#define CFI_NO_REGISTER 0xff

/* NULL: none of the machines (EM_*) that we know. */
const struct cfi_registers *cfi_registers_of(unsigned machine);

enum cfi_how { CFI_SAME, CFI_OFFSET, CFI_UNDEFINED, CFI_REGISTER, CFI_EXPRESSION, CFI_OTHER };

struct cfi_saved {
	enum cfi_how how;
	int64_t offset; /* from the CFA; CFI_REGISTER: the register */
	struct cursor expression;
};

struct cfi_state {
	bool cfa_is_expression;
	uint64_t cfa_register;
	int64_t cfa_offset;
	struct cursor cfa_expression;
	struct cfi_saved fp, bx, ra;
};

struct cfi_cie {
	const struct cfi_registers *registers;
	uint64_t offset; /* in its section */
	uint64_t code_align;
	int64_t data_align;
	uint64_t ra_register;
	uint8_t pointer_encoding;
	bool augmented, signal, good;
	struct cfi_state initial;
};

typedef int cfi_row_fn(void *context, uint64_t address, const struct cfi_state *s);

/* Calls `row` where the state changes, at least once at `*at`, for addresses below `end`; moves
 * `*at` along. -EBADMSG for instructions we do not know or that run past their end: then what was
 * told holds up to `*at`; else what row answered. */
int cfi_run(const struct cfi_cie *cie, struct cursor program, uint64_t *at, uint64_t end,
	    struct cfi_state *s, cfi_row_fn *row, void *context);

/* The walker's rule for a state; UNWIND_UNSUPPORTED where it has none. */
struct unwind_rule cfi_rule(const struct cfi_cie *cie, const struct cfi_state *s);

/* A pointer by its DW_EH_PE_* encoding; `position` is the address of its first byte. Sets c->bad
 * for encodings that need a base we do not have. */
uint64_t cfi_pointer(struct cursor *c, uint8_t encoding, uint64_t position);
