/* SPDX-License-Identifier: Apache-2.0 */

/* Notes of static probes made by hand: what is read, what is refused, what is only counted. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/emulated_x86.h"
#include "symbolizer/usdt.h"
#include "tests/unit/elf_image.h"

#define TEXT_AT 0x1000 /* file offsets of the image's segments */
#define DATA_AT 0x4800
#define BASE 0x700000ull

struct world {
	struct image m;
	struct bytes notes;
	struct elf_file *f;
	struct probe_list l;
	Elf64_Sym symbols[4];
	char strings[64];
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	memset(w->m.text, 0x90, sizeof(w->m.text));
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	probe_list_deinit(&w->l);
	elf_file_close(w->f);
	bytes_deinit(&w->notes);
	image_deinit(&w->m);
	free(w);
	return 0;
}

/* Sites are counted from IMAGE_TEXT. */
static void note(struct world *w, uint64_t site, uint64_t semaphore, const char *name,
		 const char *arguments)
{
	uint64_t numbers[] = { IMAGE_TEXT + site, BASE, semaphore };
	uint32_t head[] = { 8, 24, 3 };

	head[1] += (uint32_t)(sizeof("otel_memory") + strlen(name) + strlen(arguments) + 2);
	bytes_add(&w->notes, head, sizeof(head));
	bytes_add(&w->notes, "stapsdt", 8);
	bytes_add(&w->notes, numbers, sizeof(numbers));
	bytes_add(&w->notes, "otel_memory", sizeof("otel_memory"));
	bytes_add(&w->notes, name, strlen(name) + 1);
	bytes_add(&w->notes, arguments, strlen(arguments) + 1);
	while (w->notes.n % 4)
		bytes_add(&w->notes, "", 1);
}

static void find(struct world *w)
{
	if (w->notes.n)
		image_section(&w->m, ".note.stapsdt", 0, w->notes.data, w->notes.n);
	image_finish(&w->m);
	image_phdr(&w->m, 1)->p_flags |= PF_W;
	if (w->strings[1]) {
		image_shdr(&w->m, "symbols")->sh_type = SHT_SYMTAB;
		image_shdr(&w->m, "symbols")->sh_link = 2;
	}
	assert_int_equal(elf_file_open_memory(w->m.file.data, w->m.file.n, &w->f), 0);
	assert_int_equal(usdt_find(w->f, &w->l), 0);
}

static void test_sites_are_found(void **state)
{
	struct world *w = *state;
	const struct symbolizer_probe *p;

	note(w, 0x100, 0, "alloc", "8@%rbx 8@$524288 -4@-24(%rbp,%r9,4)");
	note(w, 0x200, IMAGE_DATA + 2, "free", "8@%rdi");
	note(w, 0x300, 0, "mmap", "8@%rdi");
	find(w);
	assert_int_equal(w->l.probes.n, 2);
	assert_int_equal(w->l.end.n_notes, 3);
	assert_int_equal(w->l.end.n_bad_notes, 0);
	p = &w->l.probes.data[0];
	assert_int_equal(p->function, ALLOCATOR_USDT_ALLOC);
	assert_int_equal(p->status, PROBE_FINE);
	assert_string_equal(p->name, "alloc");
	assert_int_equal(p->instruction, EMULATED_NOP);
	assert_int_equal(p->offset, TEXT_AT + 0x100);
	assert_int_equal(p->start, IMAGE_TEXT + 0x100);
	assert_int_equal(p->size, 0);
	assert_int_equal(p->semaphore, 0);
	assert_int_equal(p->arguments[0].kind, SYMBOLIZER_REGISTER);
	assert_int_equal(p->arguments[0].reg, 3);
	assert_int_equal(p->arguments[1].kind, SYMBOLIZER_CONSTANT);
	assert_int_equal(p->arguments[1].value, 524288);
	assert_int_equal(p->arguments[2].kind, SYMBOLIZER_MEMORY);
	assert_int_equal(p->arguments[2].size, -4);
	assert_int_equal(p->arguments[2].reg, 6);
	assert_int_equal(p->arguments[2].index, 9);
	assert_int_equal(p->arguments[2].scale, 4);
	assert_int_equal(p->arguments[2].value, -24);
	p = &w->l.probes.data[1];
	assert_int_equal(p->function, ALLOCATOR_USDT_FREE);
	assert_int_equal(p->status, PROBE_FINE);
	assert_int_equal(p->semaphore, DATA_AT + 2);
	assert_int_equal(p->arguments[1].kind, SYMBOLIZER_NOTHING);
}

