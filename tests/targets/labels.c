/* SPDX-License-Identifier: Apache-2.0 */
/* labels.c - threads that set labels around what they do: C11 and C++17 alike. What a function does is under the labels
 * that its name says, always: a sample of it with others is wrong.
 *
 * usage: labels [flood | fork]; the latter says "child PID" */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

#include "preload/pprofd.h"

#ifdef __cplusplus
#define EXTERN extern "C"
#else
#define EXTERN
#endif
#define WORK(name)                                                       \
	EXTERN void name(void);                                          \
	EXTERN __attribute__((noinline)) void name(void)                 \
	{                                                                \
		for (volatile int i = 0; i < 300000; i = i + 1)          \
			;                                                \
		__asm__ volatile("" ::: "memory"); /* no tail of another */ \
	}

WORK(under_one)
WORK(under_two)
WORK(under_replaced)
WORK(under_nothing)
WORK(under_eight)
WORK(under_cut)
WORK(under_nothing_in_a_new_thread)
WORK(under_inherited)
WORK(under_child)
WORK(under_parent)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *one(void *unused)
{
	(void)unused;
	for (;;) {
		PPROFD_LABEL_SET("role", "one");
		PPROFD_LABEL_SET("other", "left behind");
		PPROFD_LABEL_CLEAR("other");
		PPROFD_LABEL_CLEAR("never set");
		under_one();
		PPROFD_LABEL_SET("role", "two, which is longer");
		PPROFD_LABEL_SET("more", "yes");
		under_two();
		PPROFD_LABEL_SET("role", "3");
		PPROFD_LABEL_CLEAR("more");
		under_replaced();
		PPROFD_LABEL_CLEAR("role");
		under_nothing();
	}
	return NULL;
}

static void *many(void *unused)
{
	char key[3] = "k0", value[3] = "v0", large[100];

	(void)unused;
	memset(large, 'x', sizeof(large) - 1);
	large[sizeof(large) - 1] = 0;
	for (;;) {
		for (int i = 0; i < 9; i++) { /* the last one finds no room */
			key[1] = value[1] = (char)('0' + i);
			PPROFD_LABEL_SET(key, value);
		}
		under_eight();
		for (int i = 8; i >= 0; i--) {
			key[1] = (char)('0' + i);
			PPROFD_LABEL_CLEAR(key);
		}
		PPROFD_LABEL_SET("large", large);
		PPROFD_LABEL_SET("a key that is longer than thirty-one bytes", "no");
		PPROFD_LABEL_SET("", "no");
		under_cut();
		PPROFD_LABEL_CLEAR("large");
	}
	return NULL;
}

static void *dies(void *unused)
{
	PPROFD_LABEL_SET("role", "of a thread that has ended");
	return unused;
}

static void *fresh(void *unused)
{
	under_nothing_in_a_new_thread();
	return unused;
}

static void *generations(void *unused)
{
	pthread_t t;

	for (;;) { /* the second gets the memory of the first */
		pthread_create(&t, NULL, dies, NULL);
		pthread_join(t, NULL);
		pthread_create(&t, NULL, fresh, NULL);
		pthread_join(t, NULL);
	}
	return unused;
}

static void *waits(void *unused)
{
	PPROFD_LABEL_SET("role", "waiting");
	for (;;) {
		pthread_mutex_lock(&lock);
		usleep(2000);
		pthread_mutex_unlock(&lock);
		usleep(100);
	}
	return unused;
}

/* Longer than a window. */
static void *waits_long(void *unused)
{
	PPROFD_LABEL_SET("role", "waiting long");
	for (;;)
		usleep(1300000);
	return unused;
}

static void *child(void *unused)
{
	PPROFD_LABEL_SET("role", "child");
	for (;;)
		under_child();
	return unused;
}

/* Labels that are set when a process forks are its child's, too; what either sets then is its own. */
static void forks(void)
{
	pthread_t t;
	pid_t pid;

	PPROFD_LABEL_SET("role", "before the fork");
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pthread_create(&t, NULL, child, NULL);
		for (;;)
			under_inherited();
	}
	printf("child %d\n", (int)pid);
	PPROFD_LABEL_SET("role", "parent");
	puts("ready");
	fflush(stdout);
	for (;;)
		under_parent();
}

static void *allocates(void *unused)
{
	PPROFD_LABEL_SET("role", "allocating");
	for (;;) {
		void *volatile p = malloc(50000);

		free(p);
		usleep(100);
	}
	return unused;
}

static void *sleeps(void *unused)
{
	PPROFD_LABEL_SET("role", "sleeping");
	pause();
	return unused;
}

/* A label for each moment. */
static void *floods(void *unused)
{
	char value[64];

	for (unsigned i = 0;; i++) {
		snprintf(value, sizeof(value), "%p %-36u", (void *)&value, i); /* as long as it may be: room runs out sooner */
		PPROFD_LABEL_SET("request", value);
		if (i % 64)
			usleep(1);
		else
			under_nothing();
	}
	return unused;
}

int main(int argc, char **argv)
{
	static void *(*const all[])(void *) = { one, many, generations, waits, waits, waits_long, allocates, sleeps };
	pthread_t t;

	if (argc > 1 && !strcmp(argv[1], "fork"))
		forks();
	for (unsigned i = 0; argc > 1 && i < 4; i++)
		pthread_create(&t, NULL, floods, NULL);
	for (unsigned i = 0; argc == 1 && i < sizeof(all) / sizeof(*all); i++)
		pthread_create(&t, NULL, all[i], NULL);
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
