/* SPDX-License-Identifier: Apache-2.0 */

/* said.c - a program that says what it does in traces (preload/pprofd.h): two threads, each with one task after the
 * other until its input ends. Task n: a region in a region, whose name is told at run time, and "message n" in it.
 * "thread TID" for each, "ready". */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload/pprofd.h"

static int running = 1;
static char at_run_time[32];

static __attribute__((noinline)) void site_request(unsigned long n)
{
	char message[32];

	snprintf(message, sizeof(message), "message %lu", n);
	PPROFD_TASK_BEGIN(n, 0, "request");
	PPROFD_REGION_BEGIN(n, "outer");
	PPROFD_REGION_BEGIN(0, at_run_time);
	PPROFD_LOG(n, "category", message);
	usleep(1000);
	PPROFD_REGION_END(0, at_run_time);
	PPROFD_REGION_END(n, "outer");
	PPROFD_TASK_END(n);
}

static void *work(void *first)
{
	printf("thread %ld\n", syscall(SYS_gettid));
	fflush(stdout);
	for (unsigned long n = (unsigned long)first; __atomic_load_n(&running, __ATOMIC_RELAXED); n++)
		site_request(n);
	return NULL;
}

int main(void)
{
	pthread_t threads[2];
	char c;

	strcpy(at_run_time, "at run time");
	pthread_create(&threads[0], NULL, work, (void *)1ul);
	pthread_create(&threads[1], NULL, work, (void *)1000000000ul);
	printf("ready\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	__atomic_store_n(&running, 0, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
