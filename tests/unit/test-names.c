/* SPDX-License-Identifier: Apache-2.0 */

/* The fixtures say what is true (tests/fixtures/truth.h); names.c has to find the same in their
 * files: functions, lines and inlined calls. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "symbolizer/demangle.h"
#include "symbolizer/names.h"

enum how {
	CHAINS,	   /* every function with its line */
	INNERMOST, /* no inlined calls: the function that is really there, its address's line */
	FUNCTIONS, /* the function that is really there, and no lines */
};

struct told {
	struct bytes text; /* " function:line" a frame, as the fixtures write it */
	const char *file_suffix;
	unsigned n, n_qualified;
	bool odd_file, odd_start;
};

static void on_frame(void *context, const struct names_frame *f)
{
	char name[SYMBOLIZER_MAX_NAME + 1];
	struct told *t = context;
	size_t k = strlen(f->file), l = t->file_suffix ? strlen(t->file_suffix) : 0;

	if (!*f->system_name) /* it has a line */
		return;
	if (f->qualified) { /* the file's name is its last part */
		const char *last = strstr(f->qualified, f->system_name);

		assert_non_null(last);
		while (strlen(last) > strlen(f->system_name))
			last++;
		assert_string_equal(last, f->system_name);
		t->n_qualified++;
	}
	demangle(f->qualified ? f->qualified : f->system_name, DEMANGLE_SIMPLE, name);
	bytes_printf(&t->text, " %s:%u", name, f->line);
	if (t->file_suffix)
		t->odd_file |=
			f->file[0] != '/' || k < l || strcmp(f->file + k - l, t->file_suffix);
	else
		t->odd_file |= *f->file || f->line || f->start_line;
	t->odd_start |= f->line && f->start_line > f->line;
	t->n++;
}

/* Of the chain of truth what can be known without inlined calls. */
static void outermost_only(char *truth, bool with_line)
{
	char *last = strrchr(truth, ' '), *colon = strrchr(truth, ':');
	char line[16];

	assert_non_null(last);
	snprintf(line, sizeof(line), "%s", with_line ? strchr(truth, ':') : ":0");
	line[strcspn(line, " ")] = '\0';
	*colon = '\0';
	memmove(truth, last, strlen(last) + 1);
	strcat(truth, line);
}

static struct names *open_fixture(const char *name, struct elf_file **ret)
{
	char path[4096];
	struct names *n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", FIXTURES, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	assert_int_equal(elf_file_open(fd, ret), 0);
	assert_int_equal(names_new(*ret, &n), 0);
	return n;
}

static void expect_line(struct names *n, char *line, enum how how, const char *file)
{
	struct told t = { .file_suffix = how == FUNCTIONS ? NULL : file };
	char *truth;
	uint64_t address = strtoull(line, &truth, 16);

	truth[strcspn(truth, "\n")] = '\0';
	if (how != CHAINS)
		outermost_only(truth, how == INNERMOST);
	names_find(n, address, on_frame, &t);
	if (!t.n || strcmp(bytes_text(&t.text), truth))
		fail_msg("%#lx:%s instead of%s", (unsigned long)address,
			 t.n ? bytes_text(&t.text) : " nothing", truth);
	assert_false(t.odd_file);
	assert_false(t.odd_start);
	bytes_deinit(&t.text);
}

/* Twice: once the units are read, once they are there. */
static void expect_fixture(const char *name, enum how how, const char *file)
{
	_cleanup_(elf_file_closep) struct elf_file *f = NULL;
	_cleanup_(names_freep) struct names *n = open_fixture(name, &f);
	char command[4096], line[1024];
	unsigned n_lines = 0;

	if (!n)
		skip();
	snprintf(command, sizeof(command), "'%s/%s'", FIXTURES, name);
	for (int i = 0; i < 2; i++) {
		FILE *truth = popen(command, "re");

		assert_non_null(truth);
		while (fgets(line, sizeof(line), truth)) {
			expect_line(n, line, how, file);
			n_lines++;
		}
		assert_int_equal(pclose(truth), 0);
	}
	assert_true(n_lines >= 12);
}

static void test_dwarf_2(void **state)
{
	expect_fixture("lines-d2", CHAINS, "/lines.c");
}

static void test_dwarf_4_at_fixed_addresses(void **state)
{
	expect_fixture("lines-d4", CHAINS, "/lines.c");
}

static void test_dwarf_5(void **state)
{
	expect_fixture("lines-d5", CHAINS, "/lines.c");
}

static void test_compressed_dwarf(void **state)
{
	expect_fixture("lines-compressed", CHAINS, "/lines.c");
}

/* Skipped where the linker cannot write it. */
static void test_dwarf_compressed_by_zstd(void **state)
{
	expect_fixture("lines-zstd", CHAINS, "/lines.c");
}

static void test_types_in_units_of_their_own(void **state)
{
	expect_fixture("names-types-d4", CHAINS, "/names.cc");
	expect_fixture("names-types-d5", CHAINS, "/names.cc");
}

static void test_split_dwarf_has_lines_and_no_inlined_calls(void **state)
{
	expect_fixture("lines-split", INNERMOST, "/lines.c");
}

static void test_symbols_without_dwarf(void **state)
{
	expect_fixture("lines-symtab", FUNCTIONS, NULL);
}

static void test_mini_debug_info(void **state)
{
	expect_fixture("lines-mini", FUNCTIONS, NULL);
}

