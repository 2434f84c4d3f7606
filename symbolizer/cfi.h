/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* cfi.h - call frame information (.eh_frame, .debug_frame) as sorted unwind rows.
 *
 * Owns what it made until cfi_deinit; borrows the file only while building. Refuses nothing for
 * being odd: a bad FDE is counted and its code stays a gap. Time and memory are linear in the
 * size of the sections. Formats: LSB 5.0 core 10.6 (.eh_frame), DWARF 5 section 6.4. */

#include <stdint.h>

#include "base/hash.h"
#include "base/vec.h"
#include "symbolizer/elf_file.h"
#include "symbolizer/rows.h"

#define CFI_MAX_ROWS (16u << 20)
#define CFI_MAX_RULES 32768

struct cfi {
	VEC(struct unwind_row) rows; /* ascending offsets, neighbours differ in their rules */
	VEC(struct unwind_rule) rules;
	struct hash_index rule_index;
	uint64_t low, high; /* executable addresses; row offsets count from low */
	uint32_t n_fdes, n_bad_fdes, n_unsupported;
};

/* 0; -ENOEXEC: nothing executable, or more than 4 GiB of it, or of a machine that we do not know; -ENODATA: no FDE at all; -ENOMEM;
 * -E2BIG: past CFI_MAX_ROWS or CFI_MAX_RULES. */
int cfi_build(struct elf_file *f, struct cfi *ret);
/* The same without what flow.h adds for code that no FDE covers. */
int cfi_build_fdes(struct elf_file *f, struct cfi *ret);
void cfi_deinit(struct cfi *c);

/* The rule at an address; NULL outside [low, high). */
const struct unwind_rule *cfi_find(const struct cfi *c, uint64_t address);
