/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <zlib.h>

#include "daemon/serve/encode.h"
#include "daemon/serve/profile.h"
#include "proto/profile.pb-c.h"

struct world {
	struct capture *c;
	struct naming *n, naming;
	struct bytes gz;
	Perftools__Profiles__Profile *m; /* after decode() */
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w || capture_new(profile_find("profile"), &w->c) < 0)
		return -1;
	w->n = &w->naming;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	capture_free(w->c);
	naming_free(w->n);
	bytes_deinit(&w->gz);
	if (w->m)
		perftools__profiles__profile__free_unpacked(w->m, NULL);
	free(w);
	return 0;
}

static uint32_t function(struct world *w, const char *name, const char *file, uint32_t start)
{
	struct naming_function f = { name, name, file, start };

	assert_int_equal(vec_push(&w->n->functions, f), 0);
	return (uint32_t)w->n->functions.n - 1;
}

/* As namer.c fills it. */
static void add_location(struct naming *n, uint64_t word, struct naming_location l)
{
	uint64_t h = hash_u64(HASH_SEED, word);

	assert_int_equal(hash_put(&n->word_index, h, (uint32_t)n->words.n), 0);
	assert_int_equal(vec_push(&n->words, word), 0);
	assert_int_equal(vec_push(&n->locations, l), 0);
}

/* A location of n lines (innermost first) for a word, which is its address, too. */
static void location(struct world *w, uint64_t word, uint32_t mapping, uint32_t n,
		     const struct naming_line *lines)
{
	struct naming_location l = { word, 0, mapping, (uint32_t)w->n->lines.n, n, NULL };

	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(vec_push(&w->n->lines, lines[i]), 0);
	add_location(w->n, word, l);
}

static void simple(struct world *w, uint64_t word, const char *name)
{
	struct naming_line line = { function(w, name, "/src/a.c", 1), 2 };

	location(w, word, 0, 1, &line);
}

static void mapping(struct world *w, const char *file, const char *id, bool detailed)
{
	uint64_t start = (w->n->mappings.n + 1) << 20;
	struct naming_mapping m = {
		start, start + 4096, 64, file, id, detailed, detailed, detailed
	};

	assert_int_equal(vec_push(&w->n->mappings, m), 0);
}

static void sample(struct world *w, uint32_t n, const uint64_t *words, uint32_t labels, int64_t a,
		   int64_t b)
{
	struct capture_sample s = { capture_stack(w->c, words, n), labels, { a, b } };

	assert_int_equal(capture_add(w->c, s), 0);
}

static uint32_t string(struct world *w, const char *s)
{
	return capture_string(w->c, s, strlen(s));
}

static Perftools__Profiles__Profile *decode(struct world *w)
{
	z_stream z = { .next_in = NULL };
	size_t cap = 128ul << 20;
	uint8_t *raw = malloc(cap);

	assert_non_null(raw);
	assert_int_equal(encode_pprof(w->c, w->n, &w->gz), 0);
	assert_int_equal(inflateInit2(&z, MAX_WBITS + 16), Z_OK);
	z.next_in = (uint8_t *)w->gz.data;
	z.avail_in = (uInt)w->gz.n;
	z.next_out = raw;
	z.avail_out = (uInt)cap;
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.avail_in, 0); /* one member */
	w->m = perftools__profiles__profile__unpack(NULL, z.total_out, raw);
	inflateEnd(&z);
	free(raw);
	assert_non_null(w->m);
	return w->m;
}

static const char *text(const Perftools__Profiles__Profile *m, int64_t index)
{
	assert_in_range(index, 0, m->n_string_table - 1);
	return m->string_table[index];
}

