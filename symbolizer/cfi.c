/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/cfi.h"

#include <dwarf.h>
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "symbolizer/cfi_known.h"
#include "symbolizer/cfi_program.h"
#include "symbolizer/cfi_stubs.h"
#include "symbolizer/flow.h"
#include "symbolizer/leaves.h"

/* Between functions there is padding; code without an FDE of its own is rarely that short. */
#define MAX_PADDING 16
/* What an entry point without an FDE is given: it calls and never returns. */
#define ENTRY_SIZE 64
static const struct unwind_rule outermost = { .kind = UNWIND_OUTERMOST };
/* Gaps are searched for code that is known (musl's signal trampoline has no FDE), up to this much in all. */
#define MAX_SEARCH (1u << 20)

struct fde {
	uint64_t start, end;
	const uint8_t *program, *program_end;
	uint32_t cie;
};

struct builder {
	struct cfi *out;
	const struct cfi_registers *registers;
	VEC(struct cfi_cie) cies;
	VEC(struct fde) fdes;
	const struct cfi_cie *cie; /* of the FDE that runs */
	uint64_t from;		   /* rows below this address are already told */
	const struct elf_file *contexts; /* the file, if it has makecontext */
	uint32_t gap;		   /* rule */
	size_t n_followed;	   /* rows that were made of code */
};

struct source {
	struct elf_section section;
	bool exact; /* the section's true size is known */
	bool debug_frame;
};

/* One CIE or FDE of a section. */
struct entry {
	struct cursor body;
	uint64_t offset;      /* of the entry, in the section */
	uint64_t id_position; /* of the CIE pointer */
	uint64_t id;
	bool debug_frame;
};

static bool rule_equal(uint32_t item, const void *key, const void *context)
{
	const struct cfi *c = context;

	return !memcmp(&c->rules.data[item], key, sizeof(struct unwind_rule));
}

static int intern(struct cfi *c, const struct unwind_rule *q, uint32_t *ret)
{
	uint64_t h = hash_bytes(HASH_SEED, q, sizeof(*q));
	int r;

	*ret = hash_get(&c->rule_index, h, rule_equal, q, c);
	if (*ret != HASH_NONE)
		return 0;
	if (c->rules.n >= CFI_MAX_RULES)
		return -E2BIG;
	r = vec_push(&c->rules, *q);
	if (r < 0)
		return r;
	*ret = (uint32_t)c->rules.n - 1;
	return hash_put(&c->rule_index, h, *ret);
}

/* Rows arrive in ascending order; the last one at an address wins. */
static int push(struct cfi *c, uint64_t address, uint32_t rule)
{
	uint32_t offset;

	if (address < c->low)
		address = c->low;
	if (address >= c->high)
		return 0;
	offset = (uint32_t)(address - c->low);
	if (c->rows.n && c->rows.data[c->rows.n - 1].offset == offset)
		c->rows.n--;
	if (c->rows.n && c->rows.data[c->rows.n - 1].rule == rule)
		return 0;
	if (c->rows.n >= CFI_MAX_ROWS)
		return -E2BIG;
	return vec_push(&c->rows, ((struct unwind_row){ offset, rule }));
}

static int on_row(void *context, uint64_t address, const struct cfi_state *s)
{
	struct builder *b = context;
	struct unwind_rule q = cfi_rule(b->cie, s);
	uint32_t rule;
	int r = intern(b->out, &q, &rule);

	if (r < 0)
		return r;
	if (q.kind == UNWIND_UNSUPPORTED)
		b->out->n_unsupported++;
	return push(b->out, address < b->from ? b->from : address, rule);
}

static void parse_augmentation(struct cfi_cie *cie, const char *letters, struct cursor *c)
{
	struct cursor data = cursor_sub(c, cursor_uleb128(c));

	cie->augmented = true;
	for (const char *a = letters + 1; *a; a++) {
		switch (*a) {
		case 'R':
			cie->pointer_encoding = cursor_u8(&data);
			break;
		case 'L':
			cursor_u8(&data);
			break;
		case 'P':
			cfi_pointer(&data, cursor_u8(&data) & 0x0f, 0);
			break;
		case 'S':
			cie->signal = true;
			break;
		case 'B': /* arm64: pointers signed with the B key */
			break;
		default: /* what follows in the data is unknown; its length is not */
			return;
		}
	}
}

