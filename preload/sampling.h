/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* sampling.h - the numbers behind Poisson sampling by bytes. Integers only: malloc must not touch
 * the program's floating point flags, and needs no libm.
 *
 * Points are strewn over the allocated bytes at random, `rate` bytes apart in the mean; an object
 * that holds one is a sample. So one of n bytes is taken with probability 1 - exp(-n/rate), and
 * counts for n / (1 - exp(-n/rate)) bytes: the sum of weights is unbiased for allocated bytes, that
 * of weight/n for objects. */

#include <stddef.h>
#include <stdint.h>

#define RATE_DEFAULT ((uint64_t)512 << 10)
#define RATE_MAX ((uint64_t)1 << 40)

/* The next number of a sequence (splitmix64). */
uint64_t random_next(uint64_t *state);

/* Bytes up to the next point, exponentially distributed; rate is 1 to RATE_MAX. */
uint64_t sampling_draw(uint64_t random, uint64_t rate);

/* What a sample of n > 0 bytes stands for, to 1 byte or 2e-5 of it; for one beyond 45 rates, n
 * itself. */
uint64_t sampling_weight(uint64_t n, uint64_t rate);

/* PPROFD_HEAP_RATE: a decimal number of bytes, 1 to RATE_MAX; else (and for NULL) the default. */
uint64_t sampling_rate(const char *text);
