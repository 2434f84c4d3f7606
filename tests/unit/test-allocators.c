/* SPDX-License-Identifier: Apache-2.0 */

/* The finder on files made by hand, and on the allocators that this machine has. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/emulated_x86.h"
#include "symbolizer/allocators.h"
#include "symbolizer/symbol_scan.h"
#include "tests/unit/elf_image.h"

#define TEXT_AT 0x1000 /* file offset of IMAGE_TEXT */
#define SLOTS 0x600000ull
#define MAX_SYMBOLS 2100

struct world {
	struct image m;
	Elf64_Sym symbols[MAX_SYMBOLS];
	Elf64_Rela slots[4];
	char strings[MAX_SYMBOLS * 16];
	size_t n_symbols, n_slots, n_strings;
	struct elf_file *f;
	struct probe_list l;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	w->n_symbols = w->n_strings = 1;
	memset(w->m.text, 0xcc, sizeof(w->m.text));
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	probe_list_deinit(&w->l);
	elf_file_close(w->f);
	image_deinit(&w->m);
	free(w);
	return 0;
}

/* A symbol at IMAGE_TEXT + at. */
static Elf64_Sym *symbol(struct world *w, const char *name, uint64_t at, uint64_t size)
{
	Elf64_Sym *s = &w->symbols[w->n_symbols++];

	assert_true(w->n_symbols <= MAX_SYMBOLS && w->n_strings + 64 < sizeof(w->strings));
	*s = (Elf64_Sym){ .st_name = (Elf64_Word)w->n_strings,
			  .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
			  .st_shndx = 1,
			  .st_value = IMAGE_TEXT + at,
			  .st_size = size };
	w->n_strings += (size_t)snprintf(w->strings + w->n_strings, 64, "%s", name) + 1;
	return s;
}

static void code(struct world *w, uint64_t at, const char *bytes, size_t n)
{
	memcpy(w->m.text + at, bytes, n);
}

/* A function of these bytes. */
#define FUNCTION(w, name, at, bytes)                                                               \
	({                                                                                         \
		code(w, at, bytes, sizeof(bytes) - 1);                                             \
		symbol(w, name, at, sizeof(bytes) - 1);                                            \
	})

static void slot(struct world *w, const char *name, unsigned type)
{
	symbol(w, name, 0, 0)->st_shndx = SHN_UNDEF;
	w->slots[w->n_slots] = (Elf64_Rela){ .r_offset = SLOTS + 8 * w->n_slots,
					     .r_info = ELF64_R_INFO(w->n_symbols - 1, type) };
	w->n_slots++;
}

static void type_section(struct world *w, const char *name, uint32_t type, uint32_t link)
{
	image_shdr(&w->m, name)->sh_type = type;
	image_shdr(&w->m, name)->sh_link = link;
	image_shdr(&w->m, name)->sh_flags = SHF_ALLOC;
}

static int find(struct world *w, uint32_t table)
{
	image_section(&w->m, "symbols", 0, w->symbols, w->n_symbols * sizeof(Elf64_Sym));
	image_section(&w->m, "strings", 0, w->strings, w->n_strings);
	if (w->n_slots)
		image_section(&w->m, "slots", 0, w->slots, w->n_slots * sizeof(Elf64_Rela));
	image_finish(&w->m);
	type_section(w, "symbols", table, 2);
	if (w->n_slots)
		type_section(w, "slots", SHT_RELA, 1);
	if (elf_file_open_memory(w->m.file.data, w->m.file.n, &w->f) < 0)
		return -EIO;
	return allocators_find(w->f, &w->l);
}

static const struct symbolizer_probe *probe(struct world *w, const char *name)
{
	for (size_t i = 0; i < w->l.probes.n; i++)
		if (!strcmp(w->l.probes.data[i].name, name))
			return &w->l.probes.data[i];
	return NULL;
}

static void status_of(struct world *w, const char *name, enum symbolizer_probe_status status)
{
	const struct symbolizer_probe *p = probe(w, name);

	assert_non_null(p);
	assert_int_equal(p->status, status);
}

