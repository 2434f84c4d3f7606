/* SPDX-License-Identifier: Apache-2.0 */

/* Who is charged with what others wait: bpf/lock.bpf.h as ordinary C. */

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PP_NATIVE "tests/unit/bpf_native.h"
#include "bpf/lock.bpf.h"

#define N_BUCKETS (1u << PP_LOCK_BUCKET_BITS)
#define SLOT 5u

static struct pp_wait_filter filter;

struct world {
	struct pp_lock_bucket buckets[N_BUCKETS];
	struct pp_wait_state s;
	uint64_t random;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	memset(&native, 0, sizeof(native));
	config = (struct pp_config){ .seed = 1 };
	NATIVE_MAP(pp_lock, w->buckets, N_BUCKETS);
	NATIVE_MAP(pp_wait_filter, &filter, 1);
	w->random = 88172645463325252ull;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static struct pp_lock_bucket *bucket_of(struct world *w, uint64_t lock)
{
	return &w->buckets[pp_mix(config.seed, pp_lock_key(SLOT, lock)) >> (64 - PP_LOCK_BUCKET_BITS)];
}

static void enter(struct world *w, uint64_t lock, uint32_t weight, uint64_t began)
{
	const struct pp_wait wait = { .began = began, .lock = lock, .weight = weight, .slot = SLOT, .target = SLOT,
				      .stack = began * 3, .item = 202 };

	pp_lock_enter(&w->s, &wait);
}

static void leave(struct world *w, uint64_t lock, uint32_t weight, uint64_t began)
{
	pp_lock_leave(&w->s, SLOT, lock, weight, began);
}

static uint64_t release(struct world *w, uint64_t lock, uint32_t weight, uint64_t now)
{
	struct pp_charge c;

	if (!pp_lock_release(&w->s, SLOT, lock, weight, now, &c)) {
		assert_int_equal(c.ns, 0);
		return 0;
	}
	assert_int_equal(c.n, weight);
	assert_int_equal(c.item, 202);
	return c.ns;
}

static void assert_empty(const struct world *w)
{
	for (unsigned b = 0; b < N_BUCKETS; b++) {
		assert_int_equal(w->buckets[b].busy, 0);
		for (unsigned i = 0; i < PP_LOCK_WAYS; i++) {
			assert_int_equal(w->buckets[b].way[i].key, 0);
			assert_int_equal(w->buckets[b].way[i].n, 0);
		}
	}
}

static void test_holder_is_charged_with_one_wait(void **state)
{
	struct world *w = *state;
	struct pp_charge c;

	enter(w, 0x1000, 4, 100);
	assert_int_equal(pp_lock_release(&w->s, SLOT, 0x1000, 4, 350, &c), 1);
	assert_int_equal(c.ns, 4 * 250);
	assert_int_equal(c.n, 4);
	assert_int_equal(c.stack, 300);
	assert_int_equal(c.item, 202);
	assert_empty(w);
}

/* Two wait while a long holder has it; a short one comes in between. */
static void test_short_holder_is_not_charged_with_a_long_one(void **state)
{
	struct world *w = *state;

	enter(w, 0x1000, 1, 100);
	enter(w, 0x1000, 1, 200);
	assert_int_equal(release(w, 0x1000, 1, 1100), 1000 + 900);
	assert_int_equal(release(w, 0x1000, 1, 1110), 10);
	assert_empty(w);
}

static void test_release_with_nobody_waiting(void **state)
{
	struct world *w = *state;
	struct pp_charge c;

	assert_int_equal(pp_lock_release(&w->s, SLOT, 0x1000, 1, 350, &c), 0);
	assert_int_equal(c.ns, 0);
	leave(w, 0x1000, 1, 100);
	assert_empty(w);
	assert_int_equal(w->s.n_lock_full + w->s.n_lock_busy, 0);
	enter(w, 0x1000, 1, 400);
	assert_int_equal(release(w, 0x1000, 1, 450), 50);
}

/* Whoever is woken need not be one that is looked at: the others have waited all the same. */
static void test_release_of_one_that_is_not_looked_at(void **state)
{
	struct world *w = *state;

	enter(w, 0x1000, 8, 100);
	assert_int_equal(release(w, 0x1000, 0, 300), 8 * 200);
	assert_int_equal(release(w, 0x1000, 0, 400), 8 * 100);
	assert_int_equal(release(w, 0x1000, 8, 450), 8 * 50);
	assert_empty(w);
}

static void test_locks_and_processes_are_told_apart(void **state)
{
	struct world *w = *state;
	struct pp_charge c;

	enter(w, 0x1000, 1, 100);
	enter(w, 0x1008, 1, 100);
	assert_int_equal(pp_lock_release(&w->s, SLOT + 1, 0x1000, 1, 200, &c), 0);
	assert_int_equal(pp_lock_release(&w->s, SLOT, 0x1010, 1, 200, &c), 0);
	assert_int_equal(release(w, 0x1000, 1, 200), 100);
	assert_int_equal(release(w, 0x1008, 1, 300), 200);
	enter(w, 0x2008, 1, 100); /* the two words of glibc's rwlock are one lock */
	assert_int_equal(release(w, 0x200c, 1, 200), 100);
	for (uint32_t slot = 0; slot < PP_MAX_PROCESSES; slot++) {
		assert_int_not_equal(pp_lock_key(slot, 0), 0);
		for (uint32_t other = 0; other < PP_MAX_PROCESSES; other++)
			assert_int_not_equal(pp_lock_key(slot, 8), pp_lock_key(other, 0));
	}
}

/* Its time has run out: what it waited since the last release is nobody's. */
static void test_wait_that_is_given_up(void **state)
{
	struct world *w = *state;

	enter(w, 0x1000, 2, 100);
	enter(w, 0x1000, 1, 150);
	leave(w, 0x1000, 2, 100);
	assert_int_equal(release(w, 0x1000, 0, 250), 100);
	enter(w, 0x1000, 4, 260);
	leave(w, 0x1000, 1, 150); /* after a release: it begins there */
	assert_int_equal(release(w, 0x1000, 4, 300), 4 * 40);
	assert_empty(w);
}

/* The clock of a wait is read before its stack is walked: a release may come in between. */
static void test_wait_that_began_before_the_last_release(void **state)
{
	struct world *w = *state;

	enter(w, 0x1000, 1, 100);
	enter(w, 0x1000, 1, 100);
	assert_int_equal(release(w, 0x1000, 1, 200), 200);
	enter(w, 0x1000, 16, 190); /* 10 of it were before */
	leave(w, 0x1000, 16, 190);
	assert_int_equal(release(w, 0x1000, 0, 210), 10);
	enter(w, 0x1000, 16, 150);
	assert_int_equal(release(w, 0x1000, 16, 230), 17 * 20);
	assert_int_equal(release(w, 0x1000, 1, 240), 10);
	assert_empty(w);
}

static void test_clocks_of_two_cpus_may_differ(void **state)
{
	struct world *w = *state;

	enter(w, 0x1000, 3, 1000);
	assert_int_equal(release(w, 0x1000, 0, 990), 0);
	assert_int_equal(release(w, 0x1000, 3, 1010), 3 * 20);
	assert_empty(w);
}

static void test_busy_bucket_is_not_waited_for(void **state)
{
	struct world *w = *state;

	bucket_of(w, 0x1000)->busy = 1;
	enter(w, 0x1000, 4, 100);
	assert_int_equal(w->s.n_lock_busy, 4);
	assert_int_equal(release(w, 0x1000, 2, 200), 0);
	assert_int_equal(w->s.n_lock_busy, 6);
	leave(w, 0x1000, 1, 100);
	assert_int_equal(w->s.n_lock_busy, 7);
	assert_int_equal(bucket_of(w, 0x1000)->busy, 1); /* another's */
	assert_int_equal(w->s.n_lock_full, 0);
	bucket_of(w, 0x1000)->busy = 0;
	enter(w, 0x1000, 4, 300);
	assert_int_equal(release(w, 0x1000, 4, 350), 200);
	assert_empty(w);
}

/* One that could not be taken out again must not be charged for ever. */
static void test_busy_bucket_leaves_no_ghosts(void **state)
{
	struct world *w = *state;

	for (int released = 0; released < 2; released++) {
		uint64_t busy = w->s.n_lock_busy;

		enter(w, 0x1000, 4, 100);
		enter(w, 0x1000, 2, 100);
		bucket_of(w, 0x1000)->busy = 1;
		if (released)
			release(w, 0x1000, 4, 200);
		else
			leave(w, 0x1000, 4, 100);
		bucket_of(w, 0x1000)->busy = 0;
		enter(w, 0x1000, 1, 1000);
		assert_int_equal(release(w, 0x1000, 1, 1010), 10);
		assert_int_equal(w->s.n_lock_busy - busy, 4 + 4 + 2); /* it, and all that was forgotten */
		leave(w, 0x1000, 2, 100);
		assert_empty(w);
	}
}

static void test_full_bucket_is_counted(void **state)
{
	uint64_t locks[PP_LOCK_WAYS + 1], n = 0;
	struct world *w = *state;

	for (uint64_t lock = 0x1000; n <= PP_LOCK_WAYS; lock += 8)
		if (bucket_of(w, lock) == bucket_of(w, 0x1000))
			locks[n++] = lock;
	for (unsigned i = 0; i <= PP_LOCK_WAYS; i++)
		enter(w, locks[i], 4, 100 + i);
	assert_int_equal(w->s.n_lock_full, 4);
	assert_int_equal(w->s.n_lock_busy, 0);
	assert_int_equal(release(w, locks[PP_LOCK_WAYS], 4, 200), 0);
	leave(w, locks[PP_LOCK_WAYS], 4, 104);
	for (unsigned i = 1; i < PP_LOCK_WAYS; i++)
		assert_int_equal(release(w, locks[i], 4, 200), 4 * (100 - i));
	enter(w, locks[PP_LOCK_WAYS], 4, 300);
	assert_int_equal(release(w, locks[PP_LOCK_WAYS], 4, 310), 40);
	assert_int_equal(release(w, locks[0], 4, 400), 4 * 300);
	assert_empty(w);
	enter(w, locks[1], 1, 350); /* the place of another lock, which was released later */
	assert_int_equal(release(w, locks[1], 1, 450), 100);
}

/* The rule, straightforwardly. */
#define N_WAITERS 40u
#define N_LOCKS 24u

struct waiter {
	uint64_t began, since, lock;
	uint32_t weight; /* 0: does not wait */
};

struct model {
	struct waiter all[N_WAITERS];
	uint64_t charged, uncharged, waited; /* times weight */
};

static uint32_t dice(struct world *w, uint32_t n)
{
	w->random ^= w->random << 13, w->random ^= w->random >> 7, w->random ^= w->random << 17;
	return (uint32_t)(w->random >> 33) % n;
}

static uint64_t model_release(struct model *m, uint64_t lock, uint64_t now)
{
	uint64_t ns = 0;

	for (unsigned i = 0; i < N_WAITERS; i++) {
		struct waiter *a = &m->all[i];

		if (!a->weight || a->lock != lock)
			continue;
		ns += (now - a->since) * a->weight;
		a->since = now;
	}
	m->charged += ns;
	return ns;
}

static void model_end(struct model *m, struct waiter *a, uint64_t now)
{
	m->uncharged += (now - a->since) * a->weight;
	m->waited += (now - a->began) * a->weight;
	a->weight = 0;
}

static void step(struct world *w, struct model *m, uint64_t now)
{
	struct waiter *a = &m->all[dice(w, N_WAITERS)];

	if (!a->weight) {
		*a = (struct waiter){ now, now, 0x7f0000001000 + dice(w, N_LOCKS) * 40, 1u << dice(w, 17) };
		enter(w, a->lock, a->weight, now);
	} else if (dice(w, 4) == 0) {
		leave(w, a->lock, a->weight, a->began);
		model_end(m, a, now);
	} else if (dice(w, 4) == 0) {
		assert_int_equal(release(w, a->lock, 0, now), model_release(m, a->lock, now));
	} else {
		assert_int_equal(release(w, a->lock, a->weight, now), model_release(m, a->lock, now));
		model_end(m, a, now);
	}
}

static void test_all_waiting_is_charged_once(void **state)
{
	struct world *w = *state;
	uint64_t now = 1ull << 50; /* ns: products wrap */

	for (int round = 0; round < 20; round++) {
		struct model m = { 0 };

		for (int i = 0; i < 5000; i++)
			step(w, &m, now += dice(w, 1000000));
		for (unsigned i = 0; i < N_WAITERS; i++)
			if (m.all[i].weight) {
				leave(w, m.all[i].lock, m.all[i].weight, m.all[i].began);
				model_end(&m, &m.all[i], now);
			}
		assert_true(m.charged && m.uncharged);
		assert_int_equal(m.charged + m.uncharged, m.waited);
		assert_empty(w);
	}
	assert_int_equal(w->s.n_lock_full + w->s.n_lock_busy, 0);
}

struct contender {
	struct world *w;
	struct pp_wait_state s;
	uint64_t charged;
	uint32_t seed;
};

static void *contend(void *context)
{
	struct contender *c = context;
	struct pp_charge charge;

	for (uint32_t i = 0; i < 300000; i++) {
		uint64_t lock = 0x1000 + (i * c->seed % 3 == 0) * 8;
		const struct pp_wait wait = { .began = 1000, .lock = lock, .weight = 1, .slot = SLOT, .target = SLOT };

		pp_lock_enter(&c->s, &wait);
		pp_lock_release(&c->s, SLOT, lock, 1, 1000, &charge);
		c->charged += charge.ns;
	}
	return NULL;
}

/* Two CPUs at once: nothing stays behind that is not told of, and nothing is charged that nobody waited. */
static void test_concurrent_programs_leave_nothing_behind(void **state)
{
	struct world *w = *state;
	struct contender a = { .w = w, .seed = 7 }, b = { .w = w, .seed = 5 };
	pthread_t other;

	assert_int_equal(pthread_create(&other, NULL, contend, &a), 0);
	contend(&b);
	pthread_join(other, NULL);
	assert_int_equal(a.charged + b.charged, 0);
	for (uint64_t lock = 0x1000; lock < 0x1018; lock += 8) { /* ghosts go with the next one */
		enter(w, lock, 1, 2000);
		assert_int_equal(release(w, lock, 1, 2010), 10);
	}
	assert_empty(w);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_holder_is_charged_with_one_wait),
		TEST(test_short_holder_is_not_charged_with_a_long_one),
		TEST(test_release_with_nobody_waiting),
		TEST(test_release_of_one_that_is_not_looked_at),
		TEST(test_locks_and_processes_are_told_apart),
		TEST(test_wait_that_is_given_up),
		TEST(test_wait_that_began_before_the_last_release),
		TEST(test_clocks_of_two_cpus_may_differ),
		TEST(test_busy_bucket_is_not_waited_for),
		TEST(test_busy_bucket_leaves_no_ghosts),
		TEST(test_full_bucket_is_counted),
		TEST(test_all_waiting_is_charged_once),
		TEST(test_concurrent_programs_leave_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
