/* SPDX-License-Identifier: Apache-2.0 */

/* Perf map and jitdump files: what was told last holds, files grow, files lie. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "symbolizer/jit.h"

static int file_of(const void *data, size_t n)
{
	int fd = memfd_create("jit", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), n);
	return fd;
}

static int text_file(const char *text)
{
	return file_of(text, strlen(text));
}

/* NULL: nobody is there. */
static void expect(struct jit *j, uint64_t address, const char *name)
{
	struct jit_symbol s;

	assert_int_equal(jit_find(j, address, &s), name != NULL);
	if (!name)
		return;
	assert_string_equal(s.name, name);
	assert_true(s.start <= address);
}

static void test_lines(void **state)
{
	_cleanup_(closep) int fd = text_file("1000 10 plain\n0x2000 0x10 with blanks /a b.js:1\n"
					     "3000 10 carriage\r\n");
	_cleanup_(jit_freep) struct jit *j = NULL;

	assert_int_equal(jit_new(JIT_PERF_MAP, &j), 0);
	expect(j, 0x1000, NULL);
	assert_int_equal(jit_update(j, fd), 0);
	expect(j, 0xfff, NULL);
	expect(j, 0x1000, "plain");
	expect(j, 0x100f, "plain");
	expect(j, 0x1010, NULL);
	expect(j, 0x2008, "with blanks /a b.js:1");
	expect(j, 0x3001, "carriage");
	expect(j, UINT64_MAX, NULL);
	assert_int_equal(jit_left_out(j), 0);
}

static void test_what_was_told_last_holds(void **state)
{
	_cleanup_(closep) int fd = text_file("1000 100 old\n1040 20 inside\n10f0 20 across\n"
					     "1048 8 inmost\n2000 10 a\n2000 10 b\n");
	_cleanup_(jit_freep) struct jit *j = NULL;

	assert_int_equal(jit_new(JIT_PERF_MAP, &j), 0);
	assert_int_equal(jit_update(j, fd), 0);
	expect(j, 0x1000, "old");
	expect(j, 0x1040, "inside");
	expect(j, 0x1048, "inmost");
	expect(j, 0x1050, "inside");
	expect(j, 0x1060, "old");
	expect(j, 0x10ef, "old");
	expect(j, 0x10f0, "across");
	expect(j, 0x110f, "across");
	expect(j, 0x1110, NULL);
	expect(j, 0x2004, "b");
}

static void test_lines_that_lie(void **state)
{
	_cleanup_(closep) int fd = text_file("not a line\n1000 0 empty\nffffffffffffffff 10 over\n1000 10 \n"
					     "1000\n11111111111111111 1 long\n\n4000 10 good\n");
	_cleanup_(jit_freep) struct jit *j = NULL;

	assert_int_equal(jit_new(JIT_PERF_MAP, &j), 0);
	assert_int_equal(jit_update(j, fd), 0);
	expect(j, 0x1000, NULL);
	expect(j, 0x4000, "good");
	assert_int_equal(jit_left_out(j), 6);
}

static void test_long_names_and_lines(void **state)
{
	static char text[200000];
	_cleanup_(jit_freep) struct jit *j = NULL;
	_cleanup_(closep) int fd = -1;
	struct jit_symbol s;
	size_t n = (size_t)sprintf(text, "1000 10 ");

	memset(text + n, 'n', 5000);
	n += 5000;
	n += (size_t)sprintf(text + n, "\n2000 10 ");
	memset(text + n, 'm', 150000);
	n += 150000;
	n += (size_t)sprintf(text + n, "\n3000 10 after\n");
	fd = file_of(text, n);
	assert_int_equal(jit_new(JIT_PERF_MAP, &j), 0);
	assert_int_equal(jit_update(j, fd), 0);
	assert_true(jit_find(j, 0x1000, &s));
	assert_int_equal(strlen(s.name), JIT_MAX_NAME);
	expect(j, 0x2000, NULL);
	expect(j, 0x3000, "after");
	assert_int_equal(jit_left_out(j), 1);
}

static void test_files_grow_and_are_replaced(void **state)
{
	_cleanup_(closep) int fd = text_file("1000 10 one\n2000 10 tw"), other = text_file("1000 10 other\n");
	_cleanup_(jit_freep) struct jit *j = NULL;

	assert_int_equal(jit_new(JIT_PERF_MAP, &j), 0);
	assert_int_equal(jit_update(j, fd), 0);
	expect(j, 0x1000, "one");
	expect(j, 0x2000, NULL);
	assert_int_equal(write(fd, "o\n1000 10 newer\n", 16), 16);
	assert_int_equal(jit_update(j, fd), 0);
	expect(j, 0x2000, "two");
	expect(j, 0x1000, "newer");
	assert_int_equal(ftruncate(fd, 12), 0);
	assert_int_equal(jit_update(j, fd), 0);
	expect(j, 0x1000, "one");
	expect(j, 0x2000, NULL);
	assert_int_equal(jit_update(j, other), 0);
	expect(j, 0x1000, "other");
	assert_int_equal(pwrite(other, "2000 10 anew\n3000 10 more\n", 26, 0), 26);
	assert_int_equal(jit_update(j, other), 0);
	expect(j, 0x1000, NULL);
	expect(j, 0x2000, "anew");
	expect(j, 0x3000, "more");
}

