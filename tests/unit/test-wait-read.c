/* SPDX-License-Identifier: Apache-2.0 */

/* Waits that are open, that end, and that end just while somebody reads. The clock is the test's. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/profile.h"

#define SLOT 3u
#define IMAGE 9u
#define N_STACKS 16u
#define N_COUNTS 32u
#define HALF_WORDS (1ul << PP_POOL_BITS)
#define ITEM 202u
#define LONG_NS (50 * NS_PER_MS)

struct world {
	struct core c;
	struct target *t;
	struct pp_state state;
	struct pp_wait_bucket *keys;
	struct pp_wait *open;
	int64_t now;
	uint32_t n_stacks, n_counts;
	void (*on_clock)(struct world *w); /* between the counts and the second look */
	uint32_t slot; /* for it */
};

static struct world *world;

/* Stands in for the C library's, once there is a world. */
int clock_gettime(clockid_t id, struct timespec *ret)
{
	int64_t now = world ? world->now : 1;

	*ret = (struct timespec){ .tv_sec = now / NS_PER_S, .tv_nsec = now % NS_PER_S };
	if (world && world->on_clock && id == CLOCK_MONOTONIC)
		world->on_clock(world);
	return 0;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	uint32_t image = IMAGE;
	struct pool *p;

	if (!w)
		return -1;
	p = &w->c.pool;
	w->now = 1000 * NS_PER_S;
	pthread_mutex_init(&w->c.lock, NULL);
	p->n_stacks = N_STACKS;
	p->n_counts = N_COUNTS;
	p->n_pool_chunks = 1;
	p->state = &w->state;
	p->control = &w->state.control;
	p->stacks = calloc(2 * N_STACKS, sizeof(*p->stacks));
	p->words = calloc(2 * HALF_WORDS, sizeof(*p->words));
	p->counts = calloc(2 * N_COUNTS, sizeof(*p->counts));
	p->labels = calloc(PP_MAX_PROCESSES, sizeof(*p->labels));
	for (int i = 0; i < 2; i++) {
		p->halves[i].folded = calloc(N_COUNTS, sizeof(*p->halves[i].folded));
		p->halves[i].row = calloc(N_COUNTS, sizeof(*p->halves[i].row));
		p->halves[i].end = calloc(N_COUNTS, sizeof(*p->halves[i].end));
	}
	w->keys = calloc(1u << PP_WAIT_BUCKET_BITS, sizeof(*w->keys));
	w->open = calloc(POOL_N_WAITS, sizeof(*w->open));
	p->wait_keys = w->c.waits.keys = w->keys;
	p->waits = w->c.waits.open = w->open;
	w->c.waits.loaded = true;
	w->t = &w->c.targets[0];
	w->c.n_targets = 1;
	w->t->index = SLOT;
	*state = world = w;
	return vec_push(&w->t->images, image);
}

static int teardown(void **state)
{
	struct world *w = *state;
	struct pool *p = &w->c.pool;

	world = NULL;
	free(p->stacks);
	free(p->words);
	free(p->counts);
	free(p->labels);
	for (int i = 0; i < 2; i++) {
		free(p->halves[i].folded);
		free(p->halves[i].row);
		free(p->halves[i].end);
	}
	free(w->keys);
	free(w->open);
	free(w->c.waits.shown);
	vec_deinit(&w->t->images);
	totals_deinit(&w->c.kept);
	totals_deinit(&w->c.totals);
	free(w);
	return 0;
}

/* A stack of one frame; its row + 1. */
static uint32_t stack(struct world *w, uint64_t word)
{
	struct pool *p = &w->c.pool;
	uint64_t half = p->control->epoch & 1, row = half * N_STACKS + w->n_stacks;

	p->words[half * HALF_WORDS + w->n_stacks++] = word;
	p->stacks[row].hash = word * 7;
	p->stacks[row].meta = PP_READY | 1ull << 40 | (half * HALF_WORDS + w->n_stacks - 1);
	return (uint32_t)row + 1;
}

