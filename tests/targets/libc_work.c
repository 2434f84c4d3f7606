/* SPDX-License-Identifier: Apache-2.0 */

/* libc_work.c - threads that spend their time in the C library, each below a function of its own:
 * allocation, output, sorting, a lock, a condition, sleep, strings of the system, a signal. */

#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SITE __attribute__((noinline)) static void
#define KEEP __asm__ volatile("" ::: "memory")

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t waiters = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static volatile unsigned long sink;
static FILE *null;

static int by_value(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	for (int i = 0; i < 20; i++)
		sink += (unsigned long)i;
	return (x > y) - (x < y);
}

static void spin(long us)
{
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	do {
		clock_gettime(CLOCK_MONOTONIC, &b);
	} while ((b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000 < us);
}

SITE site_malloc(void)
{
	void *p[64];

	for (int i = 0; i < 64; i++)
		p[i] = malloc((size_t)(i * 397 % 9000 + 1));
	for (int i = 0; i < 64; i++)
		p[i] = realloc(p[i], (size_t)(i * 911 % 20000 + 1));
	for (int i = 0; i < 64; i++)
		free(p[i]);
	KEEP;
}

SITE site_print(void)
{
	for (int i = 0; i < 20; i++)
		fprintf(null, "%d %s %f %#x %5.2e\n", i, "text", i / 3.0, i, i * 1e9);
	KEEP;
}

SITE site_sort(void)
{
	int v[1000];

	for (int i = 0; i < 1000; i++)
		v[i] = (i * 7919) % 1009;
	qsort(v, 1000, sizeof(*v), by_value);
	sink += (unsigned long)v[3];
	KEEP;
}

SITE site_lock(void)
{
	pthread_mutex_lock(&mutex);
	nanosleep(&(struct timespec){ 0, 500000 }, NULL); /* the other one waits, every time */
	pthread_mutex_unlock(&mutex);
	KEEP;
}

SITE site_cond(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += 3000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&waiters);
	pthread_cond_timedwait(&cond, &waiters, &t);
	pthread_mutex_unlock(&waiters);
	KEEP;
}

SITE site_sleep(void)
{
	nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
	KEEP;
}

SITE site_text(void)
{
	struct tm tm;
	time_t now = time(NULL);
	char text[200];

	for (int i = 0; i < 20; i++) {
		now += 86400;
		localtime_r(&now, &tm);
		strftime(text, sizeof(text), "%A %d %B %Y %H:%M", &tm);
		sink += strtoul(text + 1, NULL, 10) + (unsigned long)strtod("3.14159e12", NULL);
	}
	KEEP;
}

SITE site_pipe(void)
{
	int fds[2];
	char c = 0;

	if (pipe(fds))
		return;
	for (int i = 0; i < 50; i++)
		if (write(fds[1], &c, 1) != 1 || read(fds[0], &c, 1) != 1)
			break;
	close(fds[0]);
	close(fds[1]);
	KEEP;
}

static void on_signal(int signal)
{
	(void)signal;
	spin(200);
}

static void (*const sites[])(void) = { site_malloc, site_print, site_sort, site_lock, site_lock,
				       site_cond,   site_sleep, site_text, site_pipe };

static void *run(void *site)
{
	for (;;) {
		sites[(uintptr_t)site]();
		KEEP;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct itimerval every = { { 0, 5000 }, { 0, 5000 } };
	pthread_t thread;

	null = fopen("/dev/null", "w");
	if (!null)
		return 1;
	for (uintptr_t i = 0; i < sizeof(sites) / sizeof(*sites); i++)
		if (pthread_create(&thread, NULL, run, (void *)i))
			return 1;
	signal(SIGALRM, on_signal);
	setitimer(ITIMER_REAL, &every, NULL);
	printf("ready\n");
	fflush(stdout);
	for (time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 60); time(NULL) < end;)
		usleep(1000);
	return 0;
}