static void test_gcc_names_in_dwarf_4(void **state)
{
	expect_fixture("names-g++-d4", CHAINS, "/names.cc");
}

static void test_gcc_names_in_dwarf_5(void **state)
{
	expect_fixture("names-g++-d5", CHAINS, "/names.cc");
}

static void test_clang_names_in_dwarf_4(void **state)
{
	expect_fixture("names-clang++-d4", CHAINS, "/names.cc");
}

static void test_clang_names_in_dwarf_5(void **state)
{
	expect_fixture("names-clang++-d5", CHAINS, "/names.cc");
}

/* What the program exports has a name; what it keeps for itself has none, rather than the name of
 * whatever stands before it. */
static void test_dynamic_symbols_name_only_what_they_cover(void **state)
{
	_cleanup_(elf_file_closep) struct elf_file *f = NULL;
	_cleanup_(names_freep) struct names *n = open_fixture("lines-dynsym", &f);
	FILE *truth = popen("'" FIXTURES "/lines-dynsym'", "re");
	unsigned n_named = 0, n_nameless = 0;
	char line[1024];

	assert_non_null(n);
	assert_non_null(truth);
	while (fgets(line, sizeof(line), truth)) {
		struct told t = { 0 };
		char *chain;

		names_find(n, strtoull(line, &chain, 16), on_frame, &t);
		if (strstr(chain, "main:") || strstr(chain, "global_function:")) {
			assert_int_equal(t.n, 1);
			n_named++;
		} else {
			assert_int_equal(t.n, 0);
			n_nameless++;
		}
		bytes_deinit(&t.text);
	}
	pclose(truth);
	assert_true(n_named >= 4 && n_nameless >= 3);
}

static void test_a_stripped_file_names_nothing(void **state)
{
	_cleanup_(elf_file_closep) struct elf_file *f = NULL;
	_cleanup_(names_freep) struct names *n = open_fixture("lines-stripped", &f);
	struct told t = { 0 };

	assert_non_null(n);
	for (uint64_t at = f->entry; at < f->entry + 1000; at++)
		names_find(n, at, on_frame, &t);
	assert_int_equal(t.n, 0);
}

static void test_addresses_outside_of_the_text(void **state)
{
	static const uint64_t addresses[] = { 0, 1, 0x40, UINT64_MAX, UINT64_MAX / 2, 1ull << 40 };
	_cleanup_(elf_file_closep) struct elf_file *f = NULL;
	_cleanup_(names_freep) struct names *n = open_fixture("lines-d5", &f);
	struct told t = { 0 };

	assert_non_null(n);
	for (size_t i = 0; i < sizeof(addresses) / sizeof(*addresses); i++)
		names_find(n, addresses[i], on_frame, &t);
	assert_int_equal(t.n, 0);
}

static void ignore(void *context, const struct names_frame *f)
{
	unsigned *n = context;

	assert_true(*f->system_name || *f->file);
	*n += 1;
}

/* A file that is cut short, or whose bytes were turned over, answers less; it harms nobody. */
static void test_damaged_files(void **state)
{
	static const char *const names[] = { "lines-d4", "lines-d5", "lines-compressed",
					     "lines-zstd", "lines-mini" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char path[4096];
		static unsigned char image[256 * 1024], damaged[256 * 1024];
		unsigned n_frames = 0;
		size_t size;
		FILE *file;

		snprintf(path, sizeof(path), "%s/%s", FIXTURES, names[i]);
		file = fopen(path, "re");
		if (!file && !strcmp(names[i], "lines-zstd"))
			continue;
		assert_non_null(file);
		size = fread(image, 1, sizeof(image), file);
		fclose(file);
		for (size_t round = 0; round < 300; round++) {
			_cleanup_(elf_file_closep) struct elf_file *f = NULL;
			_cleanup_(names_freep) struct names *n = NULL;
			size_t k = round % 3 ? size : size * round / 300;

			memcpy(damaged, image, size);
			for (size_t at = round * 97; at < size && round % 3; at += 911)
				damaged[at] ^= (unsigned char)(1u << round % 8);
			if (elf_file_open_memory(damaged, k, &f) < 0)
				continue;
			assert_int_equal(names_new(f, &n), 0);
			for (uint64_t at = 0x1000; at < 0x1800; at += 16) {
				names_find(n, at, ignore, &n_frames);
				names_find(n, at + 0x400000, ignore, &n_frames);
			}
		}
		assert_true(n_frames > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dwarf_2),
		cmocka_unit_test(test_dwarf_4_at_fixed_addresses),
		cmocka_unit_test(test_dwarf_5),
		cmocka_unit_test(test_compressed_dwarf),
		cmocka_unit_test(test_dwarf_compressed_by_zstd),
		cmocka_unit_test(test_types_in_units_of_their_own),
		cmocka_unit_test(test_split_dwarf_has_lines_and_no_inlined_calls),
		cmocka_unit_test(test_symbols_without_dwarf),
		cmocka_unit_test(test_mini_debug_info),
		cmocka_unit_test(test_gcc_names_in_dwarf_4),
		cmocka_unit_test(test_gcc_names_in_dwarf_5),
		cmocka_unit_test(test_clang_names_in_dwarf_4),
		cmocka_unit_test(test_clang_names_in_dwarf_5),
		cmocka_unit_test(test_dynamic_symbols_name_only_what_they_cover),
		cmocka_unit_test(test_a_stripped_file_names_nothing),
		cmocka_unit_test(test_addresses_outside_of_the_text),
		cmocka_unit_test(test_damaged_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
