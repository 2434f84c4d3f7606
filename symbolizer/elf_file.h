/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* elf_file.h - one 64-bit little-endian ELF file of a stranger.
 *
 * Owns the descriptor and libelf's handle. Reads with pread, never mmap: a file that is cut short
 * while we look must be an error, not a SIGBUS. Everything it answers is checked against the
 * file's size; sections may be missing altogether (stripped of their headers). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

/* EM_*: of files whose code this machine runs. */
#if defined(__aarch64__)
#define ELF_MACHINE_HERE EM_AARCH64
#else
#define ELF_MACHINE_HERE EM_X86_64
#endif

#define ELF_MAX_SEGMENTS 32
#define ELF_MAX_BUILD_ID 64

struct elf_segment { /* PT_LOAD */
	uint64_t vaddr, offset, filesz, memsz;
	uint32_t flags; /* PF_* */
};

struct elf_section {
	const unsigned char *data; /* borrowed until elf_file_close */
	size_t n;
	uint64_t address;
};

struct elf_file {
	int fd; /* -1: an image in memory */
	const unsigned char *image;
	struct Elf *elf;
	uint64_t size;
	uint16_t type, machine; /* ET_*, EM_* */
	uint64_t entry;
	bool program; /* the entry point is one: ET_EXEC, or with an interpreter */
	struct elf_segment segments[ELF_MAX_SEGMENTS];
	unsigned n_segments;
	uint64_t eh_frame_hdr; /* address of PT_GNU_EH_FRAME, 0: none */
	uint64_t tls_address, tls_memsz, tls_align; /* PT_TLS; tls_memsz 0: none */
	unsigned char build_id[ELF_MAX_BUILD_ID];
	unsigned n_build_id;
};

/* Takes the descriptor, also on failure. -ENOEXEC: not a file we can read; -errno. */
int elf_file_open(int fd, struct elf_file **ret);
/* The image stays the caller's and must outlive the handle. */
int elf_file_open_memory(const void *image, size_t n, struct elf_file **ret);
void elf_file_close(struct elf_file *f);
DEFINE_CLEANUP(struct elf_file, elf_file_close)

/* By name, decompressed; false when there is none, or none with bytes in the file. */
bool elf_file_section(struct elf_file *f, const char *name, struct elf_section *ret);
/* n bytes of the file at the address where they would be loaded, cut at the segment's end; false
 * when no segment holds the address. What was asked for stays in memory, and each call looks
 * through it: for a few large pieces. */
bool elf_file_at(struct elf_file *f, uint64_t address, uint64_t n, struct elf_section *ret);
/* The same for many small ones: copies them. The number of bytes, 0: none. */
size_t elf_file_read(const struct elf_file *f, uint64_t address, void *to, size_t n);
/* The span of addresses that executable segments cover. */
bool elf_file_text(const struct elf_file *f, uint64_t *ret_low, uint64_t *ret_high);
