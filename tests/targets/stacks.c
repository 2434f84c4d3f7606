/* SPDX-License-Identifier: Apache-2.0 */

/* stacks.c - work on stacks that are not a thread's own, or large: stacks KIND
 *
 *   contexts  two coroutines of makecontext, in turn
 *   fiber     a coroutine as Boost.Context begins one (x86-64 only)
 *   frame     a thread that waits below a frame of 1.3 MB, as Ruby's do
 *
 * Says "ready" first. */

#include <alloca.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define N_FRAME 1300000

static ucontext_t home, contexts[2];
static char stacks[2][65536] __attribute__((aligned(64)));
static volatile uint64_t sink;

static NOINLINE void work(void)
{
	for (int i = 0; i < 200000; i++)
		sink = sink * 31 + (uint64_t)i;
}

static NOINLINE void coroutine_one(void)
{
	for (;;) {
		work();
		sink++;
		swapcontext(&contexts[0], &home);
	}
}

static NOINLINE void coroutine_two(void)
{
	for (;;) {
		work();
		sink++;
		swapcontext(&contexts[1], &home);
	}
}

static void run_contexts(void)
{
	static void (*const functions[])(void) = { coroutine_one, coroutine_two };

	for (int i = 0; i < 2; i++) {
		getcontext(&contexts[i]);
		contexts[i].uc_stack.ss_sp = stacks[i];
		contexts[i].uc_stack.ss_size = sizeof(stacks[i]);
		contexts[i].uc_link = &home;
		makecontext(&contexts[i], functions[i], 0);
	}
	for (;;)
		for (int i = 0; i < 2; i++)
			swapcontext(&home, &contexts[i]);
}

#ifdef __x86_64__
/* begin_fiber(top, function): on that stack, with the address behind the jump as what the function
 * returns to */
void begin_fiber(char *top, void (*function)(void));
__asm__(".text\n.globl begin_fiber\n.type begin_fiber, @function\n.p2align 4\nbegin_fiber:\n"
	"	movq %rdi, %rsp\n	movq %rsi, %rbx\n	leaq 1f(%rip), %rbp\n	jmp 0f\n"
	"	.p2align 4\n"
	"0:	push %rbp\n	jmp *%rbx\n"
	"1:	xorq %rdi, %rdi\n	call _exit@PLT\n	hlt\n"
	".size begin_fiber, .-begin_fiber\n");

static NOINLINE void fiber(void)
{
	for (;;) {
		work();
		sink++;
	}
}
#endif

static NOINLINE void wait_below(char *room)
{
	memset(room, 1, 4096);
	puts("ready");
	fflush(stdout);
	for (;;) {
		pause();
		sink += (uint64_t)room[0];
	}
}

static NOINLINE void *large_frame(void *unused)
{
	char *room = alloca(N_FRAME);

	wait_below(room);
	sink += (uint64_t)room[N_FRAME - 1];
	return unused;
}

int main(int argc, char **argv)
{
	const char *kind = argc > 1 ? argv[1] : "";
	pthread_t t;

	if (!strcmp(kind, "frame"))
		return pthread_create(&t, NULL, large_frame, NULL) || pthread_join(t, NULL);
	puts("ready");
	fflush(stdout);
	if (!strcmp(kind, "contexts"))
		run_contexts();
#ifdef __x86_64__
	if (!strcmp(kind, "fiber"))
		begin_fiber(stacks[0] + sizeof(stacks[0]), fiber);
#endif
	return 2;
}
