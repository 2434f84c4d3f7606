/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* leaves.h - which functions of an arm64 file, by its symbols, never make a frame?
 *
 * They call nothing and leave the stack pointer and x30 alone, so their caller is in x30 from the first instruction to the
 * last: what code without FDEs (the vDSO) can be told of. Owns nothing. Refuses what it does not know for certain, and is
 * bounded in functions and bytes. Encodings: Arm ARM (DDI 0487), C4.1. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symbolizer/elf_file.h"

#define LEAVES_MAX 4096		   /* functions */
#define LEAVES_MAX_FUNCTION 8192u  /* bytes of each */

typedef int leaves_fn(void *context, uint64_t start, uint64_t end);
/* Whether functions there are asked about at all. */
typedef bool leaves_wanted_fn(void *context, uint64_t start);

/* Each one, perhaps several times. 0, or what `each` answered below 0. Of other machines' files there are none. */
int leaves_find(struct elf_file *f, leaves_wanted_fn *wanted, leaves_fn *each, void *context);

/* Whether these instructions are a function of that kind. */
bool leaves_is_one(const uint8_t *code, size_t n);
