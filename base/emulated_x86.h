/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* emulated_x86.h - which instructions does the kernel emulate under a uprobe, instead of stepping
 * over them out of line (0.6 us, not 3 to 37)?
 *
 * Decides on bytes alone, so that who attaches needs no decoder. Stricter than
 * arch/x86/kernel/uprobes.c of every kernel from 5.15 on: no prefix but the REX.B of push, because
 * kernels differ in which they refuse (66, 2e, 3e: no probe at all). Multi-byte nops are emulated
 * from 6.16 on only, and one of 5 bytes becomes a call that overwrites the stack below rsp (6.18):
 * a probe there is safe only where it is the first instruction of a function. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum emulated {
	EMULATED_NOT,
	EMULATED_PUSH, /* push r64 */
	EMULATED_JMP,  /* jmp rel8, rel32 */
	EMULATED_CALL, /* call rel32 */
	EMULATED_JCC,  /* jcc rel8, rel32 */
	EMULATED_NOP,  /* one byte */
	EMULATED_NOP5, /* 0f 1f 44 00 00: see above */
	EMULATED_STEPPED, /* of arm64 (emulated_arm64.h) only */
	EMULATED_N,
};

/* What the bytes begin with, and how long that is; EMULATED_NOT also where they are cut short. */
enum emulated emulated_x86(const uint8_t *code, size_t n, unsigned *ret_length);

/* Whether it is one of those that the kernel steps over out of line, which is dear, and that mean the same wherever they
 * stand: a move of a constant or between registers, endbr64, sub of the stack pointer, xor of registers, ret. */
bool stepped_x86(const uint8_t *code, size_t n);
