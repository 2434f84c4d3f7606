/* SPDX-License-Identifier: Apache-2.0 */

/* The table of sampled objects (bpf/live.bpf.h): found, taken once, no room, many at once. */

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PP_NATIVE "tests/unit/bpf_native.h"
#include "bpf/live.bpf.h"

#define N_BUCKETS (1u << PP_LIVE_BUCKET_BITS)
#define N_SLOTS ((uint32_t)PP_LIVE_WAYS << PP_LIVE_BUCKET_BITS)

static struct pp_live_bucket *keys;
static struct pp_live *live;
static struct pp_turn turns[PP_MAX_PROCESSES * PP_N_TURNS];

static int setup(void **state)
{
	native = (struct native){ 0 };
	config.seed = 12345;
	keys = calloc(N_BUCKETS, sizeof(*keys));
	live = calloc(N_SLOTS, sizeof(*live));
	NATIVE_MAP(pp_live_key, keys, N_BUCKETS);
	NATIVE_MAP(pp_live, live, N_SLOTS);
	NATIVE_MAP(pp_turn, turns, PP_MAX_PROCESSES * PP_N_TURNS);
	return keys && live ? 0 : -1;
}

static int teardown(void **state)
{
	free(keys);
	free(live);
	return 0;
}

static struct pp_live object(uint64_t n)
{
	return (struct pp_live){ .born = n + 1, .size = 2 * n, .weight = 3 * n, .stack = 4 * n, .target = 7 };
}

static uint64_t key_of(uint64_t i)
{
	return PP_LIVE_KEY(0x7f0000000000 + i * 16, 3);
}

static void assert_empty(void)
{
	for (uint32_t b = 0; b < N_BUCKETS; b++)
		for (unsigned i = 0; i < PP_LIVE_WAYS; i++)
			assert_int_equal(keys[b].key[i], 0);
	for (uint32_t i = 0; i < N_SLOTS; i++)
		assert_int_equal(live[i].born, 0);
}

static void test_an_object_is_taken_once(void **state)
{
	struct pp_live v = object(5), got = { 0 };

	assert_int_equal(pp_live_find(key_of(1)), 0);
	assert_int_equal(pp_live_take(key_of(1), &got), 0);
	assert_int_equal(pp_live_put(key_of(1), &v), 0);
	assert_true(pp_live_find(key_of(1)) > 0);
	assert_int_equal(pp_live_take(key_of(2), &got), 0);
	assert_int_equal(pp_live_take(key_of(1), &got), 1);
	assert_memory_equal(&got, &v, sizeof(v));
	assert_int_equal(pp_live_take(key_of(1), &got), 0);
	assert_empty();
}

static void test_the_same_pointer_again(void **state)
{
	struct pp_live first = object(5), second = object(6), got = { 0 };

	assert_int_equal(pp_live_put(key_of(1), &first), 0);
	assert_int_equal(pp_live_put(key_of(1), &second), 0); /* its free went unseen */
	assert_int_equal(pp_live_take(key_of(1), &got), 1);
	assert_memory_equal(&got, &second, sizeof(second));
	assert_int_equal(pp_live_take(key_of(1), &got), 0);
	assert_empty();
}

static void test_one_pointer_of_two_processes(void **state)
{
	struct pp_live first = object(5), second = object(6), got = { 0 };

	assert_int_equal(pp_live_put(PP_LIVE_KEY(0x5000ull, 0ull), &first), 0);
	assert_int_equal(pp_live_put(PP_LIVE_KEY(0x5000ull, 63ull), &second), 0);
	assert_int_equal(pp_live_take(PP_LIVE_KEY(0x5000ull, 1ull), &got), 0);
	assert_int_equal(pp_live_take(PP_LIVE_KEY(0x5000ull, 63ull), &got), 1);
	assert_int_equal(got.size, second.size);
	assert_int_equal(pp_live_take(PP_LIVE_KEY(0x5000ull, 0ull), &got), 1);
	assert_int_equal(got.size, first.size);
}

