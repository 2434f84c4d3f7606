/* SPDX-License-Identifier: Apache-2.0 */

/* custom-pair.c - what preload/pprofd.h costs: CPU time in ns for one turn of a loop without it, with a pair of Add and Remove, and
 * with names that are told at run time.
 *
 *	custom-pair	"ready", then for each line "KIND N DEPTH" of its input the ns of a turn; the pair is
 *			in a call so deep
 */

#include "preload/pprofd.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* whatever else runs */
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#define LOOP(name, body)                                                                           \
	static __attribute__((noinline)) double name(unsigned long n)                              \
	{                                                                                          \
		double began = now();                                                              \
                                                                                                   \
		for (unsigned long i = 0; i < n; i++) {                                            \
			__asm__ __volatile__("" : "+r"(i));                                        \
			body;                                                                      \
		}                                                                                  \
		return (now() - began) / (double)n;                                                \
	}

static const char *at_run_time = "at run time";

LOOP(empty, )
LOOP(pair, PPROFD_ADD("pairs", i, 0); PPROFD_REMOVE("pairs", i))
LOOP(named, PPROFD_ADD(at_run_time, i, 0); PPROFD_REMOVE(at_run_time, i))

/* Two probes that find nothing to do: what a pair costs without its walk, but for writing the value. */
LOOP(idle, PPROFD_REMOVE("pairs", i); PPROFD_REMOVE("pairs", i))

/* What a trace shows. */
LOOP(region, PPROFD_REGION_BEGIN(0, "region"); PPROFD_REGION_END(0, "region"))
LOOP(say, PPROFD_LOG(0, "category", "some message"))

static __attribute__((noinline)) double deeper(double (*f)(unsigned long n), unsigned long n, int depth)
{
	double r = depth > 0 ? deeper(f, n, depth - 1) : f(n);

	__asm__ __volatile__("" : "+m"(r));
	return r;
}

int main(void)
{
	unsigned long n;
	char kind[16];
	int depth;

	printf("ready\n");
	fflush(stdout);
	while (scanf("%15s %lu %d", kind, &n, &depth) == 3) {
		printf("%.4f\n", deeper(!strcmp(kind, "pair") ? pair : !strcmp(kind, "named") ? named :
				    !strcmp(kind, "idle") ? idle : !strcmp(kind, "region") ? region :
				    !strcmp(kind, "log") ? say : empty, n, depth));
		fflush(stdout);
	}
	return 0;
}
