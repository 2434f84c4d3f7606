/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/cfi_stubs.h"

#include <elf.h>
#include <string.h>

/* arm64: no linker writes FDEs for stubs. The first one, of 32 bytes or more, begins with a push of x16 and x30. */
static int stubs_arm64(struct elf_file *f, cfi_stub_fn *fill, void *context)
{
	static const struct unwind_rule plain = { .kind = UNWIND_SP },
					pushed = { .kind = UNWIND_SP, .cfa_offset = 16,
						   .bx_saved = UNWIND_AT_CFA, .bx_offset = -8 };
	static const uint8_t push[] = { 0xf0, 0x7b, 0xbf, 0xa9 }; /* stp x16, x30, [sp, #-16]! */
	struct elf_section s;
	uint64_t at, end;
	int r;

	if (!elf_file_section(f, ".plt", &s) || s.n < 32)
		return 0;
	at = s.address;
	end = at + s.n;
	for (size_t k = 0; k <= 4; k += 4) { /* a landing pad may be in front of it */
		if (memcmp(s.data + k, push, sizeof(push)) != 0)
			continue;
		r = fill(context, at, at + k + 4, &plain);
		if (r == 0)
			r = fill(context, at + k + 4, at + 32, &pushed);
		return r < 0 ? r : fill(context, at + 32, end, &plain);
	}
	return fill(context, at, end, &plain);
}

/* lld writes no FDEs for lazy-binding stubs. Layouts: psABI for x86_64, section 5.2. */
int cfi_stubs(struct elf_file *f, cfi_stub_fn *fill, void *context)
{
	static const struct unwind_rule plain = { .kind = UNWIND_SP, .cfa_offset = 8 },
					pushed = { .kind = UNWIND_SP, .cfa_offset = 16 },
					pushed_2 = { .kind = UNWIND_SP, .cfa_offset = 24 },
					lazy = { .kind = UNWIND_PLT, .aux = 11 };
	static const char *const whole[] = { ".plt.sec", ".plt.got", ".iplt" };
	struct elf_section s;
	int r = 0;

	if (f->machine == EM_AARCH64)
		return stubs_arm64(f, fill, context);
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]) && !r; i++)
		if (elf_file_section(f, whole[i], &s))
			r = fill(context, s.address, s.address + s.n, &plain);
	if (r < 0 || !elf_file_section(f, ".plt", &s) || s.n < 16)
		return r;
	r = fill(context, s.address, s.address + 6, &pushed);
	if (!r)
		r = fill(context, s.address + 6, s.address + 16, &pushed_2);
	return r < 0 ? r : fill(context, s.address + 16, s.address + s.n, &lazy);
}
