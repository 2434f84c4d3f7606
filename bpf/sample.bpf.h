/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* sample.bpf.h - which objects of a stream of bytes are sampled: a Poisson process.
 *
 * A countdown of bytes, drawn anew from the exponential distribution when it has run out. An object of
 * `size` bytes is taken with the probability 1 - exp(-size / rate), whatever came before it. */

#include "compat.bpf.h"
#include "heap.h"

/* log2(1 + f), f and the answer in 1/2^32: f + k f (1 - f) + l f (1 - f) (1 - 2 f). The constant k makes
 * the integral over all f exact, so that draws have the right mean; none is off by more
 * than 0.0011. */
PP_INLINE u64 pp_log2_fraction(u64 f)
{
	u64 g = (f >> 1) * ((1ull << 32) - f) >> 31; /* f (1 - f) */
	s64 tilt = (s64)(1ull << 31) - (s64)f;	     /* (1 - 2 f) / 2 */

	return f + (g * 1476737552 >> 32) + (u64)(((s64)(g * 335836621 >> 32) * tilt) >> 31);
}

/* -ln((r + 0.5) / 2^32) * rate for a uniform r, at least 1. rate: below 2^31. */
PP_INLINE u64 pp_exponential(u32 r, u64 rate)
{
	u64 x = (u64)r * 2 + 1; /* odd, below 2^33 */
	u32 n = pp_log2(x);
	u64 log2 = ((u64)n << 32) + pp_log2_fraction((x << (32 - n)) - (1ull << 32));
	u64 nat = (((33ull << 32) - log2) >> 8) * 11629080 >> 24; /* ln 2 = 11629080 / 2^24; in 2^-24 */
	u64 draw = nat * (rate >> 6) >> 18;

	return draw ? draw : 1;
}
