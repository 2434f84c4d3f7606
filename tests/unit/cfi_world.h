/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* cfi_world.h - an image with call frame information written by hand, and the rows made of it.
 * Included by one file of a test program, behind cmocka.h. */

#include <dwarf.h>
#include <errno.h>
#include <string.h>

#include "symbolizer/cfi.h"
#include "symbolizer/cfi_program.h"
#include "tests/unit/elf_image.h"

enum { RAX = 0, RBX = 3, RBP = 6, RSP = 7, R10 = 10, RA = 16 };

#define ADVANCE(n) (DW_CFA_advance_loc | (n))
#define OFFSET(reg) (DW_CFA_offset | (reg))
#define RESTORE(reg) (DW_CFA_restore | (reg))
#define PROGRAM(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

struct fixture {
	struct image m;
	struct elf_file *f;
	struct cfi c;
	int r;
};

static inline int setup(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static inline int teardown(void **state)
{
	struct fixture *x = *state;

	cfi_deinit(&x->c);
	elf_file_close(x->f);
	image_deinit(&x->m);
	free(x);
	return 0;
}

static inline void check_rows(const struct cfi *c)
{
	assert_true(c->rows.n > 0 && c->rules.n > 0);
	assert_int_equal(c->rows.data[0].offset, 0);
	for (size_t i = 0; i < c->rows.n; i++) {
		assert_true(c->rows.data[i].rule < c->rules.n);
		assert_true(c->rows.data[i].offset < c->high - c->low);
		if (i)
			assert_true(c->rows.data[i].offset > c->rows.data[i - 1].offset);
	}
	for (size_t i = 0; i < c->rules.n; i++)
		for (size_t k = 0; k < i; k++)
			assert_memory_not_equal(&c->rules.data[i], &c->rules.data[k],
						sizeof(c->rules.data[i]));
}

static inline void build(struct fixture *x)
{
	x->f = image_open(&x->m);
	assert_non_null(x->f);
	x->r = cfi_build(x->f, &x->c);
	if (x->r == 0)
		check_rows(&x->c);
}

static inline void fde(struct fixture *x, size_t cie, uint64_t start, uint64_t n,
		       const void *program, size_t n_program)
{
	image_fde(&x->m.eh_frame, &(struct image_fde){ .cie = cie,
						       .start = IMAGE_TEXT + start,
						       .n = n,
						       .program = program,
						       .n_program = n_program });
}

/* One function of 256 bytes at the start of the text. */
static inline void one(struct fixture *x, const void *program, size_t n)
{
	fde(x, image_cie(&x->m.eh_frame, &(struct image_cie){ 0 }), 0, 256, program, n);
	build(x);
	assert_int_equal(x->r, 0);
	assert_int_equal(x->c.n_fdes, 1);
}

static inline struct unwind_rule rule(const struct fixture *x, uint64_t offset)
{
	const struct unwind_rule *q = cfi_find(&x->c, IMAGE_TEXT + offset);

	assert_non_null(q);
	return *q;
}

static inline void is(const struct fixture *x, uint64_t offset, struct unwind_rule wanted)
{
	struct unwind_rule q = rule(x, offset);

	if (memcmp(&q, &wanted, sizeof(q)))
		print_message("at +%#jx: kind %u cfa %d fp %u %d bx %u %d reg %#x aux %d\n",
			      (uintmax_t)offset, q.kind, q.cfa_offset, q.fp_saved, q.fp_offset,
			      q.bx_saved, q.bx_offset, q.reg, q.aux);
	assert_memory_equal(&q, &wanted, sizeof(q));
}

#define IS(x, offset, ...) is(x, offset, (struct unwind_rule){ __VA_ARGS__ })
#define KIND(x, offset, k) assert_int_equal(rule(x, offset).kind, k)

/* The CFA expression of lazy-binding stubs. */
#define PLT(n)                                                                                     \
	DW_CFA_def_cfa_expression, 11, DW_OP_breg7, 8, DW_OP_breg16, 0, DW_OP_lit15, DW_OP_and,    \
		DW_OP_lit0 + (n), DW_OP_ge, DW_OP_lit3, DW_OP_shl, DW_OP_plus
