/* SPDX-License-Identifier: Apache-2.0 */

/* Symbol tables made by hand: an ELF image of one executable section and the symbols of a test. */

#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "symbolizer/symtab.h"

#define TEXT 0x1000
#define TEXT_SIZE 0x1000
#define N_SECTIONS 5
#define MAX_SYMBOLS 32

enum section { S_NULL, S_TEXT, S_DATA, S_SYMTAB, S_STRTAB };

struct symbol {
	const char *name;
	uint64_t value, size;
	unsigned char type, bind;
	uint16_t section;
};

struct image {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr;
	Elf64_Shdr shdr[N_SECTIONS];
	Elf64_Sym symbols[MAX_SYMBOLS];
	char strings[1024];
};

#define FUNCTION(name, value, size, bind)                                                          \
	{                                                                                          \
		name, value, size, STT_FUNC, bind, S_TEXT                                          \
	}
#define LABEL(name, value)                                                                         \
	{                                                                                          \
		name, value, 0, STT_NOTYPE, STB_LOCAL, S_TEXT                                      \
	}

static void make_headers(struct image *m, size_t n)
{
	m->ehdr = (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = ET_DYN,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = offsetof(struct image, phdr),
		.e_shoff = offsetof(struct image, shdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
		.e_shentsize = sizeof(Elf64_Shdr),
		.e_shnum = N_SECTIONS,
		.e_shstrndx = S_STRTAB,
	};
	m->phdr = (Elf64_Phdr){ .p_type = PT_LOAD,
				.p_flags = PF_R | PF_X,
				.p_vaddr = TEXT,
				.p_filesz = sizeof(*m),
				.p_memsz = TEXT_SIZE * 2 };
	m->shdr[S_TEXT] = (Elf64_Shdr){ .sh_type = SHT_NOBITS,
					.sh_flags = SHF_ALLOC | SHF_EXECINSTR,
					.sh_addr = TEXT,
					.sh_size = TEXT_SIZE };
	m->shdr[S_DATA] = (Elf64_Shdr){ .sh_type = SHT_NOBITS,
					.sh_flags = SHF_ALLOC,
					.sh_addr = TEXT + TEXT_SIZE,
					.sh_size = TEXT_SIZE };
	m->shdr[S_SYMTAB] = (Elf64_Shdr){ .sh_type = SHT_SYMTAB,
					  .sh_offset = offsetof(struct image, symbols),
					  .sh_size = n * sizeof(Elf64_Sym),
					  .sh_link = S_STRTAB,
					  .sh_entsize = sizeof(Elf64_Sym) };
	m->shdr[S_STRTAB] = (Elf64_Shdr){ .sh_type = SHT_STRTAB,
					  .sh_offset = offsetof(struct image, strings),
					  .sh_size = sizeof(m->strings) };
}

static void make_image(struct image *m, const struct symbol *symbols, size_t n)
{
	size_t at = 1;

	memset(m, 0, sizeof(*m));
	make_headers(m, n);
	for (size_t i = 0; i < n; i++) {
		const struct symbol *s = &symbols[i];

		m->symbols[i] = (Elf64_Sym){ .st_name = (uint32_t)at,
					     .st_info = ELF64_ST_INFO(s->bind, s->type),
					     .st_shndx = s->section,
					     .st_value = s->value,
					     .st_size = s->size };
		strcpy(m->strings + at, s->name);
		at += strlen(s->name) + 1;
	}
}

struct fixture {
	struct image image;
	struct elf_file *f;
	struct symtab symtab;
};

static void open_image(struct fixture *x)
{
	assert_int_equal(elf_file_open_memory(&x->image, sizeof(x->image), &x->f), 0);
	assert_int_equal(symtab_build(x->f, SHT_SYMTAB, &x->symtab), 0);
}

static void open_symbols(struct fixture *x, const struct symbol *symbols, size_t n)
{
	assert_true(n <= MAX_SYMBOLS);
	make_image(&x->image, symbols, n);
	open_image(x);
}

#define OPEN(x, symbols) open_symbols(x, symbols, sizeof(symbols) / sizeof(*(symbols)))

static void close_fixture(struct fixture *x)
{
	symtab_deinit(&x->symtab);
	elf_file_close(x->f);
}

static void expect(const struct fixture *x, uint64_t address, const char *name)
{
	struct symtab_answer a = { .name = "nothing" };
	bool found = symtab_find(&x->symtab, address, &a);

	const char *is = found ? a.name : "none", *should = name ? name : "none";

	if (found != (name != NULL) || strcmp(is, should))
		fail_msg("%#lx: %s instead of %s", (unsigned long)address, is, should);
	if (found)
		assert_true(a.start <= address && address - a.start < a.size);
}

static void test_every_address_of_a_function_and_no_other(void **state)
{
	static const struct symbol symbols[] = {
		FUNCTION("second", 0x1200, 0x10, STB_GLOBAL),
		FUNCTION("first", 0x1100, 0x20, STB_LOCAL),
		{ "resolver", 0x1300, 8, STT_GNU_IFUNC, STB_GLOBAL, S_TEXT },
	};
	struct fixture x;

	OPEN(&x, symbols);
	expect(&x, 0x10ff, NULL);
	expect(&x, 0x1100, "first");
	expect(&x, 0x111f, "first");
	expect(&x, 0x1120, NULL);
	expect(&x, 0x11ff, NULL);
	expect(&x, 0x1200, "second");
	expect(&x, 0x120f, "second");
	expect(&x, 0x1210, NULL);
	expect(&x, 0x1307, "resolver");
	expect(&x, 0x1308, NULL);
	expect(&x, 0, NULL);
	expect(&x, UINT64_MAX, NULL);
	close_fixture(&x);
}

static void test_a_symbol_without_size_reaches_to_the_next_or_the_end(void **state)
{
	static const struct symbol symbols[] = {
		FUNCTION("open", 0x1100, 0, STB_GLOBAL),
		FUNCTION("next", 0x1200, 0x10, STB_GLOBAL),
		FUNCTION("last", 0x1f00, 0, STB_GLOBAL),
	};
	struct fixture x;

	OPEN(&x, symbols);
	expect(&x, 0x11ff, "open");
	expect(&x, 0x1200, "next");
	expect(&x, 0x1210, NULL);
	expect(&x, TEXT + TEXT_SIZE - 1, "last");
	expect(&x, TEXT + TEXT_SIZE, NULL);
	close_fixture(&x);
}

static void test_the_last_of_crtbegin_names_no_code_of_the_program(void **state)
{
	static const struct symbol symbols[] = {
		FUNCTION("frame_dummy", 0x1100, 0, STB_LOCAL),
		FUNCTION("next", 0x1200, 0x10, STB_GLOBAL),
	};
	struct fixture x;

	OPEN(&x, symbols);
	expect(&x, 0x1108, "frame_dummy");
	expect(&x, 0x1110, NULL);
	expect(&x, 0x1200, "next");
	close_fixture(&x);
}

static void test_the_best_of_equal_addresses(void **state)
{
	static const struct symbol symbols[] = {
		FUNCTION("local", 0x1100, 0x10, STB_LOCAL),
		FUNCTION("weak", 0x1100, 0x10, STB_WEAK),
		FUNCTION("global", 0x1100, 0x10, STB_GLOBAL),
		FUNCTION("unsized_global", 0x1200, 0, STB_GLOBAL),
		FUNCTION("sized_local", 0x1200, 0x10, STB_LOCAL),
		FUNCTION("__read", 0x1300, 0x10, STB_GLOBAL),
		FUNCTION("read", 0x1300, 0x10, STB_GLOBAL),
		FUNCTION("__libc_read", 0x1300, 0x10, STB_GLOBAL),
		LABEL("label", 0x1400),
		FUNCTION("function", 0x1400, 0, STB_LOCAL),
	};
	struct fixture x;

	OPEN(&x, symbols);
	expect(&x, 0x1105, "global");
	expect(&x, 0x1205, "sized_local");
	expect(&x, 0x1305, "read");
	expect(&x, 0x1405, "function");
	close_fixture(&x);
}

static void test_labels_name_only_what_no_function_does(void **state)
{
	static const struct symbol symbols[] = {
		FUNCTION("function", 0x1100, 0x80, STB_GLOBAL),
		LABEL("loop", 0x1140),
		LABEL("assembly", 0x1200),
		{ "data_label", 0x1300, 0, STT_NOTYPE, STB_LOCAL, S_DATA },
		{ "object", 0x1380, 8, STT_OBJECT, STB_GLOBAL, S_TEXT },
	};
	struct fixture x;

	OPEN(&x, symbols);
	expect(&x, 0x1150, "function");
	expect(&x, 0x1190, NULL);
	expect(&x, 0x1210, "assembly");
	expect(&x, 0x1310, "assembly");
	expect(&x, 0x1384, "assembly");
	close_fixture(&x);
}

static void test_names_that_are_none(void **state)
{
	static const struct symbol symbols[] = {
		FUNCTION("function", 0x1100, 0x80, STB_GLOBAL),
		LABEL("$x", 0x1200),
		LABEL("$d.12", 0x1210),
		LABEL(".L7", 0x1220),
		FUNCTION("", 0x1230, 0x10, STB_GLOBAL),
		FUNCTION("$main", 0x1300, 0x10, STB_GLOBAL),
	};
	struct fixture x;

	OPEN(&x, symbols);
	for (uint64_t at = 0x1180; at < 0x1300; at++)
		expect(&x, at, NULL);
	expect(&x, 0x1300, "$main"); /* a dollar alone makes no mapping symbol */
	close_fixture(&x);
}

static void test_after_an_inner_function_the_outer_goes_on(void **state)
{
	static const struct symbol symbols[] = {
		FUNCTION("outer", 0x1100, 0x100, STB_GLOBAL),
		FUNCTION("inner", 0x1140, 0x10, STB_LOCAL),
		FUNCTION("overlapping", 0x11f0, 0x20, STB_LOCAL),
	};
	struct fixture x;

	OPEN(&x, symbols);
	expect(&x, 0x113f, "outer");
	expect(&x, 0x1140, "inner");
	expect(&x, 0x1150, "outer");
	expect(&x, 0x11f0, "overlapping");
	expect(&x, 0x120f, "overlapping");
	expect(&x, 0x1210, NULL);
	close_fixture(&x);
}

static void test_what_is_not_in_the_text_is_not_named(void **state)
{
	static const struct symbol symbols[] = {
		FUNCTION("zero", 0, 0x2000, STB_GLOBAL),
		FUNCTION("far", 1ull << 40, 0x10, STB_GLOBAL),
		FUNCTION("huge", 0x1100, UINT64_MAX, STB_GLOBAL),
		{ "undefined", 0x1200, 0x10, STT_FUNC, STB_GLOBAL, SHN_UNDEF },
	};
	struct fixture x;

	OPEN(&x, symbols);
	expect(&x, 0, NULL);
	expect(&x, 0x1050, NULL);
	expect(&x, 1ull << 40, NULL);
	expect(&x, 0x1205, "huge");
	expect(&x, TEXT + 2 * TEXT_SIZE, NULL); /* the text's end */
	close_fixture(&x);
}

static void test_bad_offsets_are_no_names(void **state)
{
	static const struct symbol symbols[] = {
		FUNCTION("good", 0x1100, 0x10, STB_GLOBAL),
		FUNCTION("bad", 0x1200, 0x10, STB_GLOBAL),
		FUNCTION("open_end", 0x1300, 0x10, STB_GLOBAL),
	};
	struct fixture x;

	make_image(&x.image, symbols, 3);
	x.image.symbols[1].st_name = 1u << 30;
	memset(x.image.strings + 512, 'x', 512); /* no NUL to the section's end */
	x.image.symbols[2].st_name = 600;
	open_image(&x);
	expect(&x, 0x1100, "good");
	expect(&x, 0x1200, NULL);
	expect(&x, 0x1300, NULL);
	close_fixture(&x);
}

static void test_missing_tables(void **state)
{
	struct fixture x = { 0 };

	make_image(&x.image, NULL, 0);
	assert_int_equal(elf_file_open_memory(&x.image, sizeof(x.image), &x.f), 0);
	assert_int_equal(symtab_build(x.f, SHT_SYMTAB, &x.symtab), -ENODATA);
	assert_int_equal(symtab_build(x.f, SHT_DYNSYM, &x.symtab), -ENODATA);
	elf_file_close(x.f);

	x.image.shdr[S_SYMTAB].sh_size = sizeof(Elf64_Sym);
	x.image.shdr[S_SYMTAB].sh_link = 77;
	assert_int_equal(elf_file_open_memory(&x.image, sizeof(x.image), &x.f), 0);
	assert_int_equal(symtab_build(x.f, SHT_SYMTAB, &x.symtab), -ENODATA);
	elf_file_close(x.f);
}

static void test_an_image_that_is_cut_short(void **state)
{
	static const struct symbol symbols[] = { FUNCTION("f", 0x1100, 0x10, STB_GLOBAL) };
	struct image image;

	make_image(&image, symbols, 1);
	for (size_t n = 0; n < sizeof(image); n += 7) {
		_cleanup_(elf_file_closep) struct elf_file *f = NULL;
		struct symtab s = { 0 };

		if (elf_file_open_memory(&image, n, &f) == 0 && !symtab_build(f, SHT_SYMTAB, &s))
			symtab_deinit(&s);
	}
}

static void test_segments_of_nested_ranges(void **state)
{
	struct range ranges[] = { { 10, 20, 1 }, { 0, 100, 0 },	 { 12, 14, 2 },
				  { 12, 14, 3 }, { 30, 120, 4 }, { 200, 200, 5 } };
	static const struct segment expected[] = { { 0, 0 },  { 10, 1 }, { 12, 3 },	  { 14, 1 },
						   { 20, 0 }, { 30, 4 }, { 120, NO_ITEM } };
	struct ranges r = { ranges, 6, 6 };
	struct segments s = { 0 };

	assert_int_equal(segments_from_ranges(&s, &r), 0);
	for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
		assert_int_equal(segments_find(&s, expected[i].offset), expected[i].item);
		if (expected[i].offset)
			assert_int_equal(segments_find(&s, expected[i].offset - 1),
					 expected[i - 1].item);
	}
	assert_int_equal(segments_find(&s, 200), NO_ITEM);
	vec_deinit(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_address_of_a_function_and_no_other),
		cmocka_unit_test(test_a_symbol_without_size_reaches_to_the_next_or_the_end),
		cmocka_unit_test(test_the_last_of_crtbegin_names_no_code_of_the_program),
		cmocka_unit_test(test_the_best_of_equal_addresses),
		cmocka_unit_test(test_labels_name_only_what_no_function_does),
		cmocka_unit_test(test_names_that_are_none),
		cmocka_unit_test(test_after_an_inner_function_the_outer_goes_on),
		cmocka_unit_test(test_what_is_not_in_the_text_is_not_named),
		cmocka_unit_test(test_bad_offsets_are_no_names),
		cmocka_unit_test(test_missing_tables),
		cmocka_unit_test(test_an_image_that_is_cut_short),
		cmocka_unit_test(test_segments_of_nested_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
