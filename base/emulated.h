/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* emulated.h - where can a uprobe stand on the machine that this is built for, and where cheaply? */

#if defined(__aarch64__)

#include "base/emulated_arm64.h"

#define emulated_here emulated_arm64
#define emulated_is_return return_arm64
#define EMULATED_ALIGN 4

static inline bool emulated_is_stepped(const uint8_t *code, size_t n)
{
	unsigned length;

	return emulated_arm64(code, n, &length) == EMULATED_STEPPED;
}

#else

#include "base/emulated_x86.h"

#define emulated_here emulated_x86
#define emulated_is_stepped stepped_x86
#define EMULATED_ALIGN 1

static inline bool emulated_is_return(const uint8_t *code, size_t n)
{
	return n && code[0] == 0xc3;
}

#endif