static void test_a_moved_file_is_corrected(void **state)
{
	struct world *w = *state;

	note(w, 0x100, IMAGE_DATA - 0x10, "free", "8@%rdi");
	image_section(&w->m, ".stapsdt.base", BASE + 0x10, "", 1);
	find(w);
	assert_int_equal(w->l.probes.data[0].status, PROBE_FINE);
	assert_int_equal(w->l.probes.data[0].start, IMAGE_TEXT + 0x110);
	assert_int_equal(w->l.probes.data[0].semaphore, DATA_AT);
}

static void test_sites_that_are_refused(void **state)
{
	struct world *w = *state;
	static const uint8_t statuses[] = {
		PROBE_BAD_SITE,
		PROBE_BAD_SITE,
		PROBE_BAD_SITE,
		PROBE_NOT_EMULATED,
		PROBE_NOT_EMULATED,
		PROBE_NOP5,
		PROBE_BAD_SEMAPHORE,
		PROBE_BAD_SEMAPHORE,
		PROBE_BAD_SEMAPHORE,
		PROBE_MISSING_ARGUMENT,
		PROBE_UNREADABLE_ARGUMENT,
		PROBE_FINE,
	};

	memcpy(w->m.text + 0x100, "\x48\x85\xff", 3);
	memcpy(w->m.text + 0x110, "\x66\x66\x66\x66\x90", 5); /* 5 bytes, too */
	memcpy(w->m.text + 0x120, "\x0f\x1f\x44\0\0", 5);
	note(w, IMAGE_N_TEXT, 0, "free", "8@%rdi");
	note(w, IMAGE_DATA - IMAGE_TEXT, 0, "free", "8@%rdi");
	note(w, 0 - IMAGE_TEXT, 0, "free", "8@%rdi");
	note(w, 0x100, 0, "free", "8@%rdi");
	note(w, 0x110, 0, "free", "8@%rdi");
	note(w, 0x120, 0, "free", "8@%rdi");
	note(w, 0x200, IMAGE_TEXT, "free", "8@%rdi");
	note(w, 0x200, IMAGE_DATA + 4, "free", "8@%rdi"); /* behind the file's part */
	note(w, 0x200, IMAGE_DATA + 1, "free", "8@%rdi");
	note(w, 0x200, 0, "alloc", "8@%rdi 8@%rsi");
	note(w, 0x200, 0, "alloc", "8@%rdi 8@weight(%rip) 8@%rsi");
	note(w, IMAGE_N_TEXT - 1, 0, "free", "8@%rdi 8@later(%rip)"); /* more than we need */
	find(w);
	assert_int_equal(w->l.probes.n, sizeof(statuses));
	for (unsigned i = 0; i < sizeof(statuses); i++) {
		const struct symbolizer_probe *p = &w->l.probes.data[i];

		assert_int_equal(p->status, statuses[i]);
		assert_int_equal(p->arguments[0].kind,
				 statuses[i] ? SYMBOLIZER_NOTHING : SYMBOLIZER_REGISTER);
	}
}

/* At 0x100, 0x200, 0x300: named by a symbol, by an FDE, by a symbol of a .cold part. */
static void test_a_long_nop_that_begins_a_function(void **state)
{
	struct world *w = *state;
	static const uint64_t sites[] = { 0x100, 0x200, 0x300, 0x101 };
	uint64_t starts[2];
	size_t fdes[2], cie = image_cie(&w->m.eh_frame, &(struct image_cie){ .n = 0 });

	for (unsigned i = 0; i < 2; i++) {
		starts[i] = IMAGE_TEXT + 0x200 + 0x100 * i;
		fdes[i] = image_fde(&w->m.eh_frame,
				    &(struct image_fde){ .cie = cie, .start = starts[i], .n = 16 });
	}
	image_header(&w->m, starts, fdes, 2);
	memcpy(w->strings + 1, "f\0f.cold", 9);
	w->symbols[1] =
		(Elf64_Sym){ 1, ELF64_ST_INFO(STB_LOCAL, STT_FUNC), 0, 1, IMAGE_TEXT + 0x100, 9 };
	w->symbols[2] =
		(Elf64_Sym){ 3, ELF64_ST_INFO(STB_LOCAL, STT_FUNC), 0, 1, IMAGE_TEXT + 0x300, 9 };
	image_section(&w->m, "symbols", 0, w->symbols, 3 * sizeof(Elf64_Sym));
	image_section(&w->m, "strings", 0, w->strings, sizeof(w->strings));
	for (unsigned i = 0; i < 4; i++)
		note(w, sites[i], 0, "free", "8@%rdi");
	for (unsigned i = 0; i < 3; i++)
		memcpy(w->m.text + sites[i], "\x0f\x1f\x44\0\0", 5);
	find(w);
	assert_int_equal(w->l.probes.n, 4);
	assert_int_equal(w->l.probes.data[0].status, PROBE_FINE);
	assert_int_equal(w->l.probes.data[0].flags, ALLOCATOR_NOP5);
	assert_int_equal(w->l.probes.data[1].status, PROBE_FINE);
	assert_int_equal(w->l.probes.data[2].status, PROBE_NOP5);
	assert_int_equal(w->l.probes.data[3].status, PROBE_NOT_EMULATED);
}

