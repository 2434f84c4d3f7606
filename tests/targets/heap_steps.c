/* SPDX-License-Identifier: Apache-2.0 */

/* heap_steps.c - allocates what it is told to, line by line; answers each with "done".
 *
 *   one N SIZE | two N SIZE	N objects at site_one or site_two, kept; SIZE bytes, not touched
 *   free		all of them
 *   churn N SIZE	N times malloc and free, at site_churn
 *   pairs SECONDS	the same as fast as can be; answers "done PAIRS CPU-NS"
 *   bound N		realloc(NULL), (p, smaller), (p, 0) and failures, N times, at site_odd
 *   forked N	a child prints the ns of a pair, N times, 100 ms apart: "done NS NS ..."
 *   open PATH | exec [TIMES] | fork N | quit
 */

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_OBJECTS 200000
#define SITE static __attribute__((noinline, noclone))
#define KEEP __asm__ volatile("")

static void *objects[MAX_OBJECTS];
static long n_objects;

SITE void *site_one(size_t n)
{
	void *p = malloc(n);
	KEEP;
	return p;
}

SITE void *site_two(size_t n)
{
	void *p = malloc(n);
	KEEP;
	return p;
}

SITE void *site_child(size_t n)
{
	void *p = malloc(n);
	KEEP;
	return p;
}

SITE void site_churn(size_t n)
{
	void *volatile p = malloc(n);
	free(p);
}

SITE void site_odd(void)
{
	volatile size_t many = (size_t)1 << 40, huge = PTRDIFF_MAX - 64;
	void *volatile p = realloc(NULL, 70000);
	p = realloc(p, 300);
	p = realloc(p, 200000);
	if (realloc(p, huge))
		abort();
	p = realloc(p, 150000);
	if (calloc(many, many) || malloc(huge))
		abort();
	free(p);
	free(NULL);
}

static void keep(void *(*site)(size_t), long n, size_t size)
{
	while (n-- > 0 && n_objects < MAX_OBJECTS)
		if (!(objects[n_objects++] = site(size)))
			exit(3);
}

static long clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void pairs(long seconds)
{
	long end = clock_ns(CLOCK_MONOTONIC) + seconds * 1000000000L;
	long n = 0, began = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	while (clock_ns(CLOCK_MONOTONIC) < end)
		for (int i = 0; i < 1000; i++, n++)
			site_churn(64);
	printf("done %ld %ld\n", n, clock_ns(CLOCK_THREAD_CPUTIME_ID) - began);
}

static int fork_child(long n)
{
	int status = 1;
	pid_t pid = fork();

	if (!pid) {
		for (long i = 0; i < n; i++) {
			void *p = site_child(100000);
			memset(p, 7, 1000);
			if (i % 2)
				free(p);
		}
		for (long i = 0; i < n_objects; i++)
			free(objects[i]);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return status;
}

/* The ns of a pair in a child, n times. */
static void fork_pairs(long n)
{
	int status;
	pid_t pid;

	printf("done");
	fflush(stdout);
	pid = fork();
	for (long i = 0; !pid && i < n; i++) {
		long began = clock_ns(CLOCK_THREAD_CPUTIME_ID);

		for (int k = 0; k < 2000; k++)
			site_churn(32);
		printf(" %ld", (clock_ns(CLOCK_THREAD_CPUTIME_ID) - began) / 2000);
		fflush(stdout);
		usleep(100000);
	}
	if (!pid)
		_exit(0);
	waitpid(pid, &status, 0);
	printf("\n");
}

/* The program anew, and the new one does it again until it has been done n times. */
static int execute(long n)
{
	char left[24];

	snprintf(left, sizeof(left), "%ld", n - 1);
	return execl("/proc/self/exe", "heap-steps", "second", left, NULL);
}

int main(int argc, char **argv)
{
	char line[4096], word[16], text[4000];
	long a, b;

	if (argc > 2 && atol(argv[2]) > 0)
		return execute(atol(argv[2]));
	setvbuf(stdout, NULL, _IOLBF, 4096);
	printf("ready %s\n", argc > 1 ? argv[1] : "first");
	/* an own read, because stdio's buffer may hold the next line when we exec */
	for (size_t n = 0; n < sizeof(line) - 1 && read(0, line + n, 1) == 1;) {
		if (line[n++] != '\n')
			continue;
		line[n] = *text = '\0';
		n = 0;
		a = b = 0;
		if (sscanf(line, "%15s %ld %ld", word, &a, &b) < 2)
			sscanf(line, "%15s %3999s", word, text);
		if (!strcmp(word, "one"))
			keep(site_one, a, (size_t)b);
		else if (!strcmp(word, "two"))
			keep(site_two, a, (size_t)b);
		else if (!strcmp(word, "free"))
			while (n_objects)
				free(objects[--n_objects]);
		else if (!strcmp(word, "churn"))
			while (a-- > 0)
				site_churn((size_t)b);
		else if (!strcmp(word, "bound"))
			while (a-- > 0)
				site_odd();
		else if (!strcmp(word, "open") && !dlopen(text, RTLD_NOW))
			return 4;
		else if (!strcmp(word, "fork") && fork_child(a))
			return 5;
		else if (!strcmp(word, "exec"))
			return execute(a);
		else if (!strcmp(word, "quit"))
			return 0;
		if (!strcmp(word, "pairs"))
			pairs(a);
		else if (!strcmp(word, "forked"))
			fork_pairs(a);
		else
			printf("done\n");
	}
	return 0;
}