/* Name of the k-th line of the i-th location of a sample. */
static const char *frame(const Perftools__Profiles__Profile *m, size_t at, size_t i, size_t k)
{
	uint64_t id = m->sample[at]->location_id[i];

	id = m->location[id - 1]->line[k]->function_id;
	return text(m, m->function[id - 1]->name);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What holds for every profile. */
static void check(const Perftools__Profiles__Profile *m)
{
	char **sorted = malloc(m->n_string_table * sizeof(*sorted));

	assert_string_equal(text(m, 0), "");
	for (size_t i = 0; i < m->n_mapping; i++) {
		assert_int_equal(m->mapping[i]->id, i + 1);
		assert_true(m->mapping[i]->has_functions);
	}
	for (size_t i = 0; i < m->n_function; i++) {
		assert_int_equal(m->function[i]->id, i + 1);
		assert_string_not_equal(text(m, m->function[i]->name), "");
	}
	for (size_t i = 0; i < m->n_location; i++) {
		const Perftools__Profiles__Location *l = m->location[i];

		assert_int_equal(l->id, i + 1);
		assert_in_range(l->mapping_id, 0, m->n_mapping);
		assert_true(l->n_line > 0);
		for (size_t k = 0; k < l->n_line; k++)
			assert_in_range(l->line[k]->function_id, 1, m->n_function);
	}
	for (size_t i = 0; i < m->n_sample; i++) {
		const Perftools__Profiles__Sample *s = m->sample[i];

		assert_int_equal(s->n_value, m->n_sample_type);
		for (size_t k = 0; k < s->n_location_id; k++)
			if (s->location_id[k] - 1 >= m->n_location)
				fail();
		for (size_t k = 0; k < s->n_label; k++)
			assert_string_not_equal(text(m, s->label[k]->key), "");
	}
	assert_non_null(sorted);
	memcpy(sorted, m->string_table, m->n_string_table * sizeof(*sorted));
	qsort(sorted, m->n_string_table, sizeof(*sorted), by_text);
	for (size_t i = 1; i < m->n_string_table; i++)
		assert_string_not_equal(sorted[i - 1], sorted[i]);
	free(sorted);
}

static void test_empty_capture_is_a_valid_profile(void **state)
{
	struct world *w = *state;
	Perftools__Profiles__Profile *m;

	w->c->time_ns = 1700000000123456789;
	w->c->duration_ns = 30000000001;
	w->c->period = 10000000;
	mapping(w, "/usr/bin/redis-server", "abcd", true);
	mapping(w, "[vdso]", "", false);
	m = decode(w);
	check(m);
	assert_int_equal(m->n_sample_type, 2);
	assert_string_equal(text(m, m->sample_type[0]->type), "samples");
	assert_string_equal(text(m, m->sample_type[0]->unit), "count");
	assert_string_equal(text(m, m->sample_type[1]->type), "cpu");
	assert_string_equal(text(m, m->sample_type[1]->unit), "nanoseconds");
	assert_string_equal(text(m, m->period_type->type), "cpu");
	assert_string_equal(text(m, m->period_type->unit), "nanoseconds");
	assert_true(m->period == 10000000);
	assert_true(m->time_nanos == 1700000000123456789);
	assert_true(m->duration_nanos == 30000000001);
	assert_true(m->default_sample_type == 0);
	assert_int_equal(m->n_sample + m->n_location + m->n_function + m->n_comment, 0);
	assert_int_equal(m->n_mapping, 2);
}

static void test_nothing_at_all_is_a_valid_profile(void **state)
{
	Perftools__Profiles__Profile *m = decode(*state);

	check(m);
	assert_int_equal(m->n_sample_type, 2);
	assert_int_equal(m->n_mapping, 0);
}

static void test_gzip_header_is_gos(void **state)
{
	struct world *w = *state;

	decode(w);
	assert_memory_equal(w->gz.data, "\x1f\x8b\x08\0\0\0\0\0\x04\xff", 10);
}

static void test_mappings_keep_their_order_and_flags(void **state)
{
	struct world *w = *state;
	Perftools__Profiles__Profile *m;

	mapping(w, "/bin/main", "0123abcd", true);
	mapping(w, "/lib/libstripped.so", "", false);
	mapping(w, "[kernel.kallsyms]", NULL, false);
	m = decode(w);
	check(m);
	assert_int_equal(m->n_mapping, 3);
	assert_string_equal(text(m, m->mapping[0]->filename), "/bin/main");
	assert_string_equal(text(m, m->mapping[0]->build_id), "0123abcd");
	assert_true(m->mapping[0]->has_filenames && m->mapping[0]->has_line_numbers &&
		    m->mapping[0]->has_inline_frames);
	assert_int_equal(m->mapping[0]->memory_start, 1 << 20);
	assert_int_equal(m->mapping[0]->memory_limit, (1 << 20) + 4096);
	assert_int_equal(m->mapping[0]->file_offset, 64);
	assert_false(m->mapping[1]->has_filenames || m->mapping[1]->has_line_numbers ||
		     m->mapping[1]->has_inline_frames);
	assert_true(m->mapping[1]->build_id == 0);
	assert_string_equal(text(m, m->mapping[2]->filename), "[kernel.kallsyms]");
}

static void test_ids_follow_first_use(void **state)
{
	struct world *w = *state;
	const uint64_t one[] = { 30, 10 }, two[] = { 20, 30, 10 };
	Perftools__Profiles__Profile *m;

	simple(w, 10, "main");
	simple(w, 20, "leaf");
	simple(w, 30, "middle");
	simple(w, 40, "unused");
	sample(w, 2, one, 0, 1, 100);
	sample(w, 3, two, 0, 2, 200);
	m = decode(w);
	check(m);
	assert_int_equal(m->n_location, 3);
	assert_int_equal(m->n_function, 3);
	assert_int_equal(m->location[0]->address, 30);
	assert_int_equal(m->location[1]->address, 10);
	assert_int_equal(m->location[2]->address, 20);
	/* leaf first */
	assert_int_equal(m->sample[1]->n_location_id, 3);
	assert_string_equal(frame(m, 1, 0, 0), "leaf");
	assert_string_equal(frame(m, 1, 1, 0), "middle");
	assert_string_equal(frame(m, 1, 2, 0), "main");
	assert_true(m->sample[1]->value[0] == 2 && m->sample[1]->value[1] == 200);
}

static void test_inlined_calls_come_first_in_a_location(void **state)
{
	struct world *w = *state;
	uint32_t out = function(w, "outer", "/src/a.c", 5);
	uint32_t in = function(w, "inner", "/src/a.h", 6);
	const struct naming_line lines[] = { { in, 66 }, { in, 67 }, { out, 55 } };
	const uint64_t word = 0x1000;
	Perftools__Profiles__Profile *m;

	mapping(w, "/bin/main", "", true);
	location(w, word, 1, 3, lines);
	sample(w, 1, &word, 0, 1, 1);
	m = decode(w);
	check(m);
	assert_int_equal(m->n_location, 1);
	assert_int_equal(m->location[0]->n_line, 3);
	assert_int_equal(m->location[0]->mapping_id, 1);
	assert_string_equal(frame(m, 0, 0, 0), "inner");
	assert_string_equal(frame(m, 0, 0, 2), "outer");
	assert_true(m->location[0]->line[0]->line == 66);
	assert_true(m->location[0]->line[1]->line == 67);
	assert_true(m->location[0]->line[2]->line == 55);
	assert_true(m->location[0]->line[0]->column == 0);
	assert_int_equal(m->n_function, 2);
	assert_true(m->function[0]->start_line == 6);
}

static void test_equal_functions_are_one(void **state)
{
	struct world *w = *state;
	uint32_t f[] = { function(w, "f", "/a.h", 1), function(w, "f", "/a.h", 1),
			 function(w, "f", "/a.h", 2), function(w, "f", "/b.h", 1),
			 function(w, "g", "/a.h", 1) };
	const uint64_t words[] = { 1, 2, 3, 4, 5, 6 };
	Perftools__Profiles__Profile *m;

	for (uint32_t i = 0; i < 5; i++)
		location(w, words[i], 0, 1, &(struct naming_line){ f[i], i });
	w->n->functions.data[f[4]].system_name = "_Z1gv";
	location(w, 6, 0, 1, &(struct naming_line){ function(w, "g", "/a.h", 1), 9 });
	sample(w, 6, words, 0, 1, 1);
	m = decode(w);
	check(m);
	assert_int_equal(m->n_location, 6);
	assert_int_equal(m->n_function, 5);
	assert_int_equal(m->location[0]->line[0]->function_id,
			 m->location[1]->line[0]->function_id);
	assert_string_equal(text(m, m->function[3]->system_name), "_Z1gv");
	assert_string_equal(text(m, m->function[3]->name), "g");
	assert_string_equal(text(m, m->function[4]->system_name), "g");
}

static void test_labels_are_sorted_and_never_empty(void **state)
{
	struct world *w = *state;
	uint32_t thread = string(w, "thread"), bytes = string(w, "bytes"), tid = string(w, "tid");
	const struct capture_label labels[] = { { tid, string(w, "77"), 0 },
						{ thread, string(w, "worker \"1\""), 0 },
						{ bytes, 0, 4096 },
						{ string(w, "empty"), 0, 0 } };
	const uint64_t word = 5;
	const Perftools__Profiles__Profile *m;
	Perftools__Profiles__Label **l;

	simple(w, word, "f");
	sample(w, 1, &word, capture_label_set(w->c, labels, 4), 1, 1);
	sample(w, 1, &word, 0, 1, 1);
	sample(w, 1, &word, capture_label_set(w->c, labels, 4), 1, 1);
	m = decode(w);
	check(m);
	assert_int_equal(m->sample[0]->n_label, 3);
	assert_int_equal(m->sample[1]->n_label, 0);
	assert_int_equal(m->sample[2]->n_label, 3);
	l = m->sample[0]->label;
	assert_string_equal(text(m, l[0]->key), "bytes");
	assert_true(l[0]->num == 4096 && !l[0]->str && !l[0]->num_unit);
	assert_string_equal(text(m, l[1]->key), "thread");
	assert_string_equal(text(m, l[1]->str), "worker \"1\"");
	assert_string_equal(text(m, l[2]->key), "tid");
	assert_true(!l[2]->num);
}

static void test_values_of_any_sign_pass(void **state)
{
	struct world *w = *state;
	const uint64_t word = 5;
	Perftools__Profiles__Profile *m;

	simple(w, word, "f");
	sample(w, 1, &word, 0, 0, 0);
	sample(w, 1, &word, 0, -1, INT64_MIN);
	sample(w, 0, NULL, 0, INT64_MAX, 0);
	m = decode(w);
	check(m);
	assert_int_equal(m->n_sample, 3);
	assert_true(m->sample[0]->value[0] == 0 && m->sample[0]->value[1] == 0);
	assert_true(m->sample[1]->value[0] == -1 && m->sample[1]->value[1] == INT64_MIN);
	assert_true(m->sample[2]->value[0] == INT64_MAX && m->sample[2]->value[1] == 0);
	assert_int_equal(m->sample[2]->n_location_id, 0);
}

static void test_frames_without_a_name_are_shown(void **state)
{
	struct world *w = *state;
	const uint64_t words[] = { 77, 5, 88, 6 };
	Perftools__Profiles__Profile *m;

	simple(w, 5, "f");
	location(w, 6, 0, 0, NULL); /* no lines: against the contract of naming.h */
	sample(w, 4, words, 0, 1, 1);
	m = decode(w);
	check(m);
	assert_int_equal(m->n_location, 3);
	assert_string_equal(frame(m, 0, 0, 0), "[unnamed]");
	assert_string_equal(frame(m, 0, 1, 0), "f");
	assert_int_equal(m->sample[0]->location_id[0], m->sample[0]->location_id[2]);
	assert_string_equal(frame(m, 0, 3, 0), "[unnamed]");
	assert_int_equal(m->n_function, 2);
}

static void test_hostile_names_become_utf8(void **state)
{
	struct world *w = *state;
	_cleanup_(freep) char *large = malloc(1025);
	const char *names[] = { "quote \" back \\ 'tick'",
				"bad \xff\xc0\x80 utf8",
				"cut \xe2\x82",
				"gr\xc3\xb6\xc3\x9f"
				"e \xe2\x82\xac \xf0\x9f\x98\x80",
				"a\nb\tc\x1b[2J",
				large };
	const char *want[] = { names[0], "bad ??? utf8", "cut ??", names[3], "a?b?c?[2J", large };
	const uint64_t words[] = { 1, 2, 3, 4, 5, 6 };
	Perftools__Profiles__Profile *m;

	memset(large, 'x', 1024);
	large[1024] = '\0';
	for (uint32_t i = 0; i < 6; i++)
		simple(w, words[i], names[i]);
	mapping(w, "/tmp/\xff\n", "", false);
	sample(w, 6, words, 0, 1, 1);
	assert_int_equal(capture_comment(w->c, "lost in %s", names[1]), 0);
	m = decode(w);
	check(m);
	for (size_t i = 0; i < 6; i++)
		assert_string_equal(frame(m, 0, i, 0), want[i]);
	assert_string_equal(text(m, m->mapping[0]->filename), "/tmp/??");
	assert_int_equal(m->n_comment, 1);
	assert_string_equal(text(m, m->comment[0]), "lost in bad ??? utf8");
}

static void test_names_that_are_equal_once_clean_are_one(void **state)
{
	struct world *w = *state;
	const uint64_t words[] = { 1, 2, 3 };
	Perftools__Profiles__Profile *m;

	simple(w, 1, "f\x01");
	simple(w, 2, "f\x02");
	simple(w, 3, "f?");
	sample(w, 3, words, 0, 1, 1);
	m = decode(w);
	check(m);
	assert_int_equal(m->n_location, 3);
	assert_int_equal(m->n_function, 1);
}

static void test_default_type_is_named(void **state)
{
	static const struct profile allocs = {
		.name = "allocs",
		.n_values = 2,
		.values = { { "alloc_space", "bytes" }, { "inuse_space", "bytes" } },
		.period_type = { "space", "bytes" },
		.default_type = "alloc_space",
	};
	struct world *w = *state;
	Perftools__Profiles__Profile *m;

	w->c->profile = &allocs;
	m = decode(w);
	check(m);
	assert_string_equal(text(m, m->default_sample_type), "alloc_space");
	assert_int_equal(m->default_sample_type, m->sample_type[0]->type);
}

static void test_profile_without_types_is_refused(void **state)
{
	struct world *w = *state;
	struct bytes out = { NULL, 42, 0, false };

	w->c->profile = profile_find("cmdline");
	assert_int_equal(encode_pprof(w->c, w->n, &out), -EINVAL);
	assert_int_equal(out.n, 42);
}

static void test_50000_samples_arrive(void **state)
{
	struct world *w = *state;
	int64_t samples = 0, ns = 0;
	char names[5000][16];
	uint64_t words[100];
	Perftools__Profiles__Profile *m;

	for (uint32_t i = 0; i < 5000; i++) {
		snprintf(names[i], sizeof(names[i]), "function %u", i);
		simple(w, 1000 + i, names[i]);
	}
	for (uint64_t i = 0; i < 50000; i++) {
		for (uint64_t k = 0; k < 100; k++)
			words[k] = 1000 + (i * (k + 1) * 7919 + k) % 5000;
		sample(w, 100, words, 0, (int64_t)i, (int64_t)i * 1000);
	}
	m = decode(w);
	check(m);
	assert_int_equal(m->n_sample, 50000);
	assert_int_equal(m->n_location, 5000);
	for (uint64_t i = 0; i < 50000; i++) {
		samples += m->sample[i]->value[0];
		ns += m->sample[i]->value[1];
		assert_int_equal(m->sample[i]->n_location_id, 100);
		for (uint64_t k = 0; k < 100; k += 33) {
			uint64_t address = m->location[m->sample[i]->location_id[k] - 1]->address;

			if (address != 1000 + (i * (k + 1) * 7919 + k) % 5000)
				fail();
		}
	}
	assert_true(samples == 50000ll * 49999 / 2 && ns == samples * 1000);
}

static void test_too_large_a_profile_is_refused(void **state)
{
	struct world *w = *state;
	struct bytes out = { NULL, 42, 0, false };
	struct capture_sample one = { .values = { 1, 1 } };
	uint64_t words[320];

	/* One stack of 320 locations takes some 500 bytes a sample, however small the capture. */
	for (uint64_t i = 0; i < 320; i++) {
		words[i] = i + 1;
		simple(w, words[i], "f");
	}
	one.stack = capture_stack(w->c, words, 320);
	for (int i = 0; i < 600000; i++)
		assert_int_equal(capture_add(w->c, one), 0);
	assert_int_equal(encode_pprof(w->c, w->n, &out), -E2BIG);
	assert_int_equal(out.n, 42);
}

static void test_table_of_profiles_is_sorted_and_complete(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_profiles; i++) {
		const struct profile *p = &profiles[i];

		assert_ptr_equal(profile_find(p->name), p);
		assert_true(!i || strcmp(profiles[i - 1].name, p->name) < 0);
		assert_true(strlen(p->help) > 20);
		assert_true(p->n_values <= CAPTURE_MAX_VALUES);
		assert_true((p->arm == PROFILE_INSTANT || p->arm == PROFILE_SYMBOL || p->arm == PROFILE_THREADS) ==
			    !p->collector);
		assert_true(!p->n_values == !p->period_type.type);
		for (unsigned k = 0; k < p->n_values; k++)
			assert_true(p->values[k].type && p->values[k].unit);
	}
	assert_null(profile_find("profil"));
	assert_null(profile_find(""));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_empty_capture_is_a_valid_profile),
		TEST(test_nothing_at_all_is_a_valid_profile),
		TEST(test_gzip_header_is_gos),
		TEST(test_mappings_keep_their_order_and_flags),
		TEST(test_ids_follow_first_use),
		TEST(test_inlined_calls_come_first_in_a_location),
		TEST(test_equal_functions_are_one),
		TEST(test_labels_are_sorted_and_never_empty),
		TEST(test_values_of_any_sign_pass),
		TEST(test_frames_without_a_name_are_shown),
		TEST(test_hostile_names_become_utf8),
		TEST(test_names_that_are_equal_once_clean_are_one),
		TEST(test_default_type_is_named),
		TEST(test_profile_without_types_is_refused),
		TEST(test_50000_samples_arrive),
		TEST(test_too_large_a_profile_is_refused),
		TEST(test_table_of_profiles_is_sorted_and_complete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
