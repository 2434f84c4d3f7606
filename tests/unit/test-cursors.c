/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "daemon/serve/cursors.h"

static const struct cursor_key heap = { .client = 7, .target = 1, .profile = "heap" };

static enum cursor_was move(struct cursors *c, struct cursor_key key, int64_t (*now)[2], size_t n,
			    int64_t at, int64_t (*seen)[2])
{
	struct cursor_before b;
	enum cursor_was was;

	assert_int_equal(cursors_move(c, &key, now, n, at, false, &b), 0);
	assert_int_equal(b.n, n);
	was = b.was;
	memcpy(seen, b.v, n * sizeof(*seen));
	cursor_before_deinit(&b);
	return was;
}

/* Each answer begins where the one before has ended; rows come in between. */
static void test_one_client(void **state)
{
	struct cursors c = CURSORS_INIT;
	int64_t seen[3][2], first[2][2] = { { 0, 0 }, { 5, 50 } },
			    then[3][2] = { { 1, 10 }, { 6, 60 }, { 2, 20 } };
	struct cursor_before b;

	assert_int_equal(move(&c, heap, first, 2, 1000, seen), CURSOR_FIRST);
	assert_memory_equal(seen, ((int64_t[2][2]){ { 0, 0 }, { 0, 0 } }), sizeof(first));
	assert_int_equal(c.n_rows, 1);
	assert_int_equal(cursors_move(&c, &heap, then, 3, 2000, true, &b), 0); /* HEAD */
	assert_int_equal(b.was, CURSOR_KNOWN);
	assert_int_equal(b.taken_ns, 1000);
	cursor_before_deinit(&b);
	assert_int_equal(move(&c, heap, then, 3, 3000, seen), CURSOR_KNOWN);
	assert_memory_equal(seen, ((int64_t[3][2]){ { 0, 0 }, { 5, 50 }, { 0, 0 } }), sizeof(then));
	assert_int_equal(move(&c, heap, then, 3, 4000, seen), CURSOR_KNOWN);
	assert_memory_equal(seen, then, sizeof(then));
	assert_int_equal(c.all.n, 1);
	assert_int_equal(c.n_rows, 3);
	cursors_deinit(&c);
	assert_int_equal(c.n_rows, 0);
}

static void test_others_have_their_own(void **state)
{
	struct cursors c = CURSORS_INIT;
	int64_t seen[1][2], now[1][2] = { { 1, 2 } };
	struct cursor_key client = heap, target = heap, profile = heap;

	client.client = 8;
	target.target = 2;
	profile.profile = "mutex";
	assert_int_equal(move(&c, heap, now, 1, 1, seen), CURSOR_FIRST);
	assert_int_equal(move(&c, client, now, 1, 1, seen), CURSOR_FIRST);
	assert_int_equal(move(&c, target, now, 1, 1, seen), CURSOR_FIRST);
	assert_int_equal(move(&c, profile, now, 1, 1, seen), CURSOR_FIRST);
	assert_int_equal(move(&c, heap, now, 1, 1, seen), CURSOR_KNOWN);
	assert_int_equal(c.all.n, 4);
	cursors_deinit(&c);
}

/* Who was given up begins anew with nothing: no count is told twice. */
static void test_more_clients_than_room(void **state)
{
	struct cursors c = CURSORS_INIT;
	int64_t seen[1][2], now[1][2] = { { 3, 30 } };
	struct cursor_key key = heap;

	for (key.client = 0; key.client < CURSORS_MAX; key.client++)
		assert_int_equal(move(&c, key, now, 1, 1, seen), CURSOR_FIRST);
	key.client = 0;
	assert_int_equal(move(&c, key, now, 1, 1, seen), CURSOR_KNOWN); /* now the oldest is 1 */
	key.client = CURSORS_MAX;
	assert_int_equal(move(&c, key, now, 1, 1, seen), CURSOR_FIRST);
	assert_int_equal(c.n_given_up, 1);
	assert_int_equal(c.all.n, CURSORS_MAX);
	key.client = 0;
	assert_int_equal(move(&c, key, now, 1, 1, seen), CURSOR_KNOWN);
	key.client = 1;
	assert_int_equal(move(&c, key, now, 1, 1, seen), CURSOR_GIVEN_UP);
	assert_memory_equal(seen, now, sizeof(now));
	assert_int_equal(move(&c, key, now, 1, 1, seen), CURSOR_KNOWN);
	cursors_deinit(&c);
}

static void test_more_rows_than_room(void **state)
{
	static int64_t now[CURSORS_MAX_ROWS / 2 + 1][2], seen[CURSORS_MAX_ROWS / 2 + 1][2];
	struct cursors c = CURSORS_INIT;
	struct cursor_key key = heap;
	const size_t n = CURSORS_MAX_ROWS / 2 + 1;

	for (size_t i = 0; i < n; i++)
		now[i][1] = 1;
	for (key.client = 0; key.client < 3; key.client++)
		move(&c, key, now, n, 1, seen);
	assert_int_equal(c.all.n, 1);
	assert_int_equal(c.n_given_up, 2);
	assert_true(c.n_rows <= CURSORS_MAX_ROWS);
	cursors_deinit(&c);
}

/* Rows of processes that are gone are dropped, and others come nearer. */
static void test_rows_that_move(void **state)
{
	struct cursors c = CURSORS_INIT;
	const uint32_t map[] = { HASH_NONE, 0, HASH_NONE, 1 };
	int64_t seen[4][2], was[4][2] = { { 1, 1 }, { 2, 2 }, { 0, 0 }, { 4, 4 } }, now[2][2] = { { 5, 5 }, { 6, 6 } };

	assert_int_equal(move(&c, heap, was, 4, 1000, seen), CURSOR_FIRST);
	cursors_moved(&c, map);
	assert_int_equal(c.n_rows, 2);
	assert_int_equal(move(&c, heap, now, 2, 2000, seen), CURSOR_KNOWN);
	assert_memory_equal(seen, ((int64_t[2][2]){ { 2, 2 }, { 4, 4 } }), sizeof(now));
	cursors_deinit(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_client),
		cmocka_unit_test(test_others_have_their_own),
		cmocka_unit_test(test_more_clients_than_room),
		cmocka_unit_test(test_more_rows_than_room),
		cmocka_unit_test(test_rows_that_move),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
