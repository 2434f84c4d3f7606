/* SPDX-License-Identifier: Apache-2.0 */

/* What serve writes into the tables is what the BPF walker, compiled here as ordinary C, finds. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PP_NATIVE "tests/unit/bpf_native.h"
#include "bpf/unwind.bpf.h"
#include "daemon/serve/table.h"

#define GRANULE (1u << PP_GRANULE_BITS)
#define CHUNK (1u << PP_CHUNK_BITS)
#define SLAB (CHUNK << PP_SLAB_BITS)

struct fixture {
	struct tables t;
	struct pp_process processes[PP_MAX_PROCESSES];
	struct native_map inner[PP_MAX_SLABS];
	void *slabs[PP_MAX_SLABS];
	uint32_t n_asked;
	int refuse; /* the broker's answer instead of a slab */
	int mapping_fd, rule_fd;
};

static int slab(void *context, uint32_t index)
{
	struct fixture *x = context;
	int fd;

	assert_int_equal(index, x->n_asked);
	if (x->refuse)
		return x->refuse;
	x->n_asked++;
	fd = memfd_create("slab", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, SLAB * 4l), 0);
	return fd;
}

static int memory(size_t n)
{
	int fd = memfd_create("table", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)n), 0);
	return fd;
}

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	if (!x)
		return -1;
	x->mapping_fd = memory(sizeof(struct pp_mapping_list));
	x->rule_fd = memory(PP_MAX_RULES * sizeof(struct pp_rule));
	*state = x;
	return tables_init(&x->t, x->processes, x->mapping_fd, x->rule_fd, slab, x);
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	tables_deinit(&x->t);
	close(x->mapping_fd);
	close(x->rule_fd);
	free(x);
	return 0;
}

/* The kernel's view of what is there now. */
static void show_kernel(struct fixture *x)
{
	memset(&native, 0, sizeof(native));
	for (uint32_t i = 0; i < x->t.n_slabs; i++) {
		x->inner[i] = (struct native_map){ &x->inner[i], x->t.slabs[i], CHUNK * 4,
						   1 << PP_SLAB_BITS, false };
		x->slabs[i] = &x->inner[i];
	}
	native_map(&pp_slabs, x->slabs, sizeof(void *), PP_MAX_SLABS);
	native.maps[0].of_maps = true;
	NATIVE_MAP(pp_mapping, x->t.mappings, 1);
	NATIVE_MAP(pp_rule, x->t.rules, PP_MAX_RULES);
}

static void add_rule(struct symbolizer_rows *r, int32_t cfa_offset)
{
	assert_int_equal(vec_push(&r->rules, ((struct unwind_rule){ .kind = UNWIND_SP,
								    .cfa_offset = cfa_offset })),
			 0);
}

static void add_row(struct symbolizer_rows *r, uint32_t offset, uint32_t rule)
{
	assert_int_equal(vec_push(&r->rows, ((struct unwind_row){ offset, rule })), 0);
}

static struct symbolizer_rows file(uint64_t low, uint64_t n)
{
	struct symbolizer_rows r = { .end = { .low = low, .high = low + n } };

	for (int i = 0; i < 7; i++)
		add_rule(&r, i * 8);
	return r;
}

/* A row at every `step` bytes from 0 on, its rule by the row's number. */
static struct symbolizer_rows dense(uint64_t low, uint64_t n, uint32_t step)
{
	struct symbolizer_rows r = file(low, n);

	for (uint64_t at = 0; at < n; at += step)
		add_row(&r, (uint32_t)at, (uint32_t)(at / step % 7));
	return r;
}

static struct table_place put(struct fixture *x, const struct symbolizer_rows *r)
{
	struct table_place p;

	assert_int_equal(tables_place(&x->t, r, &p), 0);
	return p;
}

/* As pp_step does it. NULL: a gap for want of rows. */
static const struct pp_rule *kernel_find(struct fixture *x, const struct table_place *p,
					 uint64_t address)
{
	uint64_t at = address - p->base;
	int rule;

	if (at >> PP_GRANULE_BITS >= p->n_granules)
		return NULL;
	rule = pp_find_rule(p->words.first + (uint32_t)(at >> PP_GRANULE_BITS), at & (GRANULE - 1));
	return rule < 0 ? NULL : &x->t.rules[rule];
}

static void check_at(struct fixture *x, const struct table_place *p,
		     const struct symbolizer_rows *r, size_t row, uint64_t address)
{
	const struct pp_rule *q = kernel_find(x, p, address);

	assert_non_null(q);
	assert_memory_equal(q, &r->rules.data[r->rows.data[row].rule], sizeof(*q));
}

