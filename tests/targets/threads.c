/* SPDX-License-Identifier: Apache-2.0 */

/* threads.c WHAT [N] - threads that stand where the function's name says, for tests/live/threads.py. Says
 * "thread NAME TID" of each, then "ready". */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef SYS_pause
#define PAUSE SYS_pause
#else
#define PAUSE SYS_ppoll
#endif
#define NOINLINE __attribute__((noinline, noclone))
#define HERE __asm__ volatile("" ::: "memory") /* no jump to the last callee */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, other = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t locks[8];
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t sem;
static int pipes[2], sockets[2], deep_frames = 60;
static atomic_int n_ready;

static void say(const char *name)
{
	printf("thread %s %ld\n", name, (long)syscall(SYS_gettid));
	fflush(stdout);
	n_ready++;
}

static NOINLINE void in_mutex(void) { pthread_mutex_lock(&mutex); HERE; }
static NOINLINE void in_cond(void)
{
	pthread_mutex_lock(&other);
	pthread_cond_wait(&cond, &other);
	HERE;
}
static NOINLINE void in_sem(void) { sem_wait(&sem); HERE; }
static NOINLINE void in_rdlock(void) { pthread_rwlock_rdlock(&rwlock); HERE; }
static NOINLINE void in_wrlock(void) { pthread_rwlock_wrlock(&rwlock); HERE; }
static NOINLINE void in_barrier(void) { pthread_barrier_wait(&barrier); HERE; }
static NOINLINE void in_sleep(void) { sleep(100000); HERE; }
static NOINLINE void in_poll(void) { poll(NULL, 0, -1); HERE; }
static NOINLINE void in_pipe(void) { char c; if (read(pipes[0], &c, 1) < 0) abort(); HERE; }
static NOINLINE void in_socket(void) { char c; if (recv(sockets[0], &c, 1, 0) < 0) abort(); HERE; }
static NOINLINE void in_pause(void) { pause(); HERE; }
static NOINLINE void in_waitid(void)
{
	siginfo_t info;
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	waitid(P_PID, (id_t)pid, &info, WEXITED);
	HERE;
}
static NOINLINE void in_vfork(void)
{
	pid_t pid = vfork();

	if (!pid) { /* the parent waits for as long as this takes */
		struct timespec t = { 100000, 0 };

		syscall(SYS_nanosleep, &t, NULL);
		_exit(0);
	}
	HERE;
}
static NOINLINE void in_clock(void) /* the vdso */
{
	struct timespec t;

	for (;;)
		clock_gettime(CLOCK_MONOTONIC, &t);
}
static NOINLINE void in_spin(void)
{
	for (;;)
		HERE;
}
static NOINLINE void in_depth(int n)
{
	if (n)
		in_depth(n - 1);
	else
		in_sleep();
	HERE;
}
static NOINLINE void in_deep(void) { in_depth(deep_frames); HERE; }
static NOINLINE void in_width(int n)
{
	volatile char room[1000];

	room[0] = (char)n;
	if (n)
		in_width(n - 1);
	else
		in_sleep();
	(void)room[0];
}
static NOINLINE void in_wide(void) { in_width(150); HERE; }
static NOINLINE void on_signal(int n) { (void)n; in_sleep(); HERE; }
static NOINLINE void in_handler(void)
{
	struct sigaction a = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &a, NULL);
	pthread_kill(pthread_self(), SIGUSR1);
	HERE;
}
static NOINLINE void in_altstack(void)
{
	stack_t s = { .ss_sp = malloc(65536), .ss_size = 65536 };
	struct sigaction a = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };

	sigaltstack(&s, NULL);
	sigaction(SIGUSR2, &a, NULL);
	pthread_kill(pthread_self(), SIGUSR2);
	HERE;
}
static pthread_t joined;
static NOINLINE void in_join(void) { pthread_join(joined, NULL); HERE; }

static const struct place {
	const char *name;
	void (*function)(void);
} places[] = {
	{ "mutex", in_mutex }, { "cond", in_cond }, { "sem", in_sem }, { "rdlock", in_rdlock },
	{ "wrlock", in_wrlock }, { "barrier", in_barrier }, { "sleep", in_sleep }, { "poll", in_poll },
	{ "pipe", in_pipe }, { "socket", in_socket }, { "pause", in_pause }, { "waitid", in_waitid }, { "join", in_join },
	{ "spin", in_spin }, { "vdso", in_clock }, { "deep", in_deep }, { "handler", in_handler },
	{ "altstack", in_altstack }, { "vfork", in_vfork }, { "wide", in_wide },
};
#define N_PLACES (sizeof(places) / sizeof(places[0]))
static const struct place to_be_joined = { "joined", in_sleep };

