/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* shown.h - which addresses answers show for what is in no file. Those of files lie below (object.c: below 2^52).
 *
 * Owns nothing. No address tells where anything was loaded. */

#include <stdint.h>

#define SHOWN_KERNEL (1ull << 52)
#define SHOWN_HIDDEN (SHOWN_KERNEL + (1ull << 50)) /* of the kernel, without names */
#define SHOWN_MARKERS (SHOWN_KERNEL + (1ull << 51))
#define SHOWN_END (SHOWN_MARKERS + (1ull << 40))

/* `named`: what the symbolizer tells of a kernel frame's function. */
static inline uint64_t shown_kernel(uint64_t named)
{
	return SHOWN_KERNEL + (named & ((1ull << 49) - 1));
}

/* Told apart by a number that tells nothing. */
static inline uint64_t shown_hidden(uint64_t hash)
{
	return SHOWN_HIDDEN + (hash & ((1ull << 48) - 1));
}

/* end: enum pp_end; slot: of the object that it is about, 0: of none. Far enough apart that one more or less, as
 * readers reckon, is still the same. */
static inline uint64_t shown_marker(uint64_t end, uint64_t slot)
{
	return SHOWN_MARKERS + (end << 32) + (slot >> 34 << 4) + 8;
}
