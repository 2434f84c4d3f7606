/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/elf_image.h"

#include <assert.h>
#include <dwarf.h>
#include <string.h>

#define TEXT_AT 0x1000u /* file offsets */
#define DATA_AT 0x4800u
#define N_SEGMENTS 3

void image_deinit(struct image *m)
{
	bytes_deinit(&m->eh_frame);
	bytes_deinit(&m->header);
	bytes_deinit(&m->debug_frame);
	bytes_deinit(&m->file);
}

static void add_uint(struct bytes *b, uint64_t v, unsigned n)
{
	bytes_add(b, &v, n);
}

static void add_uleb(struct bytes *b, uint64_t v)
{
	for (; v > 127; v >>= 7)
		add_uint(b, (v & 127) | 128, 1);
	add_uint(b, v, 1);
}

static void add_sleb(struct bytes *b, int64_t v)
{
	for (; v < -64 || v > 63; v >>= 7)
		add_uint(b, (uint64_t)(v & 127) | 128, 1);
	add_uint(b, (uint64_t)v & 127, 1);
}

/* Begins an entry; its length is filled in by end(). */
static size_t begin(struct bytes *b, bool wide)
{
	size_t at = b->n;

	if (wide)
		add_uint(b, UINT32_MAX, 4);
	add_uint(b, 0, wide ? 8 : 4);
	return at;
}

static void end(struct bytes *b, size_t at, bool wide)
{
	size_t head = wide ? 12 : 4;
	uint64_t n;

	while ((b->n - at - head) % 4)
		add_uint(b, DW_CFA_nop, 1);
	n = b->n - at - head;
	memcpy(b->data + at + head - (wide ? 8 : 4), &n, wide ? 8 : 4);
}

size_t image_cie(struct bytes *b, const struct image_cie *c)
{
	static const uint8_t standard[] = { DW_CFA_def_cfa, 7, 8, DW_CFA_offset | 16, 1 };
	const char *letters = c->augmentation ? c->augmentation : c->debug_frame ? "" : "zR";
	size_t at = begin(b, c->wide);

	add_uint(b, c->debug_frame ? UINT64_MAX : 0, c->wide && c->debug_frame ? 8 : 4);
	add_uint(b, c->version ? c->version : 1, 1);
	bytes_add(b, letters, strlen(letters) + 1);
	if (c->version == 4)
		bytes_add(b, "\x08", 2); /* address size 8, no segments */
	add_uleb(b, c->code_align ? c->code_align : 1);
	add_sleb(b, c->data_align ? c->data_align : -8);
	add_uint(b, c->ra ? c->ra : 16, 1);
	if (*letters == 'z')
		add_uleb(b, strlen(letters + 1) + (strchr(letters, 'P') ? 4 : 0) -
				    (strchr(letters, 'S') != NULL) -
				    (strchr(letters, 'B') != NULL));
	for (const char *a = letters + 1; *letters == 'z' && *a; a++) {
		if (*a == 'P')
			bytes_add(b, "\x1b\1\2\3", 5);
		else if (*a == 'R')
			add_uint(b, c->encoding ? c->encoding : DW_EH_PE_pcrel | DW_EH_PE_sdata4,
				 1);
		else if (*a != 'S' && *a != 'B')
			add_uint(b, DW_EH_PE_omit, 1);
	}
	if (c->program)
		bytes_add(b, c->program, c->n);
	else
		bytes_add(b, standard, sizeof(standard));
	end(b, at, c->wide);
	return at;
}

static void add_pointer(struct bytes *b, uint8_t encoding, uint64_t v)
{
	if ((encoding & 0x70) == DW_EH_PE_pcrel)
		v -= IMAGE_DATA + b->n;
	switch (encoding & 0x0f) {
	case DW_EH_PE_uleb128:
		add_uleb(b, v);
		break;
	case DW_EH_PE_sleb128:
		add_sleb(b, (int64_t)v);
		break;
	case DW_EH_PE_udata2:
	case DW_EH_PE_sdata2:
		add_uint(b, v, 2);
		break;
	case DW_EH_PE_udata4:
	case DW_EH_PE_sdata4:
		add_uint(b, v, 4);
		break;
	default:
		add_uint(b, v, 8);
	}
}

