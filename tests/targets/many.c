/* SPDX-License-Identifier: Apache-2.0 */

/* many.c - processes that come and go, and many of them: many KIND [ARGUMENTS]
 *
 *   hold N             forks N children, which do nothing; prints "ready"
 *   bomb N             on each line of input, forks N children one after the other, which end at once; prints "done"
 *   become PROGRAM...  on a line of input, executes PROGRAM
 *   child PROGRAM...   on a line of input, forks a child, which executes PROGRAM; prints "child PID"
 *   threads N          creates N threads that wait for ever in held_by_many; allocates 8 MiB in kept_by_many
 *   status N           exits with it on SIGTERM; prints "ready"
 *
 * All end with the first one. */

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static int status;

static void say(const char *text)
{
	puts(text);
	fflush(stdout);
}

static int hear(void)
{
	char line[80];

	return fgets(line, sizeof(line), stdin) != NULL;
}

static void rest(void)
{
	for (;;)
		pause();
}

static pid_t child(void)
{
	pid_t self = getpid(), pid = fork();

	if (pid == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != self))
		_exit(1);
	return pid;
}

static void hold(int n)
{
	for (int i = 0; i < n; i++)
		if (child() == 0)
			rest();
	say("ready");
	rest();
}

static void bomb(int n)
{
	say("ready");
	while (hear()) {
		for (int i = 0; i < n; i++) {
			pid_t pid = child();

			if (pid == 0)
				_exit(0);
			waitpid(pid, NULL, 0);
		}
		say("done");
	}
}

static void become(char **program)
{
	say("ready");
	if (hear())
		execv(program[0], program);
	_exit(1);
}

static void beget(char **program)
{
	say("ready");
	while (hear()) {
		pid_t pid = child();

		if (pid == 0) {
			execv(program[0], program);
			_exit(1);
		}
		printf("child %d\n", (int)pid);
		fflush(stdout);
	}
}

static NOINLINE void *held_by_many(void *arg)
{
	pthread_mutex_lock(&held);
	return arg;
}

static NOINLINE void *kept_by_many(size_t n)
{
	char *p = malloc(n);

	memset(p, 1, n);
	return p;
}

static void threads(int n)
{
	pthread_t t;

	pthread_mutex_lock(&held);
	say("ready");
	for (int i = 0; i < n; i++)
		pthread_create(&t, NULL, held_by_many, NULL);
	say("threads");
	while (hear()) {
		kept_by_many(8 << 20);
		pthread_create(&t, NULL, held_by_many, NULL);
		say("kept");
	}
	rest();
}

static void on_signal(int number)
{
	(void)number;
	_exit(status);
}

int main(int argc, char **argv)
{
	const char *kind = argc > 2 ? argv[1] : "";
	int n = argc > 2 ? atoi(argv[2]) : 0;

	if (!strcmp(kind, "hold"))
		hold(n);
	else if (!strcmp(kind, "bomb"))
		bomb(n);
	else if (!strcmp(kind, "become"))
		become(argv + 2);
	else if (!strcmp(kind, "child"))
		beget(argv + 2);
	else if (!strcmp(kind, "threads"))
		threads(n);
	status = n;
	signal(SIGTERM, on_signal);
	say("ready");
	rest();
}
