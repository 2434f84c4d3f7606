/* SPDX-License-Identifier: Apache-2.0 */

/* The governor: what hits may cost, and what is probed because of that. The target is the test, whose
 * CPU time is real; hits are written by hand. Without functions to probe attaching always succeeds; with one it fails,
 * as there is no broker. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/heap_world.h"

#define BATCH_NS (PP_HEAP_BATCH * 1000)

/* Uses CPU time, in which n hits happen. */
static void work(struct world *w, int64_t ns, uint64_t n_hits)
{
	int64_t until = clock_ns(CLOCK_PROCESS_CPUTIME_ID) + ns;

	while (clock_ns(CLOCK_PROCESS_CPUTIME_ID) < until)
		;
	on_cpu(w, 0)->n_hits += n_hits;
	w->c.heap.states[SLOT].n_hits += n_hits;
	w->c.heap.states[SLOT].spent_ns += n_hits * (uint64_t)w->c.heap.hit_ns;
}

static const struct pp_heap *marks(const struct world *w)
{
	return &w->c.heap.states[SLOT];
}

static const struct target_heap *heap_of(const struct world *w)
{
	return &w->t->heap;
}

static void begin(struct world *w)
{
	w->t->heap.level = HEAP_ALL;
	heap_govern(&w->c, w->t);
	assert_int_equal(heap_of(w)->level, HEAP_ALL);
	assert_int_equal(heap_of(w)->sides, BROKER_SIDE_ALLOC | BROKER_SIDE_FREE);
}

static void test_it_begins_with_all_and_a_limit(void **state)
{
	struct world *w = *state;

	begin(w);
	assert_true(marks(w)->flags & PP_HEAP_FREES);
	/* half of what 5 s of CPU time allow: 50 ms */
	assert_int_equal(marks(w)->hit_ns, 1000);
	assert_true(marks(w)->stop_at >= 50000000 && marks(w)->stop_at <= 50000000 + 2 * BATCH_NS);
	assert_true(marks(w)->notify_at > 20000000 && marks(w)->notify_at < marks(w)->stop_at);
	assert_int_equal(heap_due(w->t), 0);
}

static void test_no_limit(void **state)
{
	struct world *w = *state;

	w->c.heap.budget = INFINITY;
	begin(w);
	work(w, 1000000, 10000000);
	heap_govern(&w->c, w->t);
	assert_int_equal(heap_of(w)->level, HEAP_ALL);
	assert_int_equal(heap_of(w)->n_changes, 0);
	assert_true(marks(w)->stop_at == UINT64_MAX && marks(w)->notify_at == UINT64_MAX);
}

static void test_what_a_quiet_program_costs_is_within(void **state)
{
	struct world *w = *state;

	begin(w);
	for (int i = 0; i < 20; i++) {
		work(w, 5000000, 50); /* 1 % */
		heap_govern(&w->c, w->t);
	}
	assert_int_equal(heap_of(w)->level, HEAP_ALL);
	assert_int_equal(heap_of(w)->n_changes, 0);
}

static void test_frees_go_first(void **state)
{
	struct world *w = *state;

	begin(w);
	w->t->heap.budget.credit_ns = 200000;
	work(w, 50000000, 1200); /* 2.4 %; half of it is within 1.6 % */
	heap_govern(&w->c, w->t);
	assert_int_equal(heap_of(w)->level, HEAP_ALLOCS);
	assert_int_equal(heap_of(w)->sides, BROKER_SIDE_ALLOC);
	assert_false(marks(w)->flags & PP_HEAP_FREES);
	assert_int_equal(heap_of(w)->n_gaps, 1);
	assert_int_equal(heap_of(w)->n_changes, 1);
}

static void test_then_allocations(void **state)
{
	struct world *w = *state;

	begin(w);
	work(w, 5000000, 500000); /* a hundred times its CPU time */
	heap_govern(&w->c, w->t);
	assert_int_equal(heap_of(w)->level, HEAP_OFF);
	assert_int_equal(heap_of(w)->sides, 0);
	assert_true(heap_due(w->t) > monotonic_ns());
	assert_true(heap_due(w->t) < monotonic_ns() + 11 * NS_PER_S);
}

