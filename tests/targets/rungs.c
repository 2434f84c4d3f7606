/* SPDX-License-Identifier: Apache-2.0 */

/* rungs.c - a ladder of functions whose names, order and lines are known: main, rung_1, rung_2, rung_3,
 * rung_leaf. Built in every way in which a program can be linked.
 *
 *   rungs [SECONDS]
 *
 * Prints "ready", and at the end "truth NS": the CPU time of all of it. The lines of the calls bear
 * the mark "call of NAME" for the tests to find. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NOINLINE __attribute__((noinline, noclone))

static volatile uint64_t sink;
static int64_t end;

static int64_t now(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static NOINLINE void rung_leaf(int n)
{
	for (int i = 0; i < n; i++)
		sink = sink * 31 + (uint64_t)i; /* work of rung_leaf */
}

static NOINLINE void rung_3(int n)
{
	rung_leaf(n); /* call of rung_leaf */
	sink = sink + 3;
}

static NOINLINE void rung_2(int n)
{
	rung_3(n); /* call of rung_3 */
	sink = sink + 2;
}

static NOINLINE void rung_1(int n)
{
	rung_2(n); /* call of rung_2 */
	sink = sink + 1;
}

int main(int argc, char **argv)
{
	end = now(CLOCK_MONOTONIC) + (argc > 1 ? atoi(argv[1]) : 3600) * 1000000000ll;
	puts("ready");
	fflush(stdout);
	while (now(CLOCK_MONOTONIC) < end)
		rung_1(300000); /* call of rung_1 */
	printf("truth %lld\n", (long long)now(CLOCK_PROCESS_CPUTIME_ID));
	return 0;
}
