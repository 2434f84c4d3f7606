/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* bounds.h - where does the function at an address begin, when no symbol tells?
 *
 * The binary search table of .eh_frame_hdr (LSB 5.0 core 10.6.2) is in every file that can be
 * unwound, stripped or not. So a stripped function has one name, by its start, however many of its
 * addresses were sampled. Borrows the struct elf_file. */

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "symbolizer/elf_file.h"

struct bounds;

/* 0, also where there is no table, or -ENOMEM. */
int bounds_new(struct elf_file *f, struct bounds **ret);
void bounds_free(struct bounds *b);
DEFINE_CLEANUP(struct bounds, bounds_free)

/* False where the table is missing, odd, or says that the address belongs to no function. */
bool bounds_at(struct bounds *b, uint64_t address, uint64_t *ret_start);
/* The same for one address: keeps nothing. */
bool bounds_find(struct elf_file *f, uint64_t address, uint64_t *ret_start);
