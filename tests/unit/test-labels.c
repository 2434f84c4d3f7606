/* SPDX-License-Identifier: Apache-2.0 */

/* Variables of threads that hold labels: by name and by note, where they are in a program's threads, which
 * slot of a library tells. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "symbolizer/labels.h"
#include "tests/unit/elf_image.h"

#define DYNSYM 0x600000ull

struct world {
	struct image m;
	struct elf_file *f;
	Elf64_Sym symbols[6];
	unsigned n_symbols;
	char strings[256];
	size_t n_strings;
	Elf64_Rela slots[4];
	unsigned n_slots;
	struct bytes notes;
	uint16_t type;
	uint64_t tls_address, tls_memsz, tls_align;
	struct symbolizer_label found[SYMBOLIZER_MAX_LABELS];
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	w->n_symbols = 1;
	w->n_strings = 1;
	w->type = ET_DYN;
	w->tls_memsz = 0x100;
	w->tls_align = 8;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	elf_file_close(w->f);
	bytes_deinit(&w->notes);
	image_deinit(&w->m);
	free(w);
	return 0;
}

/* Its number. */
static unsigned symbol(struct world *w, const char *name, unsigned char type, uint16_t section, uint64_t value)
{
	Elf64_Sym *s = &w->symbols[w->n_symbols];

	*s = (Elf64_Sym){ .st_name = (uint32_t)w->n_strings, .st_info = ELF64_ST_INFO(STB_GLOBAL, type),
			  .st_shndx = section, .st_value = value, .st_size = 8 };
	strcpy(w->strings + w->n_strings, name);
	w->n_strings += strlen(name) + 1;
	return w->n_symbols++;
}

static void slot(struct world *w, uint64_t address, uint32_t type, unsigned number, int64_t addend)
{
	w->slots[w->n_slots++] = (Elf64_Rela){ address, ELF64_R_INFO((uint64_t)number, type), addend };
}

static void note(struct world *w, const char *owner, uint32_t type, uint64_t offset)
{
	uint32_t head[] = { (uint32_t)strlen(owner) + 1, 8, type };

	bytes_add(&w->notes, head, sizeof(head));
	bytes_add(&w->notes, owner, head[0]);
	while (w->notes.n % 4)
		bytes_add(&w->notes, "", 1);
	bytes_add(&w->notes, &offset, 8);
}

static uint32_t find(struct world *w)
{
	static const uint32_t one = 1;

	image_section(&w->m, "symbols", DYNSYM, w->symbols, w->n_symbols * sizeof(*w->symbols));
	image_section(&w->m, "strings", DYNSYM + 0x1000, w->strings, w->n_strings);
	image_section(&w->m, "slots", DYNSYM + 0x2000, w->slots, w->n_slots * sizeof(*w->slots));
	if (w->notes.n)
		image_section(&w->m, ".note.pprofd", 0, w->notes.data, w->notes.n);
	memcpy(w->m.text + 0x10, &one, sizeof(one));
	image_finish(&w->m);
	image_ehdr(&w->m)->e_type = w->type;
	image_shdr(&w->m, "symbols")->sh_type = SHT_DYNSYM;
	image_shdr(&w->m, "slots")->sh_type = SHT_RELA;
	image_shdr(&w->m, "slots")->sh_flags = SHF_ALLOC;
	for (unsigned i = 0; i < image_ehdr(&w->m)->e_shnum; i++) { /* strings are found by number */
		Elf64_Shdr *s = (Elf64_Shdr *)(void *)(w->m.file.data + image_ehdr(&w->m)->e_shoff) + i;

		if (s == image_shdr(&w->m, "strings"))
			image_shdr(&w->m, "symbols")->sh_link = i;
		if (s == image_shdr(&w->m, "symbols"))
			image_shdr(&w->m, "slots")->sh_link = i;
	}
	assert_int_equal(elf_file_open_memory(w->m.file.data, w->m.file.n, &w->f), 0);
	w->f->tls_address = w->tls_address;
	w->f->tls_memsz = w->tls_memsz;
	w->f->tls_align = w->tls_align;
	return labels_find(w->f, w->found);
}

static void test_of_a_program(void **state)
{
	struct world *w = *state;

	symbol(w, "otel_thread_ctx_v1", STT_TLS, 1, 0x10);
	assert_int_equal(find(w), 1);
	assert_int_equal(w->found[0].kind, SYMBOLIZER_LABELS_OTEL);
	assert_int_equal(w->found[0].program_offset, 0x10 - 0x100);
	assert_int_equal(w->found[0].offset, 0x10);
	assert_int_equal(w->found[0].slot_kind, SYMBOLIZER_SLOT_NONE);
}

/* The end of the blocks is aligned, also where the segment does not begin so: as ld.so and musl reckon. */
static void test_alignment(void **state)
{
	struct world *w = *state;

	w->tls_address = 0x3d88;
	w->tls_memsz = 0x29;
	w->tls_align = 64;
	symbol(w, "pprofd_labels_v1", STT_TLS, 1, 8);
	assert_int_equal(find(w), 1);
	/* 0x3d88 % 64 = 8; the block's end is 15 bytes before a multiple of 64: 0x38 bytes behind the start */
	assert_int_equal(w->found[0].program_offset, 8 - 0x38);
}

