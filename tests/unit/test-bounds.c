/* SPDX-License-Identifier: Apache-2.0 */

/* Function starts by the search table of .eh_frame_hdr, and what the file's headers say. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dwarf.h>
#include <string.h>

#include "symbolizer/bounds.h"
#include "tests/unit/elf_image.h"

#define N_FUNCTIONS 9
#define NOWHERE 1ull

struct fixture {
	struct image m;
	struct elf_file *f;
};

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	elf_file_close(x->f);
	image_deinit(&x->m);
	free(x);
	return 0;
}

static uint64_t start_of(unsigned i)
{
	return IMAGE_TEXT + i * 256;
}

/* Functions of 200 bytes, every 256. */
static void functions(struct fixture *x, uint8_t encoding, bool plain)
{
	static const char *const letters[] = { "zPLR", "zR", "zRS" };
	uint64_t starts[N_FUNCTIONS];
	size_t at[N_FUNCTIONS];

	for (unsigned i = 0; i < N_FUNCTIONS; i++) {
		const struct image_cie c = { .augmentation = plain ? "" : letters[i % 3],
					     .encoding = encoding,
					     .version = i % 2 ? 3 : 1 };
		size_t cie = image_cie(&x->m.eh_frame, &c);

		starts[i] = start_of(i);
		at[i] = x->m.eh_frame.n;
		image_fde(&x->m.eh_frame,
			  &(struct image_fde){
				  .cie = cie, .start = starts[i], .n = 200, .encoding = encoding });
	}
	image_header(&x->m, starts, at, N_FUNCTIONS);
}

static void open_image(struct fixture *x)
{
	elf_file_close(x->f);
	x->f = NULL;
	if (!x->m.file.n)
		image_finish(&x->m);
	assert_int_equal(elf_file_open_memory(x->m.file.data, x->m.file.n, &x->f), 0);
}

static uint64_t find(struct fixture *x, uint64_t address)
{
	uint64_t start = NOWHERE;
	bool found = bounds_find(x->f, address, &start);

	assert_int_equal(found, start != NOWHERE);
	return start;
}

static void check_functions(struct fixture *x)
{
	open_image(x);
	for (unsigned i = 0; i < N_FUNCTIONS; i++) {
		assert_true(find(x, start_of(i)) == start_of(i));
		assert_true(find(x, start_of(i) + 199) == start_of(i));
		assert_true(find(x, start_of(i) + 200) == NOWHERE); /* padding */
	}
	assert_true(find(x, IMAGE_TEXT - 1) == NOWHERE);
	assert_true(find(x, 0) == NOWHERE);
	assert_true(find(x, UINT64_MAX) == NOWHERE);
}

static void test_each_address_knows_its_function(void **state)
{
	functions(*state, 0, false);
	check_functions(*state);
}

static void test_stripped_file_knows_its_functions(void **state)
{
	struct fixture *x = *state;

	x->m.stripped = true;
	functions(x, 0, false);
	check_functions(x);
}

static void test_other_encodings_of_functions(void **state)
{
	functions(*state, DW_EH_PE_udata8, false);
	check_functions(*state);
}

static void test_without_an_augmentation_lengths_are_unknown(void **state)
{
	struct fixture *x = *state;

	functions(x, DW_EH_PE_udata8, true);
	open_image(x);
	for (unsigned i = 0; i < N_FUNCTIONS; i++)
		assert_true(find(x, start_of(i)) == NOWHERE);
}

static void test_file_without_the_table(void **state)
{
	struct fixture *x = *state;

	image_cie(&x->m.eh_frame, &(struct image_cie){ 0 });
	open_image(x);
	assert_true(find(x, IMAGE_TEXT) == NOWHERE);
}

static char *header(struct fixture *x)
{
	return x->m.file.data + image_phdr(&x->m, 2)->p_offset;
}

static void test_table_that_lies_about_its_size(void **state)
{
	static const uint32_t counts[] = { 0, N_FUNCTIONS + 1, 1u << 26, 1u << 29, UINT32_MAX };
	struct fixture *x = *state;

	functions(x, 0, false);
	open_image(x);
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		memcpy(header(x) + 8, &counts[i], 4);
		open_image(x);
		assert_true(find(x, start_of(3)) == NOWHERE);
	}
}

