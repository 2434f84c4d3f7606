/* SPDX-License-Identifier: Apache-2.0 */

/* library.c - a library with one function, work(MS), that spins in -DSPIN=name for so long by its
 * thread's CPU clock, and calls the thread so while it does: every sample bears the truth in its
 * label. System calls are made by hand and names stand on the stack: nothing here needs more of
 * the file than its code, so that the rest may be cut off. */

#include <linux/prctl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

static long call(long number, long a, long b)
{
#if defined(__aarch64__)
	register long x8 __asm__("x8") = number, r __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = 0;

	__asm__ volatile("svc #0" : "+r"(r) : "r"(x8), "r"(x1), "r"(x2) : "memory");
#else
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(number), "D"(a), "S"(b), "d"(0)
			 : "rcx", "r11", "memory");
#endif
	return r;
}

static int64_t now(void)
{
	struct timespec t;

	call(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, (long)&t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static __attribute__((noinline)) void SPIN(int64_t until)
{
	volatile uint64_t sink = 0;

	while (now() < until)
		for (int i = 0; i < 200000; i++)
			sink = sink * 31 + (uint64_t)i;
}

void work(int ms);
void work(int ms)
{
	volatile char busy[] = TEXT(SPIN), idle[] = "idle";

	call(SYS_prctl, PR_SET_NAME, (long)busy);
	SPIN(now() + ms * 1000000ll);
	call(SYS_prctl, PR_SET_NAME, (long)idle);
}
