/* SPDX-License-Identifier: Apache-2.0 */

/* heap_loop.c - malloc and free as fast as can be, and what that costs.
 *
 *   heap-loop pairs SECONDS [LEAK] [THREADS]	a loop of pairs; leaks LEAK KiB/s, touched, at
 * site_leak heap-loop churn SECONDS		keeps 8192 objects of 64 bytes and replaces one at
 * random heap-loop slices SECONDS		by turns, 1000 each: an empty function, malloc, free
 *
 * "ready" first, then waits for a line. Slices print, twice a second, "empty NS malloc NS free NS":
 * of the thread's CPU time, the smallest of many turns. "best NS" a pair, of slices of 5 ms, and
 * "pairs N CPU-NS" end the others, a thread. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SITE static __attribute__((noinline, noclone))
#define KEEP __asm__ volatile("")
#define TURN 1000

#ifdef __aarch64__
#define EMULATED "nop\n"
#else
#define EMULATED "push %rbp\npop %rbp\n"
#endif
/* Begins with an instruction that the kernel emulates, as malloc does. */
void empty_call(void);
__asm__(".pushsection .text\n"
	".globl empty_call\n"
	".type empty_call, @function\n"
	".balign 64\n"
	"empty_call: " EMULATED
	"ret\n"
	".size empty_call, . - empty_call\n"
	".popsection\n");

static double seconds, leak_bytes;

static long clock_of(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

SITE void *site_leak(size_t n)
{
	void *p = malloc(n);
	if (p)
		memset(p, 1, n);
	KEEP;
	return p;
}

SITE void site_loop(void)
{
	void *volatile p = malloc(64);
	free(p);
}

static void site_churn(void)
{
	static void *slots[8192];
	static unsigned long random = 88172645463325252ul;
	void **slot;

	random ^= random << 13;
	random ^= random >> 7;
	random ^= random << 17;
	slot = &slots[random % (sizeof(slots) / sizeof(*slots))];
	free(*slot);
	*slot = malloc(64);
}

struct slice {
	long wall, cpu, n;
	double best;
};

static void slice(struct slice *s, long wall, long n)
{
	long cpu;

	if (wall - s->wall < 5000000)
		return;
	cpu = clock_of(CLOCK_THREAD_CPUTIME_ID);
	if (s->n && (double)(cpu - s->cpu) / (double)(n - s->n) < s->best)
		s->best = (double)(cpu - s->cpu) / (double)(n - s->n);
	*s = (struct slice){ wall, cpu, n, s->best };
}

static void finish(const struct slice *s, long n, long cpu)
{
	cpu = clock_of(CLOCK_THREAD_CPUTIME_ID) - cpu;
	printf("best %.2f\npairs %ld %ld\n", s->best, n, cpu);
}

static void *pairs(void *number)
{
	long began = clock_of(CLOCK_MONOTONIC), cpu = clock_of(CLOCK_THREAD_CPUTIME_ID), n = 0, now;
	struct slice s = { .best = 1e9 };
	double leaked = 0;

	while (now = clock_of(CLOCK_MONOTONIC) - began, now < seconds * 1e9) {
		for (int i = 0; i < TURN; i++, n++)
			site_loop();
		for (; !number && leaked < leak_bytes * (double)now / 1e9; leaked += 10000)
			site_leak(10000);
		slice(&s, now, n);
	}
	finish(&s, n, cpu);
	return NULL;
}

static void churn(void)
{
	long began = clock_of(CLOCK_MONOTONIC), cpu = clock_of(CLOCK_THREAD_CPUTIME_ID), n = 0, now;
	struct slice s = { .best = 1e9 };

	while (now = clock_of(CLOCK_MONOTONIC) - began, now < seconds * 1e9) {
		for (int i = 0; i < TURN; i++, n++)
			site_churn();
		slice(&s, now, n);
	}
	finish(&s, n, cpu);
}

static void turn(double least[3])
{
	static void *p[TURN];
	long t[4];

	t[0] = clock_of(CLOCK_THREAD_CPUTIME_ID);
	for (int i = 0; i < TURN; i++)
		empty_call();
	t[1] = clock_of(CLOCK_THREAD_CPUTIME_ID);
	for (int i = 0; i < TURN; i++)
		p[i] = malloc(32);
	t[2] = clock_of(CLOCK_THREAD_CPUTIME_ID);
	for (int i = 0; i < TURN; i++)
		free(p[i]);
	t[3] = clock_of(CLOCK_THREAD_CPUTIME_ID);
	for (int i = 0; i < 3; i++) {
		double ns = (double)(t[i + 1] - t[i]) / TURN;

		if (ns < least[i])
			least[i] = ns;
	}
}

static void slices(void)
{
	for (long end = clock_of(CLOCK_MONOTONIC) + (long)(seconds * 1e9);
	     clock_of(CLOCK_MONOTONIC) < end;) {
		double least[3] = { 1e9, 1e9, 1e9 };

		for (long soon = clock_of(CLOCK_MONOTONIC) + 500000000;
		     clock_of(CLOCK_MONOTONIC) < soon;)
			turn(least);
		printf("empty %.1f malloc %.1f free %.1f\n", least[0], least[1], least[2]);
	}
}

int main(int argc, char **argv)
{
	long n = argc > 4 ? atol(argv[4]) : 1;
	pthread_t t[64];

	if (argc < 3 || n > 64)
		return 2;
	seconds = atof(argv[2]);
	leak_bytes = argc > 3 ? atof(argv[3]) * 1024 : 0;
	setvbuf(stdout, NULL, _IOLBF, 4096);
	printf("ready\n");
	for (char c = 0; c != '\n' && read(0, &c, 1) == 1;)
		;
	if (!strcmp(argv[1], "slices")) {
		slices();
		return 0;
	}
	if (!strcmp(argv[1], "churn")) {
		churn();
		return 0;
	}
	for (long i = 1; i < n; i++)
		pthread_create(&t[i], NULL, pairs, (void *)i);
	pairs(NULL);
	for (long i = 1; i < n; i++)
		pthread_join(t[i], NULL);
	return 0;
}
