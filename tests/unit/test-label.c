/* SPDX-License-Identifier: Apache-2.0 */

/* Sets of labels as the kernel stores them: what they say, what hostile ones do not. Keys that a process publishes. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "daemon/serve/label.h"

struct world {
	struct target_labels t;
	uint64_t words[PP_MAX_WORDS];
	uint32_t n;
	struct label found[LABEL_MAX];
};

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct world));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void slot(struct world *w, const char *key, const char *value)
{
	struct pp_label l = { (uint8_t)strlen(key), (uint8_t)strlen(value), "" };

	memcpy(l.text, key, l.n_key);
	memcpy(l.text + l.n_key, value, l.n_value);
	memcpy(&w->words[w->n], &l, sizeof(l));
	w->n += (l.n_key + l.n_value + 2u + 7) / 8;
}

static void otel(struct world *w, uint8_t trace, uint8_t span, const void *attributes, uint32_t n)
{
	uint32_t n_words = 3 + (n + 7) / 8;

	w->words[w->n++] = PP_LABEL_BLOCK(PP_LABELS_OTEL, n_words, n);
	memset(&w->words[w->n], trace, 16);
	memset(&w->words[w->n + 2], span, 8);
	memcpy(&w->words[w->n + 3], attributes, n);
	w->n += n_words;
}

static uint32_t decode(struct world *w)
{
	return label_decode(w->words, w->n, &w->t, w->found);
}

static void check(const struct world *w, uint32_t i, const char *key, const char *value)
{
	assert_string_equal(w->found[i].key, key);
	assert_string_equal(w->found[i].value, value);
}

static void test_slots(void **state)
{
	struct world *w = *state;

	w->words[w->n++] = PP_LABEL_BLOCK(PP_LABELS_OURS, 4, 0);
	slot(w, "role", "one");
	slot(w, "empty", "");
	slot(w, "", "no key");
	w->words[w->n++] = PP_LABEL_BLOCK(PP_LABELS_CUSTOM, 6, 0);
	slot(w, "role", "of the second source");
	slot(w, "city", "K\xc3\xb6ln\n\xff");
	assert_int_equal(decode(w), 2);
	check(w, 0, "role", "one");
	check(w, 1, "city", "K\xc3\xb6ln??");
}

static void test_attributes(void **state)
{
	static const uint8_t attributes[] = "\0\1a\1\1b\0\1c\7\1d\1\0";
	struct world *w = *state;

	w->t.keys[0] = (char *)"route";
	w->t.keys[1] = (char *)"method";
	w->t.n_keys = 2;
	otel(w, 0x5a, 0xc3, attributes, sizeof(attributes) - 1);
	assert_int_equal(decode(w), 4);
	check(w, 0, "trace_id", "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a");
	check(w, 1, "span_id", "c3c3c3c3c3c3c3c3");
	check(w, 2, "route", "c"); /* the last one of a key counts */
	check(w, 3, "method", "b");
}

static void test_attribute_that_is_cut(void **state)
{
	static const uint8_t attributes[] = "\0\1a\1\11b";
	struct world *w = *state;

	w->t.keys[0] = (char *)"route";
	w->t.keys[1] = (char *)"method";
	w->t.n_keys = 2;
	otel(w, 0, 0, attributes, sizeof(attributes) - 1);
	assert_int_equal(decode(w), 1);
	check(w, 0, "route", "a");
}

static void test_a_set_is_no_longer_than_it_is(void **state)
{
	struct world *w = *state;

	w->words[w->n++] = PP_LABEL_BLOCK(PP_LABELS_OURS, 16, 0); /* one word of which is there */
	w->words[w->n++] = 0x0101;
	assert_int_equal(decode(w), 0);
	w->n = 0;
	w->words[w->n++] = PP_LABEL_BLOCK(PP_LABELS_OURS, 8, 0);
	w->words[w->n] = 0xffff; /* more bytes than a slot has */
	w->n += 8;
	w->words[w->n++] = PP_LABEL_BLOCK(PP_LABELS_OTEL, 3, 0xffff);
	w->n += 3;
	w->words[w->n++] = PP_LABEL_BLOCK(PP_LABELS_OTEL, 1, 8); /* without its head */
	w->words[w->n++] = UINT64_MAX;
	decode(w);
}

static void test_any_bytes(void **state)
{
	struct world *w = *state;

	w->t.keys[0] = (char *)"k";
	w->t.n_keys = 1;
	srand(7);
	for (int i = 0; i < 20000; i++) {
		w->n = (uint32_t)rand() % PP_MAX_WORDS;
		for (uint32_t k = 0; k < w->n; k++)
			w->words[k] = (uint64_t)rand() << 32 ^ (uint64_t)rand() << 7 ^ (uint64_t)rand() % 3;
		assert_true(decode(w) <= LABEL_MAX);
	}
}

