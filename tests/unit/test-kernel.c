/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "symbolizer/kernel.h"

static int open_bytes(const char *text, size_t n, struct kernel **ret)
{
	_cleanup_(closep) int fd = memfd_create("kallsyms", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return kernel_open(fd, ret);
}

static int open_text(const char *text, struct kernel **ret)
{
	return open_bytes(text, strlen(text), ret);
}

static const char ordinary[] = "0000000000000000 A fixed_percpu_data\n"
			       "ffffffff81000000 T _stext\n"
			       "ffffffff81000000 T _text\n"
			       "ffffffff81000100 t __pfx_local_function\n"
			       "ffffffff81000110 t local_function\n"
			       "ffffffff81000200 D some_data\n"
			       "ffffffff81000300 W weak_function\n"
			       "ffffffff81000400 T __alias\n"
			       "ffffffff81000400 t local_alias\n"
			       "ffffffff81000400 T alias\n"
			       "ffffffff81001000 i ifunc\n"
			       "ffffffffc0201000 t read_block\t[zeta]\n"
			       "ffffffffc0201080 T write_block\t[zeta]\n"
			       "ffffffffc0101000 t probe\t[alpha]\n"
			       "ffffffffc0301000 t bpf_prog_6deef7357e7b4530_sd_fw\t[bpf]\n";

static void expect(const struct kernel *k, uint64_t address, const char *name, const char *module,
		   uint64_t offset, uint64_t shown)
{
	struct kernel_symbol s;

	assert_int_equal(kernel_find(k, address, &s), 0);
	assert_string_equal(s.name, name);
	assert_string_equal(s.module, module);
	assert_int_equal(s.offset, offset);
	assert_int_equal(s.shown, shown);
}

static void test_symbols_of_the_kernel(void **state)
{
	_cleanup_(kernel_freep) struct kernel *k = NULL;

	assert_int_equal(open_text(ordinary, &k), 0);
	expect(k, 0xffffffff81000105, "__pfx_local_function", "", 5, 0x105);
	expect(k, 0xffffffff81000110, "local_function", "", 0, 0x110);
	expect(k, 0xffffffff81000210, "local_function", "", 0x100, 0x210); /* data is no limit */
	expect(k, 0xffffffff81000301, "weak_function", "", 1, 0x301);
	expect(k, 0xffffffff81000400, "alias", "", 0, 0x400);
	expect(k, 0xffffffff81001007, "ifunc", "", 7, 0x1007);
}

static void test_shown_tells_modules_apart_and_not_where_they_are(void **state)
{
	_cleanup_(kernel_freep) struct kernel *k = NULL;

	assert_int_equal(open_text(ordinary, &k), 0);
	expect(k, 0xffffffffc0101004, "probe", "alpha", 4, 1ull << 32 | 4);
	expect(k, 0xffffffffc0301000, "bpf_prog_6deef7357e7b4530_sd_fw", "bpf", 0, 2ull << 32);
	expect(k, 0xffffffffc0201010, "read_block", "zeta", 0x10, 3ull << 32 | 0x10);
	expect(k, 0xffffffffc0201090, "write_block", "zeta", 0x10, 3ull << 32 | 0x90);
}

static void test_addresses_that_belong_to_nothing(void **state)
{
	static const uint64_t addresses[] = { 0,
					      0x1000,
					      0xffffffff80ffffff,
					      0xffffffff90000000,
					      0xffffffffc0100fff,
					      0xffffffffc0180000,
					      UINT64_MAX };
	_cleanup_(kernel_freep) struct kernel *k = NULL;
	struct kernel_symbol s;

	assert_int_equal(open_text(ordinary, &k), 0);
	for (size_t i = 0; i < sizeof(addresses) / sizeof(*addresses); i++)
		assert_int_equal(kernel_find(k, addresses[i], &s), -ENOENT);
}

static void test_hidden_addresses(void **state)
{
	struct kernel *k = NULL;

	assert_int_equal(open_text("0000000000000000 T _text\n"
				   "0000000000000000 t local\n"
				   "0000000000000000 t x\t[mod]\n",
				   &k),
			 -EPERM);
	assert_null(k);
}

static void test_nothing_to_read(void **state)
{
	struct kernel *k = NULL;

	assert_int_equal(open_text("", &k), -ENODATA);
	assert_int_equal(open_text("ffffffff81000000 D data\nffffffff81000000 B bss\n", &k),
			 -ENODATA);
	assert_int_equal(kernel_open(-1, &k), -EBADF);
	assert_null(k);
}

static void test_lines_that_are_odd_are_passed_over(void **state)
{
	static const char odd[] = "\n"
				  "T\n"
				  "ffffffff81000000\n"
				  "ffffffff81000000 \n"
				  "ffffffff81000000 T\n"
				  "ffffffff81000000 T \n"
				  "ffffffff81000000 T \t[mod]\n"
				  "fffffffff81000000 T seventeen_digits\n"
				  "FFFFFFFF81000000 T capitals\n"
				  "ffffffff81000000  T blanks\n"
				  "ffffffff82000000 T good\t[mod\n"
				  "ffffffff82001000 T also_good\tmod\n"
				  "ffffffff82002000 T without_newline";
	_cleanup_(kernel_freep) struct kernel *k = NULL;
	struct kernel_symbol s;

	assert_int_equal(open_text(odd, &k), 0);
	assert_int_equal(kernel_find(k, 0xffffffff81000000, &s), -ENOENT);
	expect(k, 0xffffffff82000001, "good", "mod", 1, 1ull << 32 | 1);
	expect(k, 0xffffffff82002001, "also_good", "mod", 0x1001, 1ull << 32 | 0x2001);
}

/* Lines fall across the reader's buffers; one is longer than all of them. */
static void test_long_input(void **state)
{
	static char text[1024 * 1024];
	_cleanup_(kernel_freep) struct kernel *k = NULL;
	size_t at = 0;

	for (unsigned i = 0; i < 10000; i++) {
		at += (size_t)sprintf(text + at, "%016llx t __pfx_f%u\n%016llx t f%u\n",
				      0xffffffff81000000ull + i * 64ull, i,
				      0xffffffff81000010ull + i * 64ull, i);
		if (i != 5000)
			continue;
		at += (size_t)sprintf(text + at, "ffffffff81000000 t ");
		memset(text + at, 'x', 70000);
		at += 70000;
		text[at++] = '\n';
	}
	assert_int_equal(open_bytes(text, at, &k), 0);
	for (unsigned i = 0; i < 10000; i += 7) {
		char name[32];

		sprintf(name, "f%u", i);
		expect(k, 0xffffffff81000020ull + i * 64ull, name, "", 16, 32 + i * 64ull);
		sprintf(name, "__pfx_f%u", i);
		expect(k, 0xffffffff81000002ull + i * 64ull, name, "", 2, 2 + i * 64ull);
	}
}

/* The real one, where we may see it. */
static void test_this_kernel(void **state)
{
	_cleanup_(kernel_freep) struct kernel *k = NULL;
	_cleanup_(closep) int fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
	FILE *f = fopen("/proc/kallsyms", "re");
	unsigned n = 0, n_same = 0;
	char line[1024];

	if (fd < 0 || !f || kernel_open(fd, &k) < 0) {
		if (f)
			fclose(f);
		skip();
	}
	while (fgets(line, sizeof(line), f)) {
		char type, name[512];
		unsigned long address;
		struct kernel_symbol s;

		/* BPF programs come and go between the two readings */
		if (sscanf(line, "%lx %c %511s", &address, &type, name) != 3 || strstr(line, "[bpf]") ||
		    !strchr("tTwW", type) || ++n % 97)
			continue;
		assert_int_equal(kernel_find(k, address, &s), 0);
		assert_int_equal(s.offset, 0);
		n_same += !strcmp(s.name, name);
	}
	fclose(f);
	assert_true(n_same > n / 97 / 2); /* the rest are aliases */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_symbols_of_the_kernel),
		cmocka_unit_test(test_shown_tells_modules_apart_and_not_where_they_are),
		cmocka_unit_test(test_addresses_that_belong_to_nothing),
		cmocka_unit_test(test_hidden_addresses),
		cmocka_unit_test(test_nothing_to_read),
		cmocka_unit_test(test_lines_that_are_odd_are_passed_over),
		cmocka_unit_test(test_long_input),
		cmocka_unit_test(test_this_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