static void test_functions_are_found_by_name(void **state)
{
	struct world *w = *state;
	const struct symbolizer_probe *p;

	FUNCTION(w, "malloc", 0x100, "\x48\x85\xff\x74\x00\xc3");
	FUNCTION(w, "mallo", 0x200, "\x55\xc3");
	FUNCTION(w, "mallocs", 0x210, "\x55\xc3");
	FUNCTION(w, "posix_memalign", 0x300, "\x55\xc3");
	FUNCTION(w, "_ZnwmRKSt9nothrow_t", 0x400, "\x55\xc3");
	FUNCTION(w, "_Znwm", 0x410, "\x0f\x1f\x44\0\0\xc3");
	assert_int_equal(find(w, SHT_DYNSYM), 0);
	assert_int_equal(w->l.probes.n, 4);
	assert_int_equal(w->l.end.n_probes, 4);
	p = probe(w, "malloc");
	assert_int_equal(p->function, ALLOCATOR_MALLOC);
	assert_int_equal(p->n_name, 6);
	assert_int_equal(p->status, PROBE_FINE);
	assert_int_equal(p->flags, 0);
	assert_int_equal(p->instruction, EMULATED_JCC);
	assert_int_equal(p->offset, TEXT_AT + 0x103);
	assert_int_equal(p->start, IMAGE_TEXT + 0x100);
	assert_int_equal(p->size, 6);
	assert_int_equal(p->arguments[0].kind, SYMBOLIZER_REGISTER);
	assert_int_equal(p->arguments[0].reg, 5);
	assert_int_equal(p->arguments[0].size, 8);
	assert_int_equal(p->arguments[1].kind, SYMBOLIZER_NOTHING);
	p = probe(w, "posix_memalign");
	assert_int_equal(p->arguments[0].reg, 5);
	assert_int_equal(p->arguments[1].kind, SYMBOLIZER_NOTHING);
	assert_int_equal(p->arguments[2].reg, 1);
	assert_int_equal(probe(w, "_Znwm")->flags, ALLOCATOR_MAY_THROW | ALLOCATOR_NOP5);
	assert_int_equal(probe(w, "_ZnwmRKSt9nothrow_t")->function, ALLOCATOR_NEW_NOTHROW);
}

static void test_names_with_prefixes_in_static_programs(void **state)
{
	static const struct {
		const char *name;
		unsigned function;
	} names[] = {
		{ "_rjem_malloc", ALLOCATOR_MALLOC },
		{ "_rjem_mallocx", ALLOCATOR_MALLOC },
		{ "_rjem_rallocx", ALLOCATOR_REALLOC },
		{ "_rjem_sdallocx", ALLOCATOR_FREE },
		{ "je_calloc", ALLOCATOR_CALLOC },
		{ "tc_memalign", ALLOCATOR_MEMALIGN },
		{ "__libc_free", ALLOCATOR_FREE },
		{ "tc_newarray", ALLOCATOR_NEW },
		{ "mi_malloc_aligned", ALLOCATOR_MALLOC },
		{ "mi_new_n", ALLOCATOR_CALLOC },
		{ "mi_zalloc", ALLOCATOR_MALLOC },
		{ "mi_reallocn", ALLOCATOR_REALLOCARRAY },
	};
	static const char *const others[] = { "je_Znwm", "_rjem_je_malloc", "mi_heap_malloc",
					      "_rjem_xallocx", "__libc_mi_malloc" };
	struct world *w = *state;
	const size_t n = sizeof(names) / sizeof(names[0]);

	for (unsigned i = 0; i < n; i++)
		FUNCTION(w, names[i].name, i * 16, "\x55\xc3")->st_info =
			ELF64_ST_INFO(STB_LOCAL, STT_FUNC);
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		FUNCTION(w, others[i], 0x800 + i * 16, "\x55\xc3");
	assert_int_equal(find(w, SHT_SYMTAB), 0);
	assert_int_equal(w->l.probes.n, n);
	for (unsigned i = 0; i < n; i++) {
		status_of(w, names[i].name, PROBE_FINE);
		assert_int_equal(probe(w, names[i].name)->function, names[i].function);
	}
	assert_int_equal(probe(w, "mi_new_n")->flags, ALLOCATOR_MAY_THROW);
}