/* Every row: its first and its last byte. */
static void check(struct fixture *x, const struct table_place *p, const struct symbolizer_rows *r)
{
	show_kernel(x);
	for (size_t i = 0; i < r->rows.n; i++) {
		uint64_t start = r->end.low + r->rows.data[i].offset;
		uint64_t end =
			i + 1 < r->rows.n ? r->end.low + r->rows.data[i + 1].offset : r->end.high;

		check_at(x, p, r, i, start);
		check_at(x, p, r, i, end - 1);
		check_at(x, p, r, i, start + (end - start) / 2);
	}
}

static void place_and_check(struct fixture *x, struct symbolizer_rows r)
{
	struct table_place p = put(x, &r);

	check(x, &p, &r);
	symbolizer_rows_deinit(&r);
}

static void test_every_byte_of_a_small_file_is_found(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_rows r = file(0x401000, 0x1800);
	struct table_place p;
	size_t row = 0;

	static const uint32_t at[] = { 0, 1, 511, 512, 513, 1023, 1025, 2048, 4095, 4096, 6143 };

	for (uint32_t i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		add_row(&r, at[i], i % 7);
	p = put(x, &r);
	show_kernel(x);
	for (uint64_t i = 0; i < 0x1800; i++) {
		if (row + 1 < r.rows.n && r.rows.data[row + 1].offset <= i)
			row++;
		check_at(x, &p, &r, row, 0x401000 + i);
	}
	assert_int_equal(row, r.rows.n - 1);
	assert_null(kernel_find(x, &p, 0x401000 + 0x1800));
	symbolizer_rows_deinit(&r);
}

static void test_text_that_begins_inside_a_granule(void **state)
{
	for (uint64_t low = 0x1000; low < 0x1200; low += 17) {
		struct fixture *x = *state;
		struct symbolizer_rows r = dense(low, 1500, 3);
		struct table_place p = put(x, &r);

		assert_int_equal(p.base, 0x1000);
		check(x, &p, &r);
		assert_int_equal(kernel_find(x, &p, low - 1) == NULL, low == 0x1000);
		if (low > 0x1000) /* before the text: a gap */
			assert_int_equal(kernel_find(x, &p, low - 1)->kind, PP_RULE_GAP);
		symbolizer_rows_deinit(&r);
	}
}

static void test_granules_full_of_rows(void **state)
{
	place_and_check(*state, dense(0x1000, 16 * GRANULE, 1));
}

static void test_granules_without_rows(void **state)
{
	struct symbolizer_rows r = file(0x1000, 1u << 20);

	add_row(&r, 0, 1);
	add_row(&r, 100000, 2);
	add_row(&r, (1u << 20) - 1, 3);
	place_and_check(*state, r);
}

static void test_one_row(void **state)
{
	place_and_check(*state, dense(0x1000, 1, 1));
	place_and_check(*state, dense(0xfffffffffffff000, 0xfff, 4096));
}

static void test_rows_and_hints_over_chunks_and_slabs(void **state)
{
	struct fixture *x = *state;

	place_and_check(x, dense(0x1000, 1u << 20, 5)); /* 200 k rows: 13 chunks */
	place_and_check(x,
			dense(0x1234, 1u << 20, 1)); /* 1 M rows: 4 slabs, no granule with room */
	place_and_check(x, dense(0x1000, 1u << 24, 4096)); /* 32 k hints: their chunks meet, too */
	assert_true(x->t.n_slabs >= 5);
}

/* Each file begins one word further than the one before: every edge comes to stand everywhere. */
static void test_every_position_in_a_chunk(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_rows small = dense(0x1000, 4 * GRANULE, 50), large;

	large = dense(0x1000, 8 * GRANULE, 1);
	for (int i = 0; i < 700; i++) {
		struct table_place p = put(x, i % 2 ? &large : &small);

		check(x, &p, i % 2 ? &large : &small);
	}
	symbolizer_rows_deinit(&small);
	symbolizer_rows_deinit(&large);
}

static void test_rules_are_shared_by_all_files(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_rows r = dense(0x1000, 4096, 16);

	place_and_check(x, dense(0x1000, 4096, 16));
	assert_int_equal(x->t.n_rules, 1 + 7);
	assert_int_equal(x->t.rules[0].kind, PP_RULE_GAP);
	add_rule(&r, 1000);
	r.rows.data[3].rule = 7;
	place_and_check(x, r);
	assert_int_equal(x->t.n_rules, 1 + 7 + 1);
	assert_int_equal(x->t.n_full, 0);
}

static void test_rules_past_the_limit_are_gaps_and_counted(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_rows r = { .end = { .low = 0x1000, .high = 0x1000 + PP_MAX_RULES } };
	struct table_place p;

	for (int i = 0; i < PP_MAX_RULES; i++) {
		add_rule(&r, i);
		add_row(&r, (uint32_t)i, (uint32_t)i);
	}
	p = put(x, &r); /* the gap is a rule as well */
	assert_int_equal(x->t.n_rules, PP_MAX_RULES);
	assert_int_equal(x->t.n_full, 1);
	show_kernel(x);
	check_at(x, &p, &r, PP_MAX_RULES - 2, 0x1000 + PP_MAX_RULES - 2);
	assert_int_equal(kernel_find(x, &p, 0x1000 + PP_MAX_RULES - 1)->kind, PP_RULE_GAP);
	symbolizer_rows_deinit(&r);
}

static void test_forgotten_words_are_used_again(void **state)
{
	struct fixture *x = *state;
	struct table_place p[40];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 40; i++) {
			struct symbolizer_rows r = dense(0x1000, 100000 + (uint64_t)i * 1000, 4);

			p[i] = put(x, &r);
			symbolizer_rows_deinit(&r);
		}
		for (int i = 0; i < 40; i++) /* in an order of its own */
			tables_forget(&x->t, &p[i * 7 % 40]);
		tables_collect(&x->t);
		assert_int_equal(x->t.words.free.n, 1);
		assert_int_equal(x->t.words.free.data[0].n, x->t.n_slabs * SLAB);
	}
	assert_true(x->t.n_slabs <= 6);
}

