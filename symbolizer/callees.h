/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* callees.h - which function was called here?
 *
 * A frame's name tells where a call returns to. Functions that end in a jump to another one leave
 * no frame, but the call instruction in front of the return address still tells which of them was
 * called. Understands calls of functions that have a symbol, through the PLT, and through the slot
 * of a named symbol; no pointers in registers. Owns an index of the file's slots, made when it is
 * first needed; borrows the file and its names, which must outlive it. Only x86-64 is read; of
 * other machines there is never an answer. */

#include <stdint.h>

#include "base/cleanup.h"
#include "symbolizer/elf_file.h"
#include "symbolizer/names.h"

struct callees;

/* 0 or -ENOMEM. */
int callees_new(struct elf_file *f, struct names *names, struct callees **ret);
void callees_free(struct callees *c);
DEFINE_CLEANUP(struct callees, callees_free)

/* address: of the call's last byte, as in stacks (the return address less one). The linkage name,
 * borrowed until the next question about this file; NULL: unknown. */
const char *callees_find(struct callees *c, uint64_t address);