/* A notice that is late must not open the next window before its time. */
static void test_a_late_notice_opens_no_window(void **state)
{
	struct world *w = *state;

	begin(w);
	work(w, 5000000, 500000);
	heap_govern(&w->c, w->t);
	assert_int_equal(heap_of(w)->level, HEAP_OFF);
	work(w, 1000000, 1000);
	heap_govern(&w->c, w->t);
	assert_int_equal(heap_of(w)->sides, 0);
	assert_false(heap_of(w)->window);
	assert_true(heap_due(w->t) > monotonic_ns());
}

static void test_a_window_when_its_time_has_come(void **state)
{
	struct world *w = *state;

	begin(w);
	work(w, 5000000, 500000);
	heap_govern(&w->c, w->t);
	w->t->heap.budget.resume_ns = monotonic_ns();
	w->t->heap.budget.credit_ns = 50000000;
	work(w, 1000000, 0);
	heap_govern(&w->c, w->t);
	assert_true(heap_of(w)->window);
	assert_int_equal(heap_of(w)->sides, BROKER_SIDE_ALLOC | BROKER_SIDE_FREE);
	assert_int_equal(marks(w)->flags, PP_HEAP_FREES | PP_HEAP_WINDOW | PP_HEAP_PROBED);
	assert_int_equal(heap_due(w->t), 0); /* the kernel tells when it is enough */
	assert_true(marks(w)->stop_at > marks(w)->spent_ns);
	work(w, 1000000, 60000);
	heap_govern(&w->c, w->t);
	assert_false(heap_of(w)->window);
	assert_int_equal(heap_of(w)->sides, 0);
	assert_int_equal(marks(w)->flags, 0);
	assert_true(heap_due(w->t) > monotonic_ns());
}

/* Over before there was anything to see: no reason to think that it has become cheap. */
static void test_a_window_that_was_spent_at_once(void **state)
{
	struct world *w = *state;

	begin(w);
	work(w, 5000000, 500000);
	heap_govern(&w->c, w->t);
	w->t->heap.budget.resume_ns = monotonic_ns();
	w->t->heap.budget.credit_ns = 3000000;
	work(w, 1000000, 0);
	heap_govern(&w->c, w->t);
	assert_true(heap_of(w)->window);
	w->t->heap.budget.credit_ns = 0;
	work(w, 1000000, 10);
	heap_govern(&w->c, w->t);
	assert_int_equal(heap_of(w)->level, HEAP_OFF);
	assert_false(heap_of(w)->window);
}

/* A debt is paid before the next window. */
static void test_no_window_on_debt(void **state)
{
	struct world *w = *state;

	begin(w);
	work(w, 5000000, 500000);
	heap_govern(&w->c, w->t);
	w->t->heap.budget.resume_ns = monotonic_ns();
	work(w, 1000000, 0);
	heap_govern(&w->c, w->t);
	assert_false(heap_of(w)->window);
	assert_true(heap_due(w->t) > monotonic_ns());
}

/* What samples cost besides their hits is on the account, but no measure of how many calls there are. */
static void test_samples_are_charged(void **state)
{
	struct world *w = *state;
	double before;

	begin(w);
	before = heap_of(w)->budget.credit_ns;
	w->c.heap.states[SLOT].spent_ns += 10000000;
	work(w, 1000000, 0);
	heap_govern(&w->c, w->t);
	assert_true(heap_of(w)->budget.credit_ns < before - 9000000);
	assert_int_equal(heap_of(w)->level, HEAP_ALL);
}

static void test_the_account_is_bounded(void **state)
{
	struct world *w = *state;

	begin(w);
	w->t->heap.budget.credit_ns = 1e18;
	work(w, 1000000, 0);
	heap_govern(&w->c, w->t);
	assert_true(heap_of(w)->budget.credit_ns <= 0.02 * 5e9);
	assert_true(marks(w)->stop_at <= 100000000 + 2 * BATCH_NS);
}

