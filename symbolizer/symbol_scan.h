/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* symbol_scan.h - every symbol and every relocated slot of a file, once, in the order of the file.
 *
 * Owns nothing and keeps nothing; for questions that need no index (symtab.h has one). Refuses
 * names that are not in the string table. Formats: gABI chapter 4, psABI x86-64 4.4, AAELF64 5.7. */

#include "symbolizer/elf_file.h"

struct scanned_symbol {
	const char *name;	  /* borrowed until elf_file_close */
	uint64_t value, size;	  /* value: of a slot, the slot's address */
	unsigned char type, bind; /* STT_*, STB_* */
	unsigned char visibility; /* STV_* */
	bool defined;
};

struct scanned_slot { /* of the dynamic linker's, for a thread's variables */
	const char *name; /* of the variable, borrowed; NULL: one of this file, `addend` bytes into its block */
	uint64_t address; /* of the first word */
	uint64_t addend;
	enum scanned_slot_kind { SCANNED_OFFSET = 1, SCANNED_MODULE, SCANNED_DESCRIPTOR } kind;
};

/* Negative ends the scan and is passed on. */
typedef int symbol_scan_fn(void *context, const struct scanned_symbol *s);

/* Named symbols of the first table of this type, SHT_DYNSYM or SHT_SYMTAB. 0, also where there is
 * none. */
int symbol_scan(struct elf_file *f, uint32_t section_type, symbol_scan_fn *each, void *context);
/* Slots that the dynamic linker fills with the address of a named symbol (GLOB_DAT, JUMP_SLOT). */
int symbol_scan_slots(struct elf_file *f, symbol_scan_fn *each, void *context);
/* Slots of variables of threads. */
typedef int symbol_scan_slot_fn(void *context, const struct scanned_slot *s);
int symbol_scan_thread_slots(struct elf_file *f, symbol_scan_slot_fn *each, void *context);