static void *at_place(void *argument)
{
	const struct place *p = argument;

	pthread_setname_np(pthread_self(), p->name);
	say(p->name);
	p->function();
	HERE;
	return NULL;
}

static NOINLINE pthread_t create(void *(*function)(void *), void *argument)
{
	pthread_attr_t small;
	pthread_t t;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 256 * 1024);
	if (pthread_create(&t, &small, function, argument)) {
		fprintf(stderr, "no thread: %s\n", strerror(errno));
		exit(1);
	}
	return t;
}

static void wait_ready_quietly(int n)
{
	while (n_ready < n)
		usleep(1000);
}

static void wait_ready(int n)
{
	wait_ready_quietly(n);
	usleep(100000);
	printf("ready\n");
	fflush(stdout);
}

static void states(const char *which)
{
	int n = 0;

	pthread_mutex_lock(&mutex);
	pthread_rwlock_wrlock(&rwlock);
	pthread_barrier_init(&barrier, NULL, 2);
	joined = create(at_place, (void *)&to_be_joined);
	n++;
	for (size_t i = 0; i < N_PLACES; i++)
		if (!which || !strcmp(which, places[i].name)) {
			create(at_place, (void *)&places[i]);
			n++;
		}
	wait_ready(n);
	in_pause();
}

/* By turns asleep in one and in the other, whose frames differ. */
static NOINLINE void asleep(void) { usleep(200); HERE; }
static NOINLINE void sleeps_left(void)
{
	volatile char room[600];

	room[0] = 0;
	asleep();
	(void)room[0];
}
static NOINLINE void sleeps_right(void) { asleep(); HERE; }
static NOINLINE void goes_left(void) { sleeps_left(); HERE; }
static NOINLINE void goes_right(void)
{
	volatile char room[1400];

	room[0] = 0;
	sleeps_right();
	(void)room[0];
}

static void *turns_thread(void *argument)
{
	(void)argument;
	n_ready++;
	for (;;) {
		goes_left();
		goes_right();
	}
	return NULL;
}

static void turns(int n)
{
	for (int i = 0; i < n; i++)
		create(turns_thread, NULL);
	wait_ready(n);
	in_pause();
}

static void *many_thread(void *argument)
{
	(void)argument;
	n_ready++;
	in_cond();
	return NULL;
}

static NOINLINE void many(int n)
{
	for (int i = 0; i < n; i++)
		create(many_thread, NULL);
	wait_ready(n);
	in_pause();
}

/* Each takes its lock, and then the next one's. */
static int n_locks;
static void *take_two(void *argument)
{
	int i = (int)(long)argument;
	char name[16];

	snprintf(name, sizeof(name), "locker%d", i);
	pthread_mutex_lock(&locks[i]);
	say(name);
	while (n_ready < n_locks)
		usleep(1000);
	pthread_mutex_lock(&locks[(i + 1) % n_locks]);
	HERE;
	return NULL;
}

static void deadlock(int n, int inherit)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	if (inherit)
		pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
	n_locks = n;
	for (int i = 0; i < n; i++)
		pthread_mutex_init(&locks[i], &a);
	for (long i = 0; i < n; i++)
		create(take_two, (void *)i);
	wait_ready(n);
	in_pause();
}

static void *come_and_go(void *argument)
{
	(void)argument;
	usleep(20000);
	return NULL;
}

/* n are created every second, when it has been told to go. */
static NOINLINE void churn(int n)
{
	wait_ready(0);
	for (;;) {
		pthread_t t = create(come_and_go, NULL);

		pthread_detach(t);
		usleep(1000000 / n);
	}
}

static void *sleeper(void *argument)
{
	say(argument);
	in_sleep();
	return NULL;
}

static NOINLINE void parent_site(int n)
{
	for (int i = 0; i < n; i++)
		create(sleeper, (void *)"child");
}

static void *parent_thread(void *argument)
{
	int n = *(int *)argument;

	say("parent");
	getchar();
	parent_site(n);
	wait_ready(n + 1);
	in_sleep();
	return NULL;
}

static void names(void)
{
	static const char *const odd[] = { "new\nline", "quo\"te\\", "a, b] [c", "\xff\xfe", "" };

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		pthread_setname_np(create(sleeper, (void *)"odd"), odd[i]);
	wait_ready(5);
	in_pause();
}

static void *holds_long(void *argument)
{
	(void)argument;
	pthread_mutex_lock(&mutex);
	say("holder");
	in_sleep();
	return NULL;
}

