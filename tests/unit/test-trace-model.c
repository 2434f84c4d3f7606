/* SPDX-License-Identifier: Apache-2.0 */

/* What the model makes of events that a scheduler does give, and of some that it does not. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "go_making.h"

#define LENGTH 100000000ull /* of a generation */

/* Events of a test's own, one after the other, and what the trace says, as lines: 'GoCreate 103 (main) on 101'. */
struct script {
	struct trace_world w;
	uint64_t now;
	struct making m;
	struct trace_check c;
	struct bytes text;
};

static int begin(void **state)
{
	struct script *s = calloc(1, sizeof(*s));

	if (!s || trace_world_small(&s->w) < 0)
		return -1;
	s->w.events.n = 0;
	s->now = s->w.start.monotonic + 1000;
	*state = s;
	return 0;
}

static int finish(void **state)
{
	struct script *s = *state;

	trace_world_free(&s->w);
	unmake(&s->m);
	bytes_deinit(&s->text);
	free(s);
	return 0;
}

/* Borrowed until the next one. */
static struct trace_event *add(struct script *s, uint8_t kind, uint32_t tid, uint16_t cpu)
{
	struct trace_event e = { .time = s->now += 1000, .kind = kind, .tid = tid, .cpu = cpu, .call = -1 };

	trace_world_add(&s->w, e);
	return &s->w.events.data[s->w.events.n - 1];
}

static void out(struct script *s, uint32_t tid, uint16_t cpu, uint8_t why)
{
	add(s, TRACE_OUT, tid, cpu)->why = why;
}

static void create(struct script *s, uint32_t tid, uint16_t cpu, uint32_t other, const char *name)
{
	struct trace_event *e = add(s, TRACE_NEW, tid, cpu);

	e->other = other;
	strncpy(e->name, name, sizeof(e->name));
}

static void watch(void *context, const struct trace_check_event *e)
{
	struct script *s = context;

	bytes_printf(&s->text, "%s %lld", trace_check_type(e->type), (long long)(e->n_args ? e->args[0] : e->g));
	if (e->string)
		bytes_printf(&s->text, " \"%.*s\"", (int)e->string_len, e->string);
	if (e->root)
		bytes_printf(&s->text, " (%.*s)", (int)e->root_len, e->root);
	bytes_printf(&s->text, " on %llu\n", (unsigned long long)e->m);
}

static void play(struct script *s)
{
	s->c = (struct trace_check){ .event = watch, .context = s };
	make(&s->w, 23, &(struct trace_harm){ .calls = true }, LENGTH, &s->m);
	check(&s->m, &s->c);
}

static void has(struct script *s, uint32_t n, const char *what)
{
	uint32_t found = 0;

	for (const char *at = bytes_text(&s->text); (at = strstr(at, what)); at++)
		found++;
	if (found != n)
		fail_msg("%u times, not %u, '%s' in\n%s", found, n, what, bytes_text(&s->text));
}

static void repaired(struct script *s, enum go_repair why, uint64_t n)
{
	if (go_trace_repairs(s->m.g, why) != n)
		fail_msg("%s: %d, not %d", go_repair_text(why), (int)go_trace_repairs(s->m.g, why), (int)n);
}

/* Three threads of one number; the second's exit is not seen. */
static void test_a_number_given_again(void **state)
{
	struct script *s = *state;

	add(s, TRACE_IN, 101, 0);
	for (int i = 0; i < 3; i++) {
		create(s, 200, 0, 101, "again");
		add(s, TRACE_IN, 200, 1);
		if (i == 1) {
			out(s, 200, 1, TRACE_SYNC);
			s->now += 1000000000;
			continue;
		}
		add(s, TRACE_EXIT, 200, 1);
		out(s, 200, 1, TRACE_DEAD);
	}
	play(s);
	has(s, 3, "GoCreate 200 (again) on 101");
	has(s, 2, "GoDestroy 200 on 200");
	has(s, 1, "GoDestroy 200 on 4194304");
	repaired(s, GO_LOST_EXIT, 1);
	assert_int_equal(all_repairs(s->m.g), 1);
	has(s, 1, "\"an exit was not seen: 1\"");
	has(s, 1, "\"in all: an exit was not seen: 1\"");
}

