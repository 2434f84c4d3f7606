/* SPDX-License-Identifier: Apache-2.0 */

/* /pprof/..., byte for byte; what its clients make of it is tests/live/clients.py's. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/serve/gperftools.h"
#include "daemon/serve/profile.h"

#define MAPS "00401000-00403000 r-xp 00001000 00:00 0 /bin/it\n"

struct world {
	struct capture *c;
	struct naming n;
	struct bytes out;
};

static void begin(struct world *w, const char *profile)
{
	struct naming_mapping m = {
		0x401000, 0x403000, 0x1000, "/bin/it", "", false, false, false
	};

	assert_int_equal(capture_new(profile_find(profile), &w->c), 0);
	assert_int_equal(vec_push(&w->n.mappings, m), 0);
	for (uint64_t word = 0x401000; word < 0x401004; word++) {
		struct naming_location l = { .address = word };

		assert_int_equal(hash_put(&w->n.word_index, hash_u64(HASH_SEED, word),
					  (uint32_t)w->n.words.n),
				 0);
		assert_int_equal(vec_push(&w->n.words, word), 0);
		assert_int_equal(vec_push(&w->n.locations, l), 0);
	}
}

static void end(struct world *w)
{
	capture_free(w->c);
	naming_free(&w->n);
	bytes_deinit(&w->out);
}

static void add(struct world *w, uint32_t n, const int64_t values[CAPTURE_MAX_VALUES])
{
	const uint64_t words[] = { 0x401000, 0x401001, 0x401002 };
	struct capture_sample s = { .stack = capture_stack(w->c, words, n) };

	memcpy(s.values, values, sizeof(s.values));
	assert_int_equal(capture_add(w->c, s), 0);
}

#define ADD(n, ...) add(w, n, (const int64_t[CAPTURE_MAX_VALUES]){ __VA_ARGS__ })

static void test_heap(void **state)
{
	struct world the = { 0 }, *w = &the;

	begin(w, "heap");
	ADD(2, 3, 300, 1, 100);
	ADD(3, 5, 50, 0, 0);
	capture_comment(w->c, "a word");
	assert_int_equal(gperftools_heap(w->c, &w->n, 4096, &w->out), 0);
	assert_string_equal(bytes_text(&w->out), "heap profile: 1: 100 [8: 350] @ heap_v2/4096\n"
						 "1: 100 [3: 300] @ 0x401000 0x401002\n"
						 "0: 0 [5: 50] @ 0x401000 0x401002 0x401003\n"
						 "# pprofd: a word\n"
						 "\nMAPPED_LIBRARIES:\n" MAPS);
	end(w);
}

/* Signs, and bytes of nothing: what readers give up at. */
static void test_heap_less(void **state)
{
	struct world the = { 0 }, *w = &the;

	begin(w, "heap");
	ADD(1, 0, 0, -2, -200);
	ADD(2, 0, 0, 0, 16);
	assert_int_equal(gperftools_heap(w->c, &w->n, 0, &w->out), 0);
	assert_string_equal(bytes_text(&w->out), "heap profile: 0: 0 [0: 1] @ heapprofile\n"
						 "-2: -200 [0: 0] @ 0x401000\n"
						 "1: 16 [0: 0] @ 0x401000 0x401002\n"
						 "\nMAPPED_LIBRARIES:\n" MAPS);
	end(w);
}

static void test_growth(void **state)
{
	struct world the = { 0 }, *w = &the;

	begin(w, "growth");
	ADD(2, 16, 65536);
	assert_int_equal(gperftools_growth(w->c, &w->n, &w->out), 0);
	assert_string_equal(bytes_text(&w->out), "heap profile: 16: 65536 [16: 65536] @ growthz\n"
						 "16: 65536 [16: 65536] @ 0x401001 0x401002\n"
						 "\nMAPPED_LIBRARIES:\n" MAPS);
	end(w);
}

static void test_contention(void **state)
{
	struct world the = { 0 }, *w = &the;

	begin(w, "mutex");
	ADD(2, 4, 1000);
	ADD(1, 0, 7); /* still waits: readers divide */
	assert_int_equal(gperftools_contention(w->c, &w->n, &w->out), 0);
	assert_string_equal(bytes_text(&w->out),
			    "--- contention:\ncycles/second=1000000000\nsampling period=1\n"
			    "1000 4 @ 0x401000 0x401002\n"
			    "7 1 @ 0x401000\n"
			    "--- Memory map: ---\n" MAPS);
	end(w);
}

static void test_cpu(void **state)
{
	static const uint64_t words[] = {
		0, 3, 0,	10000,	  0,		      /* head */
		9, 3, 0x401000, 0x401002, 0x401003,	      /* the leaf is exact */
		1, 1, 1,				      /* no stack */
		0, 1, 0x401000, 0,	  1,	    0x401000, /* ballast */
		0, 1, 0
	};
	struct world the = { 0 }, *w = &the;

	begin(w, "profile");
	w->c->period = 10000000;
	ADD(3, 9, 90000000);
	ADD(0, 1, 10000000);
	assert_int_equal(gperftools_cpu(w->c, &w->n, &w->out), 0);
	assert_int_equal(w->out.n, sizeof(words) + strlen(MAPS));
	assert_memory_equal(w->out.data, words, sizeof(words)); /* little endian, as we are */
	assert_memory_equal(w->out.data + sizeof(words), MAPS, strlen(MAPS));
	end(w);
}

static void test_cpu_of_nothing(void **state)
{
	static const uint64_t words[] = { 0, 3, 0, 1000, 0, 0, 1, 0 };
	struct world the = { 0 }, *w = &the;

	begin(w, "profile");
	w->c->period = 1000000;
	assert_int_equal(gperftools_cpu(w->c, &w->n, &w->out), 0);
	assert_int_equal(w->out.n, sizeof(words) + strlen(MAPS));
	assert_memory_equal(w->out.data, words, sizeof(words));
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heap),   cmocka_unit_test(test_heap_less),
		cmocka_unit_test(test_growth), cmocka_unit_test(test_contention),
		cmocka_unit_test(test_cpu),    cmocka_unit_test(test_cpu_of_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