/* Both of its buckets are full of others. */
static void test_no_room(void **state)
{
	struct pp_live v = object(1), got = { 0 };
	const uint64_t key = key_of(1);
	const uint32_t first = pp_live_bucket_of(key, 0), second = pp_live_bucket_of(key, 1);

	assert_int_not_equal(first, second);
	for (unsigned i = 0; i < PP_LIVE_WAYS; i++)
		keys[first].key[i] = keys[second].key[i] = UINT64_MAX - i;
	assert_int_equal(pp_live_put(key, &v), 1);
	assert_int_equal(pp_live_find(key), 0);
	assert_int_equal(pp_live_take(key, &got), 0);
	keys[second].key[3] = 0;
	assert_int_equal(pp_live_put(key, &v), 0);
	assert_int_equal(pp_live_find(key), second * PP_LIVE_WAYS + 3 + 1);
	assert_int_equal(pp_live_take(key, &got), 1);
	assert_int_equal(pp_live_put(key, NULL), 1);
	assert_int_equal(pp_live_take(key, NULL), 0);
}

static void test_the_emptier_bucket_is_taken(void **state)
{
	struct pp_live v = object(1);
	const uint64_t key = key_of(1);
	const uint32_t first = pp_live_bucket_of(key, 0), second = pp_live_bucket_of(key, 1);

	keys[first].key[0] = 1;
	assert_int_equal(pp_live_put(key, &v), 0);
	assert_int_equal(pp_live_find(key), second * PP_LIVE_WAYS + 1);
}

/* Pointers that are aligned alike must not share both of their buckets. */
static void test_buckets_are_independent(void **state)
{
	unsigned n = 0;

	for (uint64_t i = 1; i < 10000; i++)
		n += (pp_live_bucket_of(key_of(i << 10), 0) ^ pp_live_bucket_of(key_of(i << 10), 1)) ==
		     (pp_live_bucket_of(key_of(0), 0) ^ pp_live_bucket_of(key_of(0), 1));
	assert_true(n < 10);
}

/* Most slots are used before the first object finds no room. */
static void test_how_many_there_is_room_for(void **state)
{
	struct pp_live got = { 0 };
	uint64_t n = 0;

	for (;; n++) {
		struct pp_live v = object(n);

		if (pp_live_put(key_of(n * 3), &v))
			break;
	}
	assert_true(n > N_SLOTS / 8 * 5);
	for (uint64_t i = 0; i < n; i++) {
		struct pp_live v = object(i);

		assert_int_equal(pp_live_take(key_of(i * 3), &got), 1);
		assert_memory_equal(&got, &v, sizeof(v));
	}
	assert_empty();
}

#define N_THREADS 4
#define N_ROUNDS 100000

static void *put_and_take(void *number)
{
	uint64_t wrong = 0, base = (uint64_t)(uintptr_t)number << 32;

	for (uint64_t i = 0; i < N_ROUNDS; i++) {
		uint64_t key = key_of(base + i % 500);
		struct pp_live v = object(base + i), got = { 0 };

		wrong += pp_live_put(key, &v) != 0;
		wrong += pp_live_take(key, &got) != 1 || memcmp(&got, &v, sizeof(v));
	}
	return (void *)(uintptr_t)wrong;
}

static void test_many_at_once(void **state)
{
	pthread_t threads[N_THREADS];
	void *wrong;

	for (uintptr_t i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, put_and_take, (void *)(i + 1)), 0);
	for (int i = 0; i < N_THREADS; i++) {
		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
	assert_empty();
}

/* One puts, all try to take: each object goes to one of them. */
struct race {
	uint64_t n_taken;
	volatile int done;
};

static void *take_all(void *context)
{
	struct race *r = context;
	uint64_t n = 0;
	int done;

	do {
		done = __atomic_load_n(&r->done, __ATOMIC_SEQ_CST);
		for (uint64_t i = 0; i < 100; i++) {
			struct pp_live got;

			n += pp_live_take(key_of(i), &got) == 1;
		}
	} while (!done);
	__atomic_add_fetch(&r->n_taken, n, __ATOMIC_SEQ_CST);
	return NULL;
}

static void test_each_goes_to_one_taker(void **state)
{
	struct race r = { 0 };
	pthread_t threads[3];
	uint64_t n_put = 0;

	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_all, &r), 0);
	for (uint64_t i = 0; i < N_ROUNDS; i++) {
		struct pp_live v = object(i);

		if (!pp_live_find(key_of(i % 100))) /* as an allocator: not before it is free */
			n_put += pp_live_put(key_of(i % 100), &v) == 0;
	}
	__atomic_store_n(&r.done, 1, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(r.n_taken, n_put);
	assert_empty();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_an_object_is_taken_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_same_pointer_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_pointer_of_two_processes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_emptier_bucket_is_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_buckets_are_independent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_how_many_there_is_room_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_goes_to_one_taker, setup, teardown),
	};

	return cmocka_run_group_tests_name("live", tests, NULL, NULL);
}