struct record {
	uint32_t id, total_size;
	uint64_t timestamp;
	uint32_t pid, tid;
	uint64_t vma, a, b, c, d; /* load: address, size, index; move: from, to, size, index */
};

static size_t put_load(unsigned char *to, uint64_t address, uint64_t size, const char *name)
{
	struct record r = { 0, (uint32_t)(56 + strlen(name) + 1 + 4), 0, 1, 1, address, address, size, 7, 0 };

	memcpy(to, &r, 56);
	memcpy(to + 56, name, strlen(name) + 1);
	memset(to + 56 + strlen(name) + 1, 0xcc, 4);
	return r.total_size;
}

static void test_dump(void **state)
{
	static const uint32_t header[10] = { 0x4a695444, 1, 40, 62 };
	struct record move = { 1, 64, 0, 1, 1, 0, 0x1000, 0x5000, 0x80, 7 };
	unsigned char data[1024];
	_cleanup_(jit_freep) struct jit *j = NULL;
	_cleanup_(closep) int fd = -1;
	size_t n = sizeof(header), cut;

	memcpy(data, header, sizeof(header));
	n += put_load(data + n, 0x1000, 0x100, "one");
	n += put_load(data + n, 0x2000, 0x100, "two");
	memcpy(data + n, &move, 64);
	n += 64;
	cut = n + put_load(data + n, 0x3000, 0x100, "three") - 5;
	fd = file_of(data, cut);
	assert_int_equal(jit_new(JIT_DUMP, &j), 0);
	assert_int_equal(jit_update(j, fd), 0);
	expect(j, 0x10ff, "one");
	expect(j, 0x2000, "two");
	expect(j, 0x507f, "one");
	expect(j, 0x5080, NULL);
	expect(j, 0x3000, NULL);
	assert_int_equal(write(fd, data + cut, 5), 5);
	assert_int_equal(jit_update(j, fd), 0);
	expect(j, 0x3000, "three");
	assert_int_equal(jit_left_out(j), 0);
}

static void test_dumps_that_lie(void **state)
{
	static const uint32_t header[10] = { 0x4a695444, 1, 40, 62 }, foreign[10] = { 1, 1, 40, 62 };
	static const uint32_t tiny[4] = { 0, 8, 0, 0 };
	unsigned char data[1024];
	_cleanup_(jit_freep) struct jit *j = NULL;
	_cleanup_(closep) int fd = file_of(foreign, sizeof(foreign)), other = -1;
	size_t n = sizeof(header);

	assert_int_equal(jit_new(JIT_DUMP, &j), 0);
	assert_int_equal(jit_update(j, fd), -ENOEXEC);
	memcpy(data, header, sizeof(header));
	n += put_load(data + n, 0x1000, 0x100, "one");
	memcpy(data + n, tiny, sizeof(tiny)); /* a record that is smaller than its head: it would never end */
	n += sizeof(tiny);
	n += put_load(data + n, 0x2000, 0x100, "lost");
	other = file_of(data, n);
	assert_int_equal(jit_update(j, other), 0);
	assert_int_equal(jit_update(j, other), 0);
	expect(j, 0x1000, "one");
	expect(j, 0x2000, NULL);
	assert_int_equal(jit_left_out(j), 1);
}

/* address, line, file; the last one's file is NULL. */
struct told_line {
	uint64_t address;
	uint32_t line;
	const char *file;
};

static size_t put_lines(unsigned char *to, uint64_t address, uint64_t n, const struct told_line *lines)
{
	uint64_t head[4] = { 0, 0, address, n };
	uint32_t size = sizeof(head);

	for (; lines->file; lines++) {
		uint32_t rest[2] = { lines->line, 0 };

		memcpy(to + size, &lines->address, 8);
		memcpy(to + size + 8, rest, 8);
		memcpy(to + size + 16, lines->file, strlen(lines->file) + 1);
		size += 16 + (uint32_t)strlen(lines->file) + 1;
	}
	head[0] = 2 | (uint64_t)size << 32;
	memcpy(to, head, sizeof(head));
	return size;
}

static void expect_line(struct jit *j, uint64_t address, const char *file, uint32_t line)
{
	struct jit_symbol s;

	assert_true(jit_find(j, address, &s));
	assert_string_equal(s.file, file);
	assert_int_equal(s.line, line);
}

