/* SPDX-License-Identifier: Apache-2.0 */
#include <elf.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/serve/object.h"

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct objects));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	objects_deinit(*state);
	free(*state);
	return 0;
}

static struct object *get(struct objects *o, uint64_t ino)
{
	struct broker_file file = { .dev = 1, .ino = ino, .size = 2, .mtime_ns = 3, .ctime_ns = 4 };

	return objects_get(o, SYMBOLIZER_FILE, &file, -1, "/lib/x.so");
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void test_same_file_is_one_object_and_its_descriptor_is_closed(void **state)
{
	int a = open("/dev/null", O_RDONLY | O_CLOEXEC),
	    b = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct broker_file file = { .dev = 1, .ino = 2, .size = 3, .mtime_ns = 4, .ctime_ns = 5 };
	struct objects *o = *state;
	struct object *x = objects_get(o, SYMBOLIZER_FILE, &file, a, "/lib/x.so");

	assert_non_null(x);
	assert_ptr_equal(objects_get(o, SYMBOLIZER_FILE, &file, b, "/elsewhere/x.so"), x);
	assert_string_equal(x->name, "/lib/x.so");
	assert_true(is_open(a));
	assert_false(is_open(b));
	objects_forget(o, x);
	assert_false(is_open(a));
}

static void test_any_change_of_identity_is_another_object(void **state)
{
	const struct broker_file file = {
		.dev = 1, .ino = 2, .size = 3, .mtime_ns = 4, .ctime_ns = 5
	};
	struct broker_file files[6];
	struct objects *o = *state;

	for (uint32_t i = 0; i < 6; i++)
		files[i] = file;
	files[1].dev = files[2].ino = files[3].size = 9;
	files[4].mtime_ns = files[5].ctime_ns = 9;
	for (uint32_t i = 0; i < 6; i++)
		assert_int_equal(objects_get(o, SYMBOLIZER_FILE, &files[i], -1, "x")->id, i + 1);
	assert_int_equal(objects_get(o, SYMBOLIZER_VDSO, &files[0], -1, "x")->id, 7);
	assert_int_equal(o->n, 7);
}

static void test_ids_are_never_used_again(void **state)
{
	struct objects *o = *state;

	for (uint32_t i = 1; i < 100; i++) {
		struct object *x = get(o, 5);

		assert_int_equal(x->id, i);
		assert_ptr_equal(objects_find(o, i), x);
		objects_forget(o, x);
		assert_null(objects_find(o, i));
	}
	assert_int_equal(o->n, 0);
}

static void test_unknown_ids_are_no_object(void **state)
{
	struct objects *o = *state;

	get(o, 1);
	assert_null(objects_find(o, 0));
	assert_null(objects_find(o, 2));
	assert_null(objects_find(o, UINT32_MAX));
}

static void test_objects_are_bounded_and_the_rest_is_counted(void **state)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct broker_file file = { .ino = 1u << 20 };
	struct objects *o = *state;

	for (uint64_t i = 1; i <= OBJECT_MAX; i++)
		assert_non_null(get(o, i));
	assert_null(objects_get(o, SYMBOLIZER_FILE, &file, fd, "x"));
	assert_false(is_open(fd));
	assert_int_equal(o->n_refused, 1);
	assert_non_null(get(o, 77)); /* one that is known */
	objects_forget(o, objects_find(o, 1));
	assert_non_null(get(o, 1u << 20));
}

static void test_shown_place_is_the_files_and_survives_runs(void **state)
{
	struct objects *o = *state, other = { 0 };
	struct object *a = get(o, 1), *b = get(&other, 999);

	for (int i = 0; i < 10; i++)
		objects_place_shown(&other, get(&other, (uint64_t)i)); /* taken by others */
	a->info.n_build_id = b->info.n_build_id = 20;
	objects_place_shown(o, a);
	objects_place_shown(&other, b);
	assert_true(a->slot == b->slot);
	assert_true(a->slot >= 1ull << 47 && a->slot < 1ull << 52);
	assert_false(a->unshowable);
	objects_deinit(&other);
}

