/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/links.h"

#include <errno.h>
#include <gelf.h>
#include <lzma.h>
#include <string.h>
#include <unistd.h>

/* A name of 1 to SYMBOLIZER_MAX_LINK bytes at the beginning of the section, and the offset behind its NUL;
 * 0: there is none. */
static size_t take_name(const struct elf_section *s, char to[SYMBOLIZER_MAX_LINK + 1])
{
	size_t n = strnlen((const char *)s->data, s->n);

	if (!n || n == s->n || n > SYMBOLIZER_MAX_LINK)
		return 0;
	memcpy(to, s->data, n + 1);
	return n + 1;
}

/* name, NUL, padding to 4 bytes, CRC */
static void read_debuglink(struct elf_file *f, struct symbolizer_links *to)
{
	struct elf_section s;
	size_t at;

	if (!elf_file_section(f, ".gnu_debuglink", &s))
		return;
	at = (take_name(&s, to->debug_name) + 3) & ~3ul;
	if (at && at <= s.n && s.n - at >= sizeof(to->debug_crc))
		memcpy(&to->debug_crc, s.data + at, sizeof(to->debug_crc));
	else
		memset(to->debug_name, 0, sizeof(to->debug_name));
}

/* name, NUL, build-id */
static void read_altlink(struct elf_file *f, struct symbolizer_links *to)
{
	struct elf_section s;
	size_t at;

	if (!elf_file_section(f, ".gnu_debugaltlink", &s))
		return;
	at = take_name(&s, to->alt_name);
	if (!at || at >= s.n || s.n - at > SYMBOLIZER_MAX_BUILD_ID) {
		memset(to->alt_name, 0, sizeof(to->alt_name));
		return;
	}
	to->n_alt_id = (uint32_t)(s.n - at);
	memcpy(to->alt_id, s.data + at, to->n_alt_id);
}

/* Without reading it. */
static bool has_section(struct elf_file *f, const char *name)
{
	size_t strings;
	Elf_Scn *s = NULL;

	if (elf_getshdrstrndx(f->elf, &strings) < 0)
		return false;
	while ((s = elf_nextscn(f->elf, s))) {
		const char *n = NULL;
		GElf_Shdr h;

		if (gelf_getshdr(s, &h) && h.sh_type != SHT_NOBITS && h.sh_size)
			n = elf_strptr(f->elf, strings, h.sh_name);
		if (n && !strcmp(n, name))
			return true;
	}
	return false;
}

void links_read(struct elf_file *f, struct symbolizer_links *ret)
{
	*ret = (struct symbolizer_links){ 0 };
	read_debuglink(f, ret);
	read_altlink(f, ret);
	ret->has_dwarf = has_section(f, ".debug_info") || has_section(f, ".zdebug_info");
	ret->may_be_split = ret->has_dwarf && has_section(f, ".debug_addr");
	ret->n_build_id = f->n_build_id;
	memcpy(ret->build_id, f->build_id, f->n_build_id);
}

bool links_is_package(struct elf_file *f)
{
	return has_section(f, ".debug_cu_index");
}

int links_crc(const struct elf_file *f, uint32_t *ret)
{
	unsigned char block[64 * 1024];
	uint64_t at = 0;
	uint32_t crc = 0;

	if (f->size > LINKS_MAX_CRC)
		return -EFBIG;
	if (f->image) {
		*ret = lzma_crc32(f->image, f->size, 0);
		return 0;
	}
	while (at < f->size) {
		ssize_t got = pread(f->fd, block, sizeof(block), (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			return -EIO; /* cut short while we look */
		crc = lzma_crc32(block, (size_t)got, crc);
		at += (uint64_t)got;
	}
	*ret = crc;
	return 0;
}

static bool same_build_id(const struct elf_file *a, const struct elf_file *b)
{
	return a->n_build_id == b->n_build_id && !memcmp(a->build_id, b->build_id, a->n_build_id);
}

bool links_fit_debug(struct elf_file *f, const struct elf_file *debug, bool by_link)
{
	struct symbolizer_links links;
	uint32_t crc;

	if (f->machine != debug->machine || f->type != debug->type)
		return false;
	if (!by_link)
		return f->n_build_id && same_build_id(f, debug);
	if (f->n_build_id && debug->n_build_id && !same_build_id(f, debug))
		return false;
	links_read(f, &links);
	return *links.debug_name && links_crc(debug, &crc) == 0 && crc == links.debug_crc;
}

bool links_fit_alt(struct elf_file *f, const struct elf_file *alt)
{
	struct symbolizer_links links;

	links_read(f, &links);
	return links.n_alt_id && alt->n_build_id == links.n_alt_id &&
	       !memcmp(alt->build_id, links.alt_id, links.n_alt_id);
}