static void test_sites_are_bounded(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < USDT_MAX_SITES + 6; i++)
		note(w, i, 0, "free", "8@%rdi");
	find(w);
	assert_int_equal(w->l.probes.n, USDT_MAX_SITES);
	assert_int_equal(w->l.end.n_lost, 6);
}

static void test_notes_are_bounded(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < USDT_MAX_NOTES + 2; i++)
		note(w, 0x100, 0, "munmap", "");
	find(w);
	assert_int_equal(w->l.probes.n, 0);
	assert_int_equal(w->l.end.n_notes, USDT_MAX_NOTES);
	assert_int_equal(w->l.end.n_lost, 1);
}

static void test_malformed_notes_are_counted(void **state)
{
	struct world *w = *state;
	static const uint32_t heads[][3] = { { 8, 8, 3 }, { 8, 24, 3 }, { 4, 4, 1 }, { 9, 4, 3 } };
	static const uint32_t endless[] = { 8, UINT32_MAX - 2, 3 };

	for (unsigned i = 0; i < 4; i++) {
		bytes_add(&w->notes, heads[i], 12);
		bytes_add(&w->notes, "stapsdt\0\0\0\0\0", (heads[i][0] + 3) & ~3u);
		bytes_add(&w->notes, "++++++++++++++++++++++++", heads[i][1]);
	}
	note(w, 0x100, 0, "free", "8@%rdi");
	bytes_add(&w->notes, endless, sizeof(endless));
	bytes_add(&w->notes, "stapsdt", 8);
	find(w);
	assert_int_equal(w->l.probes.n, 1);
	assert_int_equal(w->l.end.n_notes, 5);
	assert_int_equal(w->l.end.n_bad_notes,
			 3); /* two without their strings, one without an end */
}

static void test_files_without_notes(void **state)
{
	struct world *w = *state;

	find(w);
	assert_int_equal(w->l.probes.n, 0);
	assert_int_equal(w->l.end.n_notes, 0);
}

struct reading {
	const char *text;
	struct symbolizer_argument a;
};

