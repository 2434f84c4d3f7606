/* SPDX-License-Identifier: Apache-2.0 */

/* heap_c.c - heap.cc's cousin in C, for C libraries without C++ beside them.
 *
 *   heap-c SECONDS [THREADS]
 *
 * Says "ready" and waits for a line or the end of its input. On SIGUSR1 it stands still until SIGUSR2
 * and prints "truth SITE ALLOCS BYTES LIVE LIVE-BYTES", and "truth total ..." last. Objects of
 * site_d go through a ring: another thread frees them. */

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS 64
#define N_HELD 2000
#define N_RING 32
#define LARGE (1 << 20)

struct site {
	const char *name;
	atomic_long allocs, bytes, live, live_bytes;
};

enum { A, B, D, E, F, G, N_SITES };
static struct site sites[N_SITES] = { { "site_a" }, { "site_b" }, { "site_d" },
				      { "site_e" }, { "site_f" }, { "site_g" } };

static void got(int s, long n)
{
	sites[s].allocs++;
	sites[s].bytes += n;
	sites[s].live++;
	sites[s].live_bytes += n;
}

static void gone(int s, long n)
{
	sites[s].live--;
	sites[s].live_bytes -= n;
}

#define SITE static __attribute__((noinline, noclone))
#define KEEP __asm__ volatile("")

SITE void *site_a(void)
{
	void *p = malloc(1000);
	KEEP;
	return p;
}

SITE void *site_b(size_t n)
{
	void *p = calloc(n, 16);
	KEEP;
	return p;
}

SITE void *site_d(void)
{
	void *p = malloc(LARGE);
	KEEP;
	return p;
}

SITE void *site_e(void *old, size_t n)
{
	void *p = realloc(old, n);
	KEEP;
	return p;
}

SITE void *site_f(void)
{
	void *p = NULL;
	if (posix_memalign(&p, 64, 3000))
		return NULL;
	KEEP;
	return p;
}

SITE void *site_g(void) /* a library's: malloc in strdup and friends is the same malloc */
{
	void *p = aligned_alloc(256, 5120);
	KEEP;
	return p;
}

static atomic_bool pause_all, stop_all;
static atomic_int n_paused;
static _Atomic(void *) ring[N_RING];
static long seconds = 10, n_threads = 2;

static void sleep_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
	nanosleep(&t, NULL);
}

struct held {
	void *p;
	long n;
};

static void keep_one(unsigned *seed, struct held *held, unsigned *n_held)
{
	long n = 1 + rand_r(seed) % 200;
	unsigned at = *n_held;

	if (at == N_HELD) {
		at = (unsigned)rand_r(seed) % N_HELD;
		gone(B, held[at].n);
		free(held[at].p);
	} else {
		++*n_held;
	}
	got(B, n * 16);
	held[at] = (struct held){ site_b((size_t)n), n * 16 };
}

static void one_round(unsigned *seed, unsigned long i, struct held *grown)
{
	for (int k = 0; k < 20; k++) {
		void *p;
		got(A, 1000);
		p = site_a();
		memset(p, 1, 10);
		free(p);
		gone(A, 1000);
	}
	if (i % 50 == 0) {
		void *old;
		got(D, LARGE);
		old = atomic_exchange(&ring[(unsigned)rand_r(seed) % N_RING], site_d());
		if (old) {
			free(old);
			gone(D, LARGE);
		}
	}
	if (grown->p)
		gone(E, grown->n);
	grown->n = grown->n > 200000 ? 100 : grown->n + 3001;
	if (grown->n == 100) {
		free(grown->p);
		grown->p = NULL;
	}
	got(E, grown->n);
	grown->p = site_e(grown->p, (size_t)grown->n);
	got(F, 3000);
	free(site_f());
	gone(F, 3000);
	got(G, 5120);
	free(site_g());
	gone(G, 5120);
}

static void *work(void *number)
{
	static struct held all[MAX_THREADS][N_HELD];
	struct held grown = { NULL, 0 }, *held = all[(long)number];
	unsigned seed = (unsigned)(long)number + 1, n_held = 0;

	for (unsigned long i = 0; !stop_all; i++) {
		if (pause_all) {
			n_paused++;
			while (pause_all)
				sleep_ms(1);
			n_paused--;
		}
		keep_one(&seed, held, &n_held);
		one_round(&seed, i, &grown);
	}
	return NULL;
}

static void print_truth(void)
{
	long t[4] = { 0 };

	pause_all = 1;
	while (n_paused < n_threads)
		sleep_ms(1);
	for (int i = 0; i < N_SITES; i++) {
		struct site *s = &sites[i];
		printf("truth %s %ld %ld %ld %ld\n", s->name, (long)s->allocs, (long)s->bytes,
		       (long)s->live, (long)s->live_bytes);
		t[0] += s->allocs, t[1] += s->bytes, t[2] += s->live, t[3] += s->live_bytes;
	}
	printf("truth total %ld %ld %ld %ld\n", t[0], t[1], t[2], t[3]);
}

static time_t now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

int main(int argc, char **argv)
{
	pthread_t threads[MAX_THREADS];
	sigset_t set;

	if (argc > 1)
		seconds = atol(argv[1]);
	if (argc > 2)
		n_threads = atol(argv[2]);
	if (n_threads > MAX_THREADS)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 4096);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	printf("ready\n");
	for (char c = 0; c != '\n' && read(0, &c, 1) == 1;)
		;
	for (long i = 0; i < n_threads; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)i))
			return 1;
	for (time_t end = now_s() + seconds; now_s() < end;) {
		struct timespec t = { 0, 100000000 };
		int signal = sigtimedwait(&set, NULL, &t);

		if (signal == SIGUSR1)
			print_truth();
		if (signal == SIGUSR2)
			pause_all = 0;
	}
	pause_all = 0;
	stop_all = 1;
	for (long i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
