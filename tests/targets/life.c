/* SPDX-License-Identifier: Apache-2.0 */

/* life.c - processes and threads that come, change and go: life KIND [ARGUMENTS]
 *
 *   sleep              does nothing at all
 *   storm N MS         on a line of input: N threads, four at a time, called w000, w001, ..., each
 *                      spinning MS by its own clock; prints "truth NS" and sleeps
 *   leader             the first thread ends; another spins in after_leader
 *   names              a thread for each odd name, each spinning in named_work
 *   fork               the parent spins in parent_work, a child in child_work
 *   exec MS PROGRAM... spins in before_exec so long after a line of input, then executes PROGRAM
 *   end MS STATUS      on a line of input: spins in last_work so long, then exits
 *                      (MS by its own clock, so that a busy machine gives it as many samples)
 *   load LIBRARY       loads it and calls its work() again and again
 *   map N FILE         N executable mappings, every other one of FILE, of changing offsets; spins in
 *                      among_mappings
 *
 * Each prints "ready" first. */

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static volatile uint64_t sink;
static char **arguments;

static int64_t now(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void turn(void)
{
	for (int i = 0; i < 20000; i++)
		sink = sink * 31 + (uint64_t)i;
}

static void say(const char *text)
{
	puts(text);
	fflush(stdout);
}

static void wait_for_line(void)
{
	char line[80];

	say("ready");
	if (!fgets(line, sizeof(line), stdin))
		exit(1);
}

static long argument(int i)
{
	return arguments[i] ? atol(arguments[i]) : 0;
}

static void run_sleep(void)
{
	say("ready");
	for (;;)
		pause();
}

static atomic_long truth;

static NOINLINE void *storm_work(void *arg)
{
	char name[16];
	int64_t until = now(CLOCK_THREAD_CPUTIME_ID) + argument(1) * 1000000ll;

	snprintf(name, sizeof(name), "w%03d", (int)(intptr_t)arg);
	prctl(PR_SET_NAME, name);
	while (now(CLOCK_THREAD_CPUTIME_ID) < until)
		turn();
	atomic_fetch_add(&truth, now(CLOCK_THREAD_CPUTIME_ID));
	return NULL;
}

static void run_storm(void)
{
	pthread_t t[4];

	wait_for_line();
	for (long i = 0; i < argument(0); i += 4) {
		for (long k = 0; k < 4; k++)
			pthread_create(&t[k], NULL, storm_work, (void *)(intptr_t)(i + k));
		for (long k = 0; k < 4; k++)
			pthread_join(t[k], NULL);
	}
	printf("truth %ld\n", (long)truth);
	fflush(stdout);
	for (;;)
		pause();
}

static NOINLINE void *after_leader(void *arg)
{
	for (;;)
		turn();
	return NULL;
}

static void run_leader(void)
{
	pthread_t t;

	pthread_create(&t, NULL, after_leader, NULL);
	say("ready");
	pthread_exit(NULL);
}

static NOINLINE void *named_work(void *arg)
{
	prctl(PR_SET_NAME, arg);
	for (;;)
		turn();
	return NULL;
}

static void run_names(void)
{
	static const char *const names[] = { "new\nline", "q\"uo\\te'", "\xff\xfe!", "\xc3\xa9t\xc3\xa9",
					     "executableInfo=", "" };
	pthread_t t;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		pthread_create(&t, NULL, named_work, (void *)names[i]);
	say("ready");
	for (;;)
		pause();
}

static NOINLINE void child_work(void)
{
	for (;;)
		turn();
}

static NOINLINE void parent_work(void)
{
	for (;;)
		turn();
}

static void run_fork(void)
{
	if (!fork())
		child_work();
	say("ready");
	parent_work();
}

static NOINLINE void before_exec(int64_t until)
{
	while (now(CLOCK_THREAD_CPUTIME_ID) < until)
		turn();
}

static void run_exec(void)
{
	wait_for_line();
	before_exec(now(CLOCK_THREAD_CPUTIME_ID) + argument(0) * 1000000ll);
	execv(arguments[1], arguments + 1);
	exit(1);
}

static NOINLINE void last_work(int64_t until)
{
	while (now(CLOCK_THREAD_CPUTIME_ID) < until)
		turn();
}

static void run_end(void)
{
	wait_for_line();
	last_work(now(CLOCK_THREAD_CPUTIME_ID) + argument(0) * 1000000ll);
	exit((int)argument(1));
}

static void run_load(void)
{
	void *h = dlopen(arguments[0], RTLD_NOW);
	void (*work)(int) = h ? (void (*)(int))dlsym(h, "work") : NULL;

	if (!work) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	say("ready");
	for (;;)
		work(50);
}

static NOINLINE void among_mappings(void)
{
	for (;;)
		turn();
}

/* Neighbours would be joined by the kernel if they were alike: files and no files take turns, and
 * every file mapping begins at another offset. */
static void run_map(void)
{
	int fd = open(arguments[1], O_RDONLY | O_CLOEXEC);
	long n = argument(0), page = sysconf(_SC_PAGESIZE), size = lseek(fd, 0, SEEK_END);

	for (long i = 0; i < n; i++) {
		bool file = i & 1;
		void *p = mmap(NULL, (size_t)page, PROT_READ | PROT_EXEC,
			       file ? MAP_PRIVATE : MAP_PRIVATE | MAP_ANONYMOUS, file ? fd : -1,
			       file ? (i / 2 * 7 % (size / page)) * page : 0);

		if (p == MAP_FAILED) {
			perror("mmap");
			exit(1);
		}
	}
	say("ready");
	among_mappings();
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} kinds[] = {
		{ "sleep", run_sleep }, { "storm", run_storm }, { "leader", run_leader },
		{ "names", run_names }, { "fork", run_fork },	{ "exec", run_exec },
		{ "end", run_end },	{ "load", run_load },	{ "map", run_map },
	};

	arguments = argv + 2;
	for (size_t i = 0; argc > 1 && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(argv[1], kinds[i].name))
			kinds[i].run();
	fprintf(stderr, "life: which kind?\n");
	return 2;
}