static void test_symbols_that_are_not_taken(void **state)
{
	struct world *w = *state;

	FUNCTION(w, "malloc", 0x100, "\x55\xc3")->st_info =
		ELF64_ST_INFO(STB_GLOBAL, STT_GNU_IFUNC);
	FUNCTION(w, "calloc", 0x110, "\x55\xc3")->st_shndx = SHN_UNDEF;
	FUNCTION(w, "realloc", 0x120, "\x55\xc3")->st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC);
	FUNCTION(w, "free", 0x130, "\x55\xc3")->st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT);
	FUNCTION(w, "valloc", 0x140, "\x55\xc3")->st_name = 1u << 20;
	assert_int_equal(find(w, SHT_SYMTAB), 0);
	assert_int_equal(w->l.probes.n, 0);
}

static void test_what_the_linker_made_local_is_taken(void **state)
{
	struct world *w = *state;
	Elf64_Sym *s = FUNCTION(w, "malloc", 0x100, "\x55\xc3");

	s->st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC);
	s->st_other = STV_HIDDEN;
	assert_int_equal(find(w, SHT_SYMTAB), 0);
	status_of(w, "malloc", PROBE_FINE);
}

static void test_one_address_has_one_probe(void **state)
{
	struct world *w = *state;

	symbol(w, "tc_free", 0x100, 2);
	symbol(w, "_ZdlPv", 0x100, 2);
	symbol(w, "cfree", 0x100, 1);
	FUNCTION(w, "free", 0x100, "\x55\xc3");
	symbol(w, "malloc", 0x200, 2);
	FUNCTION(w, "_Znwm", 0x200, "\x55\xc3");
	assert_int_equal(find(w, SHT_SYMTAB), 0);
	assert_int_equal(w->l.probes.n, 2);
	status_of(w, "free", PROBE_FINE);
	status_of(w, "malloc", PROBE_FINE);
	assert_int_equal(probe(w, "free")->size, 2);
	assert_int_equal(probe(w, "malloc")->flags, ALLOCATOR_MAY_THROW); /* as operator new */
}

static void test_calls_that_arrive_elsewhere(void **state)
{
	struct world *w = *state;

	FUNCTION(w, "malloc", 0x100, "\x55\xe8\xfa\x0e\0\0\x5d\xc3");
	FUNCTION(w, "free", 0x120, "\x55\xc3");
	FUNCTION(w, "realloc", 0x140, "\x55\x74\x01\xc3\xe9\xb7\xff\xff\xff"); /* jmp malloc */
	FUNCTION(w, "_Znam", 0x200, "\x48\x89\xff\xe9\xf8\xfe\xff\xff");
	FUNCTION(w, "_Znwm", 0x240, "\x55\x74\x00\xff\xd0\xe8\xb6\xfe\xff\xff\xe8\0\1\0\0\xc3");
	FUNCTION(w, "_ZdlPv", 0x280, "\x55\xe8\xfa\x0e\0\0\xe8\x95\xfe\xff\xff\xc3");
	FUNCTION(w, "reallocarray", 0x300, "\x74\x05\xe9\x39\xfe\xff\xff\xe8\0\1\0\0\xc3");
	FUNCTION(w, "valloc", 0x340, "\x55\xe8\0\1\0\0\x5d\xe9\xb4\xfd\xff\xff");
	FUNCTION(w, "calloc", 0x380, "\x55\xe8\x7a\xfd\xff\xff\xf3\xaa\xc3");
	FUNCTION(w, "pvalloc", 0x3c0, "\x55\xe8\x3a\xfd\xff\xff\xe8\0\1\0\0\xc3");
	assert_int_equal(find(w, SHT_SYMTAB), 0);
	status_of(w, "malloc", PROBE_FINE);
	status_of(w, "free", PROBE_FINE);
	status_of(w, "realloc", PROBE_FINE);
	assert_int_equal(probe(w, "realloc")->flags, ALLOCATOR_TAIL);
	status_of(w, "_Znam", PROBE_ELSEWHERE);	       /* jmp malloc */
	status_of(w, "_Znwm", PROBE_ELSEWHERE);	       /* calls a handler, malloc, and others */
	status_of(w, "_ZdlPv", PROBE_FINE);	       /* calls another first */
	status_of(w, "reallocarray", PROBE_ELSEWHERE); /* realloc, or an error */
	status_of(w, "valloc", PROBE_ELSEWHERE);       /* ends in malloc, always */
	status_of(w, "calloc", PROBE_ELSEWHERE);       /* calls malloc, and nothing else */
	status_of(w, "pvalloc", PROBE_FINE);	       /* calls malloc, and others */
	assert_int_equal(probe(w, "pvalloc")->flags, 0);
}

