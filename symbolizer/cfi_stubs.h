/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* cfi_stubs.h - rules for the dynamic linker's stubs, which not every linker writes FDEs for.
 *
 * Owns nothing. Layouts: psABI for x86_64, section 5.2; AAELF64 and what binutils and lld write. */

#include <stdint.h>

#include "symbolizer/elf_file.h"
#include "symbolizer/rows.h"

typedef int cfi_stub_fn(void *context, uint64_t start, uint64_t end, const struct unwind_rule *q);

/* Calls fill for pieces of .plt and its like. 0, or what fill answered below 0. */
int cfi_stubs(struct elf_file *f, cfi_stub_fn *fill, void *context);
