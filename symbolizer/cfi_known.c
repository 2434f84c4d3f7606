/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/cfi_known.h"

#include <elf.h>
#include <string.h>

#include "symbolizer/symbol_scan.h"

struct known {
	uint16_t machine;
	uint8_t n, from; /* bytes; what is returned to: it is looked up one byte before */
	uint8_t code[12];
	struct unwind_rule rule;
};

/* An exact end: nothing called it, its address is that of what comes next. */
static const struct known all[] = {
	/* mov $15, %rax; syscall, and arm64's mov x8, #139; svc #0 */
	{ EM_X86_64,
	  9,
	  0,
	  { 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05 },
	  { .kind = UNWIND_SIGNAL } },
	{ EM_AARCH64,
	  8,
	  0,
	  { 0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4 },
	  { .kind = UNWIND_SIGNAL } },
	/* push %rbp; jmp *%rbx; here: xor %rdi, %rdi; call _exit; with endbr64 in front where that
	   is wanted */
	{ EM_X86_64,
	  7,
	  3,
	  { 0x55, 0xff, 0xe3, 0x48, 0x31, 0xff, 0xe8 },
	  { .kind = UNWIND_OUTERMOST, .aux = 1 } },
	{ EM_X86_64,
	  11,
	  3,
	  { 0x55, 0xff, 0xe3, 0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x31, 0xff, 0xe8 },
	  { .kind = UNWIND_OUTERMOST, .aux = 1 } },
};

/* Where a piece of code begins in [start, end); false: nowhere. */
static bool find_code(const struct elf_file *f, uint64_t start, uint64_t end, const uint8_t *code,
		      size_t n, uint64_t *ret)
{
	uint8_t buffer[4096];

	while (end - start >= n) {
		size_t want = end - start < sizeof(buffer) ? end - start : sizeof(buffer);
		size_t got = elf_file_read(f, start, buffer, want);
		const uint8_t *at = got < n ? NULL : memmem(buffer, got, code, n);

		if (at) {
			*ret = start + (uint64_t)(at - buffer);
			return true;
		}
		if (got < want)
			return false;
		start += got - (n - 1);
	}
	return false;
}

int cfi_known(const struct elf_file *f, uint64_t start, uint64_t end, cfi_stub_fn *fill,
	      void *context, bool *ret)
{
	uint64_t at;
	int r = 0;

	*ret = false;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && r == 0; i++) {
		const struct known *k = &all[i];

		if (k->machine != f->machine || !find_code(f, start, end, k->code, k->n, &at))
			continue;
		*ret = true;
		r = fill(context, at + k->from - (at + k->from > start), at + k->n, &k->rule);
	}
	return r;
}

static int on_symbol(void *context, const struct scanned_symbol *s)
{
	(void)context;
	return s->defined && s->type == STT_FUNC && !strcmp(s->name, "makecontext") ? -1 : 0;
}

bool cfi_has_contexts(struct elf_file *f)
{
	return f->machine == EM_X86_64 && (symbol_scan(f, SHT_DYNSYM, on_symbol, NULL) == -1 ||
					   symbol_scan(f, SHT_SYMTAB, on_symbol, NULL) == -1);
}

bool cfi_is_context_end(const struct elf_file *f, uint64_t at)
{
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa },
			     to_rsp[] = { 0x48, 0x89, 0xdc };
	uint8_t code[sizeof(endbr64) + sizeof(to_rsp)];
	size_t n = elf_file_read(f, at, code, sizeof(code)), from = 0;

	if (n == sizeof(code) && !memcmp(code, endbr64, sizeof(endbr64)))
		from = sizeof(endbr64);
	return n >= from + sizeof(to_rsp) && !memcmp(code + from, to_rsp, sizeof(to_rsp));
}
