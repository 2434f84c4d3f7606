/* SPDX-License-Identifier: Apache-2.0 */

/* custom.c - a program with profiles of its own (preload/pprofd.h), as C and as C++.
 *
 *	custom
 *
 * "ready", then for each line of its input what it says, and "done". Values are the numbers 1, 2, ... or what the
 * line says:
 *	here FIRST N	      adds to "things" in site_here
 *	inlined FIRST N	      by a function that leaves itself out, inlined or not, called in site_inlined
 *	called FIRST N	      likewise, never inlined, called in site_called
 *	deep FIRST N	      leaves out more functions than there are
 *	open PATH	      a library
 *	library FIRST N	      adds there
 *	remove FIRST N	      from "things"
 *	named NAME FIRST N    adds in site_named; the name is the rest of the line after the numbers
 *	unnamed FIRST N	      removes likewise: unnamed FIRST N NAME
 *	bad		      adds by names that are empty, too long, and nowhere
 *	reserved	      adds to "heap", by literal and by pointer
 *	threads N M	      N threads that add and remove M values each, and keep one each
 *	flood		      two threads that add and remove as fast as they can, until "calm"; each 100th value stays
 *	calm		      "flooded ADDED REMOVED"
 *	fork		      a child that adds to "things" and waits for a signal
 *	exec		      itself again */

#ifdef PLAIN /* nothing of it in the program itself */
#define PPROFD_PROFILE(name) _Static_assert(1, "")
#define PPROFD_ADD(name, value, skip) ((void)(name), (void)(value))
#define PPROFD_REMOVE(name, value) ((void)(name), (void)(value))
#else
#include "preload/pprofd.h"
#endif

#ifndef STATIC
#include <dlfcn.h>
#endif
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SITE __attribute__((noinline, noclone, used))
#ifdef __clang__
#undef SITE
#define SITE __attribute__((noinline, used))
#endif
#define KEEP __asm__ __volatile__("" ::: "memory")
#define THINGS "things"

PPROFD_PROFILE("declared");
PPROFD_PROFILE("odd \"name\" / with 'quotes' & <b> \303\251 %d {|}");
PPROFD_PROFILE("heap");

SITE void site_here(uintptr_t v)
{
	PPROFD_ADD("things", v, 0);
	KEEP;
}

static inline void add_inlined(uintptr_t v)
{
	PPROFD_ADD(THINGS, v, 1);
}

SITE void site_inlined(uintptr_t v)
{
	add_inlined(v);
	KEEP;
}

SITE void add_called(const void *v)
{
	PPROFD_ADD("things", v, 1);
	KEEP;
}

SITE void site_called(uintptr_t v)
{
	add_called((const void *)v);
	KEEP;
}

SITE void site_deep(uintptr_t v)
{
	PPROFD_ADD("things", v, 200);
	KEEP;
}

SITE void site_named(const char *name, uintptr_t v)
{
	PPROFD_ADD(name, v, 0);
	KEEP;
}

SITE void site_unnamed(const char *name, uintptr_t v)
{
	PPROFD_REMOVE(name, v);
	KEEP;
}

SITE void site_remove(uintptr_t v)
{
	PPROFD_REMOVE("things", v);
	KEEP;
}

SITE void site_reserved(uintptr_t v)
{
	PPROFD_ADD("heap", v, 0);
	site_named("heap", v);
	KEEP;
}

SITE void site_bad(void)
{
	static const char too_long[] =
		"0123456789012345678901234567890123456789012345678901234567890123"; /* 64 */
	volatile char first = too_long[0]; /* so that it is there */

	(void)first;
	site_named("", 1);
	site_named(too_long, 1);
	site_named((const char *)8, 1);
	site_named(too_long + 1, 1); /* 63: as long as can be */
}

static long per_thread;

SITE void *site_thread(void *number)
{
	uintptr_t base = ((uintptr_t)number + 1) << 32;

	for (long i = 0; i < per_thread; i++) {
		PPROFD_ADD("threads", base + (uintptr_t)i, 0);
		if (i)
			PPROFD_REMOVE("threads", base + (uintptr_t)i);
	}
	return NULL;
}

