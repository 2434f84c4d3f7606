/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* elf_image.h - small ELF files in memory, with call frame information written by hand.
 *
 * One executable segment (IMAGE_TEXT), one read-only segment (IMAGE_DATA) for .eh_frame and its
 * header; their addresses differ from their file offsets, as lld's do. Owns the bytes until
 * image_deinit. */

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "symbolizer/elf_file.h"

#define IMAGE_TEXT 0x401000ull
#define IMAGE_N_TEXT 0x3000ull
#define IMAGE_DATA 0x500000ull
#define IMAGE_HEADER (IMAGE_DATA + 0x10000) /* .eh_frame_hdr, when there is one */
#define IMAGE_MAX_SECTIONS 12

struct image_section {
	const char *name;
	uint64_t address;
	const void *data; /* borrowed; NULL: what the segment has there */
	size_t n;
};

struct image {
	uint64_t entry;
	uint8_t text[IMAGE_N_TEXT];
	struct bytes eh_frame, header, debug_frame;
	struct image_section sections[IMAGE_MAX_SECTIONS];
	unsigned n_sections;
	bool stripped; /* without section headers */
	bool program;  /* ET_EXEC */
	bool exact;    /* .eh_frame without a terminator behind it */
	struct bytes file;
};

void image_deinit(struct image *m);

/* A CIE: its offset in the section. `augmentation` starts with z, or is empty. */
struct image_cie {
	uint8_t version;	  /* 0: 1 */
	const char *augmentation; /* NULL: "zR" */
	uint8_t encoding;	  /* of R; 0: as compilers write it, pcrel | sdata4 */
	uint64_t code_align;	  /* 0: 1 */
	int64_t data_align;	  /* 0: -8 */
	uint8_t ra;		  /* 0: 16 */
	const void *program;	  /* NULL: CFA = sp + 8, return address at CFA - 8 */
	size_t n;
	bool wide, debug_frame;
};
size_t image_cie(struct bytes *section, const struct image_cie *c);

struct image_fde {
	size_t cie; /* offset */
	uint64_t start, n;
	uint8_t encoding; /* that of its CIE; 0 as above */
	const void *program;
	size_t n_program;
	bool wide, debug_frame;
};
size_t image_fde(struct bytes *section, const struct image_fde *f);

/* The binary search table over FDEs at these offsets of .eh_frame, which must be ascending. */
void image_header(struct image *m, const uint64_t *starts, const size_t *fdes, uint32_t n);

void image_section(struct image *m, const char *name, uint64_t address, const void *data, size_t n);

/* Lays the file out in m->file. */
void image_finish(struct image *m);
/* The same, opened. */
struct elf_file *image_open(struct image *m);

/* Of the finished file; writable. */
Elf64_Ehdr *image_ehdr(struct image *m);
Elf64_Phdr *image_phdr(struct image *m, unsigned i);
Elf64_Shdr *image_shdr(struct image *m, const char *name);
