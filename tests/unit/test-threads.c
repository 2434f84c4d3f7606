/* SPDX-License-Identifier: Apache-2.0 */

/* Goroutine texts, states and deadlocks, of threads made by hand. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/profile.h"
#include "daemon/serve/target.h"
#include "daemon/serve/threads/threads.h"

#define FUTEX(op) ((uint32_t)SYS_futex | (uint32_t)(op) << PP_WAIT_OP_SHIFT)
#define MAX_THREADS 8

struct world {
	struct threads t;
	struct target of;
	struct pp_thread raw[MAX_THREADS];
	uint64_t words[MAX_THREADS][8];
	struct bytes out;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	*state = w;
	if (!w || capture_new(profile_find("goroutine"), &w->t.capture) < 0)
		return -1;
	snprintf(w->of.comm, sizeof(w->of.comm), "prog");
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	threads_deinit(&w->t);
	bytes_deinit(&w->out);
	free(w);
	return 0;
}

/* A frame word with one line a name; names are innermost first, "" ends them. */
static uint64_t frame(struct world *w, uint64_t address, uint64_t entry, const char *file, uint32_t line,
		      const char *const *names)
{
	struct naming *n = &w->t.names;
	uint64_t word = PP_FRAME(1, 0x1000u + n->words.n);
	struct naming_location l = { .address = address, .entry = entry, .first_line = (uint32_t)n->lines.n };

	for (; *names; names++) {
		struct naming_function f = { *names, *names, file, 1 };

		assert_int_equal(vec_push(&n->lines, ((struct naming_line){ (uint32_t)n->functions.n, line++ })), 0);
		assert_int_equal(vec_push(&n->functions, f), 0);
		l.n_lines++;
	}
	assert_int_equal(hash_put(&n->word_index, hash_u64(HASH_SEED, word), (uint32_t)n->words.n), 0);
	assert_int_equal(vec_push(&n->words, word), 0);
	assert_int_equal(vec_push(&n->locations, l), 0);
	return word;
}

static uint64_t call(struct world *w, const char *name, const char *file, uint32_t line)
{
	return frame(w, 0x1010, 0x1000, file, line, (const char *const[]){ name, NULL });
}

static struct thread_view *thread(struct world *w, uint32_t tid, uint32_t item, uint32_t n)
{
	size_t i = w->t.all.n;
	struct thread_view v = { .t = &w->raw[i], .words = w->words[i], .n = n, .item = item };

	w->raw[i] = (struct pp_thread){ .tid = tid, .own_tid = tid, .host_tid = tid + 1000, .state = 1,
					.comm = "prog" };
	assert_int_equal(vec_push(&w->t.all, v), 0);
	return &w->t.all.data[i];
}

static const char *dump(struct world *w, struct dump_style style)
{
	bytes_deinit(&w->out);
	assert_int_equal(dump_text(&w->t, &w->of, style, &w->out), 0);
	return bytes_text(&w->out);
}


static void test_a_dump_is_as_go_writes_it(void **state)
{
	struct world *w = *state;
	struct thread_view *v = thread(w, 7, SYS_nanosleep, 3);
	struct capture_stack creator;

	w->words[0][0] = call(w, "nanosleep", "", 0);
	w->words[0][1] = frame(w, 0x2044, 0x2000, "/src/a.c", 10, (const char *const[]){ "inner", "outer", NULL });
	w->words[0][2] = call(w, "main", "/src/a.c", 30);
	v->waited_ns = 185 * NS_PER_S;
	v->creator = 5;
	v->creator_stack = capture_stack(w->t.capture, (uint64_t[]){ call(w, "__clone3", "", 0),
			call(w, "pthread_create", "", 0), call(w, "start_workers", "/src/a.c", 40) }, 3) + 1;
	creator = w->t.capture->stacks.data[v->creator_stack - 1];
	assert_int_equal(creator.n, 3);
	assert_string_equal(dump(w, (struct dump_style){ 0 }),
			    "goroutine 7 [sleep, 3 minutes]:\n"
			    "nanosleep(...)\n\t??:0 +0x10\n"
			    "inner(...)\n\t/src/a.c:10\n"
			    "outer(...)\n\t/src/a.c:11 +0x45\n"
			    "main(...)\n\t/src/a.c:30 +0x11\n"
			    "created by start_workers in goroutine 5\n\t/src/a.c:40 +0x11\n"
			    "\n# pprofd: 1 threads, of which 0 ran and have no stack, and of 0 the stack is not "
			    "complete\n");
}

static void test_running_threads_have_no_stack(void **state)
{
	struct world *w = *state;

	thread(w, 7, 0, 0);
	w->raw[0].running = 1;
	assert_non_null(strstr(dump(w, (struct dump_style){ 0 }),
			       "goroutine 7 [running]:\n\tgoroutine running on other thread; stack unavailable\n"));
}