static void test_lines_of_a_dump(void **state)
{
	static const uint32_t header[10] = { 0x4a695444, 1, 40, 62 };
	static const struct told_line one[] = { { 0x1000, 10, "/a.js" }, { 0x1040, 12, "\xff" }, { 0x1080, 3, "/b.js" }, { 0 } };
	static const struct told_line mixed[] = { { 0x2080, 22, "/b.js" }, { 0x2010, 20, "/a.js" }, { 0 } };
	static const struct told_line lies[] = { { 0x2fff, 1, "/before" }, { 0 } };
	struct record move = { 1, 64, 0, 1, 1, 0, 0x1000, 0x5000, 0x80, 7 };
	unsigned char data[2048];
	_cleanup_(jit_freep) struct jit *j = NULL;
	_cleanup_(closep) int fd = -1;
	size_t n = sizeof(header), cut;

	memcpy(data, header, sizeof(header));
	n += put_lines(data + n, 0x1000, 3, one);
	n += put_load(data + n, 0x1000, 0x100, "one");
	memcpy(data + n, &move, 64);
	n += 64;
	cut = n + put_lines(data + n, 0x2000, 2, mixed);
	n = cut + put_load(data + cut, 0x2000, 0x100, "two");
	n += put_load(data + n, 0x2800, 0x100, "without");
	n += put_lines(data + n, 0x3000, 1, lies); /* 1: not in the code */
	n += put_load(data + n, 0x3000, 0x100, "three");
	n += put_lines(data + n, 0x4000, 1000, one); /* 2: there are not so many */
	n += put_lines(data + n, 0x7000, 2, mixed); /* 3: likewise, and the load is of other code */
	n += put_load(data + n, 0x2000, 0x10, "two again");
	fd = file_of(data, cut);
	assert_int_equal(jit_new(JIT_DUMP, &j), 0);
	assert_int_equal(jit_update(j, fd), 0);
	assert_int_equal(write(fd, data + cut, n - cut), n - cut);
	assert_int_equal(jit_update(j, fd), 0);
	expect_line(j, 0x1000, "/a.js", 10);
	expect_line(j, 0x103f, "/a.js", 10);
	expect_line(j, 0x1040, "/a.js", 12);
	expect_line(j, 0x10ff, "/b.js", 3);
	expect_line(j, 0x5050, "/a.js", 12);
	expect_line(j, 0x2001, "", 0);
	expect_line(j, 0x2010, "/a.js", 20);
	expect_line(j, 0x20ff, "/b.js", 22);
	expect_line(j, 0x2800, "", 0);
	expect_line(j, 0x3000, "", 0);
	assert_int_equal(jit_left_out(j), 3);
}

/* V8 adds the size of an ELF header to each address. */
static void test_lines_that_are_shifted(void **state)
{
	static const uint32_t header[10] = { 0x4a695444, 1, 40, 62 };
	static const struct told_line lines[] = { { 0x1040, 10, "/a.js" }, { 0x1120, 12, "/a.js" }, { 0 } };
	unsigned char data[1024];
	_cleanup_(jit_freep) struct jit *j = NULL;
	_cleanup_(closep) int fd = -1;
	size_t n = sizeof(header);

	memcpy(data, header, sizeof(header));
	n += put_lines(data + n, 0x1000, 2, lines);
	n += put_load(data + n, 0x1000, 0x100, "one");
	fd = file_of(data, n);
	assert_int_equal(jit_new(JIT_DUMP, &j), 0);
	assert_int_equal(jit_update(j, fd), 0);
	expect_line(j, 0x1000, "/a.js", 10);
	expect_line(j, 0x10df, "/a.js", 10);
	expect_line(j, 0x10e0, "/a.js", 12);
	assert_int_equal(jit_left_out(j), 0);
}

/* More than fits into memory at once, in a file of which each entry has another name. */
static void test_many_lines(void **state)
{
	static const uint32_t header[10] = { 0x4a695444, 1, 40, 62 };
	static unsigned char data[2u << 20];
	static char files[2000][64];
	static struct told_line lines[2001];
	_cleanup_(jit_freep) struct jit *j = NULL;
	_cleanup_(closep) int fd = -1;
	size_t n = sizeof(header);

	for (uint32_t i = 0; i < 2000; i++) {
		snprintf(files[i], sizeof(files[i]), "/%0*u.js", (int)(i % 50) + 1, i);
		lines[i] = (struct told_line){ 0x1000 + i * 2, i + 1, files[i] };
	}
	memcpy(data, header, sizeof(header));
	n += put_lines(data + n, 0x1000, 2000, lines);
	n += put_load(data + n, 0x1000, 4000, "one");
	fd = file_of(data, n);
	assert_int_equal(jit_new(JIT_DUMP, &j), 0);
	assert_int_equal(jit_update(j, fd), 0);
	for (uint32_t i = 0; i < 2000; i++)
		expect_line(j, 0x1001 + i * 2, files[i], i + 1);
	assert_int_equal(jit_left_out(j), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_what_was_told_last_holds),
		cmocka_unit_test(test_lines_that_lie),
		cmocka_unit_test(test_long_names_and_lines),
		cmocka_unit_test(test_files_grow_and_are_replaced),
		cmocka_unit_test(test_dump),
		cmocka_unit_test(test_dumps_that_lie),
		cmocka_unit_test(test_lines_of_a_dump),
		cmocka_unit_test(test_lines_that_are_shifted),
		cmocka_unit_test(test_many_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
