/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "daemon/serve/maps.h"

#define LIBC "7f1200000000-7f1200180000 r-xp 00026000 fd:01 1234567 "

static int parse(const char *line, struct maps_line *ret)
{
	memset(ret, 0, sizeof(*ret));
	return maps_parse(line, strlen(line), ret);
}

static void check_name(const char *line, const char *name)
{
	struct maps_line l;

	assert_int_equal(parse(line, &l), 0);
	assert_string_equal(l.name, name);
	free(l.name);
}

static void test_line_of_a_library(void **state)
{
	struct maps_line l;

	assert_int_equal(parse(LIBC "                   /usr/lib/libc.so.6", &l), 0);
	assert_true(l.start == 0x7f1200000000 && l.end == 0x7f1200180000);
	assert_int_equal(l.offset, 0x26000);
	assert_true(l.dev == makedev(0xfd, 1));
	assert_int_equal(l.ino, 1234567);
	assert_int_equal(l.writable, 0);
	assert_string_equal(l.name, "/usr/lib/libc.so.6");
	free(l.name);
}

static void test_line_of_anonymous_memory(void **state)
{
	struct maps_line l;

	assert_int_equal(parse("7f0000000000-7f0000001000 rwxp 00000000 00:00 0 ", &l), 0);
	assert_int_equal(l.ino, 0);
	assert_int_equal(l.writable, 1);
	assert_string_equal(l.name, "");
	free(l.name);
	check_name("7f0000000000-7f0000001000 --xs 00000000 00:01 5   /dev/zero", "/dev/zero");
}

static void test_what_is_not_executable_is_left_out(void **state)
{
	struct maps_line l;

	assert_int_equal(parse("1000-2000 rw-p 00000000 00:00 0 [heap]", &l), -ENODATA);
	assert_int_equal(parse("1000-2000 ---p 00000000 00:00 0 ", &l), -ENODATA);
	assert_null(l.name);
}

static void test_names_are_kept_as_the_kernel_writes_them(void **state)
{
	check_name(LIBC "/a b  c", "/a b  c");
	check_name(LIBC "/line\\012feed", "/line\\012feed");
	check_name(LIBC "[vdso]", "[vdso]");
	check_name(LIBC "/memfd:jit (deleted)", "/memfd:jit");
	check_name(LIBC "//anon_hugepage (deleted)", "//anon_hugepage");
	check_name(LIBC "/x (deleted) (deleted)", "/x (deleted)");
	check_name(LIBC "/x(deleted)", "/x(deleted)");
	check_name(LIBC " (deleted)", "(deleted)"); /* a name of these bytes alone */
	check_name(LIBC "/\xff\x80\x1b[31m", "/\xff\x80\x1b[31m");
}

static void test_nul_in_a_name_is_refused(void **state)
{
	static const char line[] = LIBC "/x\0y";
	struct maps_line l;

	assert_int_equal(maps_parse(line, sizeof(line) - 1, &l), -EBADMSG);
}

static void test_malformed_lines_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"-",
		"1000",
		"1000-",
		"1000-2000",
		"1000-2000 r-x",
		"1000-2000 r-xp",
		"1000-2000 r-xp 0",
		"1000-2000 r-xp 0 0",
		"1000-2000 r-xp 0 0:",
		"1000-2000 r-xp 0 0:0",
		"1000-2000 r-xp 0 0:0 5", /* the kernel writes a space behind it */
		"1000-2000 r-xp 0 0:0 x ",
		"1000-2000 r-xp 0 0:0 5f ",
		"1000-2000r-xp 0 0:0 5 ",
		"1000-2000 r-xpp0 0:0 5 ",
		"1000_2000 r-xp 0 0:0 5 ",
		"1000-1000 r-xp 0 0:0 5 ",
		"2000-1000 r-xp 0 0:0 5 ",
		"10000000000000000-20000000000000000 r-xp 0 0:0 5 ",
		"1000-2000 r-xp 10000000000000000 0:0 5 ",
		"1000-2000 r-xp 0 0:0 18446744073709551616 ",
		"ABC-ABD r-xp 0 0:0 5 ",
		"0x1000-0x2000 r-xp 0 0:0 5 ",
		" 1000-2000 r-xp 0 0:0 5 ",
		"+1000-2000 r-xp 0 0:0 5 ",
	};
	struct maps_line l;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(parse(bad[i], &l), -EBADMSG);
}

static void test_largest_numbers(void **state)
{
	struct maps_line l;

	assert_int_equal(parse("0-ffffffffffffffff r-xp ffffffffffffffff ffffffff:ffffffff "
			       "18446744073709551615 ",
			       &l),
			 0);
	assert_true(l.start == 0 && l.end == UINT64_MAX && l.ino == UINT64_MAX);
	free(l.name);
}

static void test_every_cut_of_a_line_is_an_answer(void **state)
{
	static const char line[] = LIBC "   /usr/lib/libc.so.6 (deleted)";

	for (size_t n = 0; n < sizeof(line); n++) {
		char *copy = malloc(n + 1); /* so that a read past the end is seen */
		struct maps_line l;

		assert_non_null(copy);
		memcpy(copy, line, n);
		if (maps_parse(copy, n, &l) == 0)
			free(l.name);
		free(copy);
	}
}

/* Reads text through a file that gives at most so many bytes at a time. */
static struct maps read_text(const char *text, size_t n)
{
	int fd = memfd_create("maps", MFD_CLOEXEC);
	struct maps m;

	assert_int_equal(write(fd, text, n), n);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(maps_read(fd, &m), 0);
	close(fd);
	return m;
}