static int parse_cie(struct builder *b, struct entry *e)
{
	struct cfi_cie cie = { .registers = b->registers, .offset = e->offset };
	struct cursor *c = &e->body;
	uint8_t version = cursor_u8(c);
	const char *letters = cursor_string(c);

	if (version == 4)
		cursor_skip(c, 2); /* address and segment size */
	cie.code_align = cursor_uleb128(c);
	cie.data_align = cursor_sleb128(c);
	cie.ra_register = version == 1 ? cursor_u8(c) : cursor_uleb128(c);
	if (letters && *letters == 'z')
		parse_augmentation(&cie, letters, c);
	cie.good = letters && !c->bad && (version == 1 || version == 3 || version == 4) &&
		   (!*letters || *letters == 'z') && cie.code_align && cie.code_align < 256;
	if (cie.good) {
		struct cfi_state s = { 0 };
		uint64_t at = 0;

		cie.good = !cfi_run(&cie, *c, &at, 0, &s, NULL, NULL);
		cie.initial = s;
	}
	return vec_push(&b->cies, cie);
}

/* CIEs of one section stand in ascending order of their offsets, from index `first` on. */
static const struct cfi_cie *find_cie(const struct builder *b, size_t first, uint64_t offset)
{
	size_t low = first, high = b->cies.n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (b->cies.data[middle].offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == b->cies.n || b->cies.data[low].offset != offset || !b->cies.data[low].good)
		return NULL;
	return &b->cies.data[low];
}

static int parse_fde(struct builder *b, struct entry *e, size_t first_cie,
		     const struct elf_section *s)
{
	const struct cfi_cie *cie = find_cie(
		b, first_cie, e->debug_frame ? e->id : e->id_position - e->id);
	struct cursor *c = &e->body;
	struct fde f = { 0 };
	uint64_t n;

	b->out->n_fdes++;
	if (!cie) {
		b->out->n_bad_fdes++;
		return 0;
	}
	f.start = cfi_pointer(c, cie->pointer_encoding,
			      s->address + (uint64_t)(c->p - s->data));
	n = cfi_pointer(c, cie->pointer_encoding & 0x0f, 0);
	if (cie->augmented)
		cursor_skip(c, cursor_uleb128(c));
	f.end = f.start + n;
	if (c->bad || !n || f.end < f.start) {
		b->out->n_bad_fdes++;
		return 0;
	}
	if (f.start < b->out->low || f.start >= b->out->high)
		return 0; /* dropped by the linker: its code is not in the file */
	f.program = c->p;
	f.program_end = c->end;
	f.cie = (uint32_t)(cie - b->cies.data);
	return vec_push(&b->fdes, f);
}

/* The next entry; false at the end, or where lengths stop making sense. */
static bool next_entry(struct cursor *c, const struct source *s, struct entry *ret)
{
	struct entry e = { .debug_frame = s->debug_frame };
	uint64_t n;
	bool wide;

	for (;;) {
		e.offset = (uint64_t)(c->p - s->section.data);
		n = cursor_u32(c);
		wide = n == UINT32_MAX;
		if (wide)
			n = cursor_u64(c);
		if (c->bad)
			return false;
		if (n)
			break; /* a zero terminator may stand in the middle: crtend.o's, linked early */
		if (!s->exact)
			return false;
	}
	e.id_position = (uint64_t)(c->p - s->section.data);
	e.body = cursor_sub(c, n);
	e.id = wide && s->debug_frame ? cursor_u64(&e.body) : cursor_u32(&e.body);
	*ret = e;
	return !c->bad && !e.body.bad;
}

static int parse_section(struct builder *b, const struct source *s)
{
	struct cursor c = cursor_over(s->section.data, s->section.n);
	size_t first_cie = b->cies.n;
	struct entry e;
	int r = 0;

	while (!r && next_entry(&c, s, &e)) {
		bool is_cie = s->debug_frame ? e.id == UINT32_MAX || e.id == UINT64_MAX : !e.id;

		r = is_cie ? parse_cie(b, &e) : parse_fde(b, &e, first_cie, &s->section);
	}
	return r;
}

