/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* emulated_arm64.h - which instructions of arm64 can be probed, and which of them cheaply?
 *
 * Decides on bytes alone. All have four bytes and stand at multiples of four, so a probe hits no half of one. Branches
 * are simulated (arch/arm64/kernel/probes/decode-insn.c); all else is stepped over out of line, a nop before 6.12, too.
 * Stricter than the kernel: exclusive loads and stores, system registers and what traps are no places. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/emulated_x86.h"

/* EMULATED_JMP, _CALL, _JCC, _NOP, _STEPPED (all others that can be probed), or EMULATED_NOT. */
enum emulated emulated_arm64(const uint8_t *code, size_t n, unsigned *ret_length);

/* ret, or one that checks a signature. */
bool return_arm64(const uint8_t *code, size_t n);

/* Whether it branches by an offset, and by how many bytes; a call is told by EMULATED_CALL. */
bool branch_arm64(const uint8_t *code, size_t n, int64_t *ret_offset);
