/* SPDX-License-Identifier: Apache-2.0 */

/* waits_absl.cc - absl::Mutex and its condition variable, whose threads wait on a word of their own
 * each. See waits.h. */

#include "waits.h"

#include <absl/synchronization/mutex.h>

enum { LONG, SHORT, READER, COND };
static const char *const names[] = { "site_long", "site_short", "site_reader", "site_cond", NULL };

static absl::Mutex mutex, queue_mutex;
static absl::CondVar queue_cond;
static line who;
static int queued;

SITE void site_long()
{
	TAKE(&who, LONG, mutex.Lock());
	nap(2000);
	line_release(&who, LONG);
	mutex.Unlock();
	KEEP;
}

SITE void site_short()
{
	TAKE(&who, SHORT, mutex.Lock());
	nap(500);
	line_release(&who, SHORT);
	mutex.Unlock();
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

SITE void site_cond()
{
	struct span s = wait_begins();

	queue_cond.Wait(&queue_mutex);
	wait_ends(COND, s);
}

static void consume(int)
{
	while (!stopped()) {
		absl::MutexLock l(&queue_mutex);

		while (!queued && !stopped())
			site_cond();
		if (queued)
			queued--;
	}
}

static void produce(int)
{
	while (!stopped()) {
		nap_about(2000);
		absl::MutexLock l(&queue_mutex);
		queued++;
		queue_cond.Signal();
	}
}

static void begin_cond(int n)
{
	go_many(consume, n - 1);
	go(produce, 0);
}

static void end_cond()
{
	absl::MutexLock l(&queue_mutex);

	queue_cond.SignalAll();
}

static const struct kind kinds[] = {
	{ "mutex", begin_mutex, nullptr },
	{ "cond", begin_cond, end_cond },
	{ nullptr, nullptr, nullptr },
};

int main(int argc, char **argv)
{
	return run(argc, argv, kinds, names);
}
