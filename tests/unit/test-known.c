/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <cmocka.h>

#include "daemon/serve/known.h"

static struct record r;

static void hear(struct known *k, uint32_t type, const void *data, size_t n)
{
	r.type = type;
	r.n = (uint32_t)n;
	memcpy(r.data, data, n);
	known_hear(k, &r);
}

static void come(struct known *k, uint64_t id, int32_t pid, uint64_t matches, const char *comm, const char *unit)
{
	struct broker_known p = { .id = id, .pid = pid, .matches = matches };

	memcpy(p.comm, comm, strnlen(comm, sizeof(p.comm)));
	snprintf(p.unit, sizeof(p.unit), "%s", unit);
	hear(k, BROKER_NEWS_KNOWN, &p, sizeof(p));
}

static int setup(void **state)
{
	static struct known k;
	struct broker_description d[2] = { { .kind = BROKER_BY_COMM, .name = "cache" }, { .kind = BROKER_BY_ALL } };

	known_init(&k);
	r = (struct record){ .type = BROKER_NEWS, .n = sizeof(d), .n_fds = 1, .fds = { eventfd(0, 0) } };
	memcpy(r.data, d, sizeof(d));
	assert_int_equal(known_orders(&k, &r), 0);
	assert_true(k.wide && k.n_descriptions == 2);
	*state = &k;
	return 0;
}

static int teardown(void **state)
{
	known_deinit(*state);
	return 0;
}

static void test_come_change_and_go(void **state)
{
	struct known *k = *state;
	struct known_process p;
	uint64_t id = 4;

	come(k, 5, 50, 2, "b", "");
	come(k, 4, 40, 2, "a", "");
	assert_true(known_find(k, 40, &p));
	assert_string_equal(p.comm, "a");
	come(k, 4, 40, 3, "c", "");
	assert_int_equal(known_count(k, NULL), 2);
	assert_true(known_find_id(k, 4, &p));
	assert_string_equal(p.comm, "c");
	assert_string_equal(p.service, "cache");
	hear(k, BROKER_NEWS_GONE, &id, sizeof(id));
	hear(k, BROKER_NEWS_GONE, &id, sizeof(id));
	assert_false(known_find(k, 40, &p));
	assert_true(known_find(k, 50, &p));
	come(k, 6, 50, 2, "next", ""); /* the number is used again before the end was told */
	assert_true(known_find(k, 50, &p) && p.id == 6);
}

static void test_names(void **state)
{
	struct known *k = *state;
	struct known_process p[2];

	come(k, 1, 10, 3, "redis", "db.service");
	come(k, 2, 20, 2, "redis", "other.service");
	come(k, 3, 30, 2, "cache", "");
	assert_int_equal(known_named(k, "cache", p, 2, NULL), 1); /* a description's name is nothing else's */
	assert_int_equal(p[0].pid, 10);
	assert_int_equal(known_named(k, "db", p, 2, NULL), 1);
	assert_int_equal(known_named(k, "other.service", p, 2, NULL), 1);
	assert_int_equal(p[0].pid, 20);
	assert_int_equal(known_named(k, "redis", p, 1, NULL), 2);
	assert_int_equal(p[0].pid, 10);
	assert_int_equal(known_named(k, "d", p, 2, NULL), 0);
	assert_int_equal(known_named(k, "", p, 2, NULL), 0);
	assert_true(known_find(k, 20, p));
	assert_string_equal(p[0].service, "other");
}