static struct pp_wait *begin(struct world *w, uint32_t slot, uint64_t word, uint32_t weight)
{
	w->keys[slot / PP_WAIT_WAYS].key[slot % PP_WAIT_WAYS] = 1ull << 32 | (slot + 1);
	w->open[slot] = (struct pp_wait){ .began = (uint64_t)w->now, .stack = word * 7, .row = stack(w, word),
					  .epoch = w->c.pool.control->epoch, .item = ITEM, .target = IMAGE,
					  .weight = weight, .slot = SLOT, .tid = slot + 1 };
	return &w->open[slot];
}

static void drop(struct world *w, uint32_t slot)
{
	w->open[slot].began = 0;
	w->keys[slot / PP_WAIT_WAYS].key[slot % PP_WAIT_WAYS] = 0;
}

/* As pp_wait_end does it: told, counted, gone. */
static void count(struct world *w, const struct pp_wait *o)
{
	const struct pool *p = &w->c.pool;
	uint64_t epoch = p->control->epoch;
	struct pp_count *c = &p->counts[(epoch & 1) * N_COUNTS + w->n_counts++];

	*c = (struct pp_count){ .tag = PP_CLAIMED | PP_FILLED, .target = o->target, .collector = PP_WAIT,
				.stack = o->epoch == epoch ? o->row : PP_NO_STACK(PP_END_BY_HASH),
				.item = o->item, .name = { o->stack, o->named },
				.v = { o->weight, (int64_t)((uint64_t)w->now - o->began) * o->weight } };
}

static void end(struct world *w, uint32_t slot)
{
	w->open[slot].ended = 1;
	count(w, &w->open[slot]);
	drop(w, slot);
}

struct sum {
	int64_t n, ns;
	size_t n_open;
};

/* Of all rows. */
static struct sum read_all(struct world *w)
{
	struct wait_reading r = { 0 };
	struct sum s = { 0 };

	assert_int_equal(wait_read(&w->c, w->t, &r), 0);
	for (size_t i = 0; i < r.n; i++) {
		s.n += r.v[i][0];
		s.ns += r.v[i][1];
	}
	s.n_open = r.n_open;
	wait_reading_deinit(&r);
	return s;
}

static void check(struct world *w, int64_t n, int64_t ns, size_t n_open)
{
	struct sum s = read_all(w);

	assert_int_equal(s.n, n);
	assert_int_equal(s.ns, ns);
	assert_int_equal(s.n_open, n_open);
}

static void test_open_wait_is_counted_up_to_now(void **state)
{
	struct world *w = *state;

	begin(w, 17, 1, 4);
	w->now++;
	check(w, 4, 4, 1);
	w->now += LONG_NS - 1;
	check(w, 4, 4 * LONG_NS, 1);
	w->now += 5;
	check(w, 4, 4 * (LONG_NS + 5), 1);
	assert_int_equal(w->c.kept.rows.n, 1);
	assert_int_equal(w->c.kept.rows.data[0].v[0], 0); /* in the reading only */
}

static void test_wait_that_ends_between_readings(void **state)
{
	struct world *w = *state;

	begin(w, 17, 1, 4);
	w->now += LONG_NS;
	check(w, 4, 4 * LONG_NS, 1);
	w->now += 10;
	end(w, 17);
	w->now += 1000;
	check(w, 4, 4 * (LONG_NS + 10), 0);
	check(w, 4, 4 * (LONG_NS + 10), 0);
	begin(w, 17, 1, 1); /* the same thread, again */
	w->now += 7;
	check(w, 5, 4 * (LONG_NS + 10) + 7, 1);
	assert_int_equal(w->c.kept.rows.n, 1);
}

static void test_wait_across_a_flip(void **state)
{
	struct world *w = *state;

	begin(w, 17, 1, 2);
	w->now += LONG_NS;
	check(w, 2, 2 * LONG_NS, 1);
	for (int i = 0; i < 3; i++) {
		pool_flip(&w->c.pool, &w->c.totals, &w->c.kept);
		w->n_stacks = w->n_counts = 0;
		stack(w, 2 + (uint64_t)i);
		check(w, 2, 2 * LONG_NS, 1);
	}
	w->now += 10;
	end(w, 17);
	check(w, 2, 2 * (LONG_NS + 10), 0);
	assert_int_equal(w->c.kept.rows.n, 1);
	assert_int_equal(w->c.pool.n_bad, 0);
}

