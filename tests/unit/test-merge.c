/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/event.h"
#include "daemon/serve/merge.h"
#include "daemon/serve/profile.h"

struct one {
	struct capture *c;
	struct naming n;
};

static void name(struct one *x, uint64_t word, const char *text)
{
	struct naming_function f = { text, text, "/a.c", 1 };
	struct naming_line line = { (uint32_t)x->n.functions.n, 5 };
	struct naming_location l = { .address = word, .mapping = 1, .first_line = (uint32_t)x->n.lines.n, .n_lines = 1 };

	assert_int_equal(vec_push(&x->n.functions, f), 0);
	assert_int_equal(vec_push(&x->n.lines, line), 0);
	assert_int_equal(hash_put(&x->n.word_index, hash_u64(HASH_SEED, word), (uint32_t)x->n.words.n), 0);
	assert_int_equal(vec_push(&x->n.words, word), 0);
	assert_int_equal(vec_push(&x->n.locations, l), 0);
}

static void make(struct one *x, const char *raw)
{
	const uint64_t words[] = { PP_RAW(0x7000), PP_FRAME(3, 0x10) };
	struct naming_mapping m = { .start = 0x1000, .limit = 0x2000, .file = "/bin/x", .build_id = "ab" };
	struct capture_label label = { 0 };
	struct capture_sample s = { .values = { 2, 20 } };

	*x = (struct one){ 0 };
	assert_int_equal(capture_new(profile_find("block"), &x->c), 0);
	assert_int_equal(vec_push(&x->n.mappings, m), 0);
	name(x, words[0], raw);
	name(x, words[1], "common");
	s.stack = capture_stack(x->c, words, 2);
	label.key = capture_string(x->c, "thread", 6);
	label.value = capture_string(x->c, "main", 4);
	s.labels = capture_label_set(x->c, &label, 1);
	assert_int_equal(capture_add(x->c, s), 0);
	x->c->time_ns = 100;
}

static void drop(struct one *x)
{
	capture_free(x->c);
	naming_free(&x->n);
}

static const char *function_of(const struct merge *m, uint64_t word)
{
	uint32_t n;
	const struct naming_line *l = naming_lines(&m->names, naming_find(&m->names, word), &n);

	return naming_function(&m->names, l->function)->name;
}

static void test_two(void **state)
{
	struct merge m = MERGE_INIT;
	struct one a, b;
	uint64_t first, second;

	make(&a, "jitted in a");
	make(&b, "jitted in b");
	b.c->time_ns = 50;
	assert_int_equal(merge_add(&m, a.c, &a.n, 11), 0);
	assert_int_equal(merge_add(&m, b.c, &b.n, 22), 0);
	drop(&a); /* all of it was copied */
	drop(&b);
	assert_int_equal(m.n, 2);
	assert_int_equal(m.sum->time_ns, 50);
	assert_int_equal(m.sum->samples.n, 2);
	assert_int_equal(m.sum->stacks.n, 2);
	assert_int_equal(m.names.locations.n, 3); /* the common one is one */
	assert_int_equal(m.names.functions.n, 3);
	assert_int_equal(m.names.mappings.n, 1);
	first = m.sum->words.data[m.sum->stacks.data[0].first];
	second = m.sum->words.data[m.sum->stacks.data[1].first];
	assert_string_equal(function_of(&m, first), "jitted in a");
	assert_string_equal(function_of(&m, second), "jitted in b");
	assert_string_equal(function_of(&m, PP_FRAME(3, 0x10)), "common");
	for (size_t i = 0; i < 2; i++) {
		struct capture_labels set = m.sum->label_sets.data[m.sum->samples.data[i].labels - 1];
		const struct capture_label *l = &m.sum->labels.data[set.first];

		assert_int_equal(set.n, 2);
		assert_string_equal(m.sum->strings.data[l[0].key], "pid");
		assert_string_equal(m.sum->strings.data[l[0].value], i ? "22" : "11");
		assert_string_equal(m.sum->strings.data[l[1].value], "main");
	}
	merge_deinit(&m);
}

static void test_bounded(void **state)
{
	struct merge m = MERGE_INIT;
	struct one a;

	make(&a, "x");
	for (int i = 0; i < MERGE_MAX; i++)
		assert_int_equal(merge_add(&m, a.c, &a.n, i + 1), 0);
	assert_int_equal(merge_add(&m, a.c, &a.n, 999), -E2BIG);
	assert_int_equal(m.sum->samples.n, MERGE_MAX);
	drop(&a);
	merge_deinit(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_two), cmocka_unit_test(test_bounded) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
