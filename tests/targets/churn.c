/* SPDX-License-Identifier: Apache-2.0 */

/* churn.c - never the same: churn DIRECTORY SECONDS [LIBRARY]
 *
 * Threads that come and go, each with a name and a stack of its own, that allocate, hold, wait for a mutex and for a
 * moment; children; code made at run time, told of in /tmp/perf-PID.map; copies of LIBRARY under new names in DIRECTORY,
 * opened and closed; values of profiles of its own. After so many seconds it executes itself, for ever. Prints "ready" first. */

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "preload/pprofd.h"

#define NOINLINE __attribute__((noinline, noclone))
#define N_HELD 2048
#define N_PAGES 64

static volatile uint64_t sink;
static void *held[N_HELD];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards held */
static unsigned char *pages;
static const char *directory;

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static int64_t now(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void rest(int ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000l }, NULL);
}

/* mov ecx, 0x10000; 1: dec ecx; jnz 1b; ret */
static void make_code(unsigned n)
{
#if defined(__x86_64__)
	static const unsigned char code[] = { 0xb9, 0x00, 0x00, 0x01, 0x00, 0xff, 0xc9, 0x75, 0xfc, 0xc3 };
	unsigned char *at = pages + n % N_PAGES * 4096ul + n / N_PAGES % 64 * 64;
	char path[4096];
	FILE *f;

	memcpy(at, code, sizeof(code));
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	f = fopen(path, "a");
	if (f) {
		fprintf(f, "%lx %zx jit_%u\n", (unsigned long)at, sizeof(code), n);
		fclose(f);
	}
	((void (*)(void))(uintptr_t)at)();
#else
	(void)n;
#endif
}

static NOINLINE void work(uint64_t seed)
{
	size_t slot, n;
	void *p, *old;

	for (int i = 0; i < 20; i++) {
		slot = next(&seed) % N_HELD;
		n = next(&seed) % 30000 + 1;
		p = malloc(n);
		if (p)
			memset(p, 1, n);
		pthread_mutex_lock(&lock);
		old = held[slot];
		held[slot] = p;
		for (int k = 0; k < 20000; k++)
			sink = sink * 31 + (uint64_t)k;
		pthread_mutex_unlock(&lock);
		if (old)
			PPROFD_REMOVE("pieces", old);
		free(old);
		if (p)
			PPROFD_ADD("pieces", p, 0);
		if (i % 8 == 7)
			rest(1);
	}
}

static NOINLINE void left(uint64_t path, unsigned depth, uint64_t seed);

static NOINLINE void right(uint64_t path, unsigned depth, uint64_t seed)
{
	if (!depth)
		work(seed);
	else if (path & 1)
		right(path >> 1, depth - 1, seed);
	else
		left(path >> 1, depth - 1, seed);
	sink++;
}

static NOINLINE void left(uint64_t path, unsigned depth, uint64_t seed)
{
	if (!depth)
		work(seed);
	else if (path & 1)
		right(path >> 1, depth - 1, seed);
	else
		left(path >> 1, depth - 1, seed);
	sink--;
}

static void *run(void *context)
{
	uint64_t seed = (uintptr_t)context * 0x9e3779b97f4a7c15ull + (uint64_t)now(CLOCK_MONOTONIC);
	char name[16];

	snprintf(name, sizeof(name), "t%lu", (unsigned long)(uintptr_t)context);
	prctl(PR_SET_NAME, name);
	PPROFD_LABEL_SET("turn", name);
	left(next(&seed), 4 + next(&seed) % 24, seed);
	return NULL;
}

static void open_new(const char *library, unsigned n)
{
	static void *open_ones[4];
	char path[4096];
	struct stat st;
	int from = open(library, O_RDONLY | O_CLOEXEC), to;
	void (*call)(int);

	snprintf(path, sizeof(path), "%s/lib-%d-%u.so", directory, getpid(), n);
	to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	if (from >= 0 && to >= 0 && fstat(from, &st) == 0 && sendfile(to, from, NULL, (size_t)st.st_size) < 0)
		perror(path);
	close(from);
	close(to);
	if (open_ones[n % 4])
		dlclose(open_ones[n % 4]);
	open_ones[n % 4] = dlopen(path, RTLD_NOW);
	unlink(path);
	call = open_ones[n % 4] ? (void (*)(int))(uintptr_t)dlsym(open_ones[n % 4], "work") : NULL;
	if (call)
		call(5);
	prctl(PR_SET_NAME, "churn"); /* it has called us otherwise */
}

static void child(void)
{
	if (fork() == 0) {
		for (int i = 0; i < 3000000; i++)
			sink = sink * 31 + (uint64_t)i;
		_exit(0);
	}
}

static void turn(unsigned n, const char *library)
{
	pthread_t threads[4];
	unsigned begun = 0;

	for (unsigned i = 0; i < 4; i++)
		begun += pthread_create(&threads[begun], NULL, run, (void *)(uintptr_t)(n * 4 + i + 1)) == 0;
	make_code(n);
	if (library && n % 8 == 0)
		open_new(library, n / 8);
	if (n % 16 == 0)
		child();
	for (unsigned i = 0; i < begun; i++)
		pthread_join(threads[i], NULL);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	rest(100);
}

int main(int argc, char **argv)
{
	char path[4096];
	int64_t end;

	if (argc < 3)
		return 2;
	directory = argv[1];
	end = now(CLOCK_MONOTONIC) + atoll(argv[2]) * 1000000000ll;
	pages = mmap(NULL, N_PAGES * 4096ul, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		return 1;
	puts("ready");
	fflush(stdout);
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	unlink(path);
	for (unsigned n = 0; now(CLOCK_MONOTONIC) < end; n++)
		turn(n, argc > 3 ? argv[3] : NULL);
	execv(argv[0], argv);
	return 1;
}