static void test_names_are_labels_where_they_tell_something(void **state)
{
	struct world *w = *state;

	thread(w, 1, SYS_poll, 1);
	thread(w, 2, SYS_poll, 1);
	w->words[0][0] = w->words[1][0] = call(w, "poll", "", 0);
	memcpy(w->raw[1].comm, "a\", b]\n\\", 9);
	assert_non_null(strstr(dump(w, (struct dump_style){ .labels = true }), "goroutine 1 [IO wait]:\n"));
	assert_non_null(strstr(dump(w, (struct dump_style){ .labels = true }),
			       "goroutine 2 [IO wait labels:{\"thread\": \"a\\\"_ b_?\\\\\"}]:\n"));
	assert_non_null(strstr(dump(w, (struct dump_style){ 0 }), "goroutine 2 [IO wait]:\n"));
}

static void test_names_that_readers_cannot_take_apart(void **state)
{
	struct world *w = *state;

	thread(w, 1, SYS_poll, 5);
	w->words[0][0] = call(w, "operator()", "/a.cc", 1);
	w->words[0][1] = call(w, "f((x))", "/a.cc", 2);
	w->words[0][2] = call(w, "open(", "/a.rs", 3);
	w->words[0][3] = call(w, "close)", "", 4);
	w->words[0][4] = call(w, "operator/%", "/a.s", 5);
	assert_non_null(strstr(dump(w, (struct dump_style){ 0 }),
			       "operator()(...)\n\t/a.cc:1 +0x10\nf({x})(...)\n\t/a.cc:2 +0x11\nopen{(...)\n\t/a.rs:3 "
			       "+0x11\nclose}(...)\n\t??:0 +0x11\noperator/%(...)\n\t/a.s:5 +0x11\n"));
	assert_non_null(strstr(dump(w, (struct dump_style){ .panicparse = true }), "\n\t/a.cc .c:1 +0x10\n"));
	assert_non_null(strstr(dump(w, (struct dump_style){ .panicparse = true }),
			       "operator__(...)\n\t/a.s:5 +0x11\n"));
}

static void test_states(void **state)
{
	static const struct {
		uint32_t item;
		enum wait_kind kind;
		const char *text;
	} cases[] = {
		{ FUTEX(0), WAIT_MUTEX, "sync.Mutex.Lock" }, { FUTEX(9), WAIT_COND, "sync.Cond.Wait" },
		{ FUTEX(9), WAIT_RWLOCK, "sync.RWMutex.Lock" }, { FUTEX(9), WAIT_SEM, "semacquire" },
		{ FUTEX(9), WAIT_FUTEX, "semacquire" }, { FUTEX(9), WAIT_JOIN, "semacquire: join" },
		{ FUTEX(9), WAIT_RUNTIME, "idle" }, { SYS_semop, WAIT_SEM, "semacquire" },
		{ SYS_epoll_wait, WAIT_NONE, "IO wait" }, { SYS_accept4, WAIT_NONE, "IO wait" },
		{ SYS_read | PP_FILE_PIPE << PP_WAIT_FILE_SHIFT, WAIT_QUEUE, "IO wait" },
		{ SYS_read | PP_FILE_TIMER << PP_WAIT_FILE_SHIFT, WAIT_NONE, "sleep" },
		{ SYS_clock_nanosleep, WAIT_NONE, "sleep" }, { SYS_pause, WAIT_NONE, "syscall: pause" },
		{ SYS_fsync | PP_WAIT_DISK, WAIT_NONE, "syscall: fsync" },
		{ SYS_wait4, WAIT_NONE, "syscall: wait4" }, { 999, WAIT_NONE, "syscall: 999" },
		{ PP_WAIT_NO_CALL, WAIT_NONE, "waiting: page fault" },
		{ FUTEX(0) | PP_WAIT_STOPPED, WAIT_MUTEX, "waiting: stopped" },
	};
	struct world *w = *state;
	struct thread_view *v = thread(w, 1, 0, 0);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		v->item = cases[i].item;
		v->kind = cases[i].kind;
		assert_string_equal(thread_state(v, &w->t.names), cases[i].text);
	}
	w->raw[0].state = 0;
	assert_string_equal(thread_state(v, &w->t.names), "runnable");
	w->raw[0].running = 1;
	assert_string_equal(thread_state(v, &w->t.names), "running");
}