/* .eh_frame by its section, or by PT_GNU_EH_FRAME where section headers are gone: then its end is
 * its terminator, and at most that of its segment. */
static bool find_eh_frame(struct elf_file *f, struct source *ret)
{
	struct elf_section hdr;
	struct cursor c;
	uint8_t encoding;
	uint64_t at;

	*ret = (struct source){ .exact = true };
	if (elf_file_section(f, ".eh_frame", &ret->section))
		return true;
	ret->exact = false;
	if (!f->eh_frame_hdr || !elf_file_at(f, f->eh_frame_hdr, 16, &hdr))
		return false;
	c = cursor_over(hdr.data, hdr.n);
	cursor_u8(&c);
	encoding = cursor_u8(&c);
	cursor_skip(&c, 2);
	at = cfi_pointer(&c, encoding, f->eh_frame_hdr + 4);
	return !c.bad && elf_file_at(f, at, UINT64_MAX, &ret->section);
}

static int by_start(const void *a, const void *b)
{
	const struct fde *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->program < y->program ? -1 : x->program > y->program;
}

static int push_rule(struct builder *b, uint64_t at, const struct unwind_rule *q)
{
	uint32_t rule;
	int r = intern(b->out, q, &rule);

	return r < 0 ? r : push(b->out, at, rule);
}

/* A function of makecontext's has no call in front of what it returns to: the look-up, a byte before, finds the room
 * between two functions. */
static int emit_context_end(struct builder *b, const struct fde *f)
{
	static const struct unwind_rule end = { .kind = UNWIND_OUTERMOST, .aux = 1 };

	if (!b->contexts || f->start <= b->from || !cfi_is_context_end(b->contexts, f->start))
		return 0;
	return push_rule(b, f->start - 1, &end);
}

static int emit_fdes(struct builder *b, struct elf_file *file)
{
	struct cfi *out = b->out;
	int r = push(out, out->low, b->gap);

	b->contexts = cfi_has_contexts(file) ? file : NULL;
	b->from = out->low;
	for (size_t i = 0; i < b->fdes.n && r >= 0; i++) {
		const struct fde *f = &b->fdes.data[i];
		uint64_t at = f->start;
		struct cfi_state s;

		if (f->end <= b->from)
			continue;
		if (f->start > b->from && f->start - b->from >= MAX_PADDING) {
			r = push(out, b->from, b->gap);
			if (r < 0)
				break;
		}
		r = emit_context_end(b, f);
		if (r < 0)
			break;
		b->cie = &b->cies.data[f->cie];
		if (f->start > b->from)
			b->from = f->start;
		s = b->cie->initial;
		if (file->program && f->start == file->entry) /* argc is there, not a return address: Zig's FDE does not say so */
			r = push_rule(b, b->from, &outermost);
		else
			r = cfi_run(b->cie, cursor_over(f->program, (size_t)(f->program_end - f->program)),
				    &at, f->end, &s, on_row, b);
		if (r == -EBADMSG) { /* what it told before that stands; the rest is not known */
			out->n_bad_fdes++;
			r = at < f->end ? push(out, at < b->from ? b->from : at, b->gap) : 0;
		}
		b->from = f->end;
	}
	return r < 0 ? r : push(out, b->from, b->gap);
}

static size_t row_at(const struct cfi *c, uint32_t offset)
{
	size_t low = 0, n = c->rows.n;

	while (n > 1) {
		size_t half = n / 2;

		if (c->rows.data[low + half].offset <= offset)
			low += half;
		n -= half;
	}
	return low;
}