size_t image_fde(struct bytes *b, const struct image_fde *f)
{
	uint8_t encoding = f->debug_frame ? DW_EH_PE_absptr :
			   f->encoding	  ? f->encoding :
					    DW_EH_PE_pcrel | DW_EH_PE_sdata4;
	size_t at = begin(b, f->wide);
	uint64_t id = f->debug_frame ? f->cie : b->n - f->cie;
	bool wide_cie = !memcmp(b->data + f->cie, "\xff\xff\xff\xff", 4);
	bool augmented = !f->debug_frame && b->data[f->cie + (wide_cie ? 17 : 9)] == 'z';

	add_uint(b, id, f->wide && f->debug_frame ? 8 : 4);
	add_pointer(b, encoding, f->start);
	add_pointer(b, encoding & 0x0f, f->n);
	if (augmented)
		add_uleb(b, 0);
	bytes_add(b, f->program, f->n_program);
	end(b, at, f->wide);
	return at;
}

void image_header(struct image *m, const uint64_t *starts, const size_t *fdes, uint32_t n)
{
	struct bytes *b = &m->header;

	add_uint(b, 1, 1);
	add_uint(b, DW_EH_PE_pcrel | DW_EH_PE_sdata4, 1);
	add_uint(b, DW_EH_PE_udata4, 1);
	add_uint(b, DW_EH_PE_datarel | DW_EH_PE_sdata4, 1);
	add_uint(b, IMAGE_DATA - (IMAGE_HEADER + 4), 4);
	add_uint(b, n, 4);
	for (uint32_t i = 0; i < n; i++) {
		add_uint(b, starts[i] - IMAGE_HEADER, 4);
		add_uint(b, IMAGE_DATA + fdes[i] - IMAGE_HEADER, 4);
	}
}

void image_section(struct image *m, const char *name, uint64_t address, const void *data, size_t n)
{
	assert(m->n_sections < IMAGE_MAX_SECTIONS);
	m->sections[m->n_sections++] = (struct image_section){ name, address, data, n };
}

static void pad(struct bytes *b, size_t to)
{
	static const char zeros[64];

	while (b->n < to)
		bytes_add(b, zeros, to - b->n < sizeof(zeros) ? to - b->n : sizeof(zeros));
}

static void add_segments(struct image *m, size_t n_data)
{
	const Elf64_Phdr p[N_SEGMENTS] = {
		{ PT_LOAD, PF_R | PF_X, TEXT_AT, IMAGE_TEXT, 0, IMAGE_N_TEXT, IMAGE_N_TEXT, 4096 },
		{ PT_LOAD, PF_R, DATA_AT, IMAGE_DATA, 0, n_data, n_data, 4096 },
		{ m->header.n ? PT_GNU_EH_FRAME : PT_NULL, PF_R,
		  DATA_AT + IMAGE_HEADER - IMAGE_DATA, IMAGE_HEADER, 0, m->header.n, m->header.n,
		  4 },
	};

	bytes_add(&m->file, p, sizeof(p));
}

