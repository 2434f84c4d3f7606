/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as an ELF file: the names of some addresses of its text, of what is called there, and
 * of its variables. */

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "symbolizer/callees.h"
#include "symbolizer/names.h"
#include "symbolizer/protocol.h"
#include "symbolizer/symtab.h"
#include "symbolizer/variables.h"

#define N_ADDRESSES 64
#define N_CALLS 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void on_frame(void *context, const struct names_frame *f)
{
	unsigned *n = context;

	assert(f->system_name && (*f->system_name || *f->file));
	assert(!f->qualified || (*f->system_name && strlen(f->qualified) <= SYMTAB_MAX_NAME));
	assert(f->file && strlen(f->file) < SYMBOLIZER_MAX_PATH);
	assert(++*n <= SYMBOLIZER_MAX_INLINED);
}

static void find_callee(struct callees *c, uint64_t address)
{
	const char *name = callees_find(c, address);

	assert(!name || *name);
}

static void find_variables(struct variables *v, const struct elf_file *f)
{
	for (unsigned i = 0; i < f->n_segments; i++) {
		for (uint64_t k = 0; k < N_ADDRESSES; k++) {
			uint64_t at = f->segments[i].vaddr + f->segments[i].memsz / N_ADDRESSES * k;
			struct variable found;

			if (!variables_find(v, at, &found))
				continue;
			assert(*found.name && strlen(found.name) <= SYMTAB_MAX_NAME);
			assert(found.start <= at);
		}
	}
}

/* The same bytes once more as each kind of file beside it. */
static void add_others(struct names *names, const uint8_t *data, size_t n)
{
	static const enum names_kind kinds[] = { NAMES_ALT, NAMES_DWO, NAMES_DEBUG };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		struct elf_file *f;

		if (elf_file_open_memory(data, n, &f) == 0)
			assert(names_add(names, kinds[i], f) == 0);
	}
}

/* It may be its own; then it is lacked no more. */
static void add_dwo(struct names *names, const struct names_dwo *dwo, const uint8_t *data, size_t n)
{
	struct elf_file *f;
	int r;

	assert(*dwo->name && dwo->directory);
	if (elf_file_open_memory(data, n, &f) < 0)
		return;
	r = names_add_dwo(names, f);
	assert(r == 0 || r == -ESTALE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct names_dwo dwo;
	_cleanup_(elf_file_closep) struct elf_file *f = NULL;
	_cleanup_(names_freep) struct names *names = NULL;
	_cleanup_(callees_freep) struct callees *callees = NULL;
	_cleanup_(variables_freep) struct variables *variables = NULL;
	uint64_t low = 0, high = 0;
	unsigned n_frames = 0;

	if (elf_file_open_memory(data, n, &f) < 0 || names_new(f, &names) < 0 ||
	    callees_new(f, names, &callees) < 0 || variables_new(f, NULL, &variables) < 0)
		return 0;
	elf_file_text(f, &low, &high);
	names_find(names, f->entry, on_frame, &n_frames);
	for (uint64_t i = 0; i < N_ADDRESSES; i++) {
		n_frames = 0;
		names_find(names, low + (high - low) / N_ADDRESSES * i + i, on_frame, &n_frames);
		find_callee(callees, low + (high - low) / N_ADDRESSES * i + i);
	}
	for (uint64_t i = 0; i < N_CALLS; i++) /* every byte of where a program begins */
		find_callee(callees, f->entry + i);
	find_variables(variables, f);
	for (uint64_t i = 0; i < N_ADDRESSES; i++)
		if (names_missing_dwo(names, i ? low + (high - low) / N_ADDRESSES * i : f->entry, &dwo))
			add_dwo(names, &dwo, data, n);
	add_others(names, data, n);
	for (uint64_t i = 0; i < N_ADDRESSES; i++) {
		n_frames = 0;
		names_find(names, low + (high - low) / N_ADDRESSES * i + i, on_frame, &n_frames);
	}
	return 0;
}