/* Gives [start, end) a rule where the file says nothing. */
static int fill_gap(struct builder *b, uint64_t start, uint64_t end, const struct unwind_rule *q)
{
	struct cfi *c = b->out;
	struct unwind_row put[2];
	size_t i, n = 0;
	uint32_t rule, to;
	int r;

	if (start < c->low || start >= c->high || !c->rows.n)
		return 0;
	if (end <= start) /* past the end of the address space */
		end = c->high;
	i = row_at(c, (uint32_t)(start - c->low));
	if (c->rows.data[i].rule != b->gap)
		return 0;
	to = i + 1 < c->rows.n ? c->rows.data[i + 1].offset : (uint32_t)(c->high - c->low);
	if (end > c->low + to)
		end = c->low + to;
	r = intern(c, q, &rule);
	if (r < 0)
		return r;
	put[n++] = (struct unwind_row){ (uint32_t)(start - c->low), rule };
	if (end < c->low + to)
		put[n++] = (struct unwind_row){ (uint32_t)(end - c->low), b->gap };
	r = vec_reserve(&c->rows, c->rows.n + n);
	if (r < 0)
		return r;
	if (c->rows.data[i].offset != put[0].offset)
		i++;
	else
		c->rows.n--, memmove(&c->rows.data[i], &c->rows.data[i + 1],
				     (c->rows.n - i) * sizeof(put[0]));
	memmove(&c->rows.data[i + n], &c->rows.data[i], (c->rows.n - i) * sizeof(put[0]));
	memcpy(&c->rows.data[i], put, n * sizeof(put[0]));
	c->rows.n += n;
	return 0;
}

static int on_stub(void *context, uint64_t start, uint64_t end, const struct unwind_rule *q)
{
	return fill_gap(context, start, end, q);
}

/* What its bytes tell, up to MAX_SEARCH of all gaps. */
static int fill_known(struct builder *b, const struct elf_file *f)
{
	const struct cfi *c = b->out;
	uint32_t left = MAX_SEARCH;
	int r = 0;

	for (size_t i = 0; i < c->rows.n && r == 0; i++) {
		uint64_t start = c->low + c->rows.data[i].offset;
		uint64_t end = i + 1 < c->rows.n ? c->low + c->rows.data[i + 1].offset : c->high;
		bool found;

		if (c->rows.data[i].rule != b->gap || end - start > left)
			continue;
		left -= (uint32_t)(end - start);
		r = cfi_known(f, start, end, on_stub, b, &found);
		b->n_followed += found && f->machine == EM_AARCH64; /* the vDSO has no FDE at all */
	}
	return r;
}

static bool in_gap(void *context, uint64_t start)
{
	const struct builder *b = context;
	const struct cfi *c = b->out;

	return start >= c->low && start < c->high && c->rows.data[row_at(c, (uint32_t)(start - c->low))].rule == b->gap;
}

static int on_leaf(void *context, uint64_t start, uint64_t end)
{
	static const struct unwind_rule link = { .kind = UNWIND_SP };
	struct builder *b = context;

	b->n_followed++;
	return fill_gap(b, start, end, &link);
}

static int fill_entry(struct builder *b, const struct elf_file *f)
{
	return f->entry ? fill_gap(b, f->entry, f->entry + ENTRY_SIZE, &outermost) : 0;
}

struct followed {
	struct builder *b;
	VEC(struct flow_range) gaps;
	VEC(struct unwind_row) rows; /* pairs: where one begins, where the gap goes on */
};

static int on_followed(void *context, uint64_t start, uint64_t end, const struct flow_state *s)
{
	struct followed *x = context;
	struct unwind_rule q = flow_rule(s);
	uint64_t low = x->b->out->low;
	uint32_t rule;
	int r = intern(x->b->out, &q, &rule);

	if (r == 0)
		r = vec_push(&x->rows, ((struct unwind_row){ (uint32_t)(start - low), rule }));
	if (r == 0)
		r = vec_push(&x->rows,
			     ((struct unwind_row){ (uint32_t)(end - low), x->b->gap }));
	return r;
}

