/* SPDX-License-Identifier: Apache-2.0 */

/* heap_safety.cc - what programs do to their allocator and their stack, for a probe to break.
 *
 *   heap-safety SECONDS		each of the parts below for so long, then "OK"
 *
 * "ready" first, then waits for a line. A part that goes wrong says what and ends the program with 1. The
 * last part goes under a seccomp filter that allows what an ordinary worker needs and kills for
 * everything else. */

#include <atomic>
#include <chrono>
#include <climits>
#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <memory>
#include <new>
#include <pthread.h>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using steady = std::chrono::steady_clock;

static double seconds = 1;

struct until {
	steady::time_point end = steady::now() + std::chrono::milliseconds(long(seconds * 1000));
	bool more() const { return steady::now() < end; }
};

static void need(bool condition, const char *what)
{
	if (condition)
		return;
	printf("WRONG %s\n", what);
	fflush(stdout);
	_exit(1);
}

#define APART __attribute__((noinline, noclone))

/* Seen by nobody, a pair of new and delete is left out by the compiler. */
template <typename T> static T *seen(T *p)
{
	asm volatile("" : "+r"(p) : : "memory");
	return p;
}

/* Exceptions out of operator new, at several depths, with destructors on the way. */

/* mimalloc as Debian builds it, in C, ends the program where operator new fails; handlers are not asked. */
extern "C" int mi_version(void) __attribute__((weak));

static volatile size_t huge = PTRDIFF_MAX - 4096, large = size_t(1) << 40;

APART static void throw_below(int depth, size_t n)
{
	std::unique_ptr<char[]> mine(new char[1000 + depth]);
	std::string name(100 + depth, 'x');

	if (depth)
		throw_below(depth - 1, n);
	else if (mi_version && !malloc(n))
		throw std::bad_alloc();
	else
		delete[] seen(new char[n]);
	mine[0] = name[0];
}

static void exceptions(void)
{
	until u;
	long caught = 0, n = 0;

	while (u.more() || n < 2000) {
		try {
			throw_below(int(n % 20), n % 2 ? huge : large);
			need(false, "operator new of too much has returned");
		} catch (const std::bad_alloc &) {
			caught++;
		}
		n++;
		need(mi_version || !seen(new (std::nothrow) char[huge]), "nothrow new of too much has returned");
		need(!seen(malloc(huge)), "malloc of too much has returned");
		delete[] seen(new char[600000]);
	}
	need(caught == n, "an exception was not caught");
}

/* A handler of operator new that throws something of its own, and one that jumps. */

static jmp_buf out_of_handler;

APART static bool new_jumps(int depth)
{
	volatile char pad[200];

	pad[0] = 1;
	if (depth)
		return new_jumps(depth - 1) && pad[0];
	delete[] seen(new char[huge]);
	return false;
}

static void handlers(void)
{
	until u;
	volatile long thrown = 0, jumped = 0, n = 0;

	if (mi_version)
		return;
	while (u.more() || n < 1000) {
		n = n + 1;
		std::set_new_handler([] { throw std::bad_alloc(); });
		try {
			new_jumps(int(n % 10));
		} catch (const std::bad_alloc &) {
			thrown = thrown + 1;
		}
		std::set_new_handler([] { longjmp(out_of_handler, 1); });
		if (!setjmp(out_of_handler))
			new_jumps(int(n % 10));
		else
			jumped = jumped + 1;
		std::set_new_handler(nullptr);
		delete[] seen(new char[600000]);
	}
	need(thrown == n && jumped == n, "a new handler was not heard");
}

/* A fault inside an allocation function, left by siglongjmp: its return never comes. */

static sigjmp_buf out_of_signal;
static volatile sig_atomic_t may_jump;

static void jump(int)
{
	if (may_jump)
		siglongjmp(out_of_signal, 1);
}

APART static void fault_below(int depth)
{
	volatile char pad[500];

	pad[0] = 1;
	if (depth)
		fault_below(depth - 1);
	else if (posix_memalign((void **)8, 64, 40000))
		_exit(1);
	pad[1] = pad[0];
}

