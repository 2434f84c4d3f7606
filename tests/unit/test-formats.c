/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/serve/encode.h"
#include "daemon/serve/format/gunzip.h"
#include "daemon/serve/format/load.h"
#include "tests/unit/format_world.h"

static const enum format all[] = { FORMAT_TOP, FORMAT_FOLDED, FORMAT_SPEEDSCOPE, FORMAT_SVG, FORMAT_FIREFOX };

static void test_formats_have_names(void **state)
{
	assert_int_equal(format_find(NULL), FORMAT_PPROF);
	assert_int_equal(format_find("pprof"), FORMAT_PPROF);
	assert_int_equal(format_find("svg"), FORMAT_SVG);
	assert_int_equal(format_find("SVG"), FORMAT_NONE);
	assert_int_equal(format_find(""), FORMAT_NONE);
}

static void test_what_is_loaded_is_what_was_written(void **state)
{
	static const char *const profiles_of[] = { "profile", "heap", "offcpu" };

	for (size_t i = 0; i < 3; i++) {
		_cleanup_(bytes_deinit) struct bytes first = BYTES_INIT, again = BYTES_INIT;
		struct format_world w;
		struct loaded l;

		world_init(&w, profiles_of[i], 9);
		assert_int_equal(encode_pprof(w.c, &w.n, &first), 0);
		assert_int_equal(load_pprof(first.data, first.n, &l), 0);
		assert_int_equal(l.capture->samples.n, w.c->samples.n);
		assert_int_equal(encode_pprof(l.capture, &l.naming, &again), 0);
		assert_int_equal(again.n, first.n);
		assert_memory_equal(again.data, first.data, first.n);
		loaded_deinit(&l);
		world_deinit(&w);
	}
}

static void test_a_profile_of_nothing(void **state)
{
	_cleanup_(bytes_deinit) struct bytes pprof = BYTES_INIT;
	_cleanup_(capture_freep) struct capture *c = NULL;
	struct naming n = { 0 };

	assert_int_equal(capture_new(profile_find("heap"), &c), 0);
	assert_int_equal(encode_pprof(c, &n, &pprof), 0);
	for (size_t i = 0; i < 5; i++) {
		_cleanup_(bytes_deinit) struct bytes out = BYTES_INIT, loaded = BYTES_INIT;

		assert_int_equal(format_write(all[i], c, &n, NULL, &out), 0);
		assert_int_equal(load_and_write(&pprof, all[i], NULL, &loaded), 0);
	}
}

static void test_what_is_none_is_refused(void **state)
{
	_cleanup_(bytes_deinit) struct bytes pprof = BYTES_INIT, plain = BYTES_INIT;
	struct format_world w;
	struct loaded l;

	world_init(&w, "profile", 2);
	assert_int_equal(encode_pprof(w.c, &w.n, &pprof), 0);
	assert_int_equal(load_pprof("", 0, &l), -EBADMSG);
	assert_int_equal(load_pprof("plain text", 10, &l), -EBADMSG);
	for (size_t n = 0; n < pprof.n; n++) {
		assert_int_equal(load_pprof(pprof.data, n, &l), -EBADMSG);
		loaded_deinit(&l);
	}
	assert_int_equal(gunzip(pprof.data, pprof.n, 100, &plain), -E2BIG);
	bytes_clear(&plain);
	assert_int_equal(gunzip(pprof.data, pprof.n, 1 << 20, &plain), 0);
	/* whatever is in its bytes, it is a profile or an error */
	for (size_t i = 0; i < plain.n; i++) {
		char old = plain.data[i];

		plain.data[i] = (char)(old ^ 0x41);
		load_plain(plain.data, plain.n, &l);
		loaded_deinit(&l);
		plain.data[i] = old;
	}
	world_deinit(&w);
}

/* More functions than are drawn, and all as wide. */
static void test_a_picture_is_bounded(void **state)
{
	_cleanup_(bytes_deinit) struct bytes out = BYTES_INIT;
	struct format_world w;
	size_t n = 0;

	memset(&w, 0, sizeof(w));
	assert_int_equal(capture_new(profile_find("profile"), &w.c), 0);
	for (uint64_t i = 0; i < 3000; i++) {
		uint64_t words[8];

		for (uint64_t k = 0; k < 8; k++)
			words[k] = 1 + i * 8 + k;
		for (uint64_t k = 0; k < 8; k++)
			world_location(&w, words[k], 0, world_function(&w, "f", "", 0), 1);
		world_sample(&w, "t", 8, words, 1 + (int64_t)(i / 1000) * 1000);
	}
	assert_int_equal(format_svg(w.c, &w.n, "", &out), 0);
	for (const char *s = bytes_text(&out); (s = strstr(s, "<rect")); s++)
		n++;
	assert_true(n > 1 && n <= 10002);
	assert_non_null(strstr(out.data, "frames are too narrow to be drawn"));
	world_deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats_have_names),
		cmocka_unit_test(test_what_is_loaded_is_what_was_written),
		cmocka_unit_test(test_a_profile_of_nothing),
		cmocka_unit_test(test_what_is_none_is_refused),
		cmocka_unit_test(test_a_picture_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
