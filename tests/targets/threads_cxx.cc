// SPDX-License-Identifier: Apache-2.0

// threads_cxx.cc - threads of C++ that wait in functions of odd names, for tests/live/threads.py.

#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static std::mutex held;
static std::shared_mutex shared;

namespace {
template <typename T> struct Worker {
	NOINLINE T operator()(T n) { sleep(100000); asm volatile(""); return n; }
	NOINLINE Worker &operator/(int) { (*this)(1); asm volatile(""); return *this; }
	NOINLINE Worker &operator%(int n) { *this / n; asm volatile(""); return *this; }
};
}

NOINLINE static void waits_for_mutex() { std::lock_guard<std::mutex> l(held); asm volatile(""); }
NOINLINE static void reads() { std::shared_lock<std::shared_mutex> l(shared); asm volatile(""); }
NOINLINE static void waits_for_condition()
{
	std::mutex m;
	std::condition_variable c;
	std::unique_lock<std::mutex> l(m);

	c.wait(l, [] { return false; });
	asm volatile("");
}

NOINLINE static void start_all()
{
	std::thread([] { Worker<int>() % 3; asm volatile(""); }).detach();
	std::thread(waits_for_mutex).detach();
	std::thread(waits_for_condition).detach();
	std::thread(reads).detach();
	asm volatile("");
}

int main()
{
	held.lock();
	shared.lock();
	puts("waiting");
	fflush(stdout);
	getchar();
	start_all();
	sleep(1);
	puts("ready");
	fflush(stdout);
	pause();
}