static void set_handler(int which, void (*f)(int))
{
	struct sigaction a = {};

	a.sa_handler = f;
	a.sa_flags = SA_NODEFER;
	sigaction(which, &a, nullptr);
}

static void faults(void)
{
	volatile long n = 0, jumped = 0;

	set_handler(SIGSEGV, jump);
	may_jump = 1;
	for (until u; u.more() && n < 5000;) {
		n = n + 1;
		if (!sigsetjmp(out_of_signal, 1))
			fault_below(int(n % 10));
		else
			jumped = jumped + 1;
		free(seen(malloc(600000)));
	}
	may_jump = 0;
	set_handler(SIGSEGV, SIG_DFL);
	need(jumped == n, "a fault was not jumped out of");
}

/* A timer's handler that allocates not, and jumps while the program only computes. */

static void signals(void)
{
	volatile long jumped = 0, n = 0;
	itimerval every = { { 0, 1000 }, { 0, 1000 } }, never = {};

	set_handler(SIGALRM, jump);
	setitimer(ITIMER_REAL, &every, nullptr);
	for (until u; u.more() || jumped < 20;) {
		n = n + 1;
		if (!sigsetjmp(out_of_signal, 1)) {
			free(seen(malloc(300000)));
			may_jump = 1;
			for (volatile int i = 0; i < 20000; i = i + 1)
				;
			may_jump = 0;
		} else {
			may_jump = 0;
			jumped = jumped + 1;
		}
	}
	setitimer(ITIMER_REAL, &never, nullptr);
	set_handler(SIGALRM, SIG_IGN);
	need(jumped > 0, "no signal was jumped out of");
}

/* Cancelled in the middle of allocating; the handlers give back what was held. */

static std::atomic<long> held;

static void give_back(void *p)
{
	free(*(void **)p);
	held--;
}

static void *allocate_for_ever(void *)
{
	for (;;) {
		void *p = malloc(200000);
		held++;
		pthread_cleanup_push(give_back, &p);
		free(seen(malloc(100)));
		pthread_testcancel();
		pthread_cleanup_pop(1);
		delete seen(new std::string(2000, 'y'));
	}
}

static void cancellations(void)
{
	for (until u; u.more();) {
		pthread_t t[8];
		void *result;

		for (pthread_t &one : t)
			need(!pthread_create(&one, nullptr, allocate_for_ever, nullptr), "no thread");
		usleep(2000);
		for (pthread_t one : t)
			pthread_cancel(one);
		for (pthread_t one : t) {
			pthread_join(one, &result);
			need(result == PTHREAD_CANCELED, "a thread was not cancelled");
		}
	}
	need(held == 0, "a cleanup handler did not run");
}

/* 64 threads that end while they hold memory; others free it. */

static void endings(void)
{
	for (until u; u.more();) {
		std::vector<void *> left(64);
		std::vector<std::thread> threads;

		for (int i = 0; i < 64; i++)
			threads.emplace_back([&left, i] {
				for (int k = 0; k < 50; k++)
					free(seen(malloc(3000 * (k % 7 + 1))));
				left[i] = malloc(100000);
				memset(left[i], i, 100000);
			});
		for (auto &t : threads)
			t.join();
		for (int i = 0; i < 64; i++) {
			need(((unsigned char *)left[i])[99999] == i, "what a thread left has changed");
			free(left[i]);
		}
	}
}

/* Buffers of all sizes by all functions; each must hold what was written into it. */

static uint64_t sum(const unsigned char *p, size_t n)
{
	uint64_t h = n;

	for (size_t i = 0; i < n; i++)
		h = h * 1099511628211u + p[i];
	return h;
}

struct buffer {
	unsigned char *p;
	size_t n;
	uint64_t sum;
	bool is_new;
};

static unsigned char *obtain(unsigned how, size_t n)
{
	void *p = nullptr;

	switch (how % 6) {
	case 0:
		p = calloc(1, n);
		for (size_t i = 0; i < n; i++)
			need(!((char *)p)[i], "calloc gives what is not zero");
		return (unsigned char *)p;
	case 1:
		need(!posix_memalign(&p, 4096, n), "posix_memalign");
		need(!((uintptr_t)p & 4095), "posix_memalign is not aligned");
		return (unsigned char *)p;
	case 2:
		return (unsigned char *)aligned_alloc(64, (n + 63) & ~size_t(63));
	case 3:
		return (unsigned char *)realloc(malloc(n / 2 + 1), n);
	}
	return (unsigned char *)malloc(n);
}