static void test_the_process_samples_itself(void **state)
{
	struct world *w = *state;

	w->t->heap.source = HEAP_TOLD;
	heap_govern(&w->c, w->t);
	assert_int_equal(heap_of(w)->sides, BROKER_SIDE_TOLD);
	work(w, 1000000, 10000000);
	heap_govern(&w->c, w->t);
	assert_int_equal(heap_of(w)->sides, BROKER_SIDE_TOLD);
	assert_true(marks(w)->stop_at == UINT64_MAX);
}

static void test_only_allocations_are_wanted(void **state)
{
	struct world *w = *state;

	w->c.heap.mode = BROKER_HEAP_ALLOCS;
	w->t->heap.level = HEAP_ALL;
	heap_govern(&w->c, w->t);
	assert_int_equal(heap_of(w)->sides, BROKER_SIDE_ALLOC);
	assert_false(marks(w)->flags & PP_HEAP_FREES);
}

/* Others that probe the same file make a hit dearer. */
static void test_what_a_hit_costs_among_others(void **state)
{
	struct world *w = *state;
	struct heap_function f = { .object = 7 };
	unsigned n;

	w->c.heap.shared_ns = 1700;
	w->c.n_targets = 4;
	for (unsigned i = 0; i < 4; i++) {
		w->c.targets[i].heap.sides = i < 3 ? BROKER_SIDE_ALLOC : 0;
		f.object = i == 2 ? 8 : 7;
		assert_int_equal(vec_push(&w->c.targets[i].heap.functions, f), 0);
	}
	assert_true(fabs(heap_hit_ns(&w->c, &w->c.targets[0], &n) - 1100) < 1e-6);
	assert_int_equal(n, 1);
	assert_true(fabs(heap_hit_ns(&w->c, &w->c.targets[3], &n) - 1200) < 1e-6);
	assert_int_equal(n, 2);
	assert_true(fabs(heap_hit_ns(&w->c, &w->c.targets[2], &n) - 1000) < 1e-6);
	assert_int_equal(n, 0);
	for (unsigned i = 1; i < 4; i++)
		vec_deinit(&w->c.targets[i].heap.functions);
}

/* When frees are seen again, what was live before may have gone unseen. */
/* A request may come while the tables are being mapped: how many CPUs there are is known first. */
static void test_nothing_is_counted_before_the_tables_are_there(void **state)
{
	struct world *w = *state;
	struct pp_heap_cpu *cpus = TAKE_PTR(w->c.heap.cpus);
	struct heap_counters n;

	cpus[SLOT].n_allocs = 3;
	w->c.heap.loaded = false;
	heap_count(&w->c, w->t, &n);
	assert_int_equal(n.n_allocs, 0);
	w->c.heap.cpus = cpus;
	w->c.heap.loaded = true;
	heap_count(&w->c, w->t, &n);
	assert_int_equal(n.n_allocs, 3);
}

static void test_a_new_epoch(void **state)
{
	struct world *w = *state;
	struct pp_live *old = &w->c.heap.live[5];

	begin(w);
	heap_apply(&w->c, w->t, HEAP_ALLOCS);
	w->c.heap.keys[0].key[5] = PP_LIVE_KEY(0x1000ull, SLOT);
	w->c.heap.keys[0].key[6] = PP_LIVE_KEY(0x1000ull, SLOT + 1);
	old->born = (uint64_t)monotonic_ns();
	heap_apply(&w->c, w->t, HEAP_ALL);
	assert_int_equal(w->c.heap.keys[0].key[5], 0);
	assert_int_equal(old->born, 0);
	assert_int_not_equal(w->c.heap.keys[0].key[6], 0); /* another's */
	assert_int_equal(heap_of(w)->n_gaps, 1);
	assert_true(heap_of(w)->epoch_ns > 0);
}

/* The next program is judged by itself, but out of the same account. */
static void test_exec(void **state)
{
	struct world *w = *state;
	double credit;

	begin(w);
	work(w, 5000000, 500000);
	heap_govern(&w->c, w->t);
	credit = heap_of(w)->budget.credit_ns;
	assert_int_equal(heap_of(w)->level, HEAP_OFF);
	heap_follow(&w->c, w->t, true); /* it has no mapping: nothing to probe */
	assert_int_equal(heap_of(w)->source, HEAP_NONE);
	assert_int_equal(heap_of(w)->level, HEAP_ALL);
	assert_true(heap_of(w)->budget.credit_ns <= credit + 0.02 * 1e9);
	assert_int_equal(heap_due(w->t), 0);
}

