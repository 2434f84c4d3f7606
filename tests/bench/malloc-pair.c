/* SPDX-License-Identifier: Apache-2.0 */

/* malloc-pair.c - what a malloc and its free cost:
 *
 *   malloc-pair loop|churn BYTES [PAIRS [RUNS]]
 *
 * loop frees at once; churn keeps 8192 objects and replaces one at random. Prints the smallest of
 * RUNS, ns a pair, by the thread's CPU clock. PPROFD_TEST_SAMPLING=1 raises the semaphore of
 * libpprofd-alloc.so, as a reader would. */

#include <string.h>
#include <time.h>

#include "tests/preload/shim.h"

#define SLOTS 8192

static void *slots[SLOTS];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void loop(long pairs, size_t bytes)
{
	for (long i = 0; i < pairs; i++) {
		void *p = malloc(bytes);

		__asm__ volatile("" : "+r"(p) : : "memory");
		free(p);
	}
}

static void churn(long pairs, size_t bytes)
{
	static uint64_t state = 88172645463325252ull;

	for (long i = 0; i < pairs; i++) {
		void **slot = &slots[shim_random(&state) % SLOTS];

		free(*slot);
		*slot = malloc(bytes);
	}
}

int main(int argc, char **argv)
{
	size_t bytes = argc > 2 ? strtoul(argv[2], NULL, 10) : 64;
	long pairs = argc > 3 ? atol(argv[3]) : 200000, runs = argc > 4 ? atol(argv[4]) : 50;
	void (*work)(long, size_t) = argc > 1 && !strcmp(argv[1], "churn") ? churn : loop;
	double best = 1e18;

	shim_start();
	work(pairs, bytes);
	for (long i = 0; i < runs; i++) {
		double start = now(), took;

		work(pairs, bytes);
		took = (now() - start) / (double)pairs;
		best = took < best ? took : best;
	}
	printf("%.2f\n", best);
	return 0;
}