static void test_new_without_a_malloc_is_elsewhere(void **state)
{
	struct world *w = *state;

	FUNCTION(w, "_Znwm", 0x100, "\x55\xc3");
	FUNCTION(w, "_ZdlPv", 0x200, "\x55\xc3");
	FUNCTION(w, "free", 0x300, "\x55\xc3");
	assert_int_equal(find(w, SHT_SYMTAB), 0);
	status_of(w, "_Znwm", PROBE_ELSEWHERE);
	status_of(w, "_ZdlPv", PROBE_ELSEWHERE);
	status_of(w, "free", PROBE_FINE);
}

/* endbr64; bnd jmp *malloc; and a call through the slot itself. */
static void test_calls_through_the_plt(void **state)
{
	struct world *w = *state;
	int32_t to = (int32_t)(SLOTS - (IMAGE_TEXT + 0x400 + 11));

	FUNCTION(w, "calloc", 0x100, "\x55\xe8\xfa\x02\0\0\xc3");
	FUNCTION(w, "memalign", 0x200, "\x55\xff\x15\0\0\0\0\xc3");
	FUNCTION(w, "valloc", 0x300, "\x55\xff\x15\0\0\0\0\xc3");
	code(w, 0x400, "\xf3\x0f\x1e\xfa\xf2\xff\x25", 7);
	memcpy(w->m.text + 0x407, &to, 4);
	to = (int32_t)(SLOTS - (IMAGE_TEXT + 0x207));
	memcpy(w->m.text + 0x203, &to, 4);
	to = (int32_t)(SLOTS + 8 - (IMAGE_TEXT + 0x307));
	memcpy(w->m.text + 0x303, &to, 4);
	slot(w, "malloc", R_X86_64_JUMP_SLOT);
	slot(w, "memcpy", R_X86_64_GLOB_DAT);
	slot(w, "malloc", R_X86_64_64);
	assert_int_equal(find(w, SHT_DYNSYM), 0);
	assert_int_equal(w->l.probes.n, 3);
	status_of(w, "calloc", PROBE_ELSEWHERE);
	status_of(w, "memalign", PROBE_ELSEWHERE);
	status_of(w, "valloc", PROBE_FINE); /* memcpy's */
}

static void test_functions_without_their_code(void **state)
{
	struct world *w = *state;

	symbol(w, "malloc", IMAGE_N_TEXT, 16);
	symbol(w, "calloc", IMAGE_DATA - IMAGE_TEXT, 1);
	symbol(w, "realloc", 0x100, 0);
	symbol(w, "memalign", 0x110, SYMBOLIZER_MAX_FUNCTION + 1);
	symbol(w, "free", 0x120, UINT64_MAX);
	symbol(w, "valloc", IMAGE_N_TEXT - 4, 5);
	symbol(w, "cfree", 0 - IMAGE_TEXT, 16);
	assert_int_equal(find(w, SHT_SYMTAB), 0);
	status_of(w, "malloc", PROBE_NO_CODE);
	status_of(w, "calloc", PROBE_NO_CODE);
	status_of(w, "realloc", PROBE_NO_SIZE);
	status_of(w, "memalign", PROBE_NO_SIZE);
	status_of(w, "free", PROBE_NO_SIZE);
	status_of(w, "valloc", PROBE_NO_CODE);
	status_of(w, "cfree", PROBE_NO_CODE);
	assert_int_equal(probe(w, "realloc")->offset, TEXT_AT + 0x100);
}