static void test_alignments_that_make_no_sense(void **state)
{
	static const uint64_t odd[] = { 3, 1ull << 40, UINT64_MAX };
	struct world *w = *state;

	symbol(w, "pprofd_labels_v1", STT_TLS, 1, 8);
	assert_int_equal(find(w), 1);
	for (unsigned i = 0; i < 3; i++) {
		w->f->tls_align = odd[i];
		assert_int_equal(labels_find(w->f, w->found), 0);
	}
	w->f->tls_align = 0;
	assert_int_equal(labels_find(w->f, w->found), 1);
	w->f->tls_memsz = UINT64_MAX;
	assert_int_equal(labels_find(w->f, w->found), 0);
	w->f->tls_memsz = 8; /* the variable is behind the block */
	assert_int_equal(labels_find(w->f, w->found), 0);
}

static void test_by_note(void **state)
{
	struct world *w = *state;

	note(w, "other", 3, 0x40);
	note(w, "pprofd", 1, 0x50);
	note(w, "pprofd", 3, 0x1000); /* behind the block */
	note(w, "pprofd", 3, 0x20);
	note(w, "pprofd", 3, 0x30);
	assert_int_equal(find(w), 1);
	assert_int_equal(w->found[0].kind, SYMBOLIZER_LABELS_OURS);
	assert_int_equal(w->found[0].offset, 0x20);
}

static void test_note_that_is_cut(void **state)
{
	struct world *w = *state;

	note(w, "pprofd", 3, 0x20);
	w->notes.n -= 4;
	assert_int_equal(find(w), 0);
}

static void test_slots(void **state)
{
	struct world *w = *state;
	unsigned otel = symbol(w, "otel_thread_ctx_v1", STT_TLS, 1, 0);
	unsigned ours = symbol(w, "pprofd_labels_v1", STT_TLS, 1, 8);

	slot(w, 0x7000, R_X86_64_DTPMOD64, 0, 0);
	slot(w, 0x7010, R_X86_64_DTPMOD64, otel, 0);
	slot(w, 0x7020, R_X86_64_TLSDESC, 0, 8);
	slot(w, 0x7030, R_X86_64_GLOB_DAT, ours, 0);
	assert_int_equal(find(w), 2);
	assert_int_equal(w->found[0].kind, SYMBOLIZER_LABELS_OURS);
	assert_int_equal(w->found[0].slot_kind, SYMBOLIZER_SLOT_DESCRIPTOR);
	assert_int_equal(w->found[0].slot, 0x7020);
	assert_int_equal(w->found[1].slot_kind, SYMBOLIZER_SLOT_INDEX);
	assert_int_equal(w->found[1].slot, 0x7010);
}

static void test_slot_of_the_whole_file(void **state)
{
	struct world *w = *state;

	symbol(w, "otel_thread_ctx_v1", STT_TLS, 1, 0x18);
	slot(w, 0x7000, R_X86_64_DTPMOD64, 0, 0);
	slot(w, 0x7010, R_X86_64_TPOFF64, 0, 0x20); /* of another variable */
	assert_int_equal(find(w), 1);
	assert_int_equal(w->found[0].slot_kind, SYMBOLIZER_SLOT_MODULE);
	assert_int_equal(w->found[0].slot, 0x7000);
	assert_int_equal(w->found[0].offset, 0x18);
}

static void test_version_of_custom_labels(void **state)
{
	struct world *w = *state;

	symbol(w, "custom_labels_current_set", STT_TLS, 1, 0);
	symbol(w, "custom_labels_abi_version", STT_OBJECT, 1, IMAGE_TEXT + 0x10);
	assert_int_equal(find(w), 1);
	assert_int_equal(w->found[0].kind, SYMBOLIZER_LABELS_CUSTOM);
}

static void test_another_version_of_custom_labels(void **state)
{
	struct world *w = *state;

	symbol(w, "custom_labels_current_set", STT_TLS, 1, 0);
	symbol(w, "custom_labels_abi_version", STT_OBJECT, 1, IMAGE_TEXT + 0x18);
	assert_int_equal(find(w), 0);
}

static void test_symbols_that_are_none(void **state)
{
	struct world *w = *state;

	symbol(w, "otel_thread_ctx_v1", STT_OBJECT, 1, 0x10);
	symbol(w, "pprofd_labels_v1", STT_TLS, SHN_UNDEF, 0x10);
	symbol(w, "custom_labels_current_set", STT_TLS, 1, 0x10); /* without a version */
	assert_int_equal(find(w), 0);
}

static void test_file_without_a_block(void **state)
{
	struct world *w = *state;

	w->tls_memsz = 0;
	symbol(w, "otel_thread_ctx_v1", STT_TLS, 1, 0);
	assert_int_equal(find(w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_of_a_program, setup, teardown),
		cmocka_unit_test_setup_teardown(test_alignment, setup, teardown),
		cmocka_unit_test_setup_teardown(test_alignments_that_make_no_sense, setup, teardown),
		cmocka_unit_test_setup_teardown(test_by_note, setup, teardown),
		cmocka_unit_test_setup_teardown(test_note_that_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slot_of_the_whole_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_version_of_custom_labels, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_version_of_custom_labels, setup, teardown),
		cmocka_unit_test_setup_teardown(test_symbols_that_are_none, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_without_a_block, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
