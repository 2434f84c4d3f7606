/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/symbol_scan.h"

#include <gelf.h>
#include <string.h>

#define MAX_TABLE (256u << 20)	 /* bytes */
#define MAX_STRINGS (512u << 20) /* bytes */

struct tables {
	struct elf_section symbols, strings;
	uint32_t machine;
};

static bool section_bytes(Elf_Scn *s, uint64_t max, struct elf_section *ret)
{
	GElf_Shdr h;
	Elf_Data *d;

	if (!s || !gelf_getshdr(s, &h) || h.sh_type == SHT_NOBITS || h.sh_size > max)
		return false;
	d = elf_getdata(s, NULL);
	if (!d || !d->d_buf || !d->d_size)
		return false;
	*ret = (struct elf_section){ d->d_buf, d->d_size, h.sh_addr };
	return true;
}

/* A table of symbols and its strings, which are cut behind their last NUL. */
static bool open_tables(struct elf_file *f, Elf_Scn *s, struct tables *ret)
{
	const unsigned char *last;
	GElf_Shdr h;

	if (!s || !gelf_getshdr(s, &h) || (h.sh_type != SHT_SYMTAB && h.sh_type != SHT_DYNSYM) ||
	    !section_bytes(s, MAX_TABLE, &ret->symbols) ||
	    !section_bytes(elf_getscn(f->elf, h.sh_link), MAX_STRINGS, &ret->strings))
		return false;
	ret->machine = f->machine;
	last = memrchr(ret->strings.data, 0, ret->strings.n);
	ret->strings.n = last ? (size_t)(last - ret->strings.data) + 1 : 0;
	return true;
}

static bool symbol_at(const struct tables *t, size_t index, struct scanned_symbol *ret)
{
	Elf64_Sym q;

	if (index >= t->symbols.n / sizeof(q))
		return false;
	memcpy(&q, t->symbols.data + index * sizeof(q), sizeof(q));
	if (q.st_name >= t->strings.n || !t->strings.data[q.st_name])
		return false;
	*ret = (struct scanned_symbol){
		.name = (const char *)t->strings.data + q.st_name,
		.value = q.st_value,
		.size = q.st_size,
		.type = ELF64_ST_TYPE(q.st_info),
		.bind = ELF64_ST_BIND(q.st_info),
		.visibility = ELF64_ST_VISIBILITY(q.st_other),
		.defined = q.st_shndx != SHN_UNDEF,
	};
	return true;
}

int symbol_scan(struct elf_file *f, uint32_t section_type, symbol_scan_fn *each, void *context)
{
	struct scanned_symbol symbol;
	struct tables t;
	Elf_Scn *s = NULL;
	GElf_Shdr h;
	int r = 0;

	while ((s = elf_nextscn(f->elf, s)))
		if (gelf_getshdr(s, &h) && h.sh_type == section_type)
			break;
	if (!open_tables(f, s, &t))
		return 0;
	for (size_t i = 1; i < t.symbols.n / sizeof(Elf64_Sym) && r == 0; i++)
		if (symbol_at(&t, i, &symbol))
			r = each(context, &symbol);
	return r;
}

static bool is_address(uint32_t machine, uint32_t type)
{
	return machine == EM_AARCH64 ? type == R_AARCH64_GLOB_DAT || type == R_AARCH64_JUMP_SLOT :
				       type == R_X86_64_GLOB_DAT || type == R_X86_64_JUMP_SLOT;
}

/* 0: another one. */
static enum scanned_slot_kind slot_kind(uint32_t machine, uint32_t type)
{
	static const struct {
		uint32_t machine, type;
		enum scanned_slot_kind kind;
	} all[] = {
		{ EM_X86_64, R_X86_64_TPOFF64, SCANNED_OFFSET },
		{ EM_X86_64, R_X86_64_DTPMOD64, SCANNED_MODULE },
		{ EM_X86_64, R_X86_64_TLSDESC, SCANNED_DESCRIPTOR },
		{ EM_AARCH64, R_AARCH64_TLS_TPREL, SCANNED_OFFSET },
		{ EM_AARCH64, R_AARCH64_TLS_DTPMOD, SCANNED_MODULE },
		{ EM_AARCH64, R_AARCH64_TLSDESC, SCANNED_DESCRIPTOR },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i].machine == machine && all[i].type == type)
			return all[i].kind;
	return 0;
}

static int scan_relocations(const struct elf_section *table, const struct tables *t,
			    symbol_scan_fn *each, void *context)
{
	struct scanned_symbol symbol;
	int r = 0;

	for (size_t at = 0; table->n - at >= sizeof(Elf64_Rela) && r == 0;
	     at += sizeof(Elf64_Rela)) {
		uint32_t type;
		Elf64_Rela q;

		memcpy(&q, table->data + at, sizeof(q));
		type = ELF64_R_TYPE(q.r_info);
		if (!is_address(t->machine, type) ||
		    !symbol_at(t, ELF64_R_SYM(q.r_info), &symbol))
			continue;
		symbol.value = q.r_offset;
		r = each(context, &symbol);
	}
	return r;
}

static int scan_thread_slots(const struct elf_section *table, const struct tables *t,
			     symbol_scan_slot_fn *each, void *context)
{
	struct scanned_symbol symbol;
	int r = 0;

	for (size_t at = 0; table->n - at >= sizeof(Elf64_Rela) && r == 0; at += sizeof(Elf64_Rela)) {
		struct scanned_slot slot = { 0 };
		Elf64_Rela q;

		memcpy(&q, table->data + at, sizeof(q));
		slot.kind = slot_kind(t->machine, ELF64_R_TYPE(q.r_info));
		slot.address = q.r_offset;
		slot.addend = (uint64_t)q.r_addend;
		if (!slot.kind)
			continue;
		if (ELF64_R_SYM(q.r_info)) {
			if (!symbol_at(t, ELF64_R_SYM(q.r_info), &symbol))
				continue;
			slot.name = symbol.name;
		}
		r = each(context, &slot);
	}
	return r;
}

/* Either of the two callbacks. */
static int scan_tables(struct elf_file *f, symbol_scan_fn *each, symbol_scan_slot_fn *each_slot, void *context)
{
	Elf_Scn *s = NULL;
	int r = 0;

	while (r == 0 && (s = elf_nextscn(f->elf, s))) {
		struct elf_section table;
		struct tables t;
		GElf_Shdr h;

		if (gelf_getshdr(s, &h) && h.sh_type == SHT_RELA && (h.sh_flags & SHF_ALLOC) &&
		    section_bytes(s, MAX_TABLE, &table) &&
		    open_tables(f, elf_getscn(f->elf, h.sh_link), &t))
			r = each ? scan_relocations(&table, &t, each, context) :
				   scan_thread_slots(&table, &t, each_slot, context);
	}
	return r;
}

int symbol_scan_slots(struct elf_file *f, symbol_scan_fn *each, void *context)
{
	return scan_tables(f, each, NULL, context);
}

int symbol_scan_thread_slots(struct elf_file *f, symbol_scan_slot_fn *each, void *context)
{
	return scan_tables(f, NULL, each, context);
}
