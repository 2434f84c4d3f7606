/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as an ELF file: what sections, segments and the function table answer is in the file,
 * and reading at an address is the same in each way, from memory and from a file. */

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "symbolizer/bounds.h"
#include "symbolizer/elf_file.h"

#define N_ADDRESSES 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Touches the bytes, so that a sanitizer sees them. */
static volatile uint8_t sink;

static void touch(const struct elf_section *s)
{
	for (size_t i = 0; i < s->n; i += i < 4096 ? 1 : 4096)
		sink ^= s->data[i];
	sink ^= s->data[s->n - 1];
}

static void sections(struct elf_file *f)
{
	static const char *const names[] = {
		".eh_frame", ".debug_frame",   ".symtab", ".strtab",
		".dynsym",   ".gnu_debugdata", ".plt",	  ".note.gnu.build-id",
		".shstrtab", ".debug_info",    ""
	};
	struct elf_section s;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!elf_file_section(f, names[i], &s))
			continue;
		assert(s.data && s.n);
		touch(&s);
	}
}

static void addresses(struct elf_file *f, const struct elf_file *on_disk, uint64_t low,
		      uint64_t high, size_t n)
{
	uint8_t copy[16], again[16];
	struct elf_section s;
	uint64_t start;

	for (uint64_t i = 0; i < N_ADDRESSES; i++) {
		uint64_t at = low + (high - low) / N_ADDRESSES * i;
		size_t n_copy = elf_file_read(f, at, copy, sizeof(copy));

		assert(elf_file_read(on_disk, at, again, sizeof(again)) == n_copy &&
		       !memcmp(copy, again, n_copy));
		if (elf_file_at(f, at, i % 2 ? 16 : UINT64_MAX, &s)) {
			assert(s.n && s.n <= n && s.address == at);
			touch(&s);
			assert(n_copy == (s.n < sizeof(copy) ? s.n : sizeof(copy)));
			assert(!memcmp(copy, s.data, n_copy));
		}
		if (bounds_find(f, at, &start))
			assert(start <= at);
	}
}

static struct elf_file *store(const uint8_t *data, size_t n)
{
	struct elf_file *f = NULL;
	int fd = memfd_create("file", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, n) != (ssize_t)n || elf_file_open(fd, &f) < 0)
		abort();
	return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	_cleanup_(elf_file_closep) struct elf_file *f = NULL, *on_disk = NULL;
	uint64_t low = 0, high = 0;

	if (elf_file_open_memory(data, n, &f) < 0) {
		assert(!f);
		return 0;
	}
	assert(f->n_segments <= ELF_MAX_SEGMENTS && f->n_build_id <= ELF_MAX_BUILD_ID);
	sections(f);
	if (elf_file_text(f, &low, &high))
		assert(low < high);
	on_disk = store(data, n);
	addresses(f, on_disk, low, high, n);
	addresses(f, on_disk, 0, UINT64_MAX, n);
	return 0;
}
