/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* bounds.h - where does the function at an address begin, when no symbol tells?
 *
 * The binary search table of .eh_frame_hdr (LSB 5.0 core 10.6.2) is in every file that can be
 * unwound, stripped or not. So a stripped function has one name, by its start, however many of its
 * addresses were sampled. Owns nothing; reads the file each time. */

#include <stdbool.h>
#include <stdint.h>

#include "symbolizer/elf_file.h"

/* False where the table is missing, odd, or says that the address belongs to no function. */
bool bounds_find(struct elf_file *f, uint64_t address, uint64_t *ret_start);