static void test_arguments_are_read(void **state)
{
	static const struct reading readings[] = {
		{ "8@%rax", { .kind = SYMBOLIZER_REGISTER, .reg = 0, .size = 8 } },
		{ "-4@%esi", { .kind = SYMBOLIZER_REGISTER, .reg = 4, .size = -4 } },
		{ "2@%r15w", { .kind = SYMBOLIZER_REGISTER, .reg = 15, .size = 2 } },
		{ "1@%r8b", { .kind = SYMBOLIZER_REGISTER, .reg = 8, .size = 1 } },
		{ "1@%dil", { .kind = SYMBOLIZER_REGISTER, .reg = 5, .size = 1 } },
		{ "4@%rcx", { .kind = SYMBOLIZER_REGISTER, .reg = 2, .size = 4 } },
		{ "4@%r10d", { .kind = SYMBOLIZER_REGISTER, .reg = 10, .size = 4 } },
		{ "8@$1", { .kind = SYMBOLIZER_CONSTANT, .size = 8, .value = 1 } },
		{ "-4@$-5", { .kind = SYMBOLIZER_CONSTANT, .size = -4, .value = -5 } },
		{ "8@$0x10", { .kind = SYMBOLIZER_CONSTANT, .size = 8, .value = 16 } },
		{ "8@$18446744073709551615",
		  { .kind = SYMBOLIZER_CONSTANT, .size = 8, .value = -1 } },
		{ "8@$-9223372036854775808",
		  { .kind = SYMBOLIZER_CONSTANT, .size = 8, .value = INT64_MIN } },
		{ "8@(%rsp)",
		  { .kind = SYMBOLIZER_MEMORY,
		    .reg = 7,
		    .index = SYMBOLIZER_NO_REGISTER,
		    .size = 8 } },
		{ "8@0(%rsp)",
		  { .kind = SYMBOLIZER_MEMORY,
		    .reg = 7,
		    .index = SYMBOLIZER_NO_REGISTER,
		    .size = 8 } },
		{ "8@-8(%rbp)",
		  { .kind = SYMBOLIZER_MEMORY,
		    .reg = 6,
		    .index = SYMBOLIZER_NO_REGISTER,
		    .size = 8,
		    .value = -8 } },
		{ "8@(%rax,%rbx,8)",
		  { .kind = SYMBOLIZER_MEMORY, .reg = 0, .index = 3, .scale = 8, .size = 8 } },
		{ "4@16(%r12,%r13)",
		  { .kind = SYMBOLIZER_MEMORY,
		    .reg = 12,
		    .index = 13,
		    .scale = 1,
		    .size = 4,
		    .value = 16 } },
	};

	for (size_t i = 0; i < sizeof(readings) / sizeof(readings[0]); i++) {
		const char *text = readings[i].text;
		struct symbolizer_argument a;
		bool unreadable;

		if (!usdt_argument(&text, &a, &unreadable))
			print_error("%s\n", readings[i].text);
		assert_memory_equal(&a, &readings[i].a, sizeof(a));
		assert_string_equal(text, "");
		assert_false(usdt_argument(&text, &a, &unreadable) || unreadable);
	}
}

static const char *const refused[] = {
	"%rdi",
	"8@",
	"8",
	"@%rdi",
	"3@%rdi",
	"0@%rdi",
	"16@%rdi",
	"8f@%xmm0",
	"8@%xmm0",
	"8@%rip",
	"8@%ah",
	"1@%bh",
	"8@%eax",
	"4@%ax",
	"2@%al",
	"8@%r16",
	"8@%r7",
	"8@%r08",
	"8@%r8x",
	"8@%r8dd",
	"8@%r",
	"8@rdi",
	"8@%",
	"8@symbol(%rip)",
	"8@symbol",
	"8@8(%rip)",
	"8@symbol+8(%rip)",
	"8@%fs:8(%rax)",
	"8@%gs:0",
	"8@8(%eax)",
	"8@8(,%rax,8)",
	"8@8(%rax,%rsp,1)",
	"8@8(%rax,%rbx,3)",
	"8@8(%rax,%rbx,)",
	"8@8(%rax,%ebx,1)",
	"8@8(%rax",
	"8@8(%rax)x",
	"8@8",
	"8@$",
	"8@$x",
	"8@$010",
	"8@$0x",
	"8@$--1",
	"8@$18446744073709551616",
	"8@$-9223372036854775809",
	"8@2147483648(%rax)",
	"8@-2147483649(%rax)",
	"8@()",
	"8@8+8(%rax)",
	"8@$1+1",
	"--8@%rax",
	"08@%rax",
	"8@*%rax",
	"-8@",
	"8@(%rax,%rbx,16)",
	"99999999999999999999@%rax",
};

static void test_arguments_that_are_refused(void **state)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		const char *text = refused[i];
		struct symbolizer_argument a;
		bool unreadable;

		if (usdt_argument(&text, &a, &unreadable))
			print_error("%s\n", refused[i]);
		assert_int_equal(a.kind, SYMBOLIZER_NOTHING);
		assert_true(unreadable);
		assert_string_equal(text, "");
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sites_are_found),
		TEST(test_a_moved_file_is_corrected),
		TEST(test_sites_that_are_refused),
		TEST(test_a_long_nop_that_begins_a_function),
		TEST(test_sites_are_bounded),
		TEST(test_notes_are_bounded),
		TEST(test_malformed_notes_are_counted),
		TEST(test_files_without_notes),
		cmocka_unit_test(test_arguments_are_read),
		cmocka_unit_test(test_arguments_that_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
