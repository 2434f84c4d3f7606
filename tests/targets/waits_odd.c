/* SPDX-License-Identifier: Apache-2.0 */

/* waits_odd.c - locks that another process shares, whose owners die or inherit priorities; queues in the
 * kernel; raw futexes, woken for nothing; threads that are cancelled. See waits.h. */

#include "waits.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { FUTEX_WAIT_PRIVATE = 128, FUTEX_WAKE_PRIVATE = 129, FUTEX2_PRIVATE_U32 = 0x82 };
enum { FUTEX_WAITV = 449 };

enum {
	PI_LONG, PI_SHORT, ROBUST, SHARED, EVENTFD, PIPE_READ, PIPE_WRITE, SPURIOUS, WAITV, FUTEX,
	CANCELLED, OWN,
};
static const char *const names[] = {
	"site_pi_long", "site_pi_short", "site_robust", "site_shared", "site_eventfd",
	"site_pipe_read", "site_pipe_write", "site_spurious", "site_waitv", "site_futex",
	"site_cancelled", "site_own", NULL,
};

struct held {
	pthread_mutex_t mutex;
	struct line line;
};

static void initialize(struct held *h, int protocol, int robust, int process_shared)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	if (protocol && pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT))
		abort();
	if (robust && pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST))
		abort();
	if (process_shared && pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED))
		abort();
	memset(h, 0, sizeof(*h));
	if (pthread_mutex_init(&h->mutex, &a))
		abort();
}

/* Priorities are inherited: the kernel knows the owner. */

static struct held pi;

SITE void site_pi_long(void)
{
	TAKE(&pi.line, PI_LONG, pthread_mutex_lock(&pi.mutex));
	nap(2000);
	line_release(&pi.line, PI_LONG);
	pthread_mutex_unlock(&pi.mutex);
	KEEP;
}

SITE void site_pi_short(void)
{
	TAKE(&pi.line, PI_SHORT, pthread_mutex_lock(&pi.mutex));
	nap(500);
	line_release(&pi.line, PI_SHORT);
	pthread_mutex_unlock(&pi.mutex);
	KEEP;
}

static void use_pi(int i)
{
	while (!stopped()) {
		if (i & 1)
			site_pi_short();
		else
			site_pi_long();
		nap_about(1500);
	}
}

static void begin_pi(int n)
{
	initialize(&pi, 1, 0, 0);
	go_many(use_pi, n);
}

/* Owners that end without unlocking: the kernel passes the mutex on. */

static struct held robust;

/* Whether it was left by a dead one. */
SITE void site_robust(void)
{
	int r;

	TAKE(&robust.line, ROBUST, r = pthread_mutex_lock(&robust.mutex));
	if (r == EOWNERDEAD && pthread_mutex_consistent(&robust.mutex))
		abort();
	nap(1000);
}

static void *die_with_it(void *p)
{
	me = (int)(intptr_t)p;
	site_robust();
	return NULL;
}

static void start_the_dying(int i)
{
	pthread_t t;

	(void)i;
	while (!stopped()) {
		if (pthread_create(&t, NULL, die_with_it, (void *)(intptr_t)(me + 70)))
			abort();
		pthread_join(t, NULL);
	}
}

static void begin_robust(int n)
{
	initialize(&robust, 0, 1, 0);
	go_many(start_the_dying, n);
}

/* One mutex, several processes: ARGUMENT is the file where it lives; "-" makes an anonymous one. */

struct shared {
	struct held held;
	int initialized, n_processes;
};

static struct shared *shared;

SITE void site_shared(void)
{
	TAKE(&shared->held.line, SHARED, pthread_mutex_lock(&shared->held.mutex));
	nap(1500);
	line_release(&shared->held.line, SHARED);
	pthread_mutex_unlock(&shared->held.mutex);
	KEEP;
}

static void use_shared(int first)
{
	me += first;
	while (!stopped()) {
		site_shared();
		nap_about(1500);
	}
}