static void test_refusals_of_the_chooser_are_passed_on(void **state)
{
	struct world *w = *state;

	FUNCTION(w, "malloc", 0x100, "\x31\xff\x55\xc3");
	FUNCTION(w, "free", 0x200, "\x31\xf6\x55\xc3");
	FUNCTION(w, "calloc", 0x300, "\x31\xf6\x55\xc3");
	FUNCTION(w, "memalign", 0x400, "\x31\xff\x55\xc3");
	/* test rdi, rdi; jz to a part that leads back to the test */
	FUNCTION(w, "realloc", 0x500, "\x48\x85\xff\x0f\x84\xf7\0\0\0\xc3");
	code(w, 0x600, "\x90\xe9\xfd\xfe\xff\xff", 6);
	FUNCTION(w, "valloc", 0x700, "\x06\xc3");
	assert_int_equal(find(w, SHT_SYMTAB), 0);
	status_of(w, "malloc", PROBE_ARGUMENT);
	status_of(w, "free", PROBE_FINE);
	status_of(w, "calloc", PROBE_ARGUMENT);
	status_of(w, "memalign", PROBE_FINE); /* does not need the first */
	status_of(w, "realloc", PROBE_LOOP);
	status_of(w, "valloc", PROBE_UNDECODABLE);
	assert_int_equal(probe(w, "malloc")->offset, TEXT_AT + 0x100);
	assert_int_equal(probe(w, "malloc")->arguments[0].kind, SYMBOLIZER_NOTHING);
}

static void test_the_list_is_bounded(void **state)
{
	struct world *w = *state;

	memset(w->m.text, 0x55, sizeof(w->m.text));
	for (unsigned i = 0; i < 2000; i++)
		symbol(w, "malloc", i, 1);
	assert_int_equal(find(w, SHT_SYMTAB), 0);
	assert_int_equal(w->l.probes.n, SYMBOLIZER_MAX_PROBES);
	assert_int_equal(w->l.end.n_probes, SYMBOLIZER_MAX_PROBES);
	assert_int_equal(w->l.end.n_lost, 2000 - SYMBOLIZER_MAX_PROBES);
}

static void test_other_machines_and_empty_files(void **state)
{
	struct world *w = *state;

	assert_int_equal(find(w, SHT_SYMTAB), 0);
	assert_int_equal(w->l.probes.n, 0);
	w->f->machine = EM_AARCH64;
	assert_int_equal(allocators_find(w->f, &w->l), -ENOEXEC);
}

/* What this machine has. */

struct wanted {
	const char *name;
	uint64_t start;
};

static int on_wanted(void *context, const struct scanned_symbol *s)
{
	struct wanted *x = context;

	if (s->defined && !strcmp(s->name, x->name))
		x->start = s->value;
	return 0;
}

/* By address, because one probe stands for all names of it. */
static const struct symbolizer_probe *probe_at(struct world *w, const char *name)
{
	struct wanted x = { .name = name };

	symbol_scan(w->f, SHT_DYNSYM, on_wanted, &x);
	for (size_t i = 0; x.start && i < w->l.probes.n; i++)
		if (w->l.probes.data[i].start == x.start)
			return &w->l.probes.data[i];
	print_error("no %s\n", name);
	return NULL;
}

static void check_probe(struct world *w, const struct symbolizer_probe *p)
{
	unsigned needed = symbolizer_function_arguments(p->function), length;
	uint8_t bytes[16];
	ssize_t n;

	if (p->status != PROBE_FINE)
		return;
	n = pread(w->f->fd, bytes, sizeof(bytes), (off_t)p->offset);
	assert_true(n > 0);
	assert_int_equal(emulated_x86(bytes, (size_t)n, &length), p->instruction);
	assert_int_not_equal(p->instruction, EMULATED_NOT);
	assert_int_not_equal(p->instruction, EMULATED_NOP5); /* no stock library has one */
	for (unsigned i = 0; i < SYMBOLIZER_N_ARGUMENTS; i++) {
		assert_int_equal(p->arguments[i].kind,
				 needed >> i & 1 ? SYMBOLIZER_REGISTER : SYMBOLIZER_NOTHING);
		assert_int_not_equal(p->arguments[i].reg, 7); /* rsp */
	}
	assert_string_equal(p->name + p->n_name, "");
}

