/* SPDX-License-Identifier: Apache-2.0 */

/* traced.c - threads whose every block has a known reason, and a known thread that ends it.
 *
 *   traced work DIR   lock-a and lock-b hand a mutex to each other (site_lock); receiver waits for sender on a socket
 *                     (site_receive, site_send), piper for it on a pipe (site_pipe); flocker for flock-owner
 *                     (site_flock); syncer writes and calls fsync (site_fsync); sleeper sleeps, by turns in site_sleep
 *                     and site_doze;                     creator makes a thread every 20 ms that is called child and ends at once (site_child)
 *   traced spin       two threads, spin-a and spin-b, on one CPU
 *   traced many N     N threads, each of which is woken now and then
 *   traced exec       as work, and on a line on standard input a thread that is not the leader executes "traced work"
 *   traced quiet      waits
 *
 * Says "thread NAME TID" of each, and "ready". */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SITE __attribute__((noinline, noclone, used))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, say = PTHREAD_MUTEX_INITIALIZER;
static int sockets[2], pipes[2], locked[2];
static int synced;
static char *self;
static volatile long sink;

static void told(const char *name)
{
	prctl(PR_SET_NAME, name);
	pthread_mutex_lock(&say);
	printf("thread %s %ld\n", name, syscall(SYS_gettid));
	fflush(stdout);
	pthread_mutex_unlock(&say);
}

static void pause_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/* Whoever gets it keeps it until the other has come to wait for it. */
SITE static void site_lock(void)
{
	pthread_mutex_lock(&mutex);
	pause_ms(3);
	pthread_mutex_unlock(&mutex);
	asm volatile("");
}

SITE static void site_receive(void)
{
	char c;

	if (recv(sockets[0], &c, 1, 0) != 1)
		abort();
	asm volatile("");
}

SITE static void site_pipe(void)
{
	char c;

	if (read(pipes[0], &c, 1) != 1)
		abort();
	asm volatile("");
}

SITE static void site_send(void)
{
	pause_ms(5);
	if (send(sockets[1], "x", 1, 0) != 1 || write(pipes[1], "x", 1) != 1)
		abort();
	asm volatile("");
}

SITE static void site_flock(int fd)
{
	if (flock(fd, LOCK_EX) < 0)
		abort();
	pause_ms(3);
	flock(fd, LOCK_UN);
	asm volatile("");
}

SITE static void site_fsync(void)
{
	if (pwrite(synced, "x", 1, 0) != 1 || fsync(synced) < 0)
		abort();
	pause_ms(2);
	asm volatile("");
}

SITE static void site_sleep(void)
{
	pause_ms(4);
	asm volatile("");
}

/* Its twin: nothing but the return address tells the two apart. */
SITE static void site_doze(void)
{
	pause_ms(4);
	asm volatile("");
}

static void sleep_by_turns(void)
{
	site_sleep();
	site_doze();
	asm volatile("");
}

SITE static void site_spin(void)
{
	for (long i = 0; i < 100000; i++)
		sink += i;
}

SITE static void *site_child(void *unused)
{
	prctl(PR_SET_NAME, "child");
	return unused;
}

SITE static void site_create(void)
{
	pthread_t t;
	int r = pthread_create(&t, NULL, site_child, NULL);

	if (r != EAGAIN && (r || pthread_join(t, NULL))) /* EAGAIN: another thread is in the middle of an exec */
		abort();
	pause_ms(20);
}

struct job {
	const char *name;
	void (*run)(void);
};

static void flock_0(void)
{
	site_flock(locked[0]);
}

static void flock_1(void)
{
	site_flock(locked[1]);
}

static void *work(void *context)
{
	const struct job *j = context;

	told(j->name);
	for (;;)
		j->run();
	return NULL;
}

static const struct job jobs[] = {
	{ "lock-a", site_lock },    { "lock-b", site_lock },	{ "receiver", site_receive }, { "piper", site_pipe },
	{ "sender", site_send },    { "flock-a", flock_0 },	{ "flock-b", flock_1 },	      { "syncer", site_fsync },
	{ "sleeper", sleep_by_turns },  { "creator", site_create },
};

static int file_in(const char *directory, const char *name)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		abort();
	return fd;
}

static void start(void *(*f)(void *), const void *context)
{
	pthread_attr_t small;
	pthread_t t;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * 1024);
	if (pthread_create(&t, &small, f, (void *)context))
		abort();
}

static void start_work(const char *directory)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0 || pipe2(pipes, O_CLOEXEC) < 0)
		abort();
	locked[0] = file_in(directory, "locked");
	locked[1] = file_in(directory, "locked");
	synced = file_in(directory, "synced");
	for (size_t i = 0; i < sizeof(jobs) / sizeof(*jobs); i++)
		start(work, &jobs[i]);
}

static void start_spin(void)
{
	static const struct job spin[] = { { "spin-a", site_spin }, { "spin-b", site_spin } };
	cpu_set_t one;
	int cpu = 0;

	sched_getaffinity(0, sizeof(one), &one);
	while (!CPU_ISSET(cpu, &one))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
	start(work, &spin[0]);
	start(work, &spin[1]);
}

static void *wake_many(void *unused)
{
	prctl(PR_SET_NAME, "many");
	for (;;)
		pause_ms(100);
	return unused;
}

static void *execute(void *unused)
{
	char *const again[] = { self, (char *)"work", (char *)unused, NULL };

	told("executor");
	if (getchar() == EOF)
		pause();
	execv("/proc/self/exe", again);
	abort();
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "quiet";

	self = argv[0];
	told("main");
	if (!strcmp(what, "work") && argc > 2)
		start_work(argv[2]);
	if (!strcmp(what, "exec") && argc > 2) {
		start_work(argv[2]);
		start(execute, argv[2]);
	}
	if (!strcmp(what, "spin"))
		start_spin();
	if (!strcmp(what, "many") && argc > 2)
		for (int i = 0; i < atoi(argv[2]); i++)
			start(wake_many, NULL);
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}