static void test_no_two_objects_are_shown_at_one_place(void **state)
{
	struct objects *o = *state;

	for (uint64_t i = 1; i <= 500; i++)
		objects_place_shown(o, get(o, i)); /* equal names and sizes: equal hashes */
	for (uint32_t i = 1; i <= 500; i++)
		for (uint32_t k = 1; k < i; k++)
			assert_true(objects_find(o, i)->slot != objects_find(o, k)->slot);
}

static void test_file_larger_than_its_place_is_marked(void **state)
{
	struct objects *o = *state;
	struct object *x = get(o, 1);

	x->info.n_segments = 2;
	x->info.segments[1] = (struct symbolizer_segment){ .vaddr = 1ull << 34, .memsz = 1 };
	objects_place_shown(o, x);
	assert_true(x->unshowable);
	/* and one that says it wraps around */
	x->info.segments[1] = (struct symbolizer_segment){ .vaddr = UINT64_MAX, .memsz = 2 };
	objects_place_shown(o, x);
	assert_true(x->unshowable);
	x->info.segments[1].memsz = 0;
	x->info.segments[1].vaddr = 1ull << 34;
	x->info.type = ET_EXEC;
	objects_place_shown(o, x);
	assert_false(x->unshowable);
	assert_true(x->fixed);
}

static void test_addresses_of_mappings(void **state)
{
	struct objects *o = *state;
	struct object *x = get(o, 1);
	uint64_t at;

	x->info.n_segments = 3; /* as lld writes them: offsets meet inside a page */
	x->info.segments[0] = (struct symbolizer_segment){ 0x200000, 0, 0x1740, 0x1740, 4, 0 };
	x->info.segments[1] = (struct symbolizer_segment){ 0x202740, 0x1740, 0x3000, 0x3000, 5, 0 };
	x->info.segments[2] = (struct symbolizer_segment){ 0x206740, 0x4740, 0x500, 0x900, 6, 0 };
	assert_true(object_address_at(x, 0x1000, &at)); /* the page where two segments meet */
	assert_int_equal(at, 0x202000);
	assert_true(object_address_at(x, 0x2000, &at));
	assert_int_equal(at, 0x203000);
	assert_true(object_address_at(x, 0, &at)); /* not executable, yet mapped so */
	assert_int_equal(at, 0x200000);
	assert_false(object_address_at(x, 0x5000, &at)); /* behind the file's part */
	assert_false(object_address_at(x, UINT64_MAX, &at));
}

static void test_hostile_segments_are_no_place(void **state)
{
	struct objects *o = *state;
	struct object *x = get(o, 1);
	uint64_t at;

	assert_false(object_address_at(x, 0, &at));
	x->info.n_segments = 1;
	x->info.segments[0] = (struct symbolizer_segment){ 0, UINT64_MAX, UINT64_MAX, 0, 5, 0 };
	assert_false(object_address_at(x, 0, &at));
	assert_false(object_address_at(x, 0x1000, &at));
}

static void test_short_names(void **state)
{
	static const char *const names[][2] = {
		{ "/usr/lib/x.so", "x.so" },
		{ "[vdso]", "[vdso]" },
		{ "x", "x" },
		{ "/x/", "/x/" },
		{ "", "" },
		{ "/", "/" },
	};
	struct objects *o = *state;

	for (uint64_t i = 0; i < 6; i++) {
		struct broker_file file = { .ino = i };
		struct object *x = objects_get(o, SYMBOLIZER_FILE, &file, -1, names[i][0]);

		assert_string_equal(object_short_name(x), names[i][1]);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_same_file_is_one_object_and_its_descriptor_is_closed),
		TEST(test_any_change_of_identity_is_another_object),
		TEST(test_ids_are_never_used_again),
		TEST(test_unknown_ids_are_no_object),
		TEST(test_objects_are_bounded_and_the_rest_is_counted),
		TEST(test_shown_place_is_the_files_and_survives_runs),
		TEST(test_no_two_objects_are_shown_at_one_place),
		TEST(test_file_larger_than_its_place_is_marked),
		TEST(test_addresses_of_mappings),
		TEST(test_hostile_segments_are_no_place),
		TEST(test_short_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
