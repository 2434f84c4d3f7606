/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as an ELF file or, when they are none, as the .eh_frame section of one: rows ascend,
 * rules are in range and look-ups agree with the rows. */

#include <assert.h>
#include <elf.h>
#include <stdint.h>
#include <string.h>

#include "symbolizer/cfi.h"
#include "tests/unit/elf_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(const struct cfi *c)
{
	assert(c->rows.n && c->rows.n <= CFI_MAX_ROWS + 8 && c->rules.n <= CFI_MAX_RULES);
	assert(c->rows.data[0].offset == 0 && c->low < c->high);
	for (size_t i = 0; i < c->rows.n; i++) {
		const struct unwind_row *r = &c->rows.data[i];

		assert(r->rule < c->rules.n && r->offset < c->high - c->low);
		assert(!i || r->offset > r[-1].offset);
		if (i % 61 == 0)
			assert(cfi_find(c, c->low + r->offset) == &c->rules.data[r->rule]);
	}
	for (size_t i = 0; i < c->rules.n; i++) {
		const struct unwind_rule *q = &c->rules.data[i];

		assert(q->kind < UNWIND_N_KINDS && q->fp_saved <= UNWIND_LOST);
		assert(q->bx_saved == UNWIND_SAME || q->bx_saved == UNWIND_AT_CFA ||
		       q->bx_saved == UNWIND_LOST);
	}
	assert(!cfi_find(c, c->low - 1) && !cfi_find(c, c->high));
}

static void build(struct elf_file *f)
{
	struct cfi c;

	if (cfi_build(f, &c) < 0)
		return;
	check(&c);
	cfi_deinit(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct elf_file *f = NULL;
	static struct image m;

	if (n > SELFMAG && !memcmp(data, ELFMAG, SELFMAG)) {
		if (elf_file_open_memory(data, n, &f) == 0)
			build(f);
		elf_file_close(f);
		return 0;
	}
	m.exact = true;
	m.n_sections = 0;
	bytes_clear(&m.file);
	bytes_clear(&m.eh_frame);
	bytes_add(&m.eh_frame, data, n);
	f = image_open(&m);
	if (f)
		build(f);
	elf_file_close(f);
	return 0;
}
