/* SPDX-License-Identifier: Apache-2.0 */

/* sampling.c - see sampling.h. Fractions are fixed point: Q63 has 1.0 at bit 63. */

#include "preload/sampling.h"

#define LOG2_BITS 30
#define LN2_Q32 0xb17217f8ull
#define ONE_Q63 ((uint64_t)1 << 63)

__extension__ typedef unsigned __int128 u128;

static uint64_t mul_q63(uint64_t a, uint64_t b)
{
	return (uint64_t)((u128)a * b >> 63);
}

uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* -log2(r / 2^64) in Q32, for r > 0: the whole part by counting zeros, the rest bit by bit, for
 * squaring a number doubles its logarithm. */
static uint64_t neg_log2_q32(uint64_t r)
{
	int zeros = __builtin_clzll(r);
	uint64_t x = r << zeros, fraction = 0;

	for (int bit = 31; bit >= 32 - LOG2_BITS; bit--) {
		u128 square = (u128)x * x;

		if (square >> 127) {
			fraction |= (uint64_t)1 << bit;
			x = (uint64_t)(square >> 64);
		} else {
			x = (uint64_t)(square >> 63);
		}
	}
	return ((uint64_t)(zeros + 1) << 32) - fraction;
}

uint64_t sampling_draw(uint64_t random, uint64_t rate)
{
	u128 log2 = neg_log2_q32(random | 1);

	return (uint64_t)((log2 * LN2_Q32 >> 32) * rate >> 32);
}

/* 1 - exp(-n/rate) in Q63, for n < 45 rate. A series for x = n/rate/128, then seven doublings of
 * the exponent: e(2x) = e(x) * (2 - e(x)), which loses nothing where e is small. */
static uint64_t probability_q63(uint64_t n, uint64_t rate)
{
	uint64_t x = (uint64_t)(((u128)n << (63 - 7)) / rate);
	uint64_t e = ONE_Q63;

	for (unsigned int term = 6; term > 1; term--)
		e = ONE_Q63 - mul_q63(x, e) / term;
	e = mul_q63(x, e);
	for (int i = 0; i < 7; i++)
		e = (e << 1) - mul_q63(e, e);
	return e;
}

uint64_t sampling_weight(uint64_t n, uint64_t rate)
{
	uint64_t e;

	if (n / 45 >= rate)
		return n;
	e = probability_q63(n, rate);
	return (uint64_t)((((u128)n << 63) + e / 2) / e);
}

uint64_t sampling_rate(const char *text)
{
	uint64_t rate = 0;

	if (!text || !*text)
		return RATE_DEFAULT;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return RATE_DEFAULT;
		rate = rate * 10 + (uint64_t)(*text - '0');
		if (rate > RATE_MAX)
			return RATE_DEFAULT;
	}
	return rate ? rate : RATE_DEFAULT;
}
