/* SPDX-License-Identifier: Apache-2.0 */

/* Symbols of data made by hand: an ELF image of one executable and one writable segment. */

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "symbolizer/symtab.h"
#include "symbolizer/variables.h"

#define TEXT 0x1000
#define DATA 0x5000
#define SIZE 0x1000
#define MAX_SYMBOLS 16

enum section { S_NULL, S_DATA, S_SYMTAB, S_DYNSYM, S_STRTAB, N_SECTIONS };

struct symbol {
	const char *name;
	uint64_t value, size;
	unsigned char type, bind;
	uint16_t section;
};

#define OBJECT(name, value, size)                                                                  \
	{                                                                                          \
		name, value, size, STT_OBJECT, STB_GLOBAL, S_DATA                                  \
	}

struct image {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr[2];
	Elf64_Shdr shdr[N_SECTIONS];
	Elf64_Sym symbols[2][MAX_SYMBOLS];
	char strings[SYMTAB_MAX_NAME + 1024];
};

struct world {
	struct image image;
	size_t n_strings;
	struct elf_file *f;
	struct variables *variables;
};

static Elf64_Shdr table(enum section type, size_t offset)
{
	return (Elf64_Shdr){ .sh_type = type == S_SYMTAB ? SHT_SYMTAB : SHT_DYNSYM,
			     .sh_offset = offset,
			     .sh_size = sizeof(Elf64_Sym[MAX_SYMBOLS]),
			     .sh_link = S_STRTAB,
			     .sh_entsize = sizeof(Elf64_Sym) };
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct image *m = &w->image;

	m->ehdr = (Elf64_Ehdr){ .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
					     ELFDATA2LSB, EV_CURRENT },
				.e_type = ET_DYN,
				.e_machine = EM_X86_64,
				.e_version = EV_CURRENT,
				.e_phoff = offsetof(struct image, phdr),
				.e_shoff = offsetof(struct image, shdr),
				.e_ehsize = sizeof(Elf64_Ehdr),
				.e_phentsize = sizeof(Elf64_Phdr),
				.e_phnum = 2,
				.e_shentsize = sizeof(Elf64_Shdr),
				.e_shnum = N_SECTIONS,
				.e_shstrndx = S_STRTAB };
	m->phdr[0] = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = TEXT, .p_memsz = SIZE
	};
	m->phdr[1] = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_flags = PF_R | PF_W, .p_vaddr = DATA, .p_memsz = SIZE
	};
	m->shdr[S_DATA] = (Elf64_Shdr){ .sh_type = SHT_NOBITS,
					.sh_flags = SHF_ALLOC | SHF_WRITE,
					.sh_addr = DATA,
					.sh_size = SIZE };
	m->shdr[S_SYMTAB] = table(S_SYMTAB, offsetof(struct image, symbols));
	m->shdr[S_DYNSYM] = table(S_DYNSYM, offsetof(struct image, symbols[1]));
	m->shdr[S_STRTAB] = (Elf64_Shdr){ .sh_type = SHT_STRTAB,
					  .sh_offset = offsetof(struct image, strings),
					  .sh_size = sizeof(m->strings) };
	w->n_strings = 1;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	variables_free(w->variables);
	elf_file_close(w->f);
	free(w);
	return 0;
}

static void add(struct world *w, unsigned which, const struct symbol *s, size_t n)
{
	assert_true(n < MAX_SYMBOLS);
	for (size_t i = 0; i < n; i++) {
		w->image.symbols[which][i + 1] =
			(Elf64_Sym){ .st_name = (uint32_t)w->n_strings,
				     .st_info = ELF64_ST_INFO(s[i].bind, s[i].type),
				     .st_shndx = s[i].section,
				     .st_value = s[i].value,
				     .st_size = s[i].size };
		strcpy(w->image.strings + w->n_strings, s[i].name);
		w->n_strings += strlen(s[i].name) + 1;
	}
}

#define ADD(w, which, symbols) add(w, which, symbols, sizeof(symbols) / sizeof(*(symbols)))

static void expect(struct world *w, uint64_t address, const char *name, uint64_t start)
{
	struct variable v = { "nothing", 0 };
	bool found;

	if (!w->f) {
		assert_int_equal(elf_file_open_memory(&w->image, sizeof(w->image), &w->f), 0);
		assert_int_equal(variables_new(w->f, NULL, &w->variables), 0);
	}
	found = variables_find(w->variables, address, &v);
	if (found != (name != NULL) || (name && (strcmp(v.name, name) || v.start != start)))
		fail_msg("%#lx: %s at %#lx instead of %s", (unsigned long)address,
			 found ? v.name : "none", (unsigned long)v.start, name ? name : "none");
}