static void test_tables_of_other_encodings_are_left_alone(void **state)
{
	struct fixture *x = *state;

	functions(x, 0, false);
	image_finish(&x->m);
	for (unsigned i = 1; i < 4; i++) {
		char old = header(x)[i];

		header(x)[i] = (char)DW_EH_PE_omit;
		open_image(x);
		assert_true(find(x, start_of(3)) == NOWHERE);
		header(x)[i] = old;
	}
	open_image(x);
	assert_true(find(x, start_of(3)) == start_of(3));
}

/* Each byte of table and frames in turn is made wrong: an answer, if any, is at or below. */
static void test_every_byte_may_be_wrong(void **state)
{
	static const uint8_t values[] = { 0, 0x7f, 0x80, 0xff };
	struct fixture *x = *state;
	size_t from, to;

	functions(x, 0, false);
	image_finish(&x->m);
	from = image_phdr(&x->m, 1)->p_offset;
	to = from + image_phdr(&x->m, 1)->p_filesz;
	for (size_t i = from; i < to; i++) {
		char old = x->m.file.data[i];

		if (i == from + x->m.eh_frame.n) /* zeros until the table */
			i = image_phdr(&x->m, 2)->p_offset;
		old = x->m.file.data[i];
		for (size_t k = 0; k < sizeof(values); k++) {
			uint64_t start;

			x->m.file.data[i] = (char)values[k];
			open_image(x);
			for (unsigned f = 0; f < N_FUNCTIONS; f++)
				if (bounds_find(x->f, start_of(f) + 100, &start))
					assert_true(start <= start_of(f) + 100);
		}
		x->m.file.data[i] = old;
	}
}

static void test_what_is_not_an_elf_file_is_refused(void **state)
{
	struct fixture *x = *state;
	struct elf_file *f = NULL;

	image_finish(&x->m);
	assert_int_equal(elf_file_open_memory("", 0, &f), -ENOEXEC);
	assert_int_equal(elf_file_open_memory("!<arch>\n", 8, &f), -ENOEXEC);
	assert_int_equal(elf_file_open_memory(x->m.file.data, 63, &f), -ENOEXEC);
	image_ehdr(&x->m)->e_ident[EI_CLASS] = ELFCLASS32;
	assert_int_equal(elf_file_open_memory(x->m.file.data, x->m.file.n, &f), -ENOEXEC);
	image_ehdr(&x->m)->e_ident[EI_CLASS] = ELFCLASS64;
	image_ehdr(&x->m)->e_ident[EI_DATA] = ELFDATA2MSB;
	assert_int_equal(elf_file_open_memory(x->m.file.data, x->m.file.n, &f), -ENOEXEC);
	assert_null(f);
}

static void test_bytes_at_an_address_end_with_the_segment_and_the_file(void **state)
{
	struct fixture *x = *state;
	struct elf_section s;

	memcpy(x->m.text + 16, "hello", 5);
	open_image(x);
	assert_true(elf_file_at(x->f, IMAGE_TEXT + 16, 5, &s));
	assert_memory_equal(s.data, "hello", 5);
	assert_true(elf_file_at(x->f, IMAGE_TEXT + IMAGE_N_TEXT - 3, 100, &s));
	assert_int_equal(s.n, 3);
	assert_false(elf_file_at(x->f, IMAGE_TEXT + IMAGE_N_TEXT, 1, &s));
	assert_false(elf_file_at(x->f, IMAGE_TEXT - 1, 1, &s));
	assert_false(elf_file_at(x->f, IMAGE_TEXT, 0, &s));

	image_phdr(&x->m, 0)->p_filesz = UINT64_MAX / 2;
	open_image(x);
	assert_true(elf_file_at(x->f, IMAGE_TEXT, UINT64_MAX, &s));
	assert_int_equal(s.n, x->m.file.n - image_phdr(&x->m, 0)->p_offset);
	image_phdr(&x->m, 0)->p_offset = UINT64_MAX - 8;
	open_image(x);
	assert_false(elf_file_at(x->f, IMAGE_TEXT, 16, &s));
}