static void test_more_than_fit(void **state)
{
	struct world *w = *state;
	char key[] = "a0";

	for (int block = 0; block < 4; block++) {
		w->words[w->n++] = PP_LABEL_BLOCK(PP_LABELS_OURS, 8, 0);
		for (int i = 0; i < 8; i++) {
			key[0] = (char)('a' + block);
			key[1] = (char)('0' + i);
			slot(w, key, "v");
		}
	}
	assert_int_equal(decode(w), LABEL_MAX);
}

static void test_list_stands_behind_our_own(void **state)
{
	struct capture_label labels[CAPTURE_MAX_LABELS] = { { 0 } };
	struct world *w = *state;
	struct totals t = { 0 };
	struct capture *c;
	uint32_t set;

	assert_int_equal(capture_new(NULL, &c), 0);
	w->words[w->n++] = PP_LABEL_BLOCK(PP_LABELS_OURS, 2, 0);
	slot(w, "role", "one");
	set = totals_labels(&t, 1, w->words, w->n);
	assert_int_equal(set, 1);
	assert_int_equal(totals_labels(&t, 1, w->words, w->n), 1);
	assert_int_equal(label_list(c, &t, 0, &w->t, labels, 1), 1);
	assert_int_equal(label_list(c, &t, set, &w->t, labels, 1), 2);
	assert_string_equal(c->strings.data[labels[1].key], "role");
	assert_string_equal(c->strings.data[labels[1].value], "one");
	capture_free(c);
	totals_deinit(&t);
}

/* An image has so many, all of them together so many; what is known is found again. */
static void test_sets_are_bounded(void **state)
{
	struct world *w = *state;
	struct totals t = { 0 };
	char name[TOTALS_NAME] = "t";
	uint64_t word = 1;
	uint32_t row;

	for (uint32_t image = 1; image <= 8; image++)
		for (uint32_t i = 0; i < TOTALS_IMAGE_LABELS + 10; i++) {
			w->words[0] = (uint64_t)image << 32 | i;
			totals_labels(&t, image, w->words, 1);
		}
	assert_int_equal(t.label_sets.all.n, TOTALS_MAX_LABELS);
	assert_int_equal(t.n_unlabelled, 4 * 10 + 4 * (TOTALS_IMAGE_LABELS + 10));
	w->words[0] = 1ull << 32 | 5;
	assert_int_equal(totals_labels(&t, 1, w->words, 1), 6);
	row = totals_labelled_row(&t, 1, PP_CPU, 0, &word, 1, name, w->words, 1);
	assert_int_equal(t.names.data[t.rows.data[row].name].labels, 6);
	w->words[0] = 99ull << 32;
	row = totals_labelled_row(&t, 1, PP_CPU, 0, &word, 1, name, w->words, 1);
	assert_int_equal(t.names.data[t.rows.data[row].name].labels, 0);
	assert_int_equal(totals_row(&t, 1, PP_CPU, &word, 1, name), row);
	totals_deinit(&t);
}

static void field(struct bytes *to, unsigned number, const struct bytes *of)
{
	const uint8_t head[] = { (uint8_t)(number << 3 | 2), (uint8_t)of->n };

	bytes_add(to, head, sizeof(head));
	bytes_add(to, of->data, of->n);
}

static void test_keys(void **state)
{
	struct bytes text = BYTES_INIT, value = BYTES_INIT, values = BYTES_INIT, array = BYTES_INIT, name = BYTES_INIT,
		     pair = BYTES_INIT, resource = BYTES_INIT, outer = BYTES_INIT;
	char *keys[LABEL_MAX_KEYS];

	(void)state;
	bytes_puts(&text, "http.route");
	field(&value, 1, &text);
	field(&values, 1, &value);
	bytes_clear(&value); /* no string: the place is kept */
	field(&values, 1, &value);
	bytes_clear(&text);
	bytes_puts(&text, "method");
	field(&value, 1, &text);
	field(&values, 1, &value);
	field(&array, 5, &values);
	bytes_puts(&name, "threadlocal.attribute_key_map");
	field(&pair, 1, &name);
	field(&pair, 2, &array);
	field(&resource, 1, &pair);
	field(&outer, 1, &resource);
	assert_int_equal(label_read_keys(resource.data, resource.n, keys), 3);
	assert_string_equal(keys[0], "http.route");
	assert_string_equal(keys[1], "");
	assert_string_equal(keys[2], "method");
	for (int i = 0; i < 3; i++)
		free(keys[i]);
	assert_int_equal(label_read_keys(outer.data, outer.n, keys), 3);
	for (int i = 0; i < 3; i++)
		free(keys[i]);
	for (size_t n = 0; n < outer.n; n++) { /* cut anywhere */
		uint32_t some = label_read_keys(outer.data, n, keys);

		while (some)
			free(keys[--some]);
	}
	bytes_deinit(&text);
	bytes_deinit(&value);
	bytes_deinit(&values);
	bytes_deinit(&array);
	bytes_deinit(&name);
	bytes_deinit(&pair);
	bytes_deinit(&resource);
	bytes_deinit(&outer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_attributes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_attribute_that_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_set_is_no_longer_than_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(test_any_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_than_fit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_list_stands_behind_our_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sets_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
