// SPDX-License-Identifier: Apache-2.0
/* labels.c - what tools/bench labels measures.
 *
 * labels set: ns of CPU time of one PPROFD_LABEL_SET, the least of many rounds: of a literal, of a text that is not
 * known beforehand, of a pair of set and clear.
 * labels spin: one thread spins; for each number in its input, under so many labels: "ready". */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "preload/pprofd.h"

#define ROUNDS 200
#define TIMES 100000

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#define MEASURE(name, what)                                             \
	do {                                                            \
		double least = 1e9;                                     \
		for (int round = 0; round < ROUNDS; round++) {          \
			double began = now_ns();                        \
			for (int i = 0; i < TIMES; i++) {               \
				what;                                   \
			}                                               \
			began = (now_ns() - began) / TIMES;             \
			least = began < least ? began : least;          \
		}                                                       \
		printf("%s %.2f\n", name, least);                       \
	} while (0)

static volatile int wanted, labelled;

static void *spin(void *unused)
{
	char key[] = "k0";

	for (;;) {
		for (int i = 0; i < PPROFD_LABEL_MAX; i++) {
			key[1] = (char)('0' + i);
			if (i < wanted)
				PPROFD_LABEL_SET(key, "some value");
			else
				PPROFD_LABEL_CLEAR(key);
		}
		labelled = wanted;
		while (labelled == wanted)
			__asm__ volatile("");
	}
	return unused;
}

int main(int argc, char **argv)
{
	const char *text = argc > 2 ? argv[2] : "";
	pthread_t t;
	int n;

	if (argc > 1 && !strcmp(argv[1], "set")) {
		MEASURE("nothing", __asm__ volatile(""));
		MEASURE("literal", PPROFD_LABEL_SET("endpoint", "/index"));
		MEASURE("text", PPROFD_LABEL_SET("endpoint", text));
		MEASURE("pair", PPROFD_LABEL_SET("other", "value"); PPROFD_LABEL_CLEAR("other"));
		return 0;
	}
	pthread_create(&t, NULL, spin, NULL);
	while (scanf("%d", &n) == 1) {
		wanted = n;
		while (labelled != n)
			usleep(1000);
		puts("ready");
		fflush(stdout);
	}
	return 0;
}
