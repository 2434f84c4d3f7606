/* SPDX-License-Identifier: Apache-2.0 */

/* shapes.cc - the shapes of stack that unwinders stumble over: shapes KIND [SECONDS]
 *
 *   qsort      recursion through libc's qsort, no frame pointers
 *   sigprof    the same, with work in a SIGPROF handler
 *   sigaltstack  the same, the handler on a stack of its own
 *   nested     a signal handler that a second signal interrupts
 *   drap       dynamically realigned frames (AVX locals, alloca), recursive
 *   plt        calls through the procedure linkage table, again and again
 *   lazy       dlopen and first calls, so that ld.so's lazy resolver is on the stack
 *   vdso       clock_gettime in a loop
 *   futex      threads that hand a mutex and a condition variable round
 *   throw      C++ exceptions through many frames
 *   vfork      vfork and exec in a loop
 *   malloc     malloc and free, for probes
 *   recursive  deeper than any walk: 2,000 frames
 *   dlopen     loads and unloads libraries at the same place while it works
 *
 * Says "ready" first. */

#include <alloca.h>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <pthread.h>
#include <string>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

static volatile uint64_t sink;
static time_t end;

#define NOINLINE __attribute__((noinline))

static bool over()
{
	timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec >= end;
}

static int compare(const void *a, const void *b)
{
	uint64_t h = *(const int *)a;

	for (int i = 0; i < 30; i++)
		h = h * 31 + i;
	sink = h;
	return *(const int *)a - *(const int *)b;
}

static NOINLINE void sort_some()
{
	std::vector<int> v(500);

	for (auto &e : v)
		e = rand();
	qsort(v.data(), v.size(), sizeof(int), compare);
}

static NOINLINE void recurse(int n, void (*leaf)())
{
	if (n)
		recurse(n - 1, leaf);
	else
		leaf();
	sink = sink + n;
}

static NOINLINE void on_profile(int)
{
	for (int i = 0; i < 20000; i++)
		sink = sink * 31 + i;
}

static NOINLINE void on_outer(int)
{
	raise(SIGUSR2);
	on_profile(0);
}

static void handle(int signal, void (*f)(int), int flags)
{
	struct sigaction a = {};

	a.sa_handler = f;
	a.sa_flags = SA_RESTART | flags;
	sigaction(signal, &a, nullptr);
}

static void start_timer()
{
	itimerval t = { { 0, 2000 }, { 0, 2000 } };

	setitimer(ITIMER_PROF, &t, nullptr);
}

static void run_sort()
{
	while (!over())
		recurse(40, sort_some);
}

static void run_sigaltstack()
{
	stack_t s = {};

	s.ss_size = 256 * 1024;
	s.ss_sp = malloc(s.ss_size);
	sigaltstack(&s, nullptr);
	handle(SIGPROF, on_profile, SA_ONSTACK);
	start_timer();
	run_sort();
}

static void run_sigprof()
{
	handle(SIGPROF, on_profile, 0);
	start_timer();
	run_sort();
}

static void run_nested()
{
	handle(SIGPROF, on_outer, 0);
	handle(SIGUSR2, on_profile, 0);
	start_timer();
	run_sort();
}

/* -mavx with a 32-byte aligned local and alloca makes GCC realign the frame through r10. */
#ifdef __x86_64__
__attribute__((target("avx")))
#endif
static NOINLINE uint64_t realigned(int n)
{
	typedef double v4 __attribute__((vector_size(32)));
	alignas(32) volatile v4 v = { 1, 2, 3, 4 };
	volatile char *p = (volatile char *)alloca(16 + (n & 31));

	p[0] = (char)n;
	if (n)
		sink = sink + realigned(n - 1);
	for (int i = 0; i < 400; i++)
		sink = sink * 31 + (uint64_t)((double *)&v)[i & 3];
	return sink + (uint64_t)p[0];
}

static void run_drap()
{
	while (!over())
		realigned(20);
}

static void run_plt()
{
	while (!over())
		for (int i = 0; i < 20000; i++)
			sink = sink + (uint64_t)abs(atoi("17")) + (uint64_t)strtol("12", nullptr, 10) +
			       (uint64_t)getpid();
}