static void test_own_maps_are_read(void **state)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	uint64_t here = (uint64_t)(uintptr_t)test_own_maps_are_read;
	bool found = false, vdso = false;
	struct maps m;

	assert_int_equal(maps_read(fd, &m), 0);
	close(fd);
	for (size_t i = 0; i < m.lines.n; i++) {
		found |= m.lines.data[i].start <= here && here < m.lines.data[i].end;
		vdso |= !strcmp(m.lines.data[i].name, "[vdso]");
		assert_true(i == 0 || m.lines.data[i].start >= m.lines.data[i - 1].end);
	}
	assert_true(found && vdso);
	assert_true(m.exec_vm > 0);
	assert_int_equal(m.n_left_out, 0);
	maps_deinit(&m);
}

static void test_pages_are_counted_as_the_kernel_counts_them(void **state)
{
	static const char text[] =
		"1000-3000 r-xp 0 0:0 5 /a\n"
		"4000-5000 rwxp 0 0:0 0 \n" /* writable: not in exec_vm */
		"6000-9000 r--p 0 0:0 5 /a\n"
		"a000-b000 --xp 0 0:0 5 /a\n"
		"c000-d000 r-xp 0 0:0 0 [vsyscall]\n" /* nor is what is not the process's own */
		"ffffffffff600000-ffffffffff601000 --xp 0 0:0 0 [vsyscall]\n"
		"nonsense\n"
		"e000-f000 r-xp 0 0:0 5 /cut short";
	struct maps m = read_text(text, sizeof(text) - 1);

	assert_int_equal(m.lines.n, 3);
	assert_int_equal(m.exec_vm, 3);
	maps_deinit(&m);
}

static void test_nothing_is_an_empty_list(void **state)
{
	struct maps m = read_text("", 0);

	assert_int_equal(m.lines.n, 0);
	assert_int_equal(m.n_left_out, 0);
	maps_deinit(&m);
}

static void test_lines_past_the_limit_are_counted(void **state)
{
	struct bytes b = BYTES_INIT;
	struct maps m;

	for (unsigned i = 0; i < MAPS_MAX + 5; i++)
		bytes_printf(&b, "%x-%x r-xp 0 0:0 5 /a\n", i * 0x2000 + 0x1000,
			     i * 0x2000 + 0x2000);
	m = read_text(b.data, b.n);
	assert_int_equal(m.lines.n, MAPS_MAX);
	assert_int_equal(m.n_left_out, 5);
	assert_int_equal(m.exec_vm, MAPS_MAX + 5);
	maps_deinit(&m);
	bytes_deinit(&b);
}

static void test_lines_as_long_as_the_kernel_makes_them(void **state)
{
	struct bytes b = BYTES_INIT;
	struct maps m;

	for (unsigned i = 0; i < 100; i++) { /* more than a buffer's worth */
		bytes_printf(&b, "%x-%x r-xp 0 0:0 5 ", i * 0x2000 + 0x1000, i * 0x2000 + 0x2000);
		for (unsigned k = 0; k < 4095; k++)
			bytes_puts(&b, "\\012");
		bytes_puts(&b, "\n");
	}
	m = read_text(b.data, b.n);
	assert_int_equal(m.lines.n, 100);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(strlen(m.lines.data[i].name), 4095 * 4);
	maps_deinit(&m);
	bytes_deinit(&b);
}

static void test_line_without_an_end_is_refused(void **state)
{
	int fd = memfd_create("maps", MFD_CLOEXEC);
	struct maps m = { 0 };

	assert_int_equal(write(fd, "1000-2000 r-xp 0 0:0 5 /a\n", 26), 26);
	assert_int_equal(ftruncate(fd, 1 << 20), 0); /* zeros */
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(maps_read(fd, &m), -EBADMSG);
	assert_null(m.lines.data);
	close(fd);
}

static void test_endless_file_is_given_up_and_said(void **state)
{
	char *line = malloc(1 << 16);
	int fd = memfd_create("maps", MFD_CLOEXEC);
	struct maps m;

	assert_non_null(line);
	for (unsigned i = 0; i < 1 << 16; i += 16)
		memcpy(line + i, "not a line......", 15), line[i + 15] = '\n';
	for (unsigned i = 0; i < (MAPS_MAX_BYTES >> 16) + 8; i++)
		assert_int_equal(write(fd, line, 1 << 16), 1 << 16);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(maps_read(fd, &m), 0);
	assert_int_equal(m.n_left_out, 1);
	maps_deinit(&m);
	close(fd);
	free(line);
}

static void test_unreadable_descriptor_is_an_error(void **state)
{
	struct maps m;

	assert_int_equal(maps_read(-1, &m), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line_of_a_library),
		cmocka_unit_test(test_line_of_anonymous_memory),
		cmocka_unit_test(test_what_is_not_executable_is_left_out),
		cmocka_unit_test(test_names_are_kept_as_the_kernel_writes_them),
		cmocka_unit_test(test_nul_in_a_name_is_refused),
		cmocka_unit_test(test_malformed_lines_are_refused),
		cmocka_unit_test(test_largest_numbers),
		cmocka_unit_test(test_every_cut_of_a_line_is_an_answer),
		cmocka_unit_test(test_own_maps_are_read),
		cmocka_unit_test(test_pages_are_counted_as_the_kernel_counts_them),
		cmocka_unit_test(test_nothing_is_an_empty_list),
		cmocka_unit_test(test_lines_past_the_limit_are_counted),
		cmocka_unit_test(test_lines_as_long_as_the_kernel_makes_them),
		cmocka_unit_test(test_line_without_an_end_is_refused),
		cmocka_unit_test(test_endless_file_is_given_up_and_said),
		cmocka_unit_test(test_unreadable_descriptor_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