/* What pp_wait_end has done when we look; a row may not be in both. */
static void test_wait_that_is_just_ending(void **state)
{
	struct world *w = *state;

	begin(w, 17, 1, 1);
	w->now += LONG_NS;
	w->open[17].ended = 1;
	count(w, &w->open[17]); /* counted, not yet gone */
	check(w, 1, LONG_NS, 0);
	drop(w, 17);
	check(w, 1, LONG_NS, 0);
}

static void end_now(struct world *w)
{
	w->on_clock = NULL;
	end(w, w->slot);
}

/* Listed as open, its row not yet among the counts, then over: a long wait must not be missing. */
static void test_long_wait_that_ends_while_we_read(void **state)
{
	struct world *w = *state;

	begin(w, 17, 1, 3);
	w->now += LONG_NS;
	w->slot = 17;
	w->on_clock = end_now;
	check(w, 3, 3 * LONG_NS, 0);
	check(w, 3, 3 * LONG_NS, 0);
}

/* A short one may be missing once; it is there with the next reading. */
static void test_short_wait_that_ends_while_we_read(void **state)
{
	struct world *w = *state;
	struct sum s;

	begin(w, 17, 1, 3);
	w->now += NS_PER_MS;
	w->slot = 17;
	w->on_clock = end_now;
	s = read_all(w);
	assert_true((s.n == 0 && s.ns == 0) || (s.n == 3 && s.ns == 3 * NS_PER_MS));
	check(w, 3, 3 * NS_PER_MS, 0);
}

static void begin_again(struct world *w)
{
	w->on_clock = NULL;
	end(w, w->slot);
	begin(w, w->slot, 2, 1);
	w->now++;
}

/* The slot has another wait of the same thread's: it is not the one that was listed. */
static void test_slot_that_is_used_again_while_we_read(void **state)
{
	struct world *w = *state;

	begin(w, 17, 1, 1);
	w->now += LONG_NS;
	w->slot = 17;
	w->on_clock = begin_again;
	check(w, 2, LONG_NS + 1, 1);
	w->now += 9;
	check(w, 2, LONG_NS + 10, 1);
}

static void end_always(struct world *w) /* threads that are never seen to stay */
{
	w->on_clock = NULL;
	end(w, w->slot);
	begin(w, w->slot, 1, 1)->began -= (uint64_t)LONG_NS;
	w->on_clock = end_always;
}

static void test_reading_ends(void **state)
{
	struct world *w = *state;

	begin(w, 17, 1, 1);
	w->now += LONG_NS;
	w->slot = 17;
	w->on_clock = end_always;
	read_all(w);
	w->on_clock = NULL;
	assert_in_range(w->n_counts, 1, 16);
	check(w, w->n_counts + 1, (w->n_counts + 1) * LONG_NS, 1);
}

static void test_answers_never_go_down(void **state)
{
	struct world *w = *state;
	struct pp_wait *o = begin(w, 17, 1, 1);

	w->now += NS_PER_MS;
	check(w, 1, NS_PER_MS, 1);
	o->ended = 1; /* told, and not yet counted */
	check(w, 1, NS_PER_MS, 0);
	w->now += 1000;
	count(w, o);
	drop(w, 17);
	check(w, 1, NS_PER_MS + 1000, 0);
	begin(w, 18, 2, 1); /* a row of its own */
	w->now += 5;
	check(w, 2, NS_PER_MS + 1005, 1);
}

static void test_each_row_by_itself_never_goes_down(void **state)
{
	struct wait_reading a = { 0 }, b = { 0 };
	struct world *w = *state;

	for (uint32_t i = 0; i < 8; i++)
		begin(w, i * 100, i + 1, 1);
	w->now += NS_PER_MS;
	assert_int_equal(wait_read(&w->c, w->t, &a), 0);
	for (uint32_t i = 0; i < 8; i += 2)
		w->open[i * 100].ended = 1;
	w->now += 500;
	assert_int_equal(wait_read(&w->c, w->t, &b), 0);
	assert_int_equal(a.n, 8);
	assert_int_equal(b.n, 8);
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(a.v[i][1], NS_PER_MS);
		assert_int_equal(b.v[i][1], NS_PER_MS + (i & 1 ? 500 : 0));
		assert_int_equal(b.v[i][0], 1);
	}
	wait_reading_deinit(&a);
	wait_reading_deinit(&b);
}