static void begin_shared(int n)
{
	int fd = open(argument ? argument : "/dev/shm/waits", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int number;

	if (n > 16 || fd < 0 || ftruncate(fd, sizeof(*shared)))
		abort();
	shared = (struct shared *)mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (shared == MAP_FAILED)
		abort();
	number = __atomic_fetch_add(&shared->n_processes, 1, __ATOMIC_ACQ_REL);
	if (!number) {
		initialize(&shared->held, 0, 0, 1);
		__atomic_store_n(&shared->initialized, 1, __ATOMIC_RELEASE);
	}
	while (!__atomic_load_n(&shared->initialized, __ATOMIC_ACQUIRE))
		nap(1000);
	for (int i = 0; i < n; i++)
		go(use_shared, number % 8 * 16);
}

/* Queues in the kernel */

static int event_fd, pipe_fds[2];

SITE void site_eventfd(void)
{
	struct span s = wait_begins();
	uint64_t v;

	if (read(event_fd, &v, sizeof(v)) != sizeof(v))
		abort();
	wait_ends(EVENTFD, s);
}

SITE void site_pipe_read(void)
{
	static char page[4096];
	struct span s = wait_begins();

	if (read(pipe_fds[0], page, sizeof(page)) < 0)
		abort();
	wait_ends(PIPE_READ, s);
}

SITE void site_pipe_write(void)
{
	static char page[4096];
	struct span s = wait_begins();

	if (write(pipe_fds[1], page, sizeof(page)) < 0)
		abort();
	wait_ends(PIPE_WRITE, s);
}

static int writer_ended;

static void read_events(int i)
{
	(void)i;
	while (!stopped())
		site_eventfd();
}

static void write_event(void)
{
	uint64_t one = 1;

	if (write(event_fd, &one, sizeof(one)) < 0)
		abort();
}

static void write_events(int i)
{
	(void)i;
	while (!stopped()) {
		nap_about(3000);
		write_event();
	}
	write_event(); /* whoever waits sees that it is over */
}

/* By turns one side is slow for a while, and the other waits. */

static void read_pipe(int i)
{
	for (i = 0; !__atomic_load_n(&writer_ended, __ATOMIC_ACQUIRE); i++) {
		site_pipe_read();
		if (i / 100 % 2)
			nap_about(2000);
	}
}

static void write_pipe(int i)
{
	for (i = 0; !stopped(); i++) {
		site_pipe_write();
		if (i / 100 % 2 == 0)
			nap_about(2000);
	}
	__atomic_store_n(&writer_ended, 1, __ATOMIC_RELEASE);
	/* it may wait already; where there is no room it does not */
	if (fcntl(pipe_fds[1], F_SETFL, O_NONBLOCK) || (write(pipe_fds[1], "", 1) < 0 && errno != EAGAIN))
		abort();
}

static void begin_queue(int n)
{
	(void)n;
	event_fd = eventfd(0, EFD_CLOEXEC);
	if (event_fd < 0 || pipe(pipe_fds) || fcntl(pipe_fds[1], F_SETPIPE_SZ, 4096) < 0)
		abort();
	writer_ended = 0;
	go(read_events, 0);
	go(write_events, 0);
	go(read_pipe, 0);
	go(write_pipe, 0);
}

/* Raw futexes. `word` is the number of the round. */

static unsigned word, word_of_waitv[2], spurious;

static long futex(unsigned *at, int op, unsigned value)
{
	return syscall(SYS_futex, at, op, value, NULL, NULL, 0);
}

SITE void site_futex(unsigned seen)
{
	struct span s = wait_begins();

	while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) == seen)
		futex(&word, FUTEX_WAIT_PRIVATE, seen);
	wait_ends(FUTEX, s);
}

SITE void site_spurious(unsigned seen)
{
	struct span s = wait_begins();

	while (__atomic_load_n(&spurious, __ATOMIC_ACQUIRE) == seen)
		futex(&spurious, FUTEX_WAIT_PRIVATE, seen);
	wait_ends(SPURIOUS, s);
}

SITE int site_waitv(unsigned seen)
{
	struct {
		uint64_t value, address;
		uint32_t flags, reserved;
	} v[2] = { { 0, (uintptr_t)&word_of_waitv[0], FUTEX2_PRIVATE_U32, 0 },
		   { seen, (uintptr_t)&word_of_waitv[1], FUTEX2_PRIVATE_U32, 0 } };
	struct span s = wait_begins();
	long r;

	while (__atomic_load_n(&word_of_waitv[1], __ATOMIC_ACQUIRE) == seen) {
		r = syscall(FUTEX_WAITV, v, 2, 0, NULL, 0);
		if (r < 0 && errno == ENOSYS)
			return 0;
	}
	wait_ends(WAITV, s);
	return 1;
}

static void wait_raw(int what)
{
	unsigned seen = 0;

	for (; !stopped(); seen++) {
		if (what == 0)
			site_futex(seen);
		if (what == 1)
			site_spurious(seen);
		if (what == 2 && !site_waitv(seen))
			return;
	}
}