/* 102 executes: all others end, and it goes on as the leader, 101. */
static void test_exec_by_another_thread(void **state)
{
	struct script *s = *state;

	add(s, TRACE_IN, 101, 0);
	add(s, TRACE_IN, 102, 1);
	add(s, TRACE_EXIT, 101, 0);
	out(s, 101, 0, TRACE_DEAD);
	add(s, TRACE_EXIT, 102, 1);
	create(s, 101, 1, 0, "new program");
	add(s, TRACE_IN, 101, 1);
	out(s, 101, 1, TRACE_SLEEP);
	play(s);
	has(s, 1, "GoDestroy 101 on 101");
	has(s, 1, "GoDestroy 102 on 102");
	has(s, 1, "GoCreate 101 (new program) on 4194304");
	has(s, 1, "\"sleep\" on 101");
	assert_int_equal(all_repairs(s->m.g), 0);
}

/* What a thread does between its exit and its last switch is no new thread. */
static void test_after_the_exit(void **state)
{
	struct script *s = *state;

	add(s, TRACE_IN, 101, 0);
	add(s, TRACE_EXIT, 101, 0);
	out(s, 101, 0, TRACE_PREEMPTED);
	add(s, TRACE_IN, 101, 0);
	add(s, TRACE_WAKING, 102, 0)->other = 101;
	add(s, TRACE_SAMPLE, 101, 0);
	out(s, 101, 0, TRACE_DEAD);
	play(s);
	has(s, 1, "GoStart 101");
	has(s, 1, "GoDestroy 101");
	has(s, 0, "GoCreate 101");
	has(s, 1, "GoUnblock 102");
	repaired(s, GO_AFTER_END, 1);
	assert_int_equal(s->c.n_samples, 0);
}

/* Woken while it is still on its way out: it does not wait. */
static void test_a_waking_before_its_switch(void **state)
{
	struct script *s = *state;

	add(s, TRACE_IN, 101, 0);
	add(s, TRACE_IN, 102, 1);
	add(s, TRACE_WAKING, 101, 1)->other = 102;
	out(s, 101, 0, TRACE_SYNC);
	s->now += 5000000;
	add(s, TRACE_IN, 101, 0);
	play(s);
	has(s, 1, "GoUnblock 101 on 102");
	assert_int_equal(all_repairs(s->m.g), 0);
}

static void test_who_woke(void **state)
{
	struct script *s = *state;
	struct trace_event *e;

	for (int i = 0; i < 3; i++) {
		add(s, TRACE_IN, 101, 0);
		out(s, 101, 0, TRACE_PIPE);
		e = add(s, TRACE_WAKING, 101, 1);
		if (i == 0)
			e->flags = TRACE_IRQ;
		else if (i == 1)
			strcpy(e->name, "kworker");
		else
			e->other = 101; /* no thread wakes itself */
	}
	play(s);
	has(s, 1, "GoUnblock 101 ([interrupt]) on 4194304");
	has(s, 1, "GoUnblock 101 ([woken by kworker]) on 4194304");
	has(s, 1, "GoUnblock 101 on 4194304");
	has(s, 3, "\"chan (pipe)\"");
}

static void test_losses(void **state)
{
	struct script *s = *state;

	add(s, TRACE_IN, 101, 0);
	add(s, TRACE_IN, 102, 0);  /* 101 left */
	out(s, 102, 0, TRACE_SYNC);
	add(s, TRACE_IN, 102, 0);  /* was woken */
	add(s, TRACE_IN, 102, 1);  /* left, came elsewhere */
	out(s, 104, 0, TRACE_SYNC); /* came */
	out(s, 104, 0, TRACE_SYNC); /* was woken and came */
	s->w.events.data[s->w.events.n - 1].time = s->now += LENGTH;
	out(s, 300, 1, TRACE_FAULT); /* was created, came, 102 left */
	add(s, TRACE_SAMPLE, 101, 0); /* came */
	play(s);
	repaired(s, GO_LOST_OUT, 3);
	repaired(s, GO_LOST_WAKING, 2);
	repaired(s, GO_LOST_NEW, 1);
	repaired(s, GO_LOST_IN, 2);
	has(s, 3, "\"lost event\"");
	has(s, 2, "([wake-up not seen]) on 4194304");
	has(s, 1, "\"in all: 9 events, 0 lost\"");
}