static void check_buffers(unsigned seed)
{
	std::vector<buffer> all(200);

	for (until u; u.more();) {
		buffer &b = all[rand_r(&seed) % all.size()];

		if (b.p) {
			need(sum(b.p, b.n) == b.sum, "a buffer has changed");
			if (b.is_new)
				delete[] b.p;
			else
				free(b.p);
		}
		b.n = 1 + rand_r(&seed) % (rand_r(&seed) % 50 ? 2000 : 300000);
		b.is_new = rand_r(&seed) % 4 == 0;
		b.p = b.is_new ? new unsigned char[b.n] : obtain(rand_r(&seed), b.n);
		for (size_t i = 0; i < b.n; i++)
			b.p[i] = (unsigned char)(i * seed >> 3);
		b.sum = sum(b.p, b.n);
	}
	for (buffer &b : all) {
		need(!b.p || sum(b.p, b.n) == b.sum, "a buffer has changed in the end");
		if (b.is_new)
			delete[] b.p;
		else
			free(b.p);
	}
}

static void checksums(void)
{
	std::vector<std::thread> threads;

	for (unsigned i = 0; i < 4; i++)
		threads.emplace_back(check_buffers, i + 1);
	for (auto &t : threads)
		t.join();
}

/* Children that allocate and end, while another thread allocates. */

extern "C" APART void *site_child(size_t n)
{
	void *p = malloc(n);
	asm volatile("");
	return p;
}

static void forks(void)
{
	std::atomic<bool> stop{ false };
	std::thread other([&] {
		while (!stop)
			free(seen(malloc(5000)));
	});

	for (until u; u.more();) {
		void *before = malloc(800000);
		int status = -1;
		pid_t pid = fork();

		need(pid >= 0, "fork");
		if (!pid) {
			free(before);
			for (int i = 0; i < 100; i++)
				if (!site_child(700000))
					_exit(2);
			_exit(0);
		}
		waitpid(pid, &status, 0);
		free(before);
		need(status == 0, "a child has failed");
	}
	stop = true;
	other.join();
}

/* Last, because there is no way back. */

static void confine(void)
{
	static const int allowed[] = { SYS_write, SYS_exit_group, SYS_exit, SYS_mmap, SYS_munmap, SYS_mremap,
				       SYS_brk, SYS_futex, SYS_madvise, SYS_mprotect, SYS_clock_gettime,
				       SYS_sched_yield, SYS_getrandom, SYS_rt_sigprocmask };
	std::vector<sock_filter> f = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)) };

	for (int nr : allowed) {
		f.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1));
		f.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	}
	f.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
	sock_fprog program = { (unsigned short)f.size(), f.data() };

	need(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
	need(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "seccomp");
	for (until u; u.more();) {
		std::string s(1000000, 'z');
		free(seen(malloc(500)));
		void *p = calloc(70, 10000);
		p = realloc(p, 900000);
		free(p);
		need(s[999999] == 'z', "a string has changed");
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} parts[] = { { "exceptions", exceptions }, { "handlers", handlers }, { "faults", faults },
		      { "signals", signals }, { "cancellations", cancellations }, { "endings", endings },
		      { "checksums", checksums }, { "forks", forks }, { "seccomp", confine } };

	const rlimit limit = { size_t(1) << 36, size_t(1) << 36 }; /* what is `large` fails */

	if (argc > 1)
		seconds = atof(argv[1]);
	setrlimit(RLIMIT_AS, &limit);
	setvbuf(stdout, nullptr, _IOLBF, 4096);
	printf("ready\n");
	for (char c = 0; c != '\n' && read(0, &c, 1) == 1;)
		;
	for (const auto &p : parts) {
		p.run();
		printf("part %s\n", p.name);
	}
	printf("OK\n");
	fflush(stdout);
	_exit(0);
}
