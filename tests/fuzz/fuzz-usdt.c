/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as the notes of static probes, in a file whose text begins with nops of both kinds; and
 * as descriptors of arguments. Whatever can be probed is in the file and has all its arguments. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/emulated_x86.h"
#include "symbolizer/custom.h"
#include "symbolizer/usdt.h"
#include "tests/unit/elf_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_argument(const struct symbolizer_argument *a)
{
	int size = abs(a->size);

	assert(a->kind > SYMBOLIZER_NOTHING && a->kind < SYMBOLIZER_N_ARGUMENT_KINDS);
	assert(size == 1 || size == 2 || size == 4 || size == 8);
	assert(a->reg < SYMBOLIZER_N_REGISTERS);
	if (a->kind != SYMBOLIZER_MEMORY)
		assert(!a->index && !a->scale);
	else if (a->index == SYMBOLIZER_NO_REGISTER)
		assert(!a->scale);
	else
		assert(a->index < SYMBOLIZER_N_REGISTERS && a->index != 7 && a->scale &&
		       a->scale <= 8 && !(a->scale & (a->scale - 1)));
}

static void check_probe(const struct elf_file *f, const struct symbolizer_probe *p)
{
	unsigned needed = p->status ? 0 : symbolizer_function_arguments(p->function);

	assert(p->function == ALLOCATOR_USDT_ALLOC || p->function == ALLOCATOR_USDT_FREE);
	assert(p->status < PROBE_N_STATUS && !p->size && p->n_name && !p->name[p->n_name]);
	for (unsigned i = 0; i < SYMBOLIZER_N_ARGUMENTS; i++) {
		assert((p->arguments[i].kind != SYMBOLIZER_NOTHING) == (needed >> i & 1));
		if (needed >> i & 1)
			check_argument(&p->arguments[i]);
	}
	if (p->status)
		return;
	assert(p->offset < f->size && p->semaphore < f->size);
	assert(p->instruction != EMULATED_NOT && p->instruction != EMULATED_NOP5);
}

static void check_custom(const struct elf_file *f, const struct symbolizer_custom *c)
{
	assert(c->kind && c->kind < CUSTOM_N_KINDS && c->status < PROBE_N_STATUS);
	assert(c->n_name < sizeof(c->name) && strlen(c->name) == c->n_name);
	for (unsigned i = 0; i < SYMBOLIZER_N_ARGUMENTS; i++) {
		bool wanted = !c->status && c->kind != CUSTOM_PROFILE && (i < 2 || !c->n_name);

		assert((c->arguments[i].kind != SYMBOLIZER_NOTHING) == wanted);
		if (wanted)
			check_argument(&c->arguments[i]);
	}
	assert(c->offset < f->size);
}

static void notes(const uint8_t *data, size_t n)
{
	_cleanup_(elf_file_closep) struct elf_file *f = NULL;
	struct probe_list l = { 0 };
	struct custom_list own = { 0 };
	struct image m = { 0 };
	uint64_t base = n > 28 ? data[20] : 0;

	memset(m.text, 0x90, sizeof(m.text));
	memcpy(m.text + 16, "\x0f\x1f\x44\0\0\x48\x85\xff", 8);
	image_section(&m, ".note.stapsdt", 0, data, n);
	image_section(&m, ".note.pprofd", 0, data, n);
	image_section(&m, ".stapsdt.base", base, "", 1);
	image_finish(&m);
	image_phdr(&m, 1)->p_flags |= PF_W;
	if (elf_file_open_memory(m.file.data, m.file.n, &f) == 0 && usdt_find(f, &l) == 0) {
		assert(l.probes.n <= USDT_MAX_SITES && l.end.n_notes <= USDT_MAX_NOTES);
		for (size_t i = 0; i < l.probes.n; i++)
			check_probe(f, &l.probes.data[i]);
	}
	if (f && custom_find(f, &own) == 0) {
		assert(own.all.n <= SYMBOLIZER_MAX_CUSTOM);
		for (size_t i = 0; i < own.all.n; i++)
			check_custom(f, &own.all.data[i]);
	}
	custom_list_deinit(&own);
	probe_list_deinit(&l);
	elf_file_close(TAKE_PTR(f));
	image_deinit(&m);
}

static void descriptors(const uint8_t *data, size_t n)
{
	char *text = malloc(n + 1);
	const char *at = text;
	struct symbolizer_argument a;
	bool unreadable = true;

	if (!text)
		return;
	memcpy(text, data, n);
	text[n] = '\0';
	while (usdt_argument(&at, &a, &unreadable) || unreadable) {
		assert(at > text && at <= text + n);
		if (unreadable)
			assert(a.kind == SYMBOLIZER_NOTHING);
		else
			check_argument(&a);
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n)
		notes(data, n);
	descriptors(data, n);
	return 0;
}
