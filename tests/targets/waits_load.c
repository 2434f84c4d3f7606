/* SPDX-License-Identifier: Apache-2.0 */

/* waits_load.c - locks as often as it goes. See waits.h; the account has no WAITS here (they would cost
 * more than what is looked at), and NS holds every call. After "stop" a line
 * "rate WHAT N SWITCHES NS CPU VOLUNTARY SQUARES": operations, context switches, the time that it took and
 * the CPU time, ns; switches that were waits; the sum of the squares of what each operation took, us^2: no
 * sum of samples that each stand for w of them is further off than sqrt(w * SQUARES), for a deviation.
 *
 *   uncontended  two threads, a mutex each, a million pairs of lock and unlock a second in all
 *   pingpong     pairs of threads that wake each other by semaphores: a wait an operation
 *   turns        the same, with 6 us of work each time
 *   handover     all threads at one mutex, with little work under it and a pause now and then
 *   bystander    two threads that wake each other by pipes, and a getppid() each time
 *   syscalls     getppid() without end
 *   nothing      waits for the end */

#include "waits.h"

#include <semaphore.h>
#include <sys/syscall.h>

enum { PING, PONG, HANDOVER };
static const char *const names[] = { "site_ping", "site_pong", "site_handover", NULL };

static long operations, begin_ns, begin_cpu_ns, begin_switches[2], squares;
static const char *what;

static long cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000l + t.tv_nsec;
}

/* Voluntary ones, and the others. */
static void count_switches(long n[2])
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	n[0] = r.ru_nvcsw;
	n[1] = r.ru_nivcsw;
}

static void starts(const char *name)
{
	what = name;
	operations = squares = 0;
	begin_ns = now();
	begin_cpu_ns = cpu_ns();
	count_switches(begin_switches);
}

/* Of its own account: a thread adds once. */
struct tally {
	long ns, calls, last;
	double squares; /* us^2 */
};

INLINE void next_round(struct tally *t)
{
	long end = now();

	if (t->last)
		t->squares += (end - t->last) / 1e3 * ((end - t->last) / 1e3);
	t->last = end;
}

static void tell(int site, const struct tally *t)
{
	add(&sites[site].ns, t->ns);
	add(&sites[site].calls, t->calls);
	add(&operations, t->calls);
	add(&squares, (long)t->squares);
}

static struct {
	pthread_mutex_t mutex;
	long value;
	char pad[128];
} lonely[2] = { { .mutex = PTHREAD_MUTEX_INITIALIZER }, { .mutex = PTHREAD_MUTEX_INITIALIZER } };

SITE void site_uncontended(int i)
{
	for (int k = 0; k < 500; k++) {
		pthread_mutex_lock(&lonely[i].mutex);
		lonely[i].value++;
		pthread_mutex_unlock(&lonely[i].mutex);
	}
}

static void use_lonely(int i)
{
	long next = now(), n = 0;

	while (!stopped()) {
		site_uncontended(i);
		n += 500;
		next += 1000000;
		while (now() < next) /* no context switch */
			;
	}
	add(&operations, n);
}

static void begin_uncontended(int n)
{
	(void)n;
	starts("uncontended");
	go_many(use_lonely, 2);
}

static sem_t tokens[64];
static long turn_ns; /* of work between two operations */

SITE void site_ping(sem_t *mine, sem_t *other, struct tally *t)
{
	long start;

	sem_post(other);
	start = now();
	sem_wait(mine);
	t->ns += now() - start;
	t->calls++;
}

SITE void site_pong(sem_t *mine, sem_t *other, struct tally *t)
{
	long start = now();

	sem_wait(mine);
	t->ns += now() - start;
	t->calls++;
	sem_post(other);
	KEEP;
}

static void use_tokens(int i)
{
	struct tally t = { 0, 0, 0, 0 };

	for (; !stopped(); next_round(&t)) {
		if (i & 1)
			site_pong(&tokens[i], &tokens[i ^ 1], &t);
		else
			site_ping(&tokens[i], &tokens[i ^ 1], &t);
		for (long start = turn_ns ? now() : 0; turn_ns && now() - start < turn_ns;)
			;
	}
	sem_post(&tokens[i ^ 1]);
	tell(i & 1 ? PONG : PING, &t);
}

static void begin_pingpong(int n)
{
	for (int i = 0; i < 64; i++)
		sem_init(&tokens[i], 0, 0);
	starts("pingpong");
	go_many(use_tokens, n & ~1);
}

static void begin_turns(int n)
{
	turn_ns = 6000;
	begin_pingpong(n);
}

static pthread_mutex_t hot = PTHREAD_MUTEX_INITIALIZER;

SITE void site_handover(struct tally *t)
{
	static volatile long value;
	long start = now();

	pthread_mutex_lock(&hot);
	t->ns += now() - start;
	t->calls++;
	for (int i = 0; i < 200; i++)
		value++;
	pthread_mutex_unlock(&hot);
	KEEP;
}

static void use_hot(int i)
{
	struct tally t = { 0, 0, 0, 0 };

	(void)i;
	for (; !stopped(); next_round(&t))
		site_handover(&t);
	tell(HANDOVER, &t);
}

static void begin_handover(int n)
{
	starts("handover");
	go_many(use_hot, n);
}

static int pipes[2][2];

static void pass_bytes(int i)
{
	char c = 0;
	long n = 0;

	for (; !stopped(); n++) {
		if (write(pipes[i][1], &c, 1) != 1 || read(pipes[!i][0], &c, 1) != 1)
			break;
		syscall(SYS_getppid);
	}
	if (write(pipes[i][1], &c, 1) != 1)
		abort();
	add(&operations, n);
}

static void begin_bystander(int n)
{
	(void)n;
	if (pipe(pipes[0]) || pipe(pipes[1]))
		abort();
	starts("bystander");
	go_many(pass_bytes, 2);
}

static void call(int i)
{
	long n = 0;

	(void)i;
	for (; !stopped(); n++)
		syscall(SYS_getppid);
	add(&operations, n);
}

static void begin_syscalls(int n)
{
	(void)n;
	starts("syscalls");
	go(call, 0);
}

static void begin_nothing(int n)
{
	(void)n;
	starts("nothing");
}

static void end_load(void)
{
	long n[2];

	for (int i = 0; i < n_threads_started; i++)
		pthread_join(threads[i], NULL);
	n_threads_started = 0;
	count_switches(n);
	n[0] -= begin_switches[0];
	n[1] -= begin_switches[1];
	printf("rate %s %ld %ld %ld %ld %ld %ld\n", what, operations, n[0] + n[1], now() - begin_ns,
	       cpu_ns() - begin_cpu_ns, n[0], squares);
}

static const struct kind kinds[] = {
	{ "uncontended", begin_uncontended, end_load }, { "pingpong", begin_pingpong, end_load },
	{ "turns", begin_turns, end_load },
	{ "handover", begin_handover, end_load }, { "bystander", begin_bystander, end_load },
	{ "syscalls", begin_syscalls, end_load }, { "nothing", begin_nothing, end_load },
	{ NULL, NULL, NULL },
};

int main(int argc, char **argv)
{
	return run(argc, argv, kinds, names);
}