static void ignore(int number)
{
	(void)number;
}

static void step(unsigned *at)
{
	__atomic_fetch_add(at, 1, __ATOMIC_ACQ_REL);
	futex(at, FUTEX_WAKE_PRIVATE, INT_MAX);
}

static void wake_raw(int i)
{
	(void)i;
	for (int k = 0; !stopped(); k++) {
		nap(500);
		futex(&spurious, FUTEX_WAKE_PRIVATE, 1); /* for nothing */
		pthread_kill(threads[1], SIGUSR2);
		if (k % 8)
			continue;
		step(&word);
		step(&spurious);
		step(&word_of_waitv[1]);
	}
}

static void begin_raw(int n)
{
	struct sigaction a = { .sa_handler = ignore }; /* no SA_RESTART */

	(void)n;
	sigaction(SIGUSR2, &a, NULL);
	word = spurious = word_of_waitv[1] = 0;
	go_many(wait_raw, 3);
	go(wake_raw, 0);
}

static void end_raw(void)
{
	nap(5000);
	step(&word);
	step(&spurious);
	step(&word_of_waitv[1]);
}

/* Threads that are cancelled while they wait. */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

static void cancelled(void *p)
{
	wait_ends(CANCELLED, *(struct span *)p);
	pthread_mutex_unlock(&mutex);
}

SITE void site_cancelled(void)
{
	struct span s = wait_begins();

	pthread_cleanup_push(cancelled, &s);
	for (;;)
		pthread_cond_wait(&cond, &mutex);
	pthread_cleanup_pop(0);
}

static void *wait_to_be_cancelled(void *p)
{
	pthread_mutex_lock(&mutex);
	site_cancelled();
	return p;
}

static void start_and_cancel(int i)
{
	pthread_t t;

	(void)i;
	while (!stopped()) {
		if (pthread_create(&t, NULL, wait_to_be_cancelled, NULL))
			abort();
		nap_about(4000);
		pthread_cancel(t);
		pthread_join(t, NULL);
	}
}

static void begin_cancel(int n)
{
	go_many(start_and_cancel, n);
}

/* A lock whose waiters stand in a queue, each with a word of its own to wait on, as in parking_lot,
 * absl and folly. Who releases passes it on. */

struct waiter {
	struct waiter *next;
	unsigned word;
};

static struct {
	int spin, taken;
	struct waiter *first, **last;
	struct line line;
} own = { .last = &own.first };

static void own_spin(void)
{
	while (__atomic_exchange_n(&own.spin, 1, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void own_spin_end(void)
{
	__atomic_store_n(&own.spin, 0, __ATOMIC_RELEASE);
}

static __attribute__((noinline)) void own_lock(void)
{
	struct waiter w = { NULL, 0 };
	int wait;

	own_spin();
	wait = own.taken;
	own.taken = 1;
	if (wait) {
		*own.last = &w;
		own.last = &w.next;
	}
	own_spin_end();
	while (wait && !__atomic_load_n(&w.word, __ATOMIC_ACQUIRE))
		futex(&w.word, FUTEX_WAIT_PRIVATE, 0);
}

static __attribute__((noinline)) void own_unlock(void)
{
	struct waiter *w;

	own_spin();
	w = own.first;
	if (w)
		own.first = w->next;
	else
		own.taken = 0;
	if (!own.first)
		own.last = &own.first;
	own_spin_end();
	if (!w)
		return;
	__atomic_store_n(&w->word, 1, __ATOMIC_RELEASE); /* from here on it may be gone */
	futex(&w->word, FUTEX_WAKE_PRIVATE, 1);
}

SITE void site_own(void)
{
	TAKE(&own.line, OWN, own_lock());
	nap(1000);
	line_release(&own.line, OWN);
	own_unlock();
	KEEP;
}

static void use_own(int i)
{
	(void)i;
	while (!stopped()) {
		site_own();
		nap_about(1000);
	}
}

static void begin_own(int n)
{
	go_many(use_own, n);
}

static const struct kind kinds[] = {
	{ "pi", begin_pi, NULL }, { "robust", begin_robust, NULL },
	{ "shared", begin_shared, NULL }, { "queue", begin_queue, NULL },
	{ "raw", begin_raw, end_raw }, { "cancel", begin_cancel, NULL },
	{ "own", begin_own, NULL }, { NULL, NULL, NULL },
};

int main(int argc, char **argv)
{
	return run(argc, argv, kinds, names);
}
