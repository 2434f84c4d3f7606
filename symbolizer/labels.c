/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/labels.h"

#include <elf.h>
#include <string.h>

#include "base/cursor.h"
#include "symbolizer/symbol_scan.h"

#define NOTE_OWNER "pprofd"
#define NOTE_LABELS 3
#define MAX_NOTES 65536
#define TCB_ARM64 16ull

static const char *const names[] = {
	[SYMBOLIZER_LABELS_OURS] = "pprofd_labels_v1",
	[SYMBOLIZER_LABELS_OTEL] = "otel_thread_ctx_v1",
	[SYMBOLIZER_LABELS_CUSTOM] = "custom_labels_current_set",
};

struct search {
	struct elf_file *f;
	bool found[SYMBOLIZER_MAX_LABELS + 1], custom_v1;
	struct symbolizer_label labels[SYMBOLIZER_MAX_LABELS + 1]; /* by kind */
};

/* The program's block ends at the thread pointer, aligned as the file asks (variant II); on arm64 it begins behind the two
 * words that the pointer points to (variant I). */
static bool program_offset(const struct elf_file *f, uint64_t offset, int64_t *ret)
{
	uint64_t align = f->tls_align ? f->tls_align : 1, size = f->tls_memsz;

	if (align & (align - 1) || align > 1ull << 20 || size > 1ull << 30 || offset >= size)
		return false;
	if (f->machine == EM_AARCH64) {
		*ret = (int64_t)(((TCB_ARM64 + align - 1) & ~(align - 1)) + offset);
		return true;
	}
	size += (0 - f->tls_address - size) & (align - 1);
	*ret = (int64_t)offset - (int64_t)size;
	return true;
}

static void add(struct search *s, uint32_t kind, uint64_t offset)
{
	struct symbolizer_label l = { .kind = kind, .offset = offset };

	if (s->found[kind] || !program_offset(s->f, offset, &l.program_offset))
		return;
	s->labels[kind] = l;
	s->found[kind] = true;
}

static int on_symbol(void *context, const struct scanned_symbol *q)
{
	struct search *s = context;
	uint8_t version[4];

	if (!q->defined)
		return 0;
	if (q->type == STT_OBJECT && !strcmp(q->name, "custom_labels_abi_version") &&
	    elf_file_read(s->f, q->value, version, sizeof(version)) == sizeof(version))
		s->custom_v1 = !memcmp(version, "\1\0\0\0", 4);
	for (uint32_t k = 1; k <= SYMBOLIZER_MAX_LABELS && q->type == STT_TLS; k++)
		if (!strcmp(q->name, names[k]))
			add(s, k, q->value);
	return 0;
}

/* The note of preload/pprofd.h: the variable's offset in the block. There is one for each source file. */
static void read_note(struct search *s)
{
	struct elf_section section;
	struct cursor c, name, desc;

	if (!elf_file_section(s->f, ".note.pprofd", &section))
		return;
	c = cursor_over(section.data, section.n);
	for (unsigned i = 0; i < MAX_NOTES && cursor_left(&c) && !s->found[SYMBOLIZER_LABELS_OURS]; i++) {
		uint32_t n_name = cursor_u32(&c), n_desc = cursor_u32(&c), type = cursor_u32(&c);

		name = cursor_sub(&c, n_name);
		cursor_skip(&c, (0 - n_name) % 4);
		desc = cursor_sub(&c, n_desc);
		if (c.bad)
			return;
		if (cursor_left(&c) >= (0 - n_desc) % 4)
			cursor_skip(&c, (0 - n_desc) % 4);
		if (type != NOTE_LABELS || n_name != sizeof(NOTE_OWNER) || n_desc != 8 ||
		    memcmp(name.p, NOTE_OWNER, sizeof(NOTE_OWNER)) != 0)
			continue;
		add(s, SYMBOLIZER_LABELS_OURS, cursor_u64(&desc));
	}
}

/* What says most wins: where there are several they agree. */
static void take_slot(struct symbolizer_label *l, enum symbolizer_label_slot kind, uint64_t address)
{
	static const uint8_t rank[] = { [SYMBOLIZER_SLOT_MODULE] = 1, [SYMBOLIZER_SLOT_INDEX] = 2,
					[SYMBOLIZER_SLOT_DESCRIPTOR] = 3, [SYMBOLIZER_SLOT_OFFSET] = 4 };

	if (rank[kind] <= rank[l->slot_kind])
		return;
	l->slot_kind = kind;
	l->slot = address;
}

static int on_slot(void *context, const struct scanned_slot *q)
{
	struct search *s = context;

	for (uint32_t k = 1; k <= SYMBOLIZER_MAX_LABELS; k++) {
		struct symbolizer_label *l = &s->labels[k];
		bool ours = q->name ? !strcmp(q->name, names[k]) : q->addend == l->offset;

		if (!s->found[k])
			continue;
		if (q->kind == SCANNED_OFFSET && ours)
			take_slot(l, SYMBOLIZER_SLOT_OFFSET, q->address);
		else if (q->kind == SCANNED_DESCRIPTOR && ours)
			take_slot(l, SYMBOLIZER_SLOT_DESCRIPTOR, q->address);
		else if (q->kind == SCANNED_MODULE && q->name && ours)
			take_slot(l, SYMBOLIZER_SLOT_INDEX, q->address);
		else if (q->kind == SCANNED_MODULE && !q->name)
			take_slot(l, SYMBOLIZER_SLOT_MODULE, q->address);
	}
	return 0;
}

uint32_t labels_find(struct elf_file *f, struct symbolizer_label ret[SYMBOLIZER_MAX_LABELS])
{
	struct search s = { .f = f };
	uint32_t n = 0;

	if (!f->tls_memsz || f->machine != ELF_MACHINE_HERE)
		return 0;
	symbol_scan(f, SHT_DYNSYM, on_symbol, &s);
	read_note(&s);
	if (f->machine == EM_AARCH64 && !s.found[SYMBOLIZER_LABELS_OURS]) /* assemblers cannot write the note */
		symbol_scan(f, SHT_SYMTAB, on_symbol, &s);
	s.found[SYMBOLIZER_LABELS_CUSTOM] &= s.custom_v1;
	for (uint32_t k = 1; k <= SYMBOLIZER_MAX_LABELS && !n; k++)
		n += s.found[k];
	if (n && f->type == ET_DYN)
		symbol_scan_thread_slots(f, on_slot, &s);
	n = 0;
	for (uint32_t k = 1; k <= SYMBOLIZER_MAX_LABELS; k++)
		if (s.found[k])
			ret[n++] = s.labels[k];
	return n;
}
