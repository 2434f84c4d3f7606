/* SPDX-License-Identifier: Apache-2.0 */

/* waits.c - waits at named sites for each thing that POSIX threads can wait for. See waits.h.
 *
 * What is held is mostly held asleep, so that the figures do not depend on how busy the machine is;
 * `short` holds for microseconds and works meanwhile. */

#include "waits.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>

enum {
	LONG, SHORT, B, COND, SEM, READER, WRITER, BARRIER, JOIN, ONCE,
	TIMED_MUTEX, TIMED_SEM, TIMED_COND, SLEEP, POLL, EPOLL, SELECT, SOCKET, DISK,
};
static const char *const names[] = {
	"site_long", "site_short", "site_b", "site_cond", "site_sem", "site_reader", "site_writer",
	"site_barrier", "site_join", "site_once", "site_timed_mutex", "site_timed_sem",
	"site_timed_cond", "site_sleep", "site_poll", "site_epoll", "site_select", "site_socket",
	"site_disk", NULL,
};

/* Two mutexes; one of them has two kinds of holders. */

struct held {
	pthread_mutex_t mutex;
	struct line line;
};

struct held mutex_a = { .mutex = PTHREAD_MUTEX_INITIALIZER };
struct held mutex_b = { .mutex = PTHREAD_MUTEX_INITIALIZER };
static int works; /* while it holds */

static inline void hold(long us)
{
	if (works)
		busy(us / 10);
	else
		nap(us);
}

SITE void site_long(void)
{
	TAKE(&mutex_a.line, LONG, pthread_mutex_lock(&mutex_a.mutex));
	hold(2000);
	line_release(&mutex_a.line, LONG);
	pthread_mutex_unlock(&mutex_a.mutex);
	KEEP;
}

SITE void site_short(void)
{
	TAKE(&mutex_a.line, SHORT, pthread_mutex_lock(&mutex_a.mutex));
	hold(500);
	line_release(&mutex_a.line, SHORT);
	pthread_mutex_unlock(&mutex_a.mutex);
	KEEP;
}

SITE void site_b(void)
{
	TAKE(&mutex_b.line, B, pthread_mutex_lock(&mutex_b.mutex));
	hold(500);
	line_release(&mutex_b.line, B);
	pthread_mutex_unlock(&mutex_b.mutex);
	KEEP;
}

static void use_mutexes(int i)
{
	while (!stopped()) {
		if (i & 1)
			site_short();
		else
			site_long();
		nap_about(works ? 150 : 1500);
		site_b();
		nap_about(works ? 100 : 500);
	}
}

static void begin_mutex(int n)
{
	works = 0;
	go_many(use_mutexes, n);
}

static void begin_short(int n)
{
	works = 1;
	go_many(use_mutexes, n);
}

/* Queues: a condition variable, and a semaphore. One producer. */

static pthread_mutex_t queue_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_cond = PTHREAD_COND_INITIALIZER;
static int queued;
static sem_t items;

static __attribute__((noinline)) void queue_lock(void)
{
	pthread_mutex_lock(&queue_mutex);
	KEEP;
}

SITE void site_cond(void)
{
	struct span s = wait_begins();

	pthread_cond_wait(&queue_cond, &queue_mutex);
	wait_ends(COND, s);
}

static void consume(int i)
{
	(void)i;
	while (!stopped()) {
		queue_lock();
		while (!queued && !stopped())
			site_cond();
		if (queued)
			queued--;
		pthread_mutex_unlock(&queue_mutex);
	}
}

static __attribute__((noinline)) void post_cond(void)
{
	queue_lock();
	queued++;
	pthread_cond_signal(&queue_cond);
	pthread_mutex_unlock(&queue_mutex);
	KEEP;
}

static void produce(int i)
{
	(void)i;
	while (!stopped()) {
		nap_about(2000);
		post_cond();
	}
}

static void begin_cond(int n)
{
	queued = 0;
	go_many(consume, n - 1);
	go(produce, 0);
}

static void end_cond(void)
{
	queue_lock();
	pthread_cond_broadcast(&queue_cond);
	pthread_mutex_unlock(&queue_mutex);
}

SITE void site_sem(void)
{
	struct span s = wait_begins();

	sem_wait(&items);
	wait_ends(SEM, s);
}

static void take_items(int i)
{
	(void)i;
	while (!stopped())
		site_sem();
}

