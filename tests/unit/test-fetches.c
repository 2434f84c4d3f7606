/* SPDX-License-Identifier: Apache-2.0 */

/* Which debug files are asked for, in what order and how soon again; and the directory that keeps them. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/broker/fetches.h"

static uint8_t id_bytes[20];

static const uint8_t *id(unsigned n)
{
	memcpy(id_bytes, &n, sizeof(n));
	return id_bytes;
}

static enum broker_fetch_state want(struct fetches *f, unsigned n, int64_t now)
{
	return fetches_want(f, id(n), sizeof(id_bytes), now);
}

static struct fetch_item *run_next(struct fetches *f)
{
	struct fetch_item *x = fetches_next(f);

	assert_non_null(x);
	x->state = FETCH_RUNNING;
	return x;
}

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct fetches));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void test_in_order_and_once(void **state)
{
	struct fetches *f = *state;

	assert_null(fetches_next(f));
	for (unsigned i = 0; i < 3; i++)
		for (int again = 0; again < 2; again++)
			assert_int_equal(want(f, 7 - i, 0), BROKER_FETCH_PENDING);
	assert_int_equal(f->counts.n_pending, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_memory_equal(run_next(f)->id, id(7 - i), sizeof(id_bytes));
	assert_null(fetches_next(f));
	assert_int_equal(want(f, 7, 0), BROKER_FETCH_PENDING); /* it runs */
}

static void test_a_queue_that_is_full(void **state)
{
	struct fetches *f = *state;

	for (unsigned i = 0; i < FETCHES_MAX_WAITING; i++)
		assert_int_equal(want(f, i, 0), BROKER_FETCH_PENDING);
	assert_int_equal(want(f, 1000, 0), BROKER_FETCH_NOT);
	assert_int_equal(f->counts.n_left_out, 1);
	fetches_ended(f, run_next(f), 0, 0);
	assert_int_equal(want(f, 1000, 0), BROKER_FETCH_PENDING);
}

/* More are asked for than are remembered: what waits is never forgotten. */
static void test_what_is_remembered_is_bounded(void **state)
{
	struct fetches *f = *state;

	assert_int_equal(want(f, 0, 0), BROKER_FETCH_PENDING);
	run_next(f);
	for (unsigned i = 1; i < 3 * FETCHES_MAX; i++) {
		assert_int_equal(want(f, i, 0), BROKER_FETCH_PENDING);
		fetches_ended(f, run_next(f), FETCH_NONE, 0);
	}
	assert_int_equal(want(f, 0, 0), BROKER_FETCH_PENDING);
	assert_int_equal(f->counts.n_pending, 1);
	assert_int_equal(f->counts.n_none, 3 * FETCHES_MAX - 1);
	assert_int_equal(want(f, 3 * FETCHES_MAX - 1, 0), BROKER_FETCH_NOT);
	assert_int_equal(want(f, 1, 0), BROKER_FETCH_PENDING); /* forgotten */
}

static int64_t again_after(struct fetches *f, int64_t now)
{
	for (int64_t s = 1; s < 1000000; s++)
		if (want(f, 1, now + s) == BROKER_FETCH_PENDING)
			return s;
	return 0;
}

static void test_how_soon_again(void **state)
{
	static const int64_t failing[] = { 60, 120, 240, 480, 960, 1920, 3600, 3600 };
	struct fetches *f = *state;
	int64_t now = 1000;

	assert_int_equal(want(f, 1, now), BROKER_FETCH_PENDING);
	for (size_t i = 0; i < sizeof(failing) / sizeof(failing[0]); i++) {
		fetches_ended(f, run_next(f), -EIO, now);
		assert_int_equal(again_after(f, now), failing[i]);
		now += failing[i];
	}
	fetches_ended(f, run_next(f), FETCH_NONE, now);
	assert_int_equal(again_after(f, now), 3600);
	now += 3600;
	fetches_ended(f, run_next(f), 0, now);
	assert_int_equal(want(f, 1, now), BROKER_FETCH_NOT);
	fetches_refuse(f, id(1), sizeof(id_bytes), now);
	assert_int_equal(again_after(f, now), 24 * 3600);
	assert_int_equal(f->counts.n_failed, sizeof(failing) / sizeof(failing[0]));
	assert_int_equal(f->counts.n_fetched, 1);
	assert_int_equal(f->counts.n_refused, 1);
	/* what waits goes on waiting */
	fetches_refuse(f, id(1), sizeof(id_bytes), now);
	assert_int_equal(want(f, 1, now), BROKER_FETCH_PENDING);
	assert_int_equal(f->counts.n_pending, 1);
}

