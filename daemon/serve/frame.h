/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* frame.h - what a frame word of bpf/event.h says. Pure functions. */

#include <stdbool.h>
#include <stdint.h>

#include "bpf/event.h"

enum frame_kind {
	FRAME_FILE,   /* object and address in its file */
	FRAME_KERNEL, /* a kernel address */
	FRAME_RAW,    /* a runtime pc of code without a file */
	FRAME_MARKER, /* not a frame: why the stack is not complete */
};

static inline enum frame_kind frame_kind(uint64_t word)
{
	switch (word >> 56) {
	case PP_FRAME_KERNEL:
		return FRAME_KERNEL;
	case PP_FRAME_RAW:
		return FRAME_RAW;
	case PP_FRAME_MARKER:
		return FRAME_MARKER;
	}
	return FRAME_FILE;
}

static inline uint32_t frame_object(uint64_t word) /* FRAME_FILE */
{
	return (uint32_t)(word >> PP_ADDRESS_BITS);
}

static inline uint64_t frame_address(uint64_t word) /* FRAME_FILE */
{
	return word & ((1ull << PP_ADDRESS_BITS) - 1);
}

static inline uint64_t frame_pc(uint64_t word) /* FRAME_RAW */
{
	return word & ((1ull << 56) - 1);
}

static inline unsigned frame_end(uint64_t word) /* FRAME_MARKER */
{
	return (word >> 32) & 0xff;
}

static inline uint32_t frame_marker_object(uint64_t word) /* FRAME_MARKER */
{
	return (uint32_t)word;
}

/* "broken: no unwind row", "truncated", ...: for markers and comments. Never NULL. */
const char *frame_end_text(unsigned end);
/* Whether a stack with this marker counts as truncated, not as broken. */
bool frame_end_truncated(unsigned end);
