/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/elf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_PROGRAM_HEADERS 1024
#define MAX_SECTION (1ull << 31)

static void note_build_id(struct elf_file *f, uint64_t offset, uint64_t size, uint64_t align)
{
	Elf_Data *d = NULL;
	size_t at = 0, name, desc;
	GElf_Nhdr h;

	if (size <= MAX_SECTION && offset <= f->size && size <= f->size - offset)
		d = elf_getdata_rawchunk(f->elf, (int64_t)offset, size,
					 align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR);
	while (d && !f->n_build_id && (at = gelf_getnote(d, at, &h, &name, &desc))) {
		if (h.n_type != NT_GNU_BUILD_ID || h.n_namesz != 4 || !h.n_descsz ||
		    h.n_descsz > ELF_MAX_BUILD_ID || memcmp((char *)d->d_buf + name, "GNU", 4))
			continue;
		memcpy(f->build_id, (char *)d->d_buf + desc, h.n_descsz);
		f->n_build_id = h.n_descsz;
	}
}

static void read_program_headers(struct elf_file *f)
{
	size_t n = 0;
	GElf_Phdr p;

	if (elf_getphdrnum(f->elf, &n) < 0)
		return;
	for (size_t i = 0; i < n && i < MAX_PROGRAM_HEADERS; i++) {
		if (!gelf_getphdr(f->elf, (int)i, &p))
			continue;
		if (p.p_type == PT_LOAD && f->n_segments < ELF_MAX_SEGMENTS)
			f->segments[f->n_segments++] = (struct elf_segment){
				p.p_vaddr, p.p_offset, p.p_filesz, p.p_memsz, p.p_flags
			};
		else if (p.p_type == PT_INTERP)
			f->program = true;
		else if (p.p_type == PT_GNU_EH_FRAME)
			f->eh_frame_hdr = p.p_vaddr;
		else if (p.p_type == PT_TLS) {
			f->tls_address = p.p_vaddr;
			f->tls_memsz = p.p_memsz;
			f->tls_align = p.p_align;
		}
		else if (p.p_type == PT_NOTE && !f->n_build_id)
			note_build_id(f, p.p_offset, p.p_filesz, p.p_align);
	}
}

/* Of a file that is never loaded, as dwz makes them. */
static void read_note_sections(struct elf_file *f)
{
	Elf_Scn *s = NULL;
	GElf_Shdr h;

	while (!f->n_build_id && (s = elf_nextscn(f->elf, s)))
		if (gelf_getshdr(s, &h) && h.sh_type == SHT_NOTE)
			note_build_id(f, h.sh_offset, h.sh_size, h.sh_addralign);
}

static int read_headers(struct elf_file *f)
{
	GElf_Ehdr e;

	if (!f->elf || elf_kind(f->elf) != ELF_K_ELF || gelf_getclass(f->elf) != ELFCLASS64 ||
	    !gelf_getehdr(f->elf, &e) || e.e_ident[EI_DATA] != ELFDATA2LSB)
		return -ENOEXEC;
	f->type = e.e_type;
	f->program = e.e_type == ET_EXEC;
	f->machine = e.e_machine;
	f->entry = e.e_entry;
	read_program_headers(f);
	if (!f->n_segments)
		read_note_sections(f);
	return 0;
}

int elf_file_open(int fd, struct elf_file **ret)
{
	_cleanup_(elf_file_closep) struct elf_file *f = calloc(1, sizeof(*f));
	struct stat st;
	int r;

	if (!f) {
		close(fd);
		return -ENOMEM;
	}
	f->fd = fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOEXEC;
	f->size = (uint64_t)st.st_size;
	elf_version(EV_CURRENT);
	f->elf = elf_begin(fd, ELF_C_READ, NULL);
	r = read_headers(f);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(f);
	return 0;
}

int elf_file_open_memory(const void *image, size_t n, struct elf_file **ret)
{
	_cleanup_(elf_file_closep) struct elf_file *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->fd = -1;
	f->image = image;
	f->size = n;
	elf_version(EV_CURRENT);
	f->elf = elf_memory((char *)image, n); /* libelf does not write to it for reading */
	r = read_headers(f);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(f);
	return 0;
}

void elf_file_close(struct elf_file *f)
{
	if (!f)
		return;
	if (f->elf)
		elf_end(f->elf);
	close_fd(&f->fd);
	free(f);
}

bool elf_file_section(struct elf_file *f, const char *name, struct elf_section *ret)
{
	size_t strings;
	Elf_Scn *s = NULL;

	if (elf_getshdrstrndx(f->elf, &strings) < 0)
		return false;
	while ((s = elf_nextscn(f->elf, s))) {
		GElf_Shdr h;
		const char *n;
		Elf_Data *d;

		if (!gelf_getshdr(s, &h) || h.sh_type == SHT_NOBITS || h.sh_size > MAX_SECTION)
			continue;
		n = elf_strptr(f->elf, strings, h.sh_name);
		if (!n || strcmp(n, name))
			continue;
		if ((h.sh_flags & SHF_COMPRESSED) && elf_compress(s, 0, 0) < 0)
			continue;
		d = elf_getdata(s, NULL);
		if (!d || !d->d_buf || !d->d_size)
			continue;
		*ret = (struct elf_section){ d->d_buf, d->d_size, h.sh_addr };
		return true;
	}
	return false;
}

/* Where the bytes at this address are in the file, and how many of *n there are. */
static bool locate(const struct elf_file *f, uint64_t address, uint64_t *n, uint64_t *ret_offset)
{
	for (unsigned i = 0; i < f->n_segments; i++) {
		const struct elf_segment *s = &f->segments[i];
		uint64_t at = address - s->vaddr;

		if (address < s->vaddr || at >= s->filesz)
			continue;
		if (*n > s->filesz - at)
			*n = s->filesz - at;
		if (s->offset > f->size || at > f->size - s->offset)
			return false;
		if (*n > f->size - s->offset - at)
			*n = f->size - s->offset - at;
		*ret_offset = s->offset + at;
		return *n > 0;
	}
	return false;
}

bool elf_file_at(struct elf_file *f, uint64_t address, uint64_t n, struct elf_section *ret)
{
	uint64_t offset;
	Elf_Data *d;

	if (!locate(f, address, &n, &offset) || n > MAX_SECTION)
		return false;
	d = elf_getdata_rawchunk(f->elf, (int64_t)offset, n, ELF_T_BYTE);
	if (!d || !d->d_buf || d->d_size < n)
		return false;
	*ret = (struct elf_section){ d->d_buf, n, address };
	return true;
}

size_t elf_file_read(const struct elf_file *f, uint64_t address, void *to, size_t n)
{
	uint64_t left = n, offset;
	size_t done = 0;

	if (!locate(f, address, &left, &offset))
		return 0;
	if (f->image) {
		memcpy(to, f->image + offset, left);
		return left;
	}
	while (done < left) {
		ssize_t got = pread(f->fd, (char *)to + done, left - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	return done;
}

bool elf_file_text(const struct elf_file *f, uint64_t *ret_low, uint64_t *ret_high)
{
	uint64_t low = UINT64_MAX, high = 0;

	for (unsigned i = 0; i < f->n_segments; i++) {
		const struct elf_segment *s = &f->segments[i];

		if (!(s->flags & PF_X) || s->memsz > UINT64_MAX - s->vaddr)
			continue;
		if (s->vaddr < low)
			low = s->vaddr;
		if (s->vaddr + s->memsz > high)
			high = s->vaddr + s->memsz;
	}
	if (high <= low)
		return false;
	*ret_low = low;
	*ret_high = high;
	return true;
}