static void post_items(int i)
{
	(void)i;
	while (!stopped()) {
		nap_about(2000);
		sem_post(&items);
	}
}

static void begin_sem(int n)
{
	sem_init(&items, 0, 0);
	go_many(take_items, n - 1);
	go(post_items, 0);
}

static void end_sem(void)
{
	for (int i = 0; i < MAX_THREADS; i++)
		sem_post(&items);
}

/* A read-write lock: a quarter of the threads write. */

static struct {
	pthread_rwlock_t lock;
	struct line line;
	int n_readers;
} shared = { .lock = PTHREAD_RWLOCK_INITIALIZER };

SITE void site_reader(void)
{
	struct span s = wait_begins();

	line_enter(&shared.line);
	pthread_rwlock_rdlock(&shared.lock);
	if (__atomic_add_fetch(&shared.n_readers, 1, __ATOMIC_ACQ_REL) == 1)
		__atomic_store_n(&shared.line.acquired, now(), __ATOMIC_RELAXED);
	add(&shared.line.handed, now() - later(shared.line.since[me], shared.line.released));
	__atomic_store_n(&shared.line.since[me], 0, __ATOMIC_RELAXED);
	wait_ends(READER, s);
	nap(500);
	if (!__atomic_sub_fetch(&shared.n_readers, 1, __ATOMIC_ACQ_REL))
		line_release(&shared.line, READER);
	pthread_rwlock_unlock(&shared.lock);
	KEEP;
}

SITE void site_writer(void)
{
	TAKE(&shared.line, WRITER, pthread_rwlock_wrlock(&shared.lock));
	nap(2000);
	line_release(&shared.line, WRITER);
	pthread_rwlock_unlock(&shared.lock);
	KEEP;
}

static void read_and_write(int i)
{
	while (!stopped()) {
		if (i % 4)
			site_reader();
		else
			site_writer();
		nap_about(3000);
	}
}

static void begin_rwlock(int n)
{
	go_many(read_and_write, n);
}

/* Barrier, join, once */

static pthread_barrier_t barrier;
static int last_round;

/* Whether this was the last round: all the threads agree. */
SITE int site_barrier(void)
{
	for (int i = 0; i < 2; i++) {
		struct span s = wait_begins();
		int r = pthread_barrier_wait(&barrier);

		wait_ends(BARRIER, s);
		if (!i && r == PTHREAD_BARRIER_SERIAL_THREAD)
			last_round = stopped();
	}
	return last_round;
}

static void meet(int i)
{
	(void)i;
	do
		nap_about(3000);
	while (!site_barrier());
}

static void begin_barrier(int n)
{
	pthread_barrier_init(&barrier, NULL, n);
	go_many(meet, n);
}

static void *short_life(void *p)
{
	nap(3000);
	return p;
}

SITE void site_join(pthread_t t)
{
	struct span s = wait_begins();

	pthread_join(t, NULL);
	wait_ends(JOIN, s);
}

static void start_and_join(int i)
{
	pthread_t t;

	(void)i;
	while (!stopped()) {
		if (pthread_create(&t, NULL, short_life, NULL))
			abort();
		site_join(t);
	}
}

static void begin_join(int n)
{
	go_many(start_and_join, n / 2);
}

enum { N_ONCE = 4096 };
static pthread_once_t once[N_ONCE];
static const pthread_once_t fresh = PTHREAD_ONCE_INIT;
static __thread int it_was_me;

static void initialize(void)
{
	it_was_me = 1;
	nap(3000);
}

SITE void site_once(pthread_once_t *o)
{
	struct span s = wait_begins();

	it_was_me = 0;
	pthread_once(o, initialize);
	if (!it_was_me)
		wait_ends(ONCE, s);
}

static void come_together(int i)
{
	(void)i;
	for (int k = 0; k < N_ONCE; k++) {
		site_once(&once[k]);
		if (site_barrier())
			break;
	}
}

static void begin_once(int n)
{
	for (int i = 0; i < N_ONCE; i++)
		once[i] = fresh;
	pthread_barrier_init(&barrier, NULL, n);
	go_many(come_together, n);
}

/* Waits that nobody ends: the time is up. */

static pthread_mutex_t never_mutex = PTHREAD_MUTEX_INITIALIZER;
static sem_t never_sem;

