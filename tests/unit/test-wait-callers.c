/* SPDX-License-Identifier: Apache-2.0 */

/* What a wait is for, by the names of frames and of whom they call, made by hand. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "bpf/event.h"
#include "daemon/serve/naming.h"
#include "daemon/serve/wait/wait.h"

#define MAX_STACK 32
#define PROGRAM 1
#define LIBC 2
#define LIBSTDCXX 3
#define FUTEX ((uint32_t)SYS_futex)
#define FUTEX_BITSET (FUTEX | 9u << PP_WAIT_OP_SHIFT)

struct world {
	struct naming named;
	uint64_t stack[MAX_STACK];
	uint32_t n;
	uint64_t asked[WAIT_MAX_CALLERS];
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct naming_mapping program = { .file = "/bin/program", .build_id = "" };
	struct naming_mapping libc = { .file = "/lib/libc.so.6", .build_id = "" };

	if (!w || vec_push(&w->named.mappings, program) < 0 ||
	    vec_push(&w->named.mappings, libc) < 0)
		return -1;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	naming_free(&w->named);
	free(w);
	return 0;
}

/* The next frame, from the leaf outwards. */
static uint64_t frame(struct world *w, uint32_t object, const char *name, const char *callee)
{
	uint64_t word = PP_FRAME(object, 0x1000u + 16 * w->n);
	struct naming *n = &w->named;
	struct naming_function f = { name, name, "", 0 };
	struct naming_line line = { (uint32_t)n->functions.n, 0 };
	struct naming_location l = { .address = word,
				     .mapping = object < LIBSTDCXX ? object : 0,
				     .first_line = (uint32_t)n->lines.n,
				     .n_lines = 1,
				     .callee = callee };

	assert_true(w->n < MAX_STACK);
	assert_int_equal(hash_put(&n->word_index, hash_u64(HASH_SEED, word), (uint32_t)n->words.n),
			 0);
	assert_int_equal(vec_push(&n->words, word), 0);
	assert_int_equal(vec_push(&n->functions, f), 0);
	assert_int_equal(vec_push(&n->lines, line), 0);
	assert_int_equal(vec_push(&n->locations, l), 0);
	w->stack[w->n++] = word;
	return word;
}

static enum wait_kind kind(struct world *w, uint32_t item)
{
	return wait_kind(item, w->stack, w->n, &w->named);
}

static uint32_t callers(struct world *w, uint32_t item)
{
	return wait_callers(item, w->stack, w->n, &w->named, w->asked);
}

static void test_nearest_name_tells(void **state)
{
	struct world *w = *state;

	frame(w, LIBC, "libc.so.6+0x1", NULL);
	frame(w, LIBC, "pthread_barrier_wait", NULL);
	frame(w, PROGRAM, "std::call_once", NULL);
	assert_int_equal(kind(w, FUTEX_BITSET), WAIT_BARRIER);
	assert_int_equal(callers(w, FUTEX_BITSET), 0);
}

static void test_call_tells_what_no_name_tells(void **state)
{
	struct world *w = *state;
	uint64_t inner, outer;

	frame(w, LIBC, "libc.so.6+0x1", NULL);
	inner = frame(w, LIBC, "libc.so.6+0x2", NULL);
	outer = frame(w, PROGRAM, "site", "sem_wait");
	frame(w, PROGRAM, "main", "pthread_join");
	assert_int_equal(callers(w, FUTEX_BITSET), 2);
	assert_true(w->asked[0] == inner && w->asked[1] == outer);
	assert_int_equal(kind(w, FUTEX_BITSET), WAIT_SEM);
}

static void test_nobody_tells(void **state)
{
	struct world *w = *state;

	frame(w, LIBC, "libc.so.6+0x1", NULL);
	frame(w, PROGRAM, "site", "syscall");
	assert_int_equal(kind(w, FUTEX_BITSET), WAIT_FUTEX);
	assert_int_equal(kind(w, FUTEX | 6u << PP_WAIT_OP_SHIFT), WAIT_MUTEX);
}