static volatile int flooding;
static pthread_t floods[2];
static unsigned long flood_added[2], flood_removed[2];

SITE void *site_flood(void *number)
{
	uintptr_t me = (uintptr_t)number, v = ((me + 1) << 40) + flood_added[me];

	while (flooding) {
		PPROFD_ADD("flood", v, 0);
		flood_added[me]++;
		if (flood_added[me] % 100) {
			PPROFD_REMOVE("flood", v);
			flood_removed[me]++;
		}
		v++;
	}
	return NULL;
}

static void run_flood(int on)
{
	flooding = on;
	for (uintptr_t i = 0; i < 2; i++) {
		if (on)
			pthread_create(&floods[i], NULL, site_flood, (void *)i);
		else
			pthread_join(floods[i], NULL);
	}
	if (!on)
		printf("flooded %lu %lu\n", flood_added[0] + flood_added[1], flood_removed[0] + flood_removed[1]);
}

static void run_threads(long n)
{
	pthread_t threads[64];

	for (long i = 0; i < n && i < 64; i++)
		pthread_create(&threads[i], NULL, site_thread, (void *)i);
	for (long i = 0; i < n && i < 64; i++)
		pthread_join(threads[i], NULL);
}

static void run_fork(void)
{
	pid_t child = fork();

	if (child == 0) {
		site_here(1000001);
		site_remove(1);
		printf("child %d\n", (int)getpid());
		fflush(stdout);
		pause();
	}
}

static void (*in_library)(uintptr_t v);

static void open_library(const char *path)
{
#ifndef STATIC
	void *library = dlopen(path, RTLD_NOW), *symbol = library ? dlsym(library, "site_library") : NULL;

	memcpy(&in_library, &symbol, sizeof(symbol));
#else
	(void)path;
#endif
}

static void step(const char *line, char **argv)
{
	static const struct {
		const char *name;
		void (*add)(uintptr_t v);
	} sites[] = { { "here", site_here }, { "inlined", site_inlined }, { "called", site_called },
		      { "deep", site_deep }, { "remove", site_remove } };
	long first = 0, n = 0;
	char word[32] = "";
	int at = 0;

	sscanf(line, "%31s %ld %ld %n", word, &first, &n, &at);
	for (size_t i = 0; i < sizeof(sites) / sizeof(sites[0]); i++)
		for (long v = first; !strcmp(word, sites[i].name) && v < first + n; v++)
			sites[i].add((uintptr_t)v);
	for (long v = first; !strcmp(word, "library") && in_library && v < first + n; v++)
		in_library((uintptr_t)v);
	for (long v = first; !strcmp(word, "named") && v < first + n; v++)
		site_named(line + at, (uintptr_t)v);
	for (long v = first; !strcmp(word, "unnamed") && v < first + n; v++)
		site_unnamed(line + at, (uintptr_t)v);
	if (!strcmp(word, "many"))
		for (long v = first; v < first + n; v++) {
			char name[32];

			snprintf(name, sizeof(name), "many %ld", v);
			site_named(name, 1);
		}
	if (!strcmp(word, "bad"))
		site_bad();
	if (!strcmp(word, "reserved"))
		site_reserved(1);
	if (!strcmp(word, "threads")) {
		per_thread = n;
		run_threads(first);
	}
	if (!strcmp(word, "flood") || !strcmp(word, "calm"))
		run_flood(*word == 'f');
	if (!strcmp(word, "fork"))
		run_fork();
	if (!strcmp(word, "open"))
		open_library(line + strlen("open "));
	if (!strcmp(word, "exec"))
		execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
	char line[300];

	(void)argc;
	setvbuf(stdout, NULL, _IOLBF, 4096);
	printf("ready\n");
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		step(line, argv);
		printf("done\n");
	}
	return 0;
}

#ifdef __cplusplus
}
#endif