/* Puts what was followed into the gaps. */
static int weave(struct followed *x)
{
	struct cfi *c = x->b->out;
	struct cfi old = *c;
	size_t k = 0;
	int r = 0;

	c->rows.data = NULL;
	c->rows.n = c->rows.cap = 0;
	for (size_t i = 0; i < old.rows.n && r == 0; i++) {
		uint64_t end = i + 1 < old.rows.n ? old.rows.data[i + 1].offset : c->high - c->low;

		r = push(c, c->low + old.rows.data[i].offset, old.rows.data[i].rule);
		for (; k < x->rows.n && x->rows.data[k].offset < end && r == 0; k += 2) {
			r = push(c, c->low + x->rows.data[k].offset, x->rows.data[k].rule);
			if (r == 0 && x->rows.data[k + 1].offset < end)
				r = push(c, c->low + x->rows.data[k + 1].offset, x->b->gap);
		}
	}
	vec_deinit(&old.rows);
	return r;
}

/* Rows for what still has none, from the code itself. Past a bound of flow.h's there are none. */
static int follow_gaps(struct builder *b, struct elf_file *f)
{
	struct followed x = { .b = b };
	const struct cfi *c = b->out;
	int r = 0;

	for (size_t i = 0; i < c->rows.n && r == 0; i++) {
		uint64_t start = c->low + c->rows.data[i].offset;
		uint64_t end = i + 1 < c->rows.n ? c->low + c->rows.data[i + 1].offset : c->high;

		if (c->rows.data[i].rule == b->gap)
			r = vec_push(&x.gaps, ((struct flow_range){ start, end }));
	}
	if (r == 0)
		r = flow_build(f, x.gaps.data, x.gaps.n, on_followed, &x, NULL);
	r = r == -E2BIG ? 0 : r;
	b->n_followed += x.rows.n;
	if (r == 0 && x.rows.n)
		r = weave(&x);
	vec_deinit(&x.gaps);
	vec_deinit(&x.rows);
	return r;
}

static int build(struct builder *b, struct elf_file *f, bool follow)
{
	static const struct unwind_rule gap = { .kind = UNWIND_GAP };
	struct cfi *c = b->out;
	struct source s;
	int r;

	if (!elf_file_text(f, &c->low, &c->high) || c->high - c->low > UINT32_MAX)
		return -ENOEXEC;
	b->registers = cfi_registers_of(f->machine);
	if (!b->registers)
		return -ENOEXEC;
	r = intern(c, &gap, &b->gap);
	if (!r && find_eh_frame(f, &s))
		r = parse_section(b, &s);
	s = (struct source){ .exact = true, .debug_frame = true };
	if (!r && elf_file_section(f, ".debug_frame", &s.section))
		r = parse_section(b, &s);
	if (r < 0)
		return r;
	/* Go's programs have none by design, and frame pointers throughout */
	if (!b->fdes.n && (!follow || elf_file_section(f, ".gopclntab", &s.section)))
		return -ENODATA;
	if (b->fdes.n)
		qsort(b->fdes.data, b->fdes.n, sizeof(struct fde), by_start);
	r = emit_fdes(b, f);
	if (!r)
		r = cfi_stubs(f, on_stub, b);
	if (!r)
		r = fill_known(b, f);
	if (!r && follow)
		r = leaves_find(f, in_gap, on_leaf, b);
	if (!r && follow)
		r = follow_gaps(b, f);
	if (!r)
		r = fill_entry(b, f);
	return !r && !b->fdes.n && !b->n_followed ? -ENODATA : r;
}

static int build_file(struct elf_file *f, bool follow, struct cfi *ret)
{
	struct cfi c = { 0 };
	struct builder b = { .out = &c };
	int r = build(&b, f, follow);

	vec_deinit(&b.cies);
	vec_deinit(&b.fdes);
	if (r < 0)
		cfi_deinit(&c);
	else
		*ret = c;
	return r;
}

int cfi_build(struct elf_file *f, struct cfi *ret)
{
	return build_file(f, true, ret);
}

int cfi_build_fdes(struct elf_file *f, struct cfi *ret)
{
	return build_file(f, false, ret);
}

void cfi_deinit(struct cfi *c)
{
	vec_deinit(&c->rows);
	vec_deinit(&c->rules);
	hash_deinit(&c->rule_index);
}

const struct unwind_rule *cfi_find(const struct cfi *c, uint64_t address)
{
	if (address < c->low || address >= c->high || !c->rows.n)
		return NULL;
	return &c->rules.data[c->rows.data[row_at(c, (uint32_t)(address - c->low))].rule];
}
