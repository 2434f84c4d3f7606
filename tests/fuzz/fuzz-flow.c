/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as code without FDEs, a file of its own; the first ones say where functions begin. Rows
 * ascend and do not overlap, each is within the code, and a second look finds the same. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "symbolizer/flow.h"
#include "tests/unit/elf_image.h"

#define N_CALLS 8
#define CALL 7 /* je over it; call */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
	uint64_t end, sum;
	long n;
};

static int on_row(void *context, uint64_t start, uint64_t end, const struct flow_state *s)
{
	struct seen *x = context;
	struct unwind_rule q = flow_rule(s);

	assert(start >= x->end && start < end && start >= IMAGE_TEXT);
	assert(end <= IMAGE_TEXT + IMAGE_N_TEXT);
	assert(q.kind == UNWIND_SP || q.kind == UNWIND_FP || q.kind == UNWIND_OUTERMOST);
	assert(q.kind != UNWIND_SP || q.cfa_offset >= 8 || (q.reg & UNWIND_RA_REGISTER));
	x->end = end;
	x->n++;
	for (size_t i = 0; i < sizeof(q); i++)
		x->sum = (x->sum ^ ((const uint8_t *)&q)[i] ^ start) * 0x100000001b3ull;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct image m;
	struct flow_range all = { IMAGE_TEXT, IMAGE_TEXT + IMAGE_N_TEXT };
	struct seen first = { 0 }, second = { 0 };
	struct elf_file *f;
	size_t head = N_CALLS * CALL + 1;

	memset(m.text, 0xcc, sizeof(m.text));
	bytes_clear(&m.file);
	m.n_sections = 0;
	m.entry = IMAGE_TEXT;
	for (uint8_t i = 0; i < N_CALLS && n; i++, data++, n--) {
		uint8_t *p = m.text + (size_t)i * CALL;
		int32_t to = (int32_t)(head + data[0] * 4u) - (i + 1) * CALL;

		p[0] = 0x74, p[1] = 5, p[2] = 0xe8;
		memcpy(p + 3, &to, sizeof(to));
	}
	memcpy(m.text + head, data, n < sizeof(m.text) - head ? n : sizeof(m.text) - head);
	f = image_open(&m);
	if (!f)
		return 0;
	if (flow_build(f, &all, 1, on_row, &first, NULL) == 0) {
		assert(flow_build(f, &all, 1, on_row, &second, NULL) == 0);
		assert(first.n == second.n && first.sum == second.sum);
	}
	elf_file_close(f);
	return 0;
}
