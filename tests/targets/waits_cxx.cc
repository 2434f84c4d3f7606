/* SPDX-License-Identifier: Apache-2.0 */

/* waits_cxx.cc - the same for what C++20 can wait for. See waits.h. Where libstdc++ yields the CPU some
 * times before it waits (atomic wait, and what is made of it), that is a short part of a call. */

#include "waits.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <latch>
#include <mutex>
#include <semaphore>
#include <shared_mutex>

enum { LONG, SHORT, READER, WRITER, COND, FUTURE, LATCH, SEMAPHORE, ATOMIC };
static const char *const names[] = { "site_long", "site_short", "site_reader", "site_writer",
				     "site_cond", "site_future", "site_latch", "site_semaphore",
				     "site_atomic", NULL };

static struct {
	std::mutex mutex;
	line who;
} held;

SITE void site_long()
{
	TAKE(&held.who, LONG, held.mutex.lock());
	nap(2000);
	line_release(&held.who, LONG);
	held.mutex.unlock();
	KEEP;
}

SITE void site_short()
{
	TAKE(&held.who, SHORT, held.mutex.lock());
	nap(500);
	line_release(&held.who, SHORT);
	held.mutex.unlock();
	KEEP;
}

static void use_mutex(int i)
{
	while (!stopped()) {
		if (i & 1)
			site_short();
		else
			site_long();
		nap_about(1500);
	}
}

static void begin_mutex(int n)
{
	go_many(use_mutex, n);
}

static struct {
	std::shared_mutex lock;
	std::atomic<int> n_readers;
	line who;
} shared;

SITE void site_reader()
{
	struct span s = wait_begins();

	line_enter(&shared.who);
	shared.lock.lock_shared();
	if (!shared.n_readers++)
		__atomic_store_n(&shared.who.acquired, now(), __ATOMIC_RELAXED);
	add(&shared.who.handed, now() - later(shared.who.since[me], shared.who.released));
	__atomic_store_n(&shared.who.since[me], 0, __ATOMIC_RELAXED);
	wait_ends(READER, s);
	nap(500);
	if (!--shared.n_readers)
		line_release(&shared.who, READER);
	shared.lock.unlock_shared();
	KEEP;
}

SITE void site_writer()
{
	TAKE(&shared.who, WRITER, shared.lock.lock());
	nap(2000);
	line_release(&shared.who, WRITER);
	shared.lock.unlock();
	KEEP;
}

static void use_shared(int i)
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
	go_many(use_shared, n);
}

static struct {
	std::mutex mutex;
	std::condition_variable cond;
	int n;
} queue;

SITE void site_cond(std::unique_lock<std::mutex> &l)
{
	struct span s = wait_begins();

	queue.cond.wait(l);
	wait_ends(COND, s);
}

static void consume(int)
{
	while (!stopped()) {
		std::unique_lock l(queue.mutex);

		while (!queue.n && !stopped())
			site_cond(l);
		if (queue.n)
			queue.n--;
	}
}

static void produce(int)
{
	while (!stopped()) {
		nap_about(2000);
		std::lock_guard g(queue.mutex);
		queue.n++;
		queue.cond.notify_one();
	}
}

static void begin_cond(int n)
{
	go_many(consume, n - 1);
	go(produce, 0);
}

static void end_cond()
{
	std::lock_guard g(queue.mutex);

	queue.cond.notify_all();
}

/* Each round another thread makes the value that is waited for. */

SITE void site_future(std::future<int> &f)
{
	struct span s = wait_begins();

	f.wait();
	wait_ends(FUTURE, s);
}

SITE void site_latch(std::latch &l)
{
	struct span s = wait_begins();

	l.wait();
	wait_ends(LATCH, s);
}

static void wait_for_values(int)
{
	while (!stopped()) {
		std::latch done(1);
		auto f = std::async(std::launch::async, [&done] {
			nap(3000);
			auto r = 1;
			return r;
		});

		site_future(f);
		auto g = std::async(std::launch::async, [&done] {
			nap(3000);
			done.count_down();
		});
		site_latch(done);
	}
}

static void begin_future(int n)
{
	go_many(wait_for_values, n / 2);
}

static std::counting_semaphore<1000> items(0);
static std::atomic<int> value;

SITE void site_semaphore()
{
	struct span s = wait_begins();

	items.acquire();
	wait_ends(SEMAPHORE, s);
}

SITE void site_atomic(int seen)
{
	struct span s = wait_begins();

	value.wait(seen);
	wait_ends(ATOMIC, s);
}

static void take(int i)
{
	while (!stopped()) {
		if (i == 1) /* libstdc++ 12 loses wake-ups where more than one waits */
			site_semaphore();
		else
			site_atomic(value.load());
	}
}

static void give(int)
{
	while (!stopped()) {
		nap_about(3000);
		value++;
		value.notify_all();
		items.release();
	}
}

static void begin_atomic(int n)
{
	go_many(take, n - 1);
	go(give, 0);
}

static void end_atomic()
{
	nap(10000);
	value++;
	value.notify_all();
	items.release(64);
}

static const struct kind kinds[] = {
	{ "mutex", begin_mutex, nullptr },	{ "rwlock", begin_rwlock, nullptr },
	{ "cond", begin_cond, end_cond },	{ "future", begin_future, nullptr },
	{ "atomic", begin_atomic, end_atomic }, { nullptr, nullptr, nullptr },
};

int main(int argc, char **argv)
{
	return run(argc, argv, kinds, names);
}