static void test_words_are_not_given_away_before_they_are_collected(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_rows large = dense(0x1000, 40960, 4), r = dense(0x1000, 4096, 4);
	struct table_place a = put(x, &large), b;

	tables_forget(&x->t, &a);
	b = put(x, &r);
	assert_true(b.words.first >= a.words.first + a.words.n);
	tables_collect(&x->t);
	b = put(x, &r);
	assert_int_equal(b.words.first, a.words.first);
	symbolizer_rows_deinit(&large);
	symbolizer_rows_deinit(&r);
}

static void test_forgetting_much_collects_by_itself(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_rows r = dense(0x1000, 4096, 4);

	for (int i = 0; i < 500; i++) {
		struct table_place p = put(x, &r);

		tables_forget(&x->t, &p);
	}
	assert_int_equal(x->t.n_slabs, 1);
	assert_true(x->t.old_words.n <= 65);
	symbolizer_rows_deinit(&r);
}

static void test_no_two_files_share_a_word(void **state)
{
	enum { N = 60 };
	struct fixture *x = *state;
	struct symbolizer_rows r[N];
	struct table_place p[N];
	uint32_t seed = 1;

	for (int i = 0; i < N; i++) {
		r[i] = dense(0x1000 + (uint64_t)i, 1000 + (uint64_t)i * 777,
			     (uint32_t)(1 + i % 30));
		p[i] = put(x, &r[i]);
	}
	for (int round = 0; round < 150; round++) {
		int i = (int)((seed = seed * 1103515245 + 12345) >> 16) % N;

		tables_forget(&x->t, &p[i]);
		if (round % 10 == 0)
			tables_collect(&x->t);
		p[i] = put(x, &r[i]);
	}
	for (int i = 0; i < N; i++) {
		check(x, &p[i], &r[i]);
		for (int k = 0; k < i; k++)
			assert_true(p[i].words.first + p[i].words.n <= p[k].words.first ||
				    p[k].words.first + p[k].words.n <= p[i].words.first);
	}
	for (int i = 0; i < N; i++)
		symbolizer_rows_deinit(&r[i]);
}

static void test_file_larger_than_the_tables_is_refused_and_counted(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_rows r = file(0x1000, UINT32_MAX);
	struct table_place p = { .n_granules = 7 };

	for (uint32_t i = 0; i < 1000; i++)
		add_row(&r, i, i % 7);
	/* 8 M granules, two words each: 64 slabs and a bit, of 256 */
	for (int i = 0; i < 3; i++)
		assert_int_equal(tables_place(&x->t, &r, &p), 0);
	assert_int_equal(tables_place(&x->t, &r, &p), -ENOSPC);
	assert_int_equal(x->t.n_full, 1);
	symbolizer_rows_deinit(&r);
	r = dense(0x2000, 1000, 10); /* a small one has room still */
	place_and_check(x, r);
}

static void test_brokers_refusal_is_passed_up(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_rows r = dense(0x1000, 4096, 4);
	struct table_place p;

	x->refuse = -EPERM;
	assert_int_equal(tables_place(&x->t, &r, &p), -EPERM);
	x->refuse = 0;
	assert_int_equal(tables_place(&x->t, &r, &p), 0);
	check(x, &p, &r);
	symbolizer_rows_deinit(&r);
}