static void test_twice_and_late(void **state)
{
	struct script *s = *state;
	struct trace_event e;

	add(s, TRACE_IN, 101, 0);
	out(s, 101, 0, TRACE_SYNC);
	e = s->w.events.data[1];
	trace_world_add(&s->w, e); /* would be a second switch */
	s->now += LENGTH;
	add(s, TRACE_WAKING, 101, 0);
	play(s);
	repaired(s, GO_TWICE, 1);
	has(s, 1, "GoBlock");

	unmake(&s->m);
	bytes_clear(&s->text);
	s->m = (struct making){ 0 };
	assert_int_equal(go_trace_new(&s->w.start, 23, &s->m.g), 0);
	e.time = s->w.start.monotonic - 5; /* before all */
	assert_int_equal(go_trace_generation(s->m.g,
					     &(struct trace_generation){ &e, 1, s->w.start.monotonic, s->now, 7, NULL, NULL, NULL, 0 },
					     &s->m.out),
			 0);
	assert_int_equal(go_trace_end(s->m.g, "cut at 64 MB", &s->m.out), 0);
	s->m.n_generations = 1;
	s->c = (struct trace_check){ .event = watch, .context = s };
	check(&s->m, &s->c);
	repaired(s, GO_LATE, 1);
	has(s, 1, "\"events were lost: 7\"");
	has(s, 1, "\"cut at 64 MB\"");
	has(s, 1, "\"in all: 1 events, 7 lost\"");
}

static void test_nothing(void **state)
{
	struct script *s = *state;

	play(s);
	has(s, 1, "GoStatusStack 104 (quiet) on 4194304");
	has(s, 1, "GoStatusStack 105 (reader) on 105"); /* in its system call */
	assert_int_equal(s->c.n_generations, 1);
}

/* A name that comes after the thread's first generation is a label. */
static void test_names(void **state)
{
	struct script *s = *state;

	add(s, TRACE_IN, 101, 0);
	create(s, 200, 0, 101, "main");
	strcpy(add(s, TRACE_NAME, 200, 0)->name, "early");
	memcpy(add(s, TRACE_NAME, 102, 0)->name, "bad\xff\n\0name.....", 16);
	s->now += LENGTH;
	strcpy(add(s, TRACE_NAME, 101, 0)->name, "late");
	strcpy(add(s, TRACE_NAME, 200, 0)->name, "later");
	add(s, TRACE_IN, 200, 1);
	play(s);
	has(s, 1, "GoCreate 200 (early) on 101");
	has(s, 3, "GoStatusStack 102 (bad?\?) on 4194304"); /* a generation each */
	has(s, 2, "GoStatusStack 101 (late) on 101");
	has(s, 1, "GoLabel 1 \"later\" on 200");
}

static void test_calls(void **state)
{
	struct script *s = *state;

	add(s, TRACE_IN, 101, 0);
	add(s, TRACE_LEAVE, 101, 0)->call = 0;	 /* it was in one before */
	add(s, TRACE_ENTER, 101, 0)->call = 0;	 /* read */
	out(s, 101, 0, TRACE_PREEMPTED);
	s->now += LENGTH;
	add(s, TRACE_IN, 101, 0);		 /* still in it */
	create(s, 200, 0, 101, "child");	 /* between its ends */
	add(s, TRACE_ENTER, 101, 0)->call = 1;	 /* write; the end was lost */
	add(s, TRACE_LEAVE, 101, 0)->call = 1;
	add(s, TRACE_LEAVE, 101, 0)->call = 1;	 /* the begin was lost */
	add(s, TRACE_ENTER, 101, 0)->call = 231; /* exit_group: no end */
	add(s, TRACE_EXIT, 101, 0);
	play(s);
	has(s, 3, "(syscall:read)");
	has(s, 1, "(syscall:write)");
	repaired(s, GO_LOST_LEAVE, 1);
	repaired(s, GO_LOST_ENTER, 1);
	assert_int_equal(s->c.n_type[GO_SYSCALL_BEGIN], s->c.n_type[GO_SYSCALL_END]);
}