static void run_lazy()
{
	while (!over()) {
		void *h = dlopen("libz.so.1", RTLD_LAZY);
		auto crc = h ? (unsigned long (*)(unsigned long, const unsigned char *, unsigned))
				       dlsym(h, "crc32") : nullptr;
		auto bound = h ? (unsigned long (*)(unsigned long))dlsym(h, "compressBound") : nullptr;

		if (crc && bound)
			sink = sink + crc(0, (const unsigned char *)"abc", 3) + bound(100);
		if (h)
			dlclose(h);
	}
}

static void run_vdso()
{
	timespec t;

	while (!over())
		for (int i = 0; i < 50000; i++) {
			clock_gettime(CLOCK_MONOTONIC, &t);
			sink = sink + (uint64_t)t.tv_nsec;
		}
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int turn;

static NOINLINE void *hand_round(void *arg)
{
	int me = (int)(intptr_t)arg;

	while (!over()) {
		pthread_mutex_lock(&mutex);
		while (turn != me && !over()) {
			timespec t;

			clock_gettime(CLOCK_REALTIME, &t);
			t.tv_sec++;
			pthread_cond_timedwait(&cond, &mutex, &t);
		}
		turn = (me + 1) % 4;
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&mutex);
	}
	return nullptr;
}

static void run_futex()
{
	pthread_t t[4];

	for (intptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], nullptr, hand_round, (void *)i);
	for (auto &i : t)
		pthread_join(i, nullptr);
}

struct Guard {
	~Guard() { sink = sink + 1; }
};

static NOINLINE void thrower(int n)
{
	Guard g;

	if (!n)
		throw std::string("out");
	thrower(n - 1);
	sink = sink + 1;
}

static void run_throw()
{
	while (!over()) {
		try {
			thrower(30);
		} catch (const std::string &s) {
			sink = sink + s.size();
		}
	}
}

static NOINLINE void fork_once()
{
	pid_t p = vfork();

	if (!p) {
		execl("/bin/true", "true", nullptr);
		_exit(1);
	}
	waitpid(p, nullptr, 0);
}

static void run_vfork()
{
	while (!over())
		recurse(10, fork_once);
}

static NOINLINE void allocate()
{
	void *p[32];

	for (auto &i : p)
		i = malloc(100 + (size_t)(rand() & 1023));
	for (auto &i : p)
		free(i);
}

static void run_malloc()
{
	while (!over())
		recurse(15, allocate);
}

static NOINLINE void spin()
{
	for (int i = 0; i < 2000000; i++)
		sink = sink * 31 + i;
}

static void run_recursive()
{
	while (!over())
		recurse(2000, spin);
}

/* Two libraries of the same size, given as LIB1 and LIB2, take turns at one address. */
static void run_dlopen()
{
	const char *names[2] = { getenv("LIB1"), getenv("LIB2") };

	for (int i = 0; !over(); i++) {
		void *h = dlopen(names[i & 1], RTLD_NOW);
		auto work = h ? (void (*)(int))dlsym(h, "work") : nullptr;

		if (!work) {
			fprintf(stderr, "%s\n", dlerror());
			exit(1);
		}
		work(150);
		dlclose(h);
	}
}

int main(int argc, char **argv)
{
	timespec t;
	static const struct {
		const char *name;
		void (*run)();
	} kinds[] = {
		{ "qsort", run_sort },	     { "sigprof", run_sigprof },
		{ "sigaltstack", run_sigaltstack }, { "nested", run_nested },
		{ "drap", run_drap },	     { "plt", run_plt },
		{ "lazy", run_lazy },	     { "vdso", run_vdso },
		{ "futex", run_futex },	     { "throw", run_throw },
		{ "vfork", run_vfork },	     { "malloc", run_malloc },
		{ "recursive", run_recursive }, { "dlopen", run_dlopen },
	};

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	end = t.tv_sec + (argc > 2 ? atoi(argv[2]) : 10);
	for (const auto &k : kinds)
		if (argc > 1 && !strcmp(argv[1], k.name)) {
			puts("ready");
			fflush(stdout);
			k.run();
			return 0;
		}
	fprintf(stderr, "shapes: which kind?\n");
	return 2;
}