/* All of `fine` can be probed, the calls of all of `elsewhere` arrive at those. */
static void check_library(struct world *w, const char *path, const char *const *fine,
			  const char *const *elsewhere)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		print_error("%s is missing: tools/install-packages test\n", path);
	assert_true(fd >= 0);
	assert_int_equal(elf_file_open(fd, &w->f), 0);
	assert_int_equal(allocators_find(w->f, &w->l), 0);
	assert_int_equal(w->l.end.n_lost, 0);
	for (; *fine; fine++) {
		const struct symbolizer_probe *p = probe_at(w, *fine);

		assert_non_null(p);
		if (p->status != PROBE_FINE)
			print_error("%s\n", *fine);
		assert_int_equal(p->status, PROBE_FINE);
	}
	for (; *elsewhere; elsewhere++) {
		const struct symbolizer_probe *p = probe_at(w, *elsewhere);

		assert_non_null(p);
		if (p->status != PROBE_ELSEWHERE)
			print_error("%s\n", *elsewhere);
		assert_int_equal(p->status, PROBE_ELSEWHERE);
	}
	for (size_t i = 0; i < w->l.probes.n; i++) {
		check_probe(w, &w->l.probes.data[i]);
		assert_true(w->l.probes.data[i].status <= PROBE_ELSEWHERE); /* none is lost */
	}
}

#define NAMES(...)                                                                                 \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__ __VA_OPT__(, ) NULL                                                    \
	}
#define C_NAMES "malloc", "free", "calloc", "realloc"

static void test_glibc(void **state)
{
	struct world *w = *state;

	check_library(w, "/lib/x86_64-linux-gnu/libc.so.6",
		      NAMES(C_NAMES, "posix_memalign", "aligned_alloc", "memalign", "valloc"),
		      NAMES("reallocarray"));
	assert_int_equal(probe_at(w, "malloc")->flags & ALLOCATOR_GLIBC, ALLOCATOR_GLIBC);
	/* realloc of NULL is a jump to malloc */
	assert_int_equal(probe_at(w, "realloc")->flags & ALLOCATOR_TAIL, ALLOCATOR_TAIL);
}

static void test_libstdcxx_is_left_to_malloc(void **state)
{
	check_library(*state, "/usr/lib/x86_64-linux-gnu/libstdc++.so.6", NAMES(),
		      NAMES("_Znwm", "_Znam", "_ZnwmRKSt9nothrow_t", "_ZnwmSt11align_val_t",
			    "_ZdlPv", "_ZdlPvm", "_ZdaPv"));
}

static void test_jemalloc(void **state)
{
	check_library(*state, "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
		      NAMES(C_NAMES, "posix_memalign", "aligned_alloc", "memalign", "mallocx",
			    "rallocx", "dallocx", "sdallocx", "_Znwm", "_ZdlPvm"),
		      NAMES("_Znam", "_ZdlPv", "_ZnwmSt11align_val_t"));
}

static void test_tcmalloc(void **state)
{
	check_library(*state, "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
		      NAMES(C_NAMES, "memalign", "aligned_alloc", "_Znwm", "_Znam", "_ZdlPv",
			    "_ZdlPvm", "tc_new_nothrow"),
		      NAMES("posix_memalign", "valloc"));
}

static void test_mimalloc(void **state)
{
	struct world *w = *state;

	check_library(w, "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2",
		      NAMES(C_NAMES, "mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned",
			    "_Znwm", "mi_new_n"),
		      NAMES("posix_memalign", "mi_posix_memalign", "aligned_alloc",
			    "mi_new_realloc", "_ZdlPvmSt11align_val_t"));
	assert_int_equal(probe_at(w, "malloc")->arguments[0].reg, 4); /* rsi: it has moved */
}

static void test_musl(void **state)
{
	check_library(*state, "/lib/ld-musl-x86_64.so.1",
		      NAMES(C_NAMES, "posix_memalign", "aligned_alloc"),
		      NAMES("memalign", "valloc", "reallocarray"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_functions_are_found_by_name),
		TEST(test_names_with_prefixes_in_static_programs),
		TEST(test_symbols_that_are_not_taken),
		TEST(test_what_the_linker_made_local_is_taken),
		TEST(test_one_address_has_one_probe),
		TEST(test_calls_that_arrive_elsewhere),
		TEST(test_new_without_a_malloc_is_elsewhere),
		TEST(test_calls_through_the_plt),
		TEST(test_functions_without_their_code),
		TEST(test_refusals_of_the_chooser_are_passed_on),
		TEST(test_the_list_is_bounded),
		TEST(test_other_machines_and_empty_files),
		TEST(test_glibc),
		TEST(test_libstdcxx_is_left_to_malloc),
		TEST(test_jemalloc),
		TEST(test_tcmalloc),
		TEST(test_mimalloc),
		TEST(test_musl),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
