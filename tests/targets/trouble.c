/* SPDX-License-Identifier: Apache-2.0 */

/* trouble.c - linked into a pprofd-serve of tests/live/abuse.py. Beside it lies a file `trouble`: FROM UNTIL JUMP NTH. From then until
 * then (seconds of CLOCK_MONOTONIC) the day's time is JUMP seconds off, and each NTH request for memory is refused. */

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

static double from, until;
static long jump, nth;
static atomic_ulong n_asked;

__attribute__((constructor)) static void begin(void)
{
	char path[4096], *slash;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("trouble"));
	FILE *f;

	path[n > 0 ? n : 0] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return;
	strcpy(slash + 1, "trouble");
	f = fopen(path, "r");
	if (!f || fscanf(f, "%lf %lf %ld %ld", &from, &until, &jump, &nth) != 4)
		abort();
	fclose(f);
}

static bool now(void)
{
	struct timespec t;
	double s;

	if (!until)
		return false;
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	s = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
	return s >= from && s < until;
}

static bool refused(void)
{
	if (!nth || atomic_fetch_add(&n_asked, 1) % (unsigned long)nth != 0 || !now())
		return false;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t n)
{
	return refused() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return refused() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	return refused() ? NULL : __libc_realloc(p, n);
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
	long r = syscall(SYS_clock_gettime, clock, t);

	if (r == 0 && jump && clock == CLOCK_REALTIME && now())
		t->tv_sec += jump;
	return (int)r;
}

int gettimeofday(struct timeval *t, void *zone)
{
	struct timespec s;

	clock_gettime(CLOCK_REALTIME, &s);
	*t = (struct timeval){ .tv_sec = s.tv_sec, .tv_usec = s.tv_nsec / 1000 };
	return 0;
}

time_t time(time_t *t)
{
	struct timespec s;

	clock_gettime(CLOCK_REALTIME, &s);
	if (t)
		*t = s.tv_sec;
	return s.tv_sec;
}
