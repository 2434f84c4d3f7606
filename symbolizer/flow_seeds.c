/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/flow_seeds.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

#include "symbolizer/symbol_scan.h"

#define MAX_DATA (16u << 20) /* bytes searched for pointers */

struct scan {
	struct flow_seeds *seeds;
	uint64_t low, high;
};

/* A part of a function that stands elsewhere is no function, whatever its symbol says. */
static bool is_part(const char *name)
{
	return strstr(name, ".cold") != NULL;
}

static int on_symbol(void *context, const struct scanned_symbol *s)
{
	struct scan *c = context;

	if (!s->defined || (s->type != STT_FUNC && s->type != STT_GNU_IFUNC) || s->value < c->low ||
	    s->value >= c->high || is_part(s->name))
		return 0;
	if (c->seeds->functions.n == FLOW_MAX_SEEDS)
		return -E2BIG;
	return vec_push(&c->seeds->functions, ((struct flow_seed){ s->value, s->size }));
}

static int on_slot(void *context, const struct scanned_symbol *s)
{
	static const char *const names[] = {
		"abort",
		"exit",
		"_exit",
		"_Exit",
		"quick_exit",
		"__assert_fail",
		"__assert",
		"__stack_chk_fail",
		"__chk_fail",
		"__fortify_fail",
		"longjmp",
		"_longjmp",
		"siglongjmp",
		"__longjmp_chk",
		"pthread_exit",
		"__cxa_throw",
		"__cxa_rethrow",
		"_Unwind_Resume",
		"err",
		"errx",
		"verr",
		"verrx",
		"__libc_start_main",
		"thrd_exit",
		"__cxa_bad_cast",
		"_ZSt9terminatev",
		"__cxa_throw_bad_array_new_length",
		"_dl_signal_error",
		"_dl_signal_exception",
	};
	static const char *const allocators[] = { "malloc",	   "calloc",   "realloc",
						  "free",	   "memalign", "aligned_alloc",
						  "posix_memalign" };
	struct scan *c = context;

	for (size_t i = 0; i < sizeof(allocators) / sizeof(allocators[0]); i++) {
		if (strcmp(s->name, allocators[i]))
			continue;
		if (c->seeds->known_to_return.n == FLOW_MAX_SEEDS)
			return -E2BIG;
		return vec_push(&c->seeds->known_to_return, s->value);
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		/* std::__throw_bad_alloc() and its like */
		if (strcmp(s->name, names[i]) &&
		    (strncmp(s->name, "_ZSt", 4) || !strstr(s->name, "__throw_")))
			continue;
		if (c->seeds->never_return.n == FLOW_MAX_SEEDS)
			return -E2BIG;
		return vec_push(&c->seeds->never_return, s->value);
	}
	return 0;
}

static int add_pointer(struct scan *c, uint64_t v)
{
	if (v < c->low || v >= c->high)
		return 0;
	if (c->seeds->pointers.n == FLOW_MAX_SEEDS)
		return -E2BIG;
	return vec_push(&c->seeds->pointers, v);
}

/* Words of writable segments: those of relocations without addends, and of files at fixed
 * addresses. */
static int scan_data(struct scan *c, const struct elf_file *f)
{
	uint64_t words[512];
	uint64_t left = MAX_DATA;
	int r = 0;

	for (unsigned i = 0; i < f->n_segments; i++) {
		const struct elf_segment *s = &f->segments[i];
		uint64_t at = (s->vaddr + 7) & ~7ull, end = s->vaddr + s->filesz;

		if (!(s->flags & PF_W) || (s->flags & PF_X))
			continue;
		while (at < end && left >= sizeof(words) && r == 0) {
			size_t n = elf_file_read(f, at, words, sizeof(words)) / 8;

			for (size_t k = 0; k < n && r == 0; k++)
				r = add_pointer(c, words[k]);
			if (n < 512)
				break;
			at += sizeof(words);
			left -= sizeof(words);
		}
	}
	return r;
}

static int scan_relocations(struct scan *c, struct elf_file *f)
{
	struct elf_section s;
	Elf64_Rela q;
	int r = 0;

	if (!elf_file_section(f, ".rela.dyn", &s))
		return 0;
	for (size_t at = 0; s.n - at >= sizeof(q) && r == 0; at += sizeof(q)) {
		memcpy(&q, s.data + at, sizeof(q));
		if (ELF64_R_TYPE(q.r_info) == R_X86_64_RELATIVE)
			r = add_pointer(c, (uint64_t)q.r_addend);
	}
	return r;
}

static int by_start(const void *a, const void *b)
{
	const struct flow_seed *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->size > y->size ? -1 : x->size < y->size;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int flow_seeds(struct elf_file *f, uint64_t low, uint64_t high, struct flow_seeds *ret)
{
	struct flow_seeds s = { 0 };
	struct scan c = { &s, low, high };
	struct elf_section relative;
	int r = symbol_scan(f, SHT_DYNSYM, on_symbol, &c);

	if (r == 0)
		r = symbol_scan(f, SHT_SYMTAB, on_symbol, &c);
	if (r == 0)
		r = symbol_scan_slots(f, on_slot, &c);
	if (r == 0)
		r = scan_relocations(&c, f);
	if (r == 0 && (f->type == ET_EXEC || elf_file_section(f, ".relr.dyn", &relative)))
		r = scan_data(&c, f);
	if (r < 0) {
		flow_seeds_deinit(&s);
		return r;
	}
	if (s.functions.n)
		qsort(s.functions.data, s.functions.n, sizeof(*s.functions.data), by_start);
	if (s.pointers.n)
		qsort(s.pointers.data, s.pointers.n, sizeof(*s.pointers.data), by_value);
	if (s.never_return.n)
		qsort(s.never_return.data, s.never_return.n, sizeof(uint64_t), by_value);
	if (s.known_to_return.n)
		qsort(s.known_to_return.data, s.known_to_return.n, sizeof(uint64_t), by_value);
	*ret = s;
	return 0;
}

void flow_seeds_deinit(struct flow_seeds *s)
{
	vec_deinit(&s->functions);
	vec_deinit(&s->pointers);
	vec_deinit(&s->never_return);
	vec_deinit(&s->known_to_return);
}