/* Releases are not waits: nothing is open, and what there is is said as it is. */
static void test_other_rows_pass_as_they_are(void **state)
{
	struct world *w = *state;
	const uint64_t name[2] = { 7, 0 }, word = 5;
	uint32_t i = totals_item_row(&w->c.kept, IMAGE, PP_RELEASE, ITEM, &word, 1, (const char *)name);

	w->c.kept.rows.data[i].v[0] = 10;
	check(w, 10, 0, 0);
	w->c.kept.rows.data[i].v[0] = 8;
	check(w, 8, 0, 0);
}

static void test_waits_of_others_are_not_ours(void **state)
{
	struct world *w = *state;

	begin(w, 17, 1, 1)->slot = SLOT + 1;
	begin(w, 18, 2, 1)->target = IMAGE + 1; /* an image that we do not know */
	w->now += LONG_NS;
	check(w, 0, 0, 0);
}

static void test_wait_from_the_future_counts_as_begun(void **state)
{
	struct world *w = *state;
	struct sum s;

	begin(w, 17, 1, 1)->began += (uint64_t)NS_PER_S;
	s = read_all(w);
	assert_int_equal(s.ns, 0);
}

static void test_nothing_before_the_programs_are_loaded(void **state)
{
	struct world *w = *state;

	begin(w, 17, 1, 1);
	w->c.waits.loaded = false;
	check(w, 0, 0, 0);
}

static void test_limits_follow_the_budget(void **state)
{
	struct world *w = *state;
	struct pp_wait_state *s = calloc(PP_MAX_PROCESSES, sizeof(*s));

	assert_non_null(s);
	w->c.waits.states = s;
	w->c.heap.budget = 0.02;
	wait_limit(&w->c, w->t);
	assert_in_range(s[SLOT].share, (1 << 20) / 50 - 1, (1 << 20) / 50);
	assert_in_range(s[SLOT].floor, 1, (1 << 20) / 50);
	assert_int_equal(s[SLOT - 1].share + s[SLOT + 1].share, 0);
	w->c.heap.budget = 1.0 / 0.0; /* no limit */
	wait_limit(&w->c, w->t);
	assert_true(s[SLOT].share >= 1 << 20 && s[SLOT].floor >= 1 << 20);
	free(s);
}

static void test_profiles_count_their_rows(void **state)
{
	struct world *w = *state;
	const uint64_t name[2] = { 7, 0 }, word = 5;

	w->c.kernel = CORE_READY;
	begin(w, 17, 1, 1);
	w->now += 10;
	end(w, 17);
	totals_item_row(&w->c.kept, IMAGE, PP_WAIT, 35 /* nanosleep */, &word, 1, (const char *)name);
	totals_item_row(&w->c.kept, IMAGE, PP_RELEASE, ITEM, &word, 1, (const char *)name);
	totals_item_row(&w->c.kept, IMAGE + 1, PP_WAIT, ITEM, &word, 1, (const char *)name);
	assert_int_equal(wait_count(&w->c, w->t, profile_find("offcpu")), 2);
	assert_int_equal(wait_count(&w->c, w->t, profile_find("block")), 1);
	assert_int_equal(wait_count(&w->c, w->t, profile_find("mutex")), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_open_wait_is_counted_up_to_now),
		TEST(test_wait_that_ends_between_readings),
		TEST(test_wait_across_a_flip),
		TEST(test_wait_that_is_just_ending),
		TEST(test_long_wait_that_ends_while_we_read),
		TEST(test_short_wait_that_ends_while_we_read),
		TEST(test_slot_that_is_used_again_while_we_read),
		TEST(test_reading_ends),
		TEST(test_answers_never_go_down),
		TEST(test_each_row_by_itself_never_goes_down),
		TEST(test_other_rows_pass_as_they_are),
		TEST(test_waits_of_others_are_not_ours),
		TEST(test_wait_from_the_future_counts_as_begun),
		TEST(test_nothing_before_the_programs_are_loaded),
		TEST(test_limits_follow_the_budget),
		TEST(test_profiles_count_their_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