/* Past the bound, events of further threads are left out and counted; those that end make room. */
static void test_too_many_threads(void **state)
{
	struct script *s = *state;

	for (uint32_t i = 0; i < GO_MAX_THREADS; i++)
		create(s, 1000 + i, 0, 0, "many");
	add(s, TRACE_IN, 1000, 1);
	add(s, TRACE_EXIT, 1000, 1);
	out(s, 1000, 1, TRACE_DEAD);
	s->now += LENGTH;
	create(s, 1000 + GO_MAX_THREADS, 0, 0, "one more");
	play(s);
	repaired(s, GO_TOO_MANY, 4); /* four were listed */
	has(s, 1, "GoCreate 66536 (one more)");
}

static void test_what_cannot_be(void **state)
{
	struct script *s = *state;

	add(s, TRACE_IN, 0, 0);
	add(s, TRACE_IN, GO_OUTSIDE, 0);
	add(s, 0, 101, 0);
	add(s, 77, 101, 0);
	add(s, TRACE_IN, 101, GO_MAX_CPUS);
	out(s, 101, 0, 99);
	add(s, TRACE_WAKING, 101, 0)->other = UINT32_MAX;
	play(s);
	repaired(s, GO_UNKNOWN, 6);
}

/* Batches of one thread beyond 64 KiB; long stacks, long names, one PC that is two functions, inlined frames. */
static void test_sizes(void **state)
{
	struct script *s = *state;
	struct trace_world_stack stack = { (uint32_t)s->w.frames.n, 500 };
	char *name = malloc(5001);

	memset(name, 'x', 5000);
	name[5000] = '\0';
	vec_push(&s->w.names, name);
	for (uint32_t i = 0; i < stack.n; i++)
		vec_push(&s->w.frames, ((struct trace_frame){ 0x1000 + i / 4, i & 1 ? name : "short", "a.c", i, i % 4 < 2 }));
	vec_push(&s->w.stacks, stack);
	for (int i = 0; i < 8000; i++) {
		add(s, TRACE_IN, 101, 0);
		out(s, 101, 0, TRACE_YIELDED);
		s->w.events.data[s->w.events.n - 1].stack = (uint32_t)s->w.stacks.n - 1;
	}
	play(s);
	assert_int_equal(all_repairs(s->m.g), 0);
	assert_true(s->c.n_batches >= s->c.n_generations * 5);
	assert_int_equal(s->c.n_type[GO_STOP], 8000);
	assert_non_null(strstr(bytes_text(&s->text), "\"yield\" ([more frames]) on 101"));
}

static const struct trace_note notes[] = {
	{ 7, 0, "request", "" }, { 8, 7, "part\t\xff", "" }, { 0, 0, "alone", "" },
	{ 7, 0, "parsing", "" }, { 7, 0, "reading", "" },      { 7, 0, "category", "a message" },
	{ 0, 0, "", "" },	 { UINT64_MAX, 0, "no task", "" },
};

static void said(struct script *s, uint8_t kind, uint32_t tid, uint32_t note)
{
	add(s, kind, tid, tid == 101 ? 0 : 1)->other = note + 1;
}

/* The script so far as a generation. */
static void generate(struct script *s)
{
	struct trace_generation g = { .events = s->w.events.data,
				      .n = (uint32_t)s->w.events.n,
				      .began = s->w.events.data[0].time - 1,
				      .ended = s->now + 1,
				      .frames = trace_world_frames,
				      .context = &s->w,
				      .notes = notes,
				      .n_notes = sizeof(notes) / sizeof(*notes) };

	if (!s->m.g)
		assert_int_equal(go_trace_new(&s->w.start, 26, &s->m.g), 0);
	assert_int_equal(go_trace_generation(s->m.g, &g, &s->m.out), 0);
	s->m.n_generations++;
	s->w.events.n = 0;
	s->now += 10;
}

static void check_script(struct script *s)
{
	assert_int_equal(go_trace_end(s->m.g, NULL, &s->m.out), 0);
	s->c = (struct trace_check){ .event = watch, .context = s };
	check(&s->m, &s->c);
}

