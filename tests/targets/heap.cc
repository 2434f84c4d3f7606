/* SPDX-License-Identifier: Apache-2.0 */

/* heap.cc - allocates at named sites, and keeps account of each.
 *
 *   heap SECONDS [THREADS] [RATE] [LEAK]
 *
 * Says "ready" and waits for a line or the end of its input before it begins. RATE is in rounds a second and thread (0: as fast as can be). On SIGUSR1 it prints, a line a site,
 * "truth SITE ALLOCS BYTES LIVE LIVE-BYTES", and "truth total ..." last; at that moment nothing is
 * in flight. Objects of site D are freed by another thread than the one that allocated them. With LEAK, in
 * KiB a second, nothing leaks but what one of the threads allocates at site_leak, with content. */

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <vector>

struct site {
	const char *name;
	std::atomic<long> allocs, bytes, live, live_bytes;
};

static site sites[] = { { "site_a" }, { "site_b" }, { "site_c" }, { "site_d" }, { "site_e" },
			{ "site_f" }, { "site_leak" } };
enum { A, B, C, D, E, F, LEAK };

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

#define SITE extern "C" __attribute__((noinline, noclone))
#define KEEP asm volatile("")

SITE void *site_a(void) /* small, freed at once */
{
	void *p = malloc(1000);
	KEEP;
	return p;
}

SITE void *site_b(size_t n) /* of all sizes, kept for a while */
{
	void *p = calloc(n, 16);
	KEEP;
	return p;
}

SITE char *site_c(size_t n) /* leaks slowly */
{
	char *p = new char[n];
	memset(p, 1, n); /* here, so that /growth points here too */
	KEEP;
	return p;
}

SITE void *site_d(void) /* large, freed by another thread */
{
	void *p = malloc(1 << 20);
	KEEP;
	return p;
}

SITE void *site_e(void *old, size_t n) /* grows */
{
	void *p = realloc(old, n);
	KEEP;
	return p;
}

SITE void *site_f(void)
{
	void *p = nullptr;
	if (posix_memalign(&p, 64, 3000))
		return nullptr;
	KEEP;
	return p;
}

SITE char *site_leak(void)
{
	char *p = new char[1024];
	KEEP;
	return p;
}

static std::atomic<bool> pause_all, stop_all;
static double leak_rate; /* objects of site_leak a second */
static std::atomic<int> n_paused;
static std::mutex exchange_lock;
static std::vector<void *> exchange;

static void swap_large(void)
{
	std::vector<void *> mine;
	{
		std::lock_guard<std::mutex> g(exchange_lock);
		got(D, 1 << 20);
		exchange.push_back(site_d());
		if (exchange.size() > 16)
			mine.swap(exchange);
	}
	for (void *p : mine) {
		free(p);
		gone(D, 1 << 20);
	}
}

struct kept {
	void *p;
	size_t n;
};

static void one_round(unsigned &seed, std::vector<kept> &held, kept &grown, unsigned long i)
{
	for (int k = 0; k < 20; k++) {
		got(A, 1000);
		void *p = site_a();
		memset(p, 1, 10);
		free(p);
		gone(A, 1000);
	}
	size_t n = 1 + rand_r(&seed) % 200;
	got(B, n * 16);
	held.push_back({ site_b(n), n * 16 });
	if (held.size() > 2000) {
		size_t at = rand_r(&seed) % held.size();
		gone(B, held[at].n);
		free(held[at].p);
		held[at] = held.back();
		held.pop_back();
	}
	if (i % 10 == 0) {
		got(C, 4096);
		char *p = site_c(4096);
		if (leak_rate > 0) {
			delete[] p;
			gone(C, 4096);
		}
	}
	if (i % 50 == 0)
		swap_large();
	if (grown.p)
		gone(E, grown.n);
	grown.n = grown.n > 200000 ? 100 : grown.n + 3001;
	if (grown.n == 100) {
		free(grown.p);
		grown.p = nullptr;
	}
	got(E, grown.n);
	grown.p = site_e(grown.p, grown.n);
	got(F, 3000);
	free(site_f());
	gone(F, 3000);
}

static void leak(std::chrono::steady_clock::time_point began, unsigned long &n)
{
	std::chrono::duration<double> passed = std::chrono::steady_clock::now() - began;

	for (; (double)n < leak_rate * passed.count(); n++) {
		got(LEAK, 1024);
		snprintf(site_leak(), 1024, "object %lu is not needed any more", n);
	}
}

static void work(unsigned number, long rate)
{
	auto began = std::chrono::steady_clock::now();
	unsigned long n_leaked = 0;
	std::vector<kept> held;
	kept grown = { nullptr, 0 };
	unsigned seed = number;

	held.reserve(4096);
	for (unsigned long i = 0; !stop_all; i++) {
		if (pause_all) {
			n_paused++;
			while (pause_all)
				std::this_thread::sleep_for(std::chrono::milliseconds(1));
			n_paused--;
		}
		one_round(seed, held, grown, i);
		if (number == 1 && leak_rate > 0)
			leak(began, n_leaked);
		if (rate)
			std::this_thread::sleep_for(std::chrono::microseconds(1000000 / rate));
	}
}

static void print_truth(int n_threads)
{
	long t[4] = { 0 };

	pause_all = true;
	while (n_paused < n_threads)
		std::this_thread::sleep_for(std::chrono::milliseconds(1));
	for (site &s : sites) {
		if (&s == &sites[LEAK] && leak_rate <= 0)
			continue;
		printf("truth %s %ld %ld %ld %ld\n", s.name, s.allocs.load(), s.bytes.load(),
		       s.live.load(), s.live_bytes.load());
		t[0] += s.allocs, t[1] += s.bytes, t[2] += s.live, t[3] += s.live_bytes;
	}
	printf("truth total %ld %ld %ld %ld\n", t[0], t[1], t[2], t[3]);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 10, n = argc > 2 ? atoi(argv[2]) : 2;
	long rate = argc > 3 ? atol(argv[3]) : 500;
	leak_rate = argc > 4 ? atof(argv[4]) : 0;
	std::vector<std::thread> threads;
	sigset_t set;

	setvbuf(stdout, nullptr, _IOLBF, 4096);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, nullptr);
	exchange.reserve(64);
	threads.reserve(n);
	printf("ready\n");
	for (char c = 0; c != '\n' && read(0, &c, 1) == 1;)
		;
	for (int i = 0; i < n; i++)
		threads.emplace_back(work, i + 1, rate);
	for (auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
	     std::chrono::steady_clock::now() < end;) {
		timespec t = { 0, 100000000 };
		int got_signal = sigtimedwait(&set, nullptr, &t);

		if (got_signal == SIGUSR1)
			print_truth(n); /* stands still until SIGUSR2, so that a profile can be taken */
		if (got_signal == SIGUSR2)
			pause_all = false;
	}
	pause_all = false;
	stop_all = true;
	for (auto &t : threads)
		t.join();
	return 0;
}