static void test_segment_that_wraps_around_is_no_text(void **state)
{
	struct fixture *x = *state;
	uint64_t low, high;

	open_image(x);
	assert_true(elf_file_text(x->f, &low, &high));
	assert_true(low == IMAGE_TEXT && high == IMAGE_TEXT + IMAGE_N_TEXT);
	image_phdr(&x->m, 0)->p_memsz = UINT64_MAX;
	open_image(x);
	assert_false(elf_file_text(x->f, &low, &high));
}

static void test_sections_by_name(void **state)
{
	struct fixture *x = *state;
	struct elf_section s;

	image_section(&x->m, ".one", 0x1234, "12345678", 8);
	image_section(&x->m, ".none", 0, "", 0);
	image_section(&x->m, ".bss", 0, "1234", 4);
	image_finish(&x->m);
	image_shdr(&x->m, ".bss")->sh_type = SHT_NOBITS;
	open_image(x);
	assert_true(elf_file_section(x->f, ".one", &s));
	assert_true(s.n == 8 && s.address == 0x1234 && !memcmp(s.data, "12345678", 8));
	assert_false(elf_file_section(x->f, ".none", &s));
	assert_false(elf_file_section(x->f, ".bss", &s));
	assert_false(elf_file_section(x->f, ".two", &s));
	image_shdr(&x->m, ".one")->sh_size = UINT64_MAX;
	open_image(x);
	assert_false(elf_file_section(x->f, ".one", &s));
	image_shdr(&x->m, ".one")->sh_size = 4096;
	open_image(x);
	assert_false(elf_file_section(x->f, ".one", &s));
	image_ehdr(&x->m)->e_shstrndx = 0x1234;
	open_image(x);
	assert_false(elf_file_section(x->f, ".one", &s));
}

static void note(struct fixture *x, uint32_t type, const char *name, uint32_t n)
{
	const uint32_t head[3] = { (uint32_t)strlen(name) + 1, n, type };
	uint8_t bytes[256];

	memset(bytes, 0xab, sizeof(bytes));
	memcpy(bytes, head, sizeof(head));
	memcpy(bytes + sizeof(head), name, strlen(name) + 1);
	memcpy(x->m.file.data + 0x1000, bytes, sizeof(bytes));
	*image_phdr(&x->m, 2) = (Elf64_Phdr){
		.p_type = PT_NOTE, .p_offset = 0x1000, .p_filesz = 16 + n, .p_align = 4
	};
	open_image(x);
}

static void test_build_id_is_the_gnu_note(void **state)
{
	struct fixture *x = *state;

	image_finish(&x->m);
	note(x, NT_GNU_BUILD_ID, "GNU", 20);
	assert_int_equal(x->f->n_build_id, 20);
	assert_int_equal(x->f->build_id[19], 0xab);
	note(x, NT_GNU_BUILD_ID, "GNU", ELF_MAX_BUILD_ID);
	assert_int_equal(x->f->n_build_id, ELF_MAX_BUILD_ID);
	note(x, NT_GNU_BUILD_ID, "GNU", ELF_MAX_BUILD_ID + 4);
	assert_int_equal(x->f->n_build_id, 0);
	note(x, NT_GNU_BUILD_ID, "Go", 20);
	assert_int_equal(x->f->n_build_id, 0);
	note(x, NT_GNU_ABI_TAG, "GNU", 20);
	assert_int_equal(x->f->n_build_id, 0);
	image_phdr(&x->m, 2)->p_filesz = UINT64_MAX;
	open_image(x);
	assert_int_equal(x->f->n_build_id, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_each_address_knows_its_function),
		TEST(test_stripped_file_knows_its_functions),
		TEST(test_other_encodings_of_functions),
		TEST(test_without_an_augmentation_lengths_are_unknown),
		TEST(test_file_without_the_table),
		TEST(test_table_that_lies_about_its_size),
		TEST(test_tables_of_other_encodings_are_left_alone),
		TEST(test_every_byte_may_be_wrong),
		TEST(test_what_is_not_an_elf_file_is_refused),
		TEST(test_bytes_at_an_address_end_with_the_segment_and_the_file),
		TEST(test_segment_that_wraps_around_is_no_text),
		TEST(test_sections_by_name),
		TEST(test_build_id_is_the_gnu_note),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