/* Its leader is gone; the others wait on. */
static void zombie(void)
{
	create(sleeper, (void *)"left");
	create(holds_long, NULL);
	wait_ready(2);
	pthread_exit(NULL);
}

/* A thread that runs and measures its own longest pause; prints it in us when asked by SIGUSR1. */
static atomic_long longest;
static void *spinner(void *argument)
{
	struct timespec a, b;

	(void)argument;
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (;;) {
		long ns;

		clock_gettime(CLOCK_MONOTONIC, &b);
		ns = (b.tv_sec - a.tv_sec) * 1000000000l + b.tv_nsec - a.tv_nsec;
		if (ns > longest)
			longest = ns;
		a = b;
	}
	return NULL;
}

static void measured(int n)
{
	sigset_t set;
	int s;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < n; i++)
		create(many_thread, NULL);
	create(spinner, NULL);
	wait_ready(n);
	while (!sigwait(&set, &s)) {
		printf("longest %ld\n", longest / 1000);
		fflush(stdout);
		longest = 0;
	}
}

/* Memory that nobody provides, once it is taken away: whoever reads it waits for ever. */
static char *unanswered_memory(size_t n)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fd < 0 || p == MAP_FAILED) {
		printf("no userfaultfd: %s\nready\n", strerror(errno));
		exit(0);
	}
	memset(p, 0, n);
	range.range.start = (unsigned long)p;
	range.range.len = n;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range)) {
		printf("no userfaultfd: %s\nready\n", strerror(errno));
		exit(0);
	}
	return p;
}

static int *word; /* in such memory */
static NOINLINE void in_word(void)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	HERE;
}

/* Until it is in that system call for good. */
static void wait_until_in(long tid, int call)
{
	char path[64], text[256];
	int n = 0, fd;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/syscall", tid);
	while (n != call) {
		usleep(1000);
		fd = open(path, O_RDONLY);
		n = fd < 0 || read(fd, text, sizeof(text)) < 2 || text[0] == 'r' ? -1 : atoi(text);
		close(fd);
	}
}

static atomic_long told[64];
static void *tells(void *argument)
{
	const struct place *p = argument;

	pthread_setname_np(pthread_self(), p->name);
	told[n_ready] = syscall(SYS_gettid);
	say(p->name);
	p->function();
	HERE;
	return NULL;
}

/* n threads whose stacks are in such memory, one whose futex is; between others. */
static void unanswered(int n)
{
	static const struct place calm = { "calm", in_pause }, lost = { "lost", in_pause }, futex = { "word", in_word };
	const size_t size = 256 * 1024;
	char *stacks = unanswered_memory((size_t)n * size);
	pthread_attr_t a;
	pthread_t t;

	word = (int *)(void *)unanswered_memory(4096);
	create(tells, (void *)&calm);
	wait_ready_quietly(1);
	for (int i = 0; i < n; i++) {
		pthread_attr_init(&a);
		pthread_attr_setstack(&a, stacks + (size_t)i * size, size);
		if (pthread_create(&t, &a, tells, (void *)&lost))
			exit(1);
		wait_ready_quietly(i + 2);
	}
	create(tells, (void *)&futex);
	wait_ready_quietly(n + 2);
	create(tells, (void *)&calm);
	wait_ready_quietly(n + 3);
	for (int i = 0; i < n + 3; i++)
		wait_until_in(told[i], i == n + 1 ? SYS_futex : PAUSE);
	madvise(stacks, (size_t)n * size, MADV_DONTNEED);
	madvise(word, 4096, MADV_DONTNEED);
	printf("ready\n");
	fflush(stdout);
	in_pause();
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "states";
	int n = argc > 2 ? atoi(argv[2]) : 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (pipe(pipes) || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets))
		return 1;
	if (!strcmp(what, "states"))
		states(argc > 2 ? argv[2] : NULL);
	else if (!strcmp(what, "deep"))
		deep_frames = n, states("deep");
	else if (!strcmp(what, "many"))
		many(n);
	else if (!strcmp(what, "turns"))
		turns(n);
	else if (!strcmp(what, "deadlock"))
		deadlock(n, argc > 3);
	else if (!strcmp(what, "churn"))
		churn(n);
	else if (!strcmp(what, "names"))
		names();
	else if (!strcmp(what, "zombie"))
		zombie();
	else if (!strcmp(what, "unanswered"))
		unanswered(n);
	else if (!strcmp(what, "measured"))
		measured(n);
	else if (!strcmp(what, "create"))
		parent_thread(&n);
	else
		return 2;
	return 0;
}
