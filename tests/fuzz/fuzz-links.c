/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as .gnu_debuglink, .gnu_debugaltlink and the note of a build-id: the first two say how long the first two
 * of them are. What is read is bounded and ends; a file fits itself by its build-id, and nothing fits without one. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "symbolizer/links.h"
#include "tests/unit/elf_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(struct elf_file *f)
{
	struct symbolizer_links l;
	uint32_t crc;

	links_read(f, &l);
	assert(memchr(l.debug_name, 0, sizeof(l.debug_name)));
	assert(memchr(l.alt_name, 0, sizeof(l.alt_name)));
	assert(l.n_alt_id <= SYMBOLIZER_MAX_BUILD_ID && l.n_build_id <= SYMBOLIZER_MAX_BUILD_ID);
	assert(!l.n_alt_id == !*l.alt_name);
	assert(links_fit_debug(f, f, false) == (f->n_build_id > 0));
	assert(links_crc(f, &crc) == 0);
	assert(links_fit_debug(f, f, true) == (*l.debug_name && crc == l.debug_crc));
	assert(links_fit_alt(f, f) == (l.n_alt_id && l.n_alt_id == f->n_build_id &&
				       !memcmp(l.alt_id, f->build_id, l.n_alt_id)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	_cleanup_(elf_file_closep) struct elf_file *f = NULL;
	struct image m = { 0 };
	size_t n_link, n_alt;

	if (n < 2)
		return 0;
	n_link = data[0] < n - 2 ? data[0] : n - 2;
	n_alt = data[1] < n - 2 - n_link ? data[1] : n - 2 - n_link;
	data += 2;
	n -= 2;
	image_section(&m, ".gnu_debuglink", 0, data, n_link);
	image_section(&m, ".gnu_debugaltlink", 0, data + n_link, n_alt);
	image_section(&m, ".note.gnu.build-id", 0, data + n_link + n_alt, n - n_link - n_alt);
	image_finish(&m);
	image_shdr(&m, ".note.gnu.build-id")->sh_type = SHT_NOTE;
	for (unsigned i = 0; i < image_ehdr(&m)->e_phnum; i++)
		image_phdr(&m, i)->p_type = PT_NULL; /* as in a file of dwz's */
	if (elf_file_open_memory(m.file.data, m.file.n, &f) == 0)
		check(f);
	elf_file_close(TAKE_PTR(f));
	image_deinit(&m);
	return 0;
}