static void set_probeable(struct world *w, bool can)
{
	struct heap_function f = { .probe = { .function = ALLOCATOR_FREE, .status = PROBE_FINE } };
	const struct broker_file file = { .ino = 5 };
	struct target_mapping m = { .start = 0x1000, .end = 0x2000 };
	struct object *x;

	vec_deinit(&w->t->heap.functions);
	if (can)
		return;
	x = objects_get(&w->c.objects, SYMBOLIZER_FILE, &file, -1, "libc.so");
	assert_non_null(x);
	m.object = f.object = x->id;
	assert_int_equal(vec_push(&w->t->mappings, m), 0);
	assert_int_equal(vec_push(&w->t->heap.functions, f), 0);
}

/* A file that cannot be opened now, processes that have all the room: no notice tells when that is over. */
static void test_what_cannot_be_probed_is_tried_again(void **state)
{
	struct world *w = *state;
	int64_t due, last = 0;

	set_probeable(w, false);
	w->t->heap.level = HEAP_ALL;
	heap_govern(&w->c, w->t);
	assert_int_equal(heap_of(w)->sides, BROKER_SIDE_ALLOC);
	assert_true(strstr(heap_of(w)->why, "libc.so cannot be probed"));
	for (int i = 0; i < 10; i++) { /* later and later, never in the past */
		due = heap_due(w->t);
		assert_true(due > monotonic_ns() && due < monotonic_ns() + 61 * NS_PER_S);
		assert_true(heap_of(w)->pause_ns >= last);
		last = heap_of(w)->pause_ns;
		w->t->heap.again_ns = monotonic_ns();
		heap_govern(&w->c, w->t);
	}
	set_probeable(w, true);
	w->t->heap.again_ns = monotonic_ns();
	heap_govern(&w->c, w->t);
	assert_int_equal(heap_of(w)->sides, BROKER_SIDE_ALLOC | BROKER_SIDE_FREE);
	assert_true(marks(w)->flags & PP_HEAP_FREES);
	assert_string_equal(heap_of(w)->why, "");
	assert_int_equal(heap_due(w->t), 0);
}

/* Without probes there are no hits, and nobody who would end it. */
static void test_a_window_that_cannot_be_probed(void **state)
{
	struct world *w = *state;

	begin(w);
	work(w, 5000000, 500000);
	heap_govern(&w->c, w->t);
	set_probeable(w, false);
	w->t->heap.budget.resume_ns = monotonic_ns();
	w->t->heap.budget.credit_ns = 50000000;
	heap_govern(&w->c, w->t);
	assert_false(heap_of(w)->window);
	assert_int_equal(heap_of(w)->sides, 0);
	assert_int_equal(marks(w)->flags, 0);
	assert_true(heap_due(w->t) > monotonic_ns());
	set_probeable(w, true);
	w->t->heap.budget.resume_ns = monotonic_ns();
	heap_govern(&w->c, w->t);
	assert_true(heap_of(w)->window);
	assert_int_equal(heap_due(w->t), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_it_begins_with_all_and_a_limit),
		TEST(test_no_limit),
		TEST(test_what_a_quiet_program_costs_is_within),
		TEST(test_frees_go_first),
		TEST(test_then_allocations),
		TEST(test_a_late_notice_opens_no_window),
		TEST(test_a_window_when_its_time_has_come),
		TEST(test_a_window_that_was_spent_at_once),
		TEST(test_no_window_on_debt),
		TEST(test_samples_are_charged),
		TEST(test_the_account_is_bounded),
		TEST(test_the_process_samples_itself),
		TEST(test_only_allocations_are_wanted),
		TEST(test_what_a_hit_costs_among_others),
		TEST(test_nothing_is_counted_before_the_tables_are_there),
		TEST(test_a_new_epoch),
		TEST(test_exec),
		TEST(test_what_cannot_be_probed_is_tried_again),
		TEST(test_a_window_that_cannot_be_probed),
	};

	return cmocka_run_group_tests_name("heap-govern", tests, NULL, NULL);
}