static void test_call_is_nearer_than_the_caller(void **state)
{
	struct world *w = *state;

	frame(w, LIBC, "libc.so.6+0x1", NULL);
	frame(w, LIBSTDCXX, "std::thread::join()", "pthread_join");
	frame(w, PROGRAM, "std::call_once", "std::thread::join()");
	assert_int_equal(callers(w, FUTEX_BITSET), 1);
	assert_int_equal(kind(w, FUTEX_BITSET), WAIT_JOIN);
}

static void test_calls_beyond_the_first_foreign_frame_do_not_count(void **state)
{
	struct world *w = *state;

	frame(w, LIBC, "libc.so.6+0x1", NULL);
	frame(w, PROGRAM, "site", NULL);
	frame(w, PROGRAM, "main", "pthread_join");
	assert_int_equal(callers(w, FUTEX_BITSET), 1);
	assert_int_equal(kind(w, FUTEX_BITSET), WAIT_FUTEX);
}

static void test_call_is_better_than_a_guess(void **state)
{
	struct world *w = *state;

	frame(w, LIBC, "libc.so.6+0x1", NULL);
	frame(w, PROGRAM, "my_mutex", NULL);
	assert_int_equal(kind(w, FUTEX_BITSET), WAIT_MUTEX);
	w->named.locations.data[1].callee = "sem_wait";
	assert_int_equal(kind(w, FUTEX_BITSET), WAIT_SEM);
}

static void test_mutex_is_taken_again_for_a_condition_variable(void **state)
{
	struct world *w = *state;

	frame(w, LIBC, "libc.so.6+0x1", NULL);
	frame(w, PROGRAM, "site", "pthread_cond_wait");
	assert_int_equal(kind(w, FUTEX_BITSET), WAIT_COND);
	assert_int_equal(kind(w, FUTEX), WAIT_MUTEX);
}

static void test_one_object_is_asked_within_bounds(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < MAX_STACK; i++)
		frame(w, PROGRAM, "f", NULL);
	assert_int_equal(callers(w, FUTEX_BITSET), WAIT_MAX_CALLERS);
	assert_true(w->asked[0] == w->stack[1]);
	w->named.locations.data[2].callee = "pthread_once";
	assert_int_equal(kind(w, FUTEX_BITSET), WAIT_ONCE);
}

static void test_there_may_be_nothing_to_ask(void **state)
{
	struct world *w = *state;

	assert_int_equal(callers(w, FUTEX_BITSET), 0);
	assert_int_equal(kind(w, FUTEX_BITSET), WAIT_FUTEX);
	w->stack[w->n++] = (uint64_t)PP_FRAME_MARKER << 56;
	assert_int_equal(callers(w, FUTEX_BITSET), 0);
	w->n = 0;
	frame(w, LIBC, "libc.so.6+0x1", NULL);
	w->stack[w->n++] = (uint64_t)PP_FRAME_MARKER << 56;
	assert_int_equal(callers(w, FUTEX_BITSET), 0);
	assert_int_equal(kind(w, FUTEX_BITSET), WAIT_FUTEX);
}

static void test_other_calls_are_not_asked_about(void **state)
{
	struct world *w = *state;

	frame(w, LIBC, "libc.so.6+0x1", NULL);
	frame(w, PROGRAM, "site", "sem_wait");
	assert_int_equal(callers(w, (uint32_t)SYS_nanosleep), 0);
	assert_int_equal(kind(w, (uint32_t)SYS_nanosleep), WAIT_NONE);
	assert_int_equal(kind(w, (uint32_t)SYS_semop), WAIT_SEM);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nearest_name_tells),
		TEST(test_call_tells_what_no_name_tells),
		TEST(test_nobody_tells),
		TEST(test_call_is_nearer_than_the_caller),
		TEST(test_calls_beyond_the_first_foreign_frame_do_not_count),
		TEST(test_call_is_better_than_a_guess),
		TEST(test_mutex_is_taken_again_for_a_condition_variable),
		TEST(test_one_object_is_asked_within_bounds),
		TEST(test_there_may_be_nothing_to_ask),
		TEST(test_other_calls_are_not_asked_about),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
