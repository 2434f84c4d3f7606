// SPDX-License-Identifier: Apache-2.0

// stress.cc - a C++ program with threads, on objects whose content is checked: every operator new
// and delete, frees by other threads, failing new caught, cancelled threads, threads that end,
// forks.

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <pthread.h>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "tests/preload/shim.h"

namespace
{
constexpr int THREADS = 8, ROUNDS = 12000;

template <size_t N> struct Block {
	unsigned char bytes[N];
	void fill(unsigned char seed)
	{
		for (size_t i = 0; i < N; i++)
			bytes[i] = static_cast<unsigned char>(seed + i);
	}
	void verify() const
	{
		for (size_t i = 0; i < N; i++)
			CHECK(bytes[i] == static_cast<unsigned char>(bytes[0] + i));
	}
};
struct alignas(64) Line : Block<192> {
};
struct alignas(8192) Wide : Block<8192> {
};

template <class T> void one(T *p, unsigned char seed)
{
	CHECK(reinterpret_cast<uintptr_t>(p) % alignof(T) == 0);
	p->fill(seed);
	p->verify();
	delete p; // told the size
}

template <class T> void many(unsigned char seed)
{
	size_t n = 1 + seed % 7;
	T *p = seed & 1 ? new T[n] : new (std::nothrow) T[n];

	for (size_t i = 0; i < n; i++)
		p[i].fill(seed);
	for (size_t i = 0; i < n; i++)
		p[i].verify();
	delete[] p;
}

void by_hand(size_t n)
{
	auto wide = std::align_val_t(128);
	void *p[] = { operator new(n),
		      operator new[](n),
		      operator new(n, std::nothrow),
		      operator new[](n, std::nothrow),
		      operator new(n, wide),
		      operator new[](n, wide),
		      operator new(n, wide, std::nothrow),
		      operator new[](n, wide, std::nothrow) };

	for (void *x : p)
		memset(x, 1, n);
	for (int i = 4; i < 8; i++)
		CHECK(reinterpret_cast<uintptr_t>(p[i]) % 128 == 0);
	operator delete(p[0], n);
	operator delete[](p[1], n);
	operator delete(p[2], std::nothrow);
	operator delete[](p[3], std::nothrow);
	operator delete(p[4], n, wide);
	operator delete[](p[5], n, wide);
	operator delete(p[6], wide, std::nothrow);
	operator delete[](p[7], wide, std::nothrow);
	p[0] = operator new(n, wide);
	p[1] = operator new[](n, wide);
	operator delete(p[0], wide);
	operator delete[](p[1], wide);
}

volatile size_t too_much = PTRDIFF_MAX - 4096;
thread_local int handled;

void failing_new()
{
	static const bool aborts =
		getenv("PPROFD_TEST_MIMALLOC"); // Debian's mimalloc is built as C
	int caught = 0;

	if (aborts)
		return;
	try {
		operator delete(operator new(too_much));
	} catch (const std::bad_alloc &) {
		caught++;
	}
	try {
		operator delete[](operator new[](too_much, std::align_val_t(64)),
				  std::align_val_t(64));
	} catch (const std::bad_alloc &) {
		caught++;
	}
	CHECK(caught == 2);
	CHECK(!operator new(too_much, std::nothrow));
}

void new_handler()
{
	std::set_new_handler([] {
		handled++;
		std::set_new_handler(nullptr);
	});
	failing_new();
	std::set_new_handler(nullptr);
	CHECK(handled == 1);
}

// Objects that one thread makes and another one frees.
struct Exchange {
	std::mutex lock; // guards box
	std::vector<std::unique_ptr<Block<1000>>> box;

	void put(unsigned char seed)
	{
		auto p = std::make_unique<Block<1000>>();

		p->fill(seed);
		std::lock_guard<std::mutex> guard(lock);
		box.push_back(std::move(p));
	}
	void take()
	{
		std::unique_ptr<Block<1000>> p;
		{
			std::lock_guard<std::mutex> guard(lock);
			if (box.empty())
				return;
			p = std::move(box.back());
			box.pop_back();
		}
		p->verify();
	}
} exchange[THREADS];

void churn(int self, int rounds)
{
	std::map<int, std::string> words;
	uint64_t state = 7919u * (self + 1);

	for (int i = 0; i < rounds; i++) {
		uint64_t r = shim_random(&state);
		auto seed = static_cast<unsigned char>(r);

		one(new Block<24>, seed);
		one(new Line, seed);
		if (r % 64 == 0) {
			one(new Wide, seed);
			by_hand(1 + r % 5000);
			failing_new();
		}
		many<Block<40>>(seed);
		many<Line>(seed);
		words[r % 500] = std::string(r % 300, 'a' + seed % 26);
		exchange[(self + 1) % THREADS].put(seed);
		exchange[self].take();
		if (r % 512 == 0)
			std::vector<char>(1 << 20, 'x');
	}
	for (const auto &w : words)
		CHECK(w.second.find_first_not_of(w.second.c_str()[0]) == std::string::npos);
}

std::atomic<int> unwound;

void *until_cancelled(void *)
{
	struct Guard {
		std::string text = std::string(100, 'g');
		~Guard()
		{
			unwound++;
		}
	} guard;

	for (;;) {
		std::string s(700, 'c');
		CHECK(s[699] == 'c');
		pthread_testcancel();
	}
	return nullptr;
}

void cancelled_threads()
{
	for (int i = 0; i < 64; i++) {
		pthread_t t;
		void *r;

		CHECK(pthread_create(&t, nullptr, until_cancelled, nullptr) == 0);
		usleep(500);
		pthread_cancel(t);
		CHECK(pthread_join(t, &r) == 0 && r == PTHREAD_CANCELED);
	}
	CHECK(unwound == 64);
}

void short_threads()
{
	for (int i = 0; i < 64; i++) {
		std::thread a([] { std::vector<std::string>(300, std::string(300, 's')); });
		std::thread b([] { by_hand(9000); });

		a.join();
		b.join();
	}
}

void forks()
{
	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();
		int status;

		CHECK(pid >= 0);
		if (pid == 0) {
			for (int k = 0; k < 3000; k++) {
				one(new Block<24>, 1);
				many<Line>(static_cast<unsigned char>(k));
				std::string(k, 'f');
			}
			_exit(0);
		}
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
		usleep(1000);
	}
}
} // namespace

int main()
{
	std::vector<std::thread> threads;

	shim_start();
	if (!getenv("PPROFD_TEST_MIMALLOC"))
		new_handler();
	for (int i = 0; i < THREADS; i++)
		threads.emplace_back(churn, i, ROUNDS);
	forks();
	cancelled_threads();
	short_threads();
	for (auto &t : threads)
		t.join();
	threads.clear();
	threads.shrink_to_fit();
	for (auto &e : exchange) {
		e.box.clear();
		e.box.shrink_to_fit();
	}
	shim_print();
	return 0;
}