static void test_questions_out_of_order(void **state)
{
	static const char *const urls[] = { "http://localhost" };
	struct fetches *f = *state;
	struct broker_fetch q = { .what = BROKER_FETCH_WANT, .n_id = sizeof(id_bytes) };
	struct broker_fetched ret;

	assert_int_equal(fetches_answer(f, &q, &ret), -EINVAL); /* no server */
	f->urls = urls;
	f->n_urls = 1;
	f->cache.dir = -1;
	for (uint32_t n = 0; n < 200; n++) {
		q.n_id = n;
		assert_int_equal(fetches_answer(f, &q, &ret), n < 2 || n > BROKER_MAX_BUILD_ID ? -EINVAL : 0);
	}
	q = (struct broker_fetch){ .what = 77, .n_id = 20 };
	assert_int_equal(fetches_answer(f, &q, &ret), 0);
	assert_int_equal(ret.state, BROKER_FETCH_NOT);
	f->n_urls = 0;
}

/* The cache */

static char where[64];

static int make_where(void **state)
{
	strcpy(where, "/tmp/pprofd-test-XXXXXX");
	return mkdtemp(where) ? 0 : -1;
}

static int remove_where(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", where);
	return system(command) ? -1 : 0;
}

static void put(const struct fetch_cache *c, const char *hex, size_t n, time_t used)
{
	_cleanup_(closep) int fd = fetch_cache_create(c);
	struct timespec times[2] = { { used, 0 }, { used, 0 } };
	char *bytes = calloc(1, n);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	free(bytes);
	assert_int_equal(fetch_cache_publish(c, fd, hex), 0);
	futimens(fd, times);
}

static bool has(const struct fetch_cache *c, const char *hex)
{
	char name[128];

	snprintf(name, sizeof(name), "%s/debuginfo", hex);
	return faccessat(c->dir, name, F_OK, 0) == 0;
}

static void test_cache_keeps_what_was_used_last(void **state)
{
	_cleanup_(fetch_cache_close) struct fetch_cache c;
	struct stat st;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/a/b", where);
	assert_int_equal(fetch_cache_open(path, &c), 0);
	assert_int_equal(fstat(c.dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	c.max_bytes = 40960;
	assert_int_equal(mkdirat(c.dir, "not-hex", 0700), 0);
	put(&c, "aa01", 8192, 100);
	put(&c, "aa02", 8192, 300);
	put(&c, "aa03", 8192, 200);
	assert_true(has(&c, "aa01") && has(&c, "aa02") && has(&c, "aa03"));
	put(&c, "aa04", 32768, 400); /* there is room for one of the others */
	assert_true(!has(&c, "aa01") && has(&c, "aa02") && !has(&c, "aa03") && has(&c, "aa04"));
	put(&c, "aa04", 4096, 500); /* in its own place */
	c.max_files = 2;
	put(&c, "aa05", 4096, 600);
	assert_true(!has(&c, "aa02") && has(&c, "aa04") && has(&c, "aa05"));
	fetch_cache_discard(&c, "aa05");
	assert_true(!has(&c, "aa05") && faccessat(c.dir, "aa05", F_OK, 0) < 0);
	fetch_cache_discard(&c, "../b");
	fetch_cache_discard(&c, "not-hex");
	assert_int_equal(faccessat(c.dir, "not-hex", F_OK, 0), 0);
	fd = fetch_cache_create(&c);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(fetch_cache_publish(&c, fd, "../../x"), -EINVAL);
	assert_int_equal(write(fd, where, sizeof(where)), sizeof(where));
	c.max_bytes = 512;
	assert_int_equal(fetch_cache_publish(&c, fd, "aa06"), -EFBIG);
	close(fd);
}

static void test_cache_that_others_may_write_to(void **state)
{
	struct fetch_cache c;

	assert_int_equal(chmod(where, 0777), 0);
	assert_int_equal(fetch_cache_open(where, &c), -EPERM);
	assert_int_equal(c.dir, -1);
	assert_int_equal(chmod(where, 0755), 0);
	assert_int_equal(fetch_cache_open(where, &c), 0);
	fetch_cache_close(&c);
	assert_true(fetch_cache_open("/dev/null/x", &c) < 0);
	assert_true(fetch_cache_open("", &c) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_order_and_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_queue_that_is_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_remembered_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_how_soon_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_questions_out_of_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cache_keeps_what_was_used_last, make_where, remove_where),
		cmocka_unit_test_setup_teardown(test_cache_that_others_may_write_to, make_where, remove_where),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