static void locker(struct world *w, uint32_t tid, uint32_t owner)
{
	struct thread_view *v = thread(w, tid, FUTEX(0), 1);
	size_t i = w->t.all.n - 1;

	v->kind = WAIT_MUTEX;
	w->raw[i].has_lock = 1;
	w->raw[i].lock[0] = 2;
	w->raw[i].lock[1] = owner | 1ull << 32;
	w->words[i][0] = call(w, "pthread_mutex_lock", "", 0);
}

static void test_a_circle_of_locks_is_named(void **state)
{
	struct world *w = *state;
	const char *text;

	locker(w, 1, 2); /* waits for the circle, is not in it */
	locker(w, 2, 3);
	locker(w, 3, 4);
	locker(w, 4, 2);
	locker(w, 5, 77); /* nobody has that number */
	deadlock_owners(&w->t);
	assert_int_equal(w->t.all.data[0].for_whom, 2);
	assert_int_equal(w->t.all.data[4].for_whom, 0);
	assert_int_equal(deadlock_cycles(&w->t), 0);
	assert_int_equal(w->t.cycles.n, 4);
	text = dump(w, (struct dump_style){ 0 });
	assert_ptr_equal(strstr(text, "# pprofd: deadlock: goroutine 2 waits for goroutine 3, which waits for "
				      "goroutine 4, which waits for goroutine 2\n\ngoroutine 1 [sync.Mutex.Lock "
				      "(held by goroutine 2)]:\n"),
			 text);
}

static void test_only_locks_of_pthreads_tell_their_owner(void **state)
{
	struct world *w = *state;

	locker(w, 1, 2);
	locker(w, 2, 0);
	w->words[0][0] = call(w, "std::sys::futex::Mutex::lock_contended", "", 0);
	deadlock_owners(&w->t);
	assert_int_equal(w->t.all.data[0].for_whom, 0);
	assert_int_equal(w->t.all.data[1].for_whom, 0);
	w->t.all.data[0].item = FUTEX(6); /* priority inheritance: the kernel's own word */
	w->raw[0].lock[0] = 0x80000002;
	deadlock_owners(&w->t);
	assert_int_equal(w->t.all.data[0].for_whom, 2);
}

static void test_a_deadlock_is_one_while_nobody_moves(void **state)
{
	struct world *w = *state;
	struct dump now = { 0 };
	struct dump_thread d;

	locker(w, 1, 2);
	d = (struct dump_thread){ .t = w->raw[0] };
	assert_false(deadlock_still(&now, &w->raw[0]));
	assert_int_equal(vec_push(&now.threads, d), 0);
	assert_true(deadlock_still(&now, &w->raw[0]));
	now.threads.data[0].t.n_switches++;
	assert_false(deadlock_still(&now, &w->raw[0]));
	now.threads.data[0].t = w->raw[0];
	now.threads.data[0].t.lock[1] = 9;
	assert_false(deadlock_still(&now, &w->raw[0]));
	dump_deinit(&now);
}

static void test_groups_are_as_go_writes_them(void **state)
{
	struct world *w = *state;
	uint64_t words[] = { call(w, "poll", "/b.c", 3), call(w, "main", "/b.c", 9) };
	struct dump d = { 0 };

	for (uint32_t i = 0; i < 3; i++) {
		struct dump_thread k = { .t = { .tid = i, .comm = "a\"b" }, .first = 0, .n = i ? 2 : 1 };

		assert_int_equal(vec_push(&d.threads, k), 0);
		assert_int_equal(vec_push(&d.words, words[i & 1]), 0);
	}
	assert_int_equal(threads_add(NULL, NULL, &d, false, 1, w->t.capture), 0);
	assert_int_equal(capture_merge(w->t.capture), 0);
	assert_int_equal(count_text(w->t.capture, &w->t.names, NULL, NULL, &w->out), 0);
	assert_string_equal(bytes_text(&w->out), "goroutine profile: total 3\n"
						 "2 @ 0x1011 0x1011\n"
						 "# labels: {\"thread\":\"a\\\"b\"}\n"
						 "#\t0x1010\tpoll+0x10\t/b.c:3\n"
						 "#\t0x1010\tmain+0x10\t/b.c:9\n"
						 "\n"
						 "1 @ 0x1011\n"
						 "# labels: {\"thread\":\"a\\\"b\"}\n"
						 "#\t0x1010\tpoll+0x10\t/b.c:3\n"
						 "\n");
	dump_deinit(&d);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_dump_is_as_go_writes_it),
		TEST(test_running_threads_have_no_stack),
		TEST(test_names_are_labels_where_they_tell_something),
		TEST(test_names_that_readers_cannot_take_apart),
		TEST(test_states),
		TEST(test_a_circle_of_locks_is_named),
		TEST(test_only_locks_of_pthreads_tell_their_owner),
		TEST(test_a_deadlock_is_one_while_nobody_moves),
		TEST(test_groups_are_as_go_writes_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
