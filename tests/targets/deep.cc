/* SPDX-License-Identifier: Apache-2.0 */

/* deep.cc - a target that prints its own account: five kinds of work under some 48 frames, each with
 * the CPU time it took by the thread's clock.
 *
 *   deep SECONDS [SLOT_MS]
 *
 * -DPAD=n gives every frame of the chains n * 64 more bytes of stack. With SLOT_MS each turn of the
 * wheel lasts exactly that long by the wall clock, so that a regular clock would beat with it. At
 * the end, and on SIGUSR1, it prints "truth A ns" lines and the total. */

#include <algorithm>
#include <alloca.h>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <vector>

#ifndef PAD
#define PAD 0
#endif

static volatile uint64_t sink;
static volatile sig_atomic_t asked;
static int64_t truth[5];

static int64_t now(clockid_t id)
{
	timespec t;

	clock_gettime(id, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

struct Work {
	int64_t until; /* thread CPU time */
	bool done() const { return now(CLOCK_THREAD_CPUTIME_ID) >= until; }
};

extern "C" {

__attribute__((noinline)) void leaf_spin(const Work *w)
{
	while (!w->done())
		for (int i = 0; i < 2000; i++)
			sink = sink * 31 + i;
}

static int compare(const void *a, const void *b)
{
	uint64_t h = *(const uint32_t *)a;

	for (int i = 0; i < 4; i++)
		h = h * 31 + i;
	sink = h;
	return *(const uint32_t *)a < *(const uint32_t *)b ? -1 : 1;
}

static void fill(std::vector<uint32_t> &v)
{
	uint32_t x = 12345;

	for (auto &e : v)
		e = x = x * 1664525 + 1013904223;
}

__attribute__((noinline)) void leaf_qsort(const Work *w)
{
	std::vector<uint32_t> v(400);

	while (!w->done()) {
		fill(v);
		qsort(v.data(), v.size(), sizeof(v[0]), compare);
	}
}

__attribute__((noinline)) void leaf_sort(const Work *w)
{
	std::function<bool(uint32_t, uint32_t)> less = [](uint32_t a, uint32_t b) {
		sink = sink + a;
		return a < b;
	};
	std::vector<uint32_t> v(400);

	while (!w->done()) {
		fill(v);
		std::sort(v.begin(), v.end(), less);
	}
}

__attribute__((noinline)) void leaf_copy(const Work *w)
{
	static char a[65536], b[65536];

	while (!w->done())
		for (int i = 0; i < 4; i++) {
			memcpy(a, b, sizeof(a));
			sink = sink + a[i];
		}
}

__attribute__((noinline)) void leaf_alloca(const Work *w)
{
	volatile char *p = (volatile char *)alloca(64 + (sink & 63));

	while (!w->done())
		for (int i = 0; i < 2000; i++)
			p[i & 63] = (char)i;
}
}

using Leaf = void (*)(const Work *);

/* A chain of N functions, each calling the next; what stands behind the call keeps it from being a
 * jump. */
template <int N> struct Chain {
	static __attribute__((noinline)) void run(Leaf leaf, const Work *w)
	{
#if PAD
		volatile char pad[PAD * 64];

		pad[0] = pad[sizeof(pad) - 1] = 1;
#endif
		Chain<N - 1>::run(leaf, w);
#if PAD
		sink = sink + pad[0];
#endif
		sink = sink + N;
	}
};
template <> struct Chain<0> {
	static __attribute__((noinline)) void run(Leaf leaf, const Work *w)
	{
		leaf(w);
		sink = sink + 1;
	}
};

/* Each kind has a function of its own below main, so that a profile can be held against the truth. */
extern "C" {
__attribute__((noinline)) void branch_A(const Work *w) { Chain<44>::run(leaf_spin, w); sink = sink + 1; }
__attribute__((noinline)) void branch_B(const Work *w) { Chain<30>::run(leaf_qsort, w); sink = sink + 2; }
__attribute__((noinline)) void branch_C(const Work *w) { Chain<40>::run(leaf_sort, w); sink = sink + 3; }
__attribute__((noinline)) void branch_D(const Work *w) { Chain<20>::run(leaf_copy, w); sink = sink + 4; }
__attribute__((noinline)) void branch_E(const Work *w) { Chain<25>::run(leaf_alloca, w); sink = sink + 5; }
}

static void report()
{
	int64_t total = 0;

	for (int i = 0; i < 5; i++) {
		printf("truth branch_%c %lld\n", 'A' + i, (long long)truth[i]);
		total += truth[i];
	}
	printf("truth total %lld\n", (long long)total);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	/* shares 35, 25, 20, 12 and 8 % */
	static const int weight[5] = { 35, 25, 20, 12, 8 };
	static void (*const branch[5])(const Work *) = { branch_A, branch_B, branch_C, branch_D, branch_E };
	double seconds = argc > 1 ? atof(argv[1]) : 10;
	int slot_ms = argc > 2 ? atoi(argv[2]) : 0;
	int64_t end = now(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e9);

	signal(SIGUSR1, [](int) { asked = 1; });
	for (int turn = 0; now(CLOCK_MONOTONIC) < end; turn++) {
		int64_t slot_end = now(CLOCK_MONOTONIC) + slot_ms * 1000000ll;

		for (int i = 0; i < 5; i++) {
			int64_t before = now(CLOCK_THREAD_CPUTIME_ID);
			Work w = { before + weight[i] * (slot_ms ? slot_ms * 8000ll : 30000ll) };

			branch[i](&w);
			truth[i] += now(CLOCK_THREAD_CPUTIME_ID) - before;
		}
		while (slot_ms && now(CLOCK_MONOTONIC) < slot_end) {
			timespec t = { 0, 200000 };

			nanosleep(&t, nullptr);
		}
		if (asked) {
			asked = 0;
			report();
		}
	}
	report();
	return 0;
}