static void test_what_the_program_says(void **state)
{
	struct script *s = *state;

	said(s, TRACE_TASK_BEGIN, 101, 0);
	said(s, TRACE_TASK_BEGIN, 101, 1);
	said(s, TRACE_REGION_BEGIN, 101, 3);
	said(s, TRACE_REGION_BEGIN, 101, 4);
	said(s, TRACE_LOG, 101, 5);
	generate(s);
	said(s, TRACE_REGION_END, 101, 4);
	said(s, TRACE_REGION_END, 101, 3);
	said(s, TRACE_REGION_END, 101, 2); /* it began before the trace */
	said(s, TRACE_TASK_END, 102, 1);
	said(s, TRACE_TASK_END, 102, 0);
	said(s, TRACE_TASK_BEGIN, 102, 0); /* its number may be used again */
	generate(s);
	check_script(s);
	has(s, 2, "UserTaskBegin 7 \"request\"");
	has(s, 1, "UserTaskBegin 8 \"part");
	has(s, 1, "UserRegionBegin 7 \"parsing\"");
	has(s, 1, "UserRegionEnd 7 \"parsing\"");
	has(s, 1, "UserRegionEnd 7 \"reading\"");
	has(s, 1, "UserRegionEnd 0 \"alone\"");
	has(s, 1, "UserLog 7 \"a message\"");
	assert_int_equal(s->c.n_type[GO_TASK_END], 2);
	for (int i = GO_TASK_TWICE; i <= GO_UNKNOWN; i++)
		repaired(s, (enum go_repair)i, 0);
}

/* Programs make mistakes, and events are lost. */
static void test_what_the_program_says_wrongly(void **state)
{
	struct script *s = *state;

	said(s, TRACE_TASK_BEGIN, 101, 0);
	said(s, TRACE_TASK_BEGIN, 102, 0);
	said(s, TRACE_TASK_BEGIN, 101, 2);
	said(s, TRACE_TASK_BEGIN, 101, 7);
	said(s, TRACE_TASK_END, 101, 1);
	said(s, TRACE_REGION_BEGIN, 101, 3);
	said(s, TRACE_REGION_BEGIN, 101, 4);
	said(s, TRACE_REGION_END, 101, 2); /* within others */
	said(s, TRACE_REGION_END, 101, 3); /* 4 is open */
	for (int i = 0; i < GO_MAX_REGIONS + 5; i++)
		said(s, TRACE_REGION_BEGIN, 102, 6);
	for (int i = 0; i < GO_MAX_REGIONS + 5; i++)
		said(s, TRACE_REGION_END, 102, 6);
	said(s, TRACE_LOG, 101, sizeof(notes) / sizeof(*notes)); /* no such note */
	generate(s);
	check_script(s);
	repaired(s, GO_TASK_TWICE, 3);
	repaired(s, GO_REGION_END_ALONE, 1);
	repaired(s, GO_REGION_OPEN, 1);
	repaired(s, GO_SAID_TOO_MUCH, 5);
	repaired(s, GO_UNKNOWN, 1);
	has(s, GO_MAX_REGIONS, "UserRegionBegin 0");
	assert_int_equal(s->c.n_type[GO_REGION_BEGIN], s->c.n_type[GO_REGION_END]);
}

static void test_what_any_program_says(void **state)
{
	struct script *s = *state;
	uint64_t seed = 1;

	for (int generation = 0; generation < 20; generation++) {
		for (int i = 0; i < 2000; i++) {
			uint32_t tid, kind;

			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			tid = seed >> 40 & 1 ? 101 : 102;
			kind = TRACE_TASK_BEGIN + (seed >> 33) % 5;
			if ((seed >> 50) % 200 == 0) {
				add(s, TRACE_EXIT, 102, 1);
				out(s, 102, 1, TRACE_DEAD);
				create(s, 102, 0, 101, "again");
			} else {
				said(s, (uint8_t)kind, tid, (seed >> 44) % (sizeof(notes) / sizeof(*notes)));
			}
		}
		generate(s);
	}
	check_script(s);
	assert_true(s->c.n_type[GO_REGION_END] > 1000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)
	const struct CMUnitTest tests[] = {
		TEST(test_a_number_given_again),
		TEST(test_exec_by_another_thread),
		TEST(test_after_the_exit),
		TEST(test_a_waking_before_its_switch),
		TEST(test_who_woke),
		TEST(test_losses),
		TEST(test_twice_and_late),
		TEST(test_nothing),
		TEST(test_names),
		TEST(test_calls),
		TEST(test_too_many_threads),
		TEST(test_what_cannot_be),
		TEST(test_sizes),
		TEST(test_what_the_program_says),
		TEST(test_what_the_program_says_wrongly),
		TEST(test_what_any_program_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