static struct timespec soon(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += 5000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

SITE void site_timed_mutex(void)
{
	struct timespec t = soon();
	struct span s = wait_begins();

	if (pthread_mutex_timedlock(&never_mutex, &t) != ETIMEDOUT)
		abort();
	wait_ends(TIMED_MUTEX, s);
}

SITE void site_timed_sem(void)
{
	struct timespec t = soon();
	struct span s = wait_begins();

	if (!sem_timedwait(&never_sem, &t))
		abort();
	wait_ends(TIMED_SEM, s);
}

SITE void site_timed_cond(void)
{
	struct timespec t = soon();
	struct span s = wait_begins();

	pthread_cond_timedwait(&queue_cond, &queue_mutex, &t);
	wait_ends(TIMED_COND, s);
}

static void run_out_of_time(int i)
{
	while (!stopped()) {
		if (i % 3 == 0)
			site_timed_mutex();
		if (i % 3 == 1)
			site_timed_sem();
		if (i % 3 == 2) {
			queue_lock();
			site_timed_cond();
			pthread_mutex_unlock(&queue_mutex);
		}
	}
}

static void begin_timed(int n)
{
	pthread_mutex_trylock(&never_mutex); /* main has it for ever */
	sem_init(&never_sem, 0, 0);
	go_many(run_out_of_time, n);
}

/* What is no wait for another thread's lock. */

static int sockets[2];

#define ALONE(name, index, CALL)                \
	SITE void name(void)                    \
	{                                       \
		struct span s = wait_begins();  \
                                                \
		CALL;                           \
		wait_ends(index, s);            \
	}

static void wait_on_epoll(int fd)
{
	struct epoll_event e;

	epoll_wait(fd, &e, 1, 5);
}

static int epoll_fd, disk_fd;
static char byte;

ALONE(site_sleep, SLEEP, nap(5000))
ALONE(site_poll, POLL, poll(NULL, 0, 5))
ALONE(site_epoll, EPOLL, wait_on_epoll(epoll_fd))
ALONE(site_select, SELECT, select(0, NULL, NULL, NULL, &(struct timeval){ .tv_usec = 5000 }))
ALONE(site_socket, SOCKET, recv(sockets[0], &byte, 1, 0))
ALONE(site_disk, DISK, fdatasync(disk_fd))

static void (*const alone[])(void) = { site_sleep, site_poll, site_epoll, site_select, site_socket };

static void be_alone(int i)
{
	while (!stopped())
		alone[i]();
}

static void send_bytes(int i)
{
	(void)i;
	while (!stopped()) {
		nap_about(3000);
		if (send(sockets[1], "x", 1, 0) < 0)
			abort();
	}
}

static void write_to_disk(int i)
{
	(void)i;
	for (long k = 0; disk_fd >= 0 && !stopped(); k++) {
		if (pwrite(disk_fd, &k, sizeof(k), k % 256 * 4096) < 0)
			abort();
		site_disk();
	}
}

static void begin_alone(int n)
{
	const char *directory = argument ? argument : "/var/tmp";

	(void)n;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets))
		abort();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	disk_fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); /* or none */
	go_many(be_alone, 5);
	go(send_bytes, 0);
	go(write_to_disk, 0);
}

static void end_alone(void)
{
	if (send(sockets[1], "x", 1, 0) < 0)
		abort();
}

/* Threads that wait until the end, whenever it comes. */

static void be_stuck(int i)
{
	(void)i;
	site_long();
}

static void begin_stuck(int n)
{
	TAKE(&mutex_a.line, SHORT, pthread_mutex_lock(&mutex_a.mutex));
	go_many(be_stuck, n);
}

static void end_stuck(void)
{
	line_release(&mutex_a.line, SHORT);
	pthread_mutex_unlock(&mutex_a.mutex);
}

static const struct kind kinds[] = {
	{ "mutex", begin_mutex, NULL }, { "short", begin_short, NULL },
	{ "cond", begin_cond, end_cond }, { "sem", begin_sem, end_sem },
	{ "rwlock", begin_rwlock, NULL }, { "barrier", begin_barrier, NULL },
	{ "join", begin_join, NULL }, { "once", begin_once, NULL },
	{ "timed", begin_timed, NULL }, { "alone", begin_alone, end_alone },
	{ "stuck", begin_stuck, end_stuck }, { NULL, NULL, NULL },
};

int main(int argc, char **argv)
{
	return run(argc, argv, kinds, names);
}