static void test_newcomers(void **state)
{
	struct known *k = *state;
	struct known_watch w = { 0 }, other = { 0 };
	struct known_process p;
	uint64_t id = 2;

	come(k, 1, 10, 2, "web", "");
	assert_int_equal(known_named(k, "none", &p, 1, &w), 0);
	known_unwatch(k, &w); /* nobody is called so: it has not begun */
	assert_int_equal(known_named(k, "web", &p, 1, &w), 1);
	assert_int_equal(known_named(k, "cache", &p, 1, &other), 0);
	come(k, 1, 10, 2, "web", ""); /* told again */
	assert_int_equal(known_watched(k, &w), 0);
	come(k, 2, 20, 2, "web", "");
	hear(k, BROKER_NEWS_GONE, &id, sizeof(id)); /* and gone before anybody asks */
	come(k, 3, 30, 2, "sh", "");
	come(k, 3, 30, 2, "web", ""); /* an exec */
	come(k, 4, 40, 3, "redis", ""); /* called otherwise */
	assert_int_equal(known_watched(k, &w), 2);
	known_unwatch(k, &w);
	come(k, 5, 50, 2, "web", "");
	assert_int_equal(known_watched(k, &w), 2);
	assert_int_equal(known_named(k, "cache", &p, 1, &other), 1); /* by the description, as it will be counted */
	come(k, 6, 60, 2, "cache", "");
	come(k, 7, 70, 3, "redis", "");
	assert_int_equal(known_watched(k, &other), 1);
	known_unwatch(k, &other);
}

static void test_containers(void **state)
{
	struct known *k = *state;
	struct broker_known in = { .id = 1, .pid = 10, .matches = 2, .comm = "redis", .container = "0123456789abcdef0123" };
	struct known_process p;

	hear(k, BROKER_NEWS_KNOWN, &in, sizeof(in));
	assert_true(known_find(k, 10, &p));
	assert_string_equal(p.service, "0123456789ab");
	assert_int_equal(known_named(k, p.service, &p, 1, NULL), 1);
	assert_int_equal(known_named(k, "0123456789abcdef", &p, 1, NULL), 1);
	assert_int_equal(known_named(k, "0123456789a", &p, 1, NULL), 0); /* too short to be one */
	assert_int_equal(known_named(k, "0123456789abd", &p, 1, NULL), 0);
	assert_int_equal(known_named(k, "redis", &p, 1, NULL), 1);
}

static void test_strangers_words(void **state)
{
	struct known *k = *state;
	struct known_process p;
	struct broker_known all;

	memset(&all, 0xff, sizeof(all)); /* no NUL anywhere */
	all.id = 1;
	all.pid = 10;
	hear(k, BROKER_NEWS_KNOWN, &all, sizeof(all));
	assert_true(known_find(k, 10, &p));
	assert_int_equal(strlen(p.comm), 16);
	assert_int_equal(strlen(p.exe), sizeof(p.exe) - 1);
	assert_int_equal(p.target, 0);
	come(k, 2, 20, 2, "a\nb<\x1b[31m", "");
	assert_true(known_find(k, 20, &p));
	assert_null(strpbrk(p.comm, "\n\x1b"));
}

static void test_nonsense(void **state)
{
	struct known *k = *state;
	char data[2 * sizeof(struct broker_known)] = "";

	hear(k, BROKER_NEWS_KNOWN, data, sizeof(data));
	hear(k, BROKER_NEWS_KNOWN, data, 7);
	hear(k, BROKER_NEWS_GONE, data, 0);
	hear(k, BROKER_NEWS_COUNTS, data, 3);
	hear(k, 99, data, 8);
	assert_int_equal(known_count(k, NULL), 0);
	r = (struct record){ .type = BROKER_NEWS, .n = 5, .n_fds = 1 };
	assert_int_equal(known_orders(k, &r), -EBADMSG);
	r = (struct record){ .type = BROKER_NEWS };
	assert_int_equal(known_orders(k, &r), -EBADMSG);
}

static void test_bounded(void **state)
{
	struct known *k = *state;
	struct broker_counts counts = { .n_left_out = 3, .complete = 1 };

	for (uint64_t id = 1; id <= BROKER_MAX_KNOWN + 10; id++)
		come(k, id, (int32_t)id, 2, "x", "");
	hear(k, BROKER_NEWS_COUNTS, &counts, sizeof(counts));
	known_wait(k);
	memset(&counts, 0, sizeof(counts));
	assert_int_equal(known_count(k, &counts), BROKER_MAX_KNOWN);
	assert_int_equal(counts.n_left_out, 3);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_come_change_and_go), TEST(test_names), TEST(test_newcomers), TEST(test_containers), TEST(test_strangers_words), TEST(test_nonsense),
		TEST(test_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