static void add_section_headers(struct image *m)
{
	struct bytes names = BYTES_INIT;
	Elf64_Shdr h[IMAGE_MAX_SECTIONS + 2] = { 0 };
	unsigned n = 1;

	bytes_add(&names, "", 1);
	for (unsigned i = 0; i < m->n_sections; i++) {
		const struct image_section *s = &m->sections[i];

		h[n].sh_name = (Elf64_Word)names.n;
		h[n].sh_type = SHT_PROGBITS;
		h[n].sh_addr = s->address;
		h[n].sh_size = s->n;
		h[n].sh_addralign = 1;
		h[n].sh_offset = s->data		 ? m->file.n :
				 s->address < IMAGE_DATA ? TEXT_AT + s->address - IMAGE_TEXT :
							   DATA_AT + s->address - IMAGE_DATA;
		if (s->data)
			bytes_add(&m->file, s->data, s->n);
		bytes_add(&names, s->name, strlen(s->name) + 1);
		n++;
	}
	h[n].sh_name = (Elf64_Word)names.n;
	bytes_puts(&names, ".shstrtab");
	h[n] = (Elf64_Shdr){ .sh_name = h[n].sh_name,
			     .sh_type = SHT_STRTAB,
			     .sh_offset = m->file.n,
			     .sh_size = names.n + 1,
			     .sh_addralign = 1 };
	bytes_add(&m->file, bytes_text(&names), names.n + 1);
	pad(&m->file, (m->file.n + 7) & ~7ul);
	image_ehdr(m)->e_shoff = m->file.n;
	image_ehdr(m)->e_shnum = (Elf64_Half)(n + 1);
	image_ehdr(m)->e_shstrndx = (Elf64_Half)n;
	bytes_add(&m->file, h, (n + 1) * sizeof(h[0]));
	bytes_deinit(&names);
}

void image_finish(struct image *m)
{
	Elf64_Ehdr e = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
				      EV_CURRENT },
			 .e_type = m->program ? ET_EXEC : ET_DYN,
			 .e_machine = EM_X86_64,
			 .e_version = EV_CURRENT,
			 .e_entry = m->entry,
			 .e_phoff = sizeof(e),
			 .e_ehsize = sizeof(e),
			 .e_phentsize = sizeof(Elf64_Phdr),
			 .e_phnum = N_SEGMENTS,
			 .e_shentsize = sizeof(Elf64_Shdr) };
	size_t n_eh = m->eh_frame.n + (m->exact ? 0 : 4), n_data = n_eh;

	if (m->header.n)
		n_data = IMAGE_HEADER - IMAGE_DATA + m->header.n;
	bytes_add(&m->file, &e, sizeof(e));
	add_segments(m, n_data);
	pad(&m->file, TEXT_AT);
	bytes_add(&m->file, m->text, sizeof(m->text));
	pad(&m->file, DATA_AT);
	bytes_add(&m->file, m->eh_frame.data, m->eh_frame.n);
	pad(&m->file, DATA_AT + n_eh);
	if (m->header.n)
		pad(&m->file, DATA_AT + IMAGE_HEADER - IMAGE_DATA);
	bytes_add(&m->file, m->header.data, m->header.n);
	if (m->eh_frame.n)
		image_section(m, ".eh_frame", IMAGE_DATA, NULL, n_eh);
	if (m->debug_frame.n)
		image_section(m, ".debug_frame", 0, m->debug_frame.data, m->debug_frame.n);
	if (!m->stripped)
		add_section_headers(m);
	assert(!m->file.bad);
}

struct elf_file *image_open(struct image *m)
{
	struct elf_file *f = NULL;

	image_finish(m);
	return elf_file_open_memory(m->file.data, m->file.n, &f) < 0 ? NULL : f;
}

Elf64_Ehdr *image_ehdr(struct image *m)
{
	return (Elf64_Ehdr *)(void *)m->file.data;
}

Elf64_Phdr *image_phdr(struct image *m, unsigned i)
{
	return (Elf64_Phdr *)(void *)(m->file.data + sizeof(Elf64_Ehdr)) + i;
}

Elf64_Shdr *image_shdr(struct image *m, const char *name)
{
	Elf64_Shdr *h = (Elf64_Shdr *)(void *)(m->file.data + image_ehdr(m)->e_shoff);
	const char *names = m->file.data + h[image_ehdr(m)->e_shstrndx].sh_offset;

	for (unsigned i = 1; i < image_ehdr(m)->e_shnum; i++)
		if (!strcmp(names + h[i].sh_name, name))
			return &h[i];
	return NULL;
}
