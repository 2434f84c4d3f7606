/* SPDX-License-Identifier: Apache-2.0 */

/* allocators FILE... - prints where the allocation functions and otel_memory sites of ELF files can
 * be watched: what `status` and `arguments` of symbolizer/probes.h say, for people. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "symbolizer/allocators.h"
#include "symbolizer/client.h"

static const char *const functions[ALLOCATOR_N_FUNCTIONS] = {
	"",    "malloc",       "calloc", "realloc",    "reallocarray", "memalign", "posix_memalign",
	"new", "new(nothrow)", "free",	 "usdt alloc", "usdt free",
};
static const char *const registers[SYMBOLIZER_N_REGISTERS] = {
	"rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
	"r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15",
};

static void print_instruction(struct elf_file *f, const struct symbolizer_probe *p)
{
	static const size_t max = 15;
	struct elf_section code;
	ZydisDecoder decoder;
	ZydisDecodedInstruction ins;
	char text[32] = "";

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (uint64_t at = p->start; p->status == PROBE_FINE && elf_file_at(f, at, max, &code);) {
		if (!ZYAN_SUCCESS(
			    ZydisDecoderDecodeInstruction(&decoder, NULL, code.data, code.n, &ins)))
			break;
		for (unsigned i = 0; i < f->n_segments; i++) {
			const struct elf_segment *s = &f->segments[i];

			if (at >= s->vaddr && at - s->vaddr < s->filesz &&
			    s->offset + at - s->vaddr == p->offset)
				snprintf(text, sizeof(text), "+%-3u %s", (unsigned)(at - p->start),
					 ZydisMnemonicGetString(ins.mnemonic));
		}
		if (*text)
			break;
		at += ins.length;
	}
	printf(" %-9s", text);
}

static void print_argument(unsigned i, const struct symbolizer_argument *a)
{
	if (a->kind == SYMBOLIZER_NOTHING)
		return;
	printf(" %u=%d@", i + 1, a->size);
	if (a->kind == SYMBOLIZER_CONSTANT)
		printf("%lld", (long long)a->value);
	else if (a->kind == SYMBOLIZER_REGISTER)
		printf("%s", registers[a->reg]);
	else if (a->index == SYMBOLIZER_NO_REGISTER)
		printf("%lld(%s)", (long long)a->value, registers[a->reg]);
	else
		printf("%lld(%s,%s,%u)", (long long)a->value, registers[a->reg],
		       registers[a->index], a->scale);
}

static void print_probe(struct elf_file *f, const struct symbolizer_probe *p)
{
	printf("%-44s %-14s %#9llx", p->name, functions[p->function],
	       (unsigned long long)p->offset);
	print_instruction(f, p);
	for (unsigned i = 0; i < SYMBOLIZER_N_ARGUMENTS; i++)
		print_argument(i, &p->arguments[i]);
	if (p->semaphore)
		printf(" semaphore=%#llx", (unsigned long long)p->semaphore);
	printf("%s%s%s%s", p->flags & ALLOCATOR_MAY_THROW ? " throws" : "",
	       p->flags & ALLOCATOR_TAIL ? " tail" : "", p->flags & ALLOCATOR_GLIBC ? " glibc" : "",
	       p->flags & ALLOCATOR_NOP5 ? " nop5" : "");
	printf("%s%s\n", p->status ? " -- " : "",
	       p->status ? symbolizer_probe_text(p->status) : "");
}

static int list(const char *path)
{
	_cleanup_(elf_file_closep) struct elf_file *f = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = fd < 0 ? -errno : elf_file_open(fd, &f);
	struct probe_list l;

	if (r == 0)
		r = allocators_find(f, &l);
	if (r < 0) {
		fprintf(stderr, "allocators: %s: %s\n", path, strerror(-r));
		return 1;
	}
	printf("%s: %u probes, %u lost, %u USDT notes, %u of them bad\n", path, l.end.n_probes,
	       l.end.n_lost, l.end.n_notes, l.end.n_bad_notes);
	for (size_t i = 0; i < l.probes.n; i++)
		print_probe(f, &l.probes.data[i]);
	probe_list_deinit(&l);
	return 0;
}

int main(int argc, char **argv)
{
	int failed = argc < 2;

	for (int i = 1; i < argc; i++)
		failed |= list(argv[i]);
	return failed;
}
