/* SPDX-License-Identifier: Apache-2.0 */

/* The fixtures say whom they call (tests/fixtures/calls.c); callees has to read the same out of
 * their instructions, stubs and slots. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "symbolizer/callees.h"
#include "tests/unit/elf_image.h"

struct subject {
	struct elf_file *f;
	struct names *names;
	struct callees *callees;
};

static void subject_close(struct subject *s)
{
	callees_free(s->callees);
	names_free(s->names);
	elf_file_close(s->f);
}

static struct subject subject_over(struct elf_file *f)
{
	struct subject s = { .f = f };

	assert_non_null(f);
	assert_int_equal(names_new(f, &s.names), 0);
	assert_int_equal(callees_new(f, s.names, &s.callees), 0);
	return s;
}

static struct subject open_fixture(const char *name)
{
	struct elf_file *f = NULL;
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", FIXTURES, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		skip();
	assert_int_equal(elf_file_open(fd, &f), 0);
	return subject_over(f);
}

static void expect_line(struct subject *s, const char *fixture, char *line, bool stripped)
{
	char *wanted;
	uint64_t address = strtoull(line, &wanted, 16);
	const char *got;

	wanted[strcspn(wanted, "\n")] = '\0';
	wanted++;
	if (stripped && !strncmp(wanted, "own", 3))
		wanted = (char *)"-";
	got = callees_find(s->callees, address);
	if (strcmp(got ? got : "-", wanted))
		fail_msg("%s: %#lx calls %s, not %s", fixture, (unsigned long)address, wanted,
			 got ? got : "-");
}

static void expect_fixture(const char *name, bool stripped)
{
	struct subject s = open_fixture(name);
	char command[4096], line[1024];
	unsigned n = 0;
	FILE *truth;

	snprintf(command, sizeof(command), "'%s/%s'", FIXTURES, name);
	truth = popen(command, "re");
	assert_non_null(truth);
	while (fgets(line, sizeof(line), truth)) {
		expect_line(&s, name, line, stripped);
		n++;
	}
	assert_int_equal(pclose(truth), 0);
	assert_int_equal(n, 8);
	subject_close(&s);
}

static void test_lazy_plt(void **state)
{
	expect_fixture("calls-lazy", false);
}

static void test_plt_that_is_bound_at_the_start(void **state)
{
	expect_fixture("calls-now", false);
}

static void test_plt_with_landing_marks(void **state)
{
	expect_fixture("calls-ibt", false);
	expect_fixture("calls-ibt-now", false);
}

static void test_calls_through_slots(void **state)
{
	expect_fixture("calls-noplt", false);
}

static void test_files_at_fixed_addresses(void **state)
{
	expect_fixture("calls-fixed", false);
	expect_fixture("calls-fixed-noplt", false);
}

static void test_stripped_file_knows_whom_it_imports(void **state)
{
	expect_fixture("calls-stripped", true);
}

static void test_static_file(void **state)
{
	expect_fixture("calls-static", false);
	expect_fixture("calls-static-pie", false);
}

static struct subject image_subject(struct image *m, const void *code, size_t n, size_t at)
{
	memcpy(m->text + at, code, n);
	return subject_over(image_open(m));
}

static void test_call_of_what_has_no_name_is_unknown(void **state)
{
	static const uint8_t code[] = {
		0x90, 0xe8, 0, 0, 0, 0, 0xff, 0x15, 0, 0, 0, 0, 0xff, 0x25
	};
	struct image m = { 0 };
	struct subject s = image_subject(&m, code, sizeof(code), 16);

	assert_null(callees_find(s.callees, IMAGE_TEXT + 16 + 5));
	assert_null(callees_find(s.callees, IMAGE_TEXT + 16 + 11));
	subject_close(&s);
	image_deinit(&m);
}

static void test_addresses_outside_of_the_file_are_unknown(void **state)
{
	static const uint8_t code[] = { 0xe8, 0xfb, 0xff, 0xff, 0x7f };
	struct image m = { 0 };
	struct subject s = image_subject(&m, code, sizeof(code), IMAGE_N_TEXT - sizeof(code));

	assert_null(callees_find(s.callees, IMAGE_TEXT + IMAGE_N_TEXT - 1)); /* far away */
	for (uint64_t i = 0; i < 16; i++) {
		assert_null(callees_find(s.callees, i));
		assert_null(callees_find(s.callees, UINT64_MAX - i));
		assert_null(callees_find(s.callees, IMAGE_TEXT + i - 8));
		assert_null(callees_find(s.callees, IMAGE_TEXT + IMAGE_N_TEXT + i));
	}
	subject_close(&s);
	image_deinit(&m);
}

static void test_other_machines_are_not_read(void **state)
{
	struct subject s = open_fixture("calls-static");
	char command[4096], line[1024];
	FILE *truth;

	s.f->machine = EM_AARCH64;
	snprintf(command, sizeof(command), "'%s/calls-static'", FIXTURES);
	truth = popen(command, "re");
	assert_non_null(truth);
	while (fgets(line, sizeof(line), truth))
		assert_null(callees_find(s.callees, strtoull(line, NULL, 16)));
	assert_int_equal(pclose(truth), 0);
	subject_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lazy_plt),
		cmocka_unit_test(test_plt_that_is_bound_at_the_start),
		cmocka_unit_test(test_plt_with_landing_marks),
		cmocka_unit_test(test_calls_through_slots),
		cmocka_unit_test(test_files_at_fixed_addresses),
		cmocka_unit_test(test_stripped_file_knows_whom_it_imports),
		cmocka_unit_test(test_static_file),
		cmocka_unit_test(test_call_of_what_has_no_name_is_unknown),
		cmocka_unit_test(test_addresses_outside_of_the_file_are_unknown),
		cmocka_unit_test(test_other_machines_are_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