static void test_every_address_of_a_variable_and_no_other(void **state)
{
	static const struct symbol symbols[] = { OBJECT("b", 0x5100, 0x28),
						 OBJECT("a", 0x5000, 0x10),
						 OBJECT("last", 0x5ff0, 0x10) };

	ADD(*state, 0, symbols);
	expect(*state, 0x4fff, NULL, 0);
	expect(*state, 0x5000, "a", 0x5000);
	expect(*state, 0x500f, "a", 0x5000);
	expect(*state, 0x5010, NULL, 0);
	expect(*state, 0x5127, "b", 0x5100);
	expect(*state, 0x5128, NULL, 0);
	expect(*state, 0x5fff, "last", 0x5ff0);
	expect(*state, 0x6000, NULL, 0);
	expect(*state, UINT64_MAX, NULL, 0);
}

static void test_only_data_symbols_with_a_size_count(void **state)
{
	static const struct symbol symbols[] = {
		{ "function", 0x5000, 8, STT_FUNC, STB_GLOBAL, S_DATA },
		{ "thread_local", 0x5010, 8, STT_TLS, STB_GLOBAL, S_DATA },
		{ "imported", 0x5020, 8, STT_OBJECT, STB_GLOBAL, SHN_UNDEF },
		{ "label", 0x5030, 8, STT_NOTYPE, STB_GLOBAL, S_DATA },
		OBJECT("__bss_start", 0x5040, 0),
		OBJECT("constant", 0x1000, 8),
		OBJECT("", 0x5050, 8),
	};

	ADD(*state, 0, symbols);
	for (uint64_t at = 0x5000; at < 0x5060; at += 8)
		expect(*state, at, NULL, 0);
	expect(*state, 0x1000, NULL, 0);
}

static void test_of_aliases_the_plain_global_one(void **state)
{
	static const struct symbol symbols[] = {
		OBJECT("__environ", 0x5000, 8),
		{ "weak", 0x5000, 8, STT_OBJECT, STB_WEAK, S_DATA },
		OBJECT("environ", 0x5000, 8),
		{ "local", 0x5000, 8, STT_OBJECT, STB_LOCAL, S_DATA },
	};

	ADD(*state, 0, symbols);
	expect(*state, 0x5004, "environ", 0x5000);
}

static void test_innermost(void **state)
{
	static const struct symbol symbols[] = { OBJECT("all", 0x5000, 0x100),
						 OBJECT("part", 0x5040, 0x10) };

	ADD(*state, 0, symbols);
	expect(*state, 0x503f, "all", 0x5000);
	expect(*state, 0x5040, "part", 0x5040);
	expect(*state, 0x5050, "all", 0x5000);
}

static void test_dynamic_table_answers_where_the_other_does_not(void **state)
{
	static const struct symbol symbols[] = { OBJECT("first", 0x5000, 8),
						 OBJECT("stdout@GLIBC_2.2.5", 0x5008, 8) };
	static const struct symbol dynamic[] = { OBJECT("other", 0x5000, 8),
						 OBJECT("second", 0x5010, 8) };

	ADD(*state, 0, symbols);
	ADD(*state, 1, dynamic);
	expect(*state, 0x5000, "first", 0x5000);
	expect(*state, 0x5008, "stdout", 0x5008);
	expect(*state, 0x5010, "second", 0x5010);
}

static void test_sizes_and_names_that_lie(void **state)
{
	static char name[SYMTAB_MAX_NAME + 2];
	struct symbol symbols[] = { OBJECT("huge", 0x5100, UINT64_MAX), OBJECT(name, 0x5000, 8),
				    OBJECT("@", 0x5010, 8) };

	memset(name, 'n', sizeof(name) - 1);
	ADD(*state, 0, symbols);
	expect(*state, 0x5000, NULL, 0);
	expect(*state, 0x5010, "@", 0x5010);
	expect(*state, 0x5fff, "huge", 0x5100);
	expect(*state, 0x6000, NULL, 0);
}

static void test_segments_that_lie(void **state)
{
	static const struct symbol symbols[] = { OBJECT("a", 0x5000, 8),
						 OBJECT("far", 0x200005000, 8) };
	struct world *w = *state;

	ADD(w, 0, symbols);
	w->image.phdr[1].p_memsz = 1ull << 40;
	expect(w, 0x5000, "a", 0x5000);
	expect(w, 0x200005000, NULL, 0);
}

static void test_no_data_and_no_symbols(void **state)
{
	static const struct symbol symbols[] = { OBJECT("a", 0x5000, 8) };
	struct world *w = *state;

	ADD(w, 0, symbols);
	w->image.phdr[1].p_flags = PF_R;
	expect(w, 0x5000, NULL, 0);
	expect(w, 0, NULL, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_address_of_a_variable_and_no_other),
		TEST(test_only_data_symbols_with_a_size_count),
		TEST(test_of_aliases_the_plain_global_one),
		TEST(test_innermost),
		TEST(test_dynamic_table_answers_where_the_other_does_not),
		TEST(test_sizes_and_names_that_lie),
		TEST(test_segments_that_lie),
		TEST(test_no_data_and_no_symbols),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