static uint64_t list(struct fixture *x, uint32_t n, uint64_t first)
{
	struct pp_mapping *m = calloc(n, sizeof(*m));
	uint64_t words = 0;

	assert_non_null(m);
	for (uint32_t i = 0; i < n; i++)
		m[i] = (struct pp_mapping){ .start = first + i * 0x2000,
					    .end = first + i * 0x2000 + 0x1000 };
	assert_int_equal(tables_list(&x->t, m, n, &words), 0);
	free(m);
	return words;
}

static void test_lists_are_found_by_the_kernel(void **state)
{
	struct fixture *x = *state;
	uint64_t a = list(x, 100, 0x10000), b = list(x, 1, 0x10000), c = list(x, 3000, 0x50000);

	show_kernel(x);
	assert_int_equal(PP_LIST_N(a), 100);
	assert_int_equal(pp_find_mapping(PP_LIST_FIRST(a), PP_LIST_N(a), 0x10fff), PP_LIST_FIRST(a));
	assert_int_equal(pp_find_mapping(PP_LIST_FIRST(b), PP_LIST_N(b), 0x10fff), PP_LIST_FIRST(b));
	assert_int_equal(pp_find_mapping(PP_LIST_FIRST(b), PP_LIST_N(b), 0x12000), -1);
	for (uint32_t i = 0; i < 3000; i++)
		assert_int_equal(pp_find_mapping(PP_LIST_FIRST(c), PP_LIST_N(c),
						 0x50000 + i * 0x2000 + 5),
				 PP_LIST_FIRST(c) + i);
}

static void test_empty_list_takes_no_room(void **state)
{
	struct fixture *x = *state;
	uint64_t words = 5;

	assert_int_equal(tables_list(&x->t, NULL, 0, &words), 0);
	assert_int_equal(PP_LIST_N(words), 0);
	tables_forget_list(&x->t, words);
	assert_int_equal(x->t.lists.free.data[0].n, PP_MAX_MAPPINGS);
}

static void test_full_lists_are_collected_before_one_is_refused(void **state)
{
	static const struct pp_mapping many[PP_MAX_MAPPINGS];
	struct fixture *x = *state;
	uint64_t a = list(x, PP_MAX_MAPPINGS / 2, 0), b = list(x, PP_MAX_MAPPINGS / 2, 0), c;

	assert_int_equal(tables_list(&x->t, many, 1, &c), -ENOSPC);
	assert_int_equal(x->t.n_full, 1);
	tables_forget_list(&x->t, b);
	c = list(x, PP_MAX_MAPPINGS / 2, 0);
	assert_true(PP_LIST_FIRST(b) == PP_LIST_FIRST(c) && b != c); /* the place is the same, the list is not */
	tables_forget_list(&x->t, a);
	tables_forget_list(&x->t, c);
	assert_int_equal(tables_list(&x->t, many, PP_MAX_MAPPINGS, &c), 0);
}

static void test_files_that_wait_are_collected_before_one_is_refused(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_rows r = file(0x1000, UINT32_MAX);
	struct table_place p[3], last;

	add_row(&r, 0, 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(tables_place(&x->t, &r, &p[i]), 0);
	tables_forget(&x->t, &p[1]);
	tables_forget(&x->t, &p[0]);
	assert_int_equal(tables_place(&x->t, &r, &last), 0);
	assert_int_equal(last.words.first, p[0].words.first);
	symbolizer_rows_deinit(&r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_byte_of_a_small_file_is_found),
		TEST(test_text_that_begins_inside_a_granule),
		TEST(test_granules_full_of_rows),
		TEST(test_granules_without_rows),
		TEST(test_one_row),
		TEST(test_rows_and_hints_over_chunks_and_slabs),
		TEST(test_every_position_in_a_chunk),
		TEST(test_rules_are_shared_by_all_files),
		TEST(test_rules_past_the_limit_are_gaps_and_counted),
		TEST(test_forgotten_words_are_used_again),
		TEST(test_words_are_not_given_away_before_they_are_collected),
		TEST(test_forgetting_much_collects_by_itself),
		TEST(test_no_two_files_share_a_word),
		TEST(test_file_larger_than_the_tables_is_refused_and_counted),
		TEST(test_brokers_refusal_is_passed_up),
		TEST(test_lists_are_found_by_the_kernel),
		TEST(test_empty_list_takes_no_room),
		TEST(test_full_lists_are_collected_before_one_is_refused),
		TEST(test_files_that_wait_are_collected_before_one_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
