/* SPDX-License-Identifier: Apache-2.0 */

/* page.c - what tests/web looks at: work_a and work_b by turns, a line on the input says how often
 * ("3 1"; "0 0": none), under the labels turn=a and turn=b; a function and a thread with names that
 * mean harm; 64 MiB that held_here keeps; two threads that wait for each other with the argument
 * "deadlock". Says "ready". */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload/pprofd.h"

#define NOINLINE __attribute__((noinline, noclone))

static pthread_mutex_t locks[2] = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER };
static pthread_barrier_t both;
static char *held[64];

/* in assembler: DWARF would know it by a better name */
#define HARM "\"<script>document.title=1</script><img src=x onerror=document.title=2>\""
#ifdef __aarch64__
#define LOOP "movz w0, #61, lsl #16\n1: subs w0, w0, #1\nb.ne 1b\n"
#else
#define LOOP "mov $4000000, %ecx\n1: dec %ecx\njnz 1b\n"
#endif
extern void (*const harm)(void); /* compilers do not agree on how to quote it */
__asm__(".text\n.globl " HARM "\n.type " HARM ", @function\n" HARM ":\n.cfi_startproc\n"
	LOOP "ret\n.cfi_endproc\n.size " HARM ", . - " HARM
	"\n.data\n.globl harm\n.balign 8\nharm: .quad " HARM "\n.text\n");

static inline __attribute__((always_inline)) void spin(int n)
{
	for (volatile int i = 0; i < n; i = i + 1)
		;
}

NOINLINE static void work_a(void)
{
	spin(2000000);
	__asm__ volatile("" ::: "memory");
}

NOINLINE static void work_b(void)
{
	spin(2000000);
	__asm__ volatile("" ::: "memory");
}

NOINLINE static void held_here(void)
{
	for (int i = 0; i < 64; i++) {
		held[i] = malloc(1 << 20);
		if (held[i])
			memset(held[i], 1, 1 << 20);
	}
}

static void *take_two(void *first)
{
	long i = (long)first;

	pthread_mutex_lock(&locks[i]);
	pthread_barrier_wait(&both);
	pthread_mutex_lock(&locks[!i]);
	return NULL;
}

static void one_round(int a, int b)
{
	PPROFD_LABEL_SET("turn", "a");
	for (int i = 0; i < a; i++)
		work_a();
	PPROFD_LABEL_SET("turn", "b");
	for (int i = 0; i < b; i++)
		work_b();
	PPROFD_LABEL_CLEAR("turn");
	harm();
}

int main(int argc, char **argv)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	int a = 6, b = 3;
	pthread_t t;
	char line[64];

	setvbuf(stdin, NULL, _IONBF, 0);
	pthread_setname_np(pthread_self(), "<b>page</b>");
	if (argc > 1 && !strcmp(argv[1], "deadlock")) {
		pthread_barrier_init(&both, NULL, 2);
		for (long i = 0; i < 2; i++)
			pthread_create(&t, NULL, take_two, (void *)i);
	}
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		if (poll(&in, 1, 0) > 0) {
			if (!fgets(line, sizeof(line), stdin))
				return 0;
			if (!strcmp(line, "hold\n"))
				held_here();
			else
				sscanf(line, "%d %d", &a, &b);
			printf("done\n");
			fflush(stdout);
		}
		if (a + b)
			one_round(a, b);
		usleep(10000);
	}
}
