/* SPDX-License-Identifier: Apache-2.0 */

/* waits.h - what the targets that wait have in common: an account by site, and steps told on stdin.
 *
 *   TARGET KIND [THREADS [ARGUMENT]]
 *
 * Says "ready", then does what a line says and answers "done":
 *   begin  the account is zero, the threads of the kind start
 *   stop   they end, all of them; then a line a site,
 *          "truth SITE NS CALLS WAITS LOW HIGH", and "truth total" last
 *   exec   becomes a fresh copy of itself
 *   quit   ends with whatever waits
 * Between stop and begin there is no thread but main, which waits in poll().
 *
 * NS is what the calls took in which the thread gave up its CPU by itself, by the clock; WAITS how
 * often it did, by getrusage(). A call in which it was only preempted is no wait and not in NS.
 * LOW and HIGH is what others waited for this site to release the lock: since it got it, and since
 * it was last released (who is woken up gets the lock later than it was released). */

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS 160
#define MAX_SITES 24
#define SITE static __attribute__((noinline, noclone))
#define INLINE static inline __attribute__((always_inline))
#define KEEP __asm__ volatile("")

struct site {
	const char *name;
	long ns, calls, waits, low, high;
};

struct kind {
	const char *name;
	void (*begin)(int n_threads);
	void (*end)(void); /* lets go who waits */
};

static struct site sites[MAX_SITES];
static int stopping;
static __thread int me;
static pthread_t threads[MAX_THREADS];
static int n_threads_started;
static const char *argument;

INLINE long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000l + t.tv_nsec;
}

INLINE int stopped(void)
{
	return __atomic_load_n(&stopping, __ATOMIC_ACQUIRE);
}

INLINE void add(long *p, long v)
{
	__atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}

static inline void nap(long us)
{
	struct timespec t = { us / 1000000, us % 1000000 * 1000 };

	nanosleep(&t, NULL);
}

/* Between half and one and a half times as long. */
static inline void nap_about(long us)
{
	static __thread unsigned seed;

	if (!seed)
		seed = me * 7919 + 1;
	seed = seed * 1664525 + 1013904223;
	nap(us / 2 + (seed >> 8) % us);
}

static inline void busy(long us)
{
	long end = now() + us * 1000;

	while (now() < end)
		;
}

/* The account of a call that may wait. */

struct span {
	long start, switches;
};

INLINE long switches(void)
{
	struct rusage r;

	getrusage(RUSAGE_THREAD, &r);
	return r.ru_nvcsw;
}

INLINE struct span wait_begins(void)
{
	struct span s;

	s.switches = switches();
	s.start = now();
	return s;
}

INLINE void wait_ends(int site, struct span s)
{
	long end = now(), n = switches() - s.switches;

	add(&sites[site].calls, 1);
	if (n) {
		add(&sites[site].waits, n);
		add(&sites[site].ns, end - s.start);
	}
}

/* Who waits for a lock, since when. All but enter() are called by who holds it. */

struct line {
	long since[MAX_THREADS];
	long acquired, released, handed;
};

INLINE void line_enter(struct line *l)
{
	__atomic_store_n(&l->since[me], now(), __ATOMIC_RELAXED);
}

INLINE long later(long a, long b)
{
	return a > b ? a : b;
}

INLINE void line_got(struct line *l)
{
	long t = now();

	__atomic_store_n(&l->acquired, t, __ATOMIC_RELAXED);
	add(&l->handed, t - later(l->since[me], l->released));
	__atomic_store_n(&l->since[me], 0, __ATOMIC_RELAXED);
}

INLINE void line_release(struct line *l, int site)
{
	long t = now(), low = 0, high = __atomic_exchange_n(&l->handed, 0, __ATOMIC_RELAXED);

	for (int i = 0; i < MAX_THREADS; i++) {
		long s = __atomic_load_n(&l->since[i], __ATOMIC_RELAXED);

		if (!s || i == me || s >= t)
			continue;
		low += t - later(s, l->acquired);
		high += t - later(s, l->released);
	}
	l->released = t;
	add(&sites[site].low, low);
	add(&sites[site].high, high);
}

/* LOCK is a statement that takes the lock. */
#define TAKE(line, site, LOCK)                          \
	do {                                            \
		struct span span_ = wait_begins();      \
		line_enter(line);                       \
		LOCK;                                   \
		line_got(line);                         \
		wait_ends(site, span_);                 \
	} while (0)

/* Threads */

struct start {
	void (*work)(int);
	int number, argument;
};

static void *thread_main(void *p)
{
	struct start s = *(struct start *)p;

	free(p);
	me = s.number;
	s.work(s.argument);
	return NULL;
}

static void go(void (*work)(int), int thread_argument)
{
	struct start *s = (struct start *)malloc(sizeof(*s));

	s->work = work;
	s->number = n_threads_started + 1;
	s->argument = thread_argument;
	if (s->number >= MAX_THREADS || pthread_create(&threads[n_threads_started], NULL, thread_main, s))
		abort();
	n_threads_started++;
}

static __attribute__((unused)) void go_many(void (*work)(int), int n)
{
	for (int i = 0; i < n; i++)
		go(work, i);
}

/* Steps */

static void print_account(void)
{
	for (int i = 0; i < MAX_SITES && sites[i].name; i++)
		if (sites[i].calls || sites[i].high)
			printf("truth %s %ld %ld %ld %ld %ld\n", sites[i].name, sites[i].ns, sites[i].calls,
			       sites[i].waits, sites[i].low, sites[i].high);
	printf("truth total\n");
}

static __attribute__((noinline)) void finish(const struct kind *kind)
{
	__atomic_store_n(&stopping, 1, __ATOMIC_RELEASE);
	if (kind->end)
		kind->end();
	for (int i = 0; i < n_threads_started; i++)
		pthread_join(threads[i], NULL);
	n_threads_started = 0;
}

static void begin(const struct kind *kind, int n)
{
	for (int i = 0; i < MAX_SITES; i++)
		sites[i].ns = sites[i].calls = sites[i].waits = sites[i].low = sites[i].high = 0;
	stopping = 0;
	kind->begin(n);
}

/* A line of stdin, waited for as a server does. */
static __attribute__((noinline)) int read_step(char *text, size_t size)
{
	struct pollfd p = { 0, POLLIN, 0 };
	size_t n = 0;

	while (n + 1 < size) {
		if (poll(&p, 1, -1) < 0)
			continue;
		if (read(0, &text[n], 1) != 1)
			return 0;
		if (text[n] == '\n')
			break;
		n++;
	}
	text[n] = 0;
	return 1;
}

static int run(int argc, char **argv, const struct kind *kinds, const char *const *names)
{
	const struct kind *kind = kinds;
	int n = argc > 2 ? atoi(argv[2]) : 4;
	char step[80];

	argument = argc > 3 ? argv[3] : NULL;
	for (int i = 0; names[i]; i++)
		sites[i].name = names[i];
	while (kind->name && (argc < 2 || strcmp(kind->name, argv[1])))
		kind++;
	if (!kind->name || n < 2 || n > 64)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 4096);
	printf("ready\n");
	while (read_step(step, sizeof(step))) {
		if (!strcmp(step, "begin"))
			begin(kind, n);
		if (!strcmp(step, "stop")) {
			finish(kind);
			print_account();
		}
		if (!strcmp(step, "exec"))
			execv("/proc/self/exe", argv);
		if (!strcmp(step, "quit"))
			_exit(0);
		printf("done\n");
	}
	return 0;
}
