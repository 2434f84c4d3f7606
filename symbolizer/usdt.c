/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/usdt.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/cursor.h"
#include "base/emulated.h"
#include "symbolizer/bounds.h"
#include "symbolizer/symbol_scan.h"

#define NOTE_STAPSDT 3
#define MAX_INSTRUCTION 15

struct usdt {
	struct elf_file *f;
	struct probe_list *list;
	unsigned n_sites;
	uint64_t starts[USDT_MAX_SITES]; /* 5-byte nops that ask whether a function begins there */
	bool is_start[USDT_MAX_SITES], is_part[USDT_MAX_SITES];
	unsigned n_starts;
};

/* A register's name as DWARF's number, and how much of it. */
static bool register_number(const char *s, size_t n, uint8_t *ret, unsigned *ret_bytes)
{
	static const char old[8][4][4] = {
		{ "rax", "eax", "ax", "al" },  { "rdx", "edx", "dx", "dl" },
		{ "rcx", "ecx", "cx", "cl" },  { "rbx", "ebx", "bx", "bl" },
		{ "rsi", "esi", "si", "sil" }, { "rdi", "edi", "di", "dil" },
		{ "rbp", "ebp", "bp", "bpl" }, { "rsp", "esp", "sp", "spl" },
	};
	unsigned number = 0, i = 1;

	for (unsigned r = 0; r < 8; r++)
		for (unsigned w = 0; w < 4; w++)
			if (strlen(old[r][w]) == n && !memcmp(old[r][w], s, n)) {
				*ret = (uint8_t)r;
				*ret_bytes = 8 >> w;
				return true;
			}
	if (n < 2 || s[0] != 'r' || s[1] == '0')
		return false;
	for (; i < n && i < 3 && s[i] >= '0' && s[i] <= '9'; i++)
		number = number * 10 + (unsigned)(s[i] - '0');
	*ret = (uint8_t)number;
	*ret_bytes = i == n ? 8 : s[i] == 'd' ? 4 : s[i] == 'w' ? 2 : 1;
	return number >= 8 && number <= 15 && (i == n || (i + 1 == n && strchr("dwb", s[i])));
}

/* One argument's text, eaten from the front. */
struct text {
	const char *p, *end;
};

static bool eat(struct text *t, char c)
{
	if (t->p == t->end || *t->p != c)
		return false;
	t->p++;
	return true;
}

static bool eat_register(struct text *t, uint8_t *ret, unsigned *ret_bytes)
{
	const char *from;

	if (!eat(t, '%'))
		return false;
	for (from = t->p; t->p < t->end && *t->p >= '0' && *t->p <= 'z'; t->p++)
		;
	return register_number(from, (size_t)(t->p - from), ret, ret_bytes);
}

static int digit(char c, unsigned base)
{
	int v = c >= '0' && c <= '9' ? c - '0' :
		c >= 'a' && c <= 'f' ? c - 'a' + 10 :
		c >= 'A' && c <= 'F' ? c - 'A' + 10 :
				       99;

	return v < (int)base ? v : -1;
}

/* Decimal or 0x; no octal, which somebody may have meant and somebody may not. */
static bool eat_number(struct text *t, int64_t *ret)
{
	bool negative = eat(t, '-');
	unsigned base = 10, n = 0;
	uint64_t v = 0;

	if (t->end - t->p > 1 && t->p[0] == '0' && t->p[1] != '(') {
		if (t->p[1] != 'x')
			return false;
		t->p += 2;
		base = 16;
	}
	for (int d; t->p < t->end && (d = digit(*t->p, base)) >= 0; t->p++, n++)
		if (__builtin_mul_overflow(v, base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)d, &v))
			return false;
	if (!n || (negative && v > 1ull << 63))
		return false;
	*ret = (int64_t)(negative ? 0 - v : v);
	return true;
}

/* disp(base), disp(base,index), disp(base,index,scale) */
static bool eat_memory(struct text *t, struct symbolizer_argument *a)
{
	unsigned bytes, index_bytes = 8;
	int64_t scale = 1;

	if (t->p < t->end && *t->p != '(' && !eat_number(t, &a->value))
		return false;
	if (a->value < INT32_MIN || a->value > INT32_MAX || !eat(t, '(') ||
	    !eat_register(t, &a->reg, &bytes) || bytes != 8)
		return false;
	a->kind = SYMBOLIZER_MEMORY;
	a->index = SYMBOLIZER_NO_REGISTER;
	if (eat(t, ',')) {
		if (!eat_register(t, &a->index, &index_bytes) || index_bytes != 8 || a->index == 7)
			return false;
		if (eat(t, ',') && !eat_number(t, &scale))
			return false;
		if (scale != 1 && scale != 2 && scale != 4 && scale != 8)
			return false;
		a->scale = (uint8_t)scale;
	}
	return eat(t, ')');
}

static bool read_argument(struct text t, struct symbolizer_argument *a)
{
	unsigned bytes;
	int64_t size;

	if (!eat_number(&t, &size) || !eat(&t, '@'))
		return false;
	if (size != 1 && size != 2 && size != 4 && size != 8 && size != -1 && size != -2 &&
	    size != -4 && size != -8)
		return false;
	a->size = (int8_t)size;
	if (t.p < t.end && *t.p == '%') {
		a->kind = SYMBOLIZER_REGISTER;
		if (!eat_register(&t, &a->reg, &bytes) || (size < 0 ? -size : size) > bytes)
			return false;
	} else if (eat(&t, '$')) {
		a->kind = SYMBOLIZER_CONSTANT;
		if (!eat_number(&t, &a->value))
			return false;
	} else if (!eat_memory(&t, a)) {
		return false;
	}
	return t.p == t.end;
}

/* Blanks end it; not those in arm64's [sp, 16]. */
static const char *argument_end(const char *p)
{
	bool inside = false;

	for (; *p && (inside || (*p != ' ' && *p != '\t')); p++)
		inside = *p == '[' || (inside && *p != ']');
	return p;
}

bool usdt_argument(const char **text, struct symbolizer_argument *ret, bool *ret_unreadable)
{
	struct symbolizer_argument a = { 0 };
	const char *from = *text + strspn(*text, " \t"), *end = argument_end(from);

	*text = end;
	*ret_unreadable = false;
	*ret = a;
	if (from == end)
		return false;
	if (!(ELF_MACHINE_HERE == EM_AARCH64 ? usdt_read_arm64(from, end, &a) :
					       read_argument((struct text){ from, end }, &a))) {
		*ret_unreadable = true;
		return false;
	}
	*ret = a;
	return true;
}

static enum symbolizer_probe_status read_arguments(const char *text, struct symbolizer_probe *p)
{
	unsigned needed = symbolizer_function_arguments(p->function);

	for (unsigned i = 0; i < SYMBOLIZER_N_ARGUMENTS && needed >> i & 1; i++) {
		bool unreadable;

		if (!usdt_argument(&text, &p->arguments[i], &unreadable))
			return unreadable ? PROBE_UNREADABLE_ARGUMENT : PROBE_MISSING_ARGUMENT;
	}
	return PROBE_FINE;
}

/* The file's offset of n bytes at an address of a segment with these flags. */
static bool file_offset(const struct elf_file *f, uint64_t address, uint64_t n, uint32_t flags,
			uint64_t *ret)
{
	for (unsigned i = 0; i < f->n_segments; i++) {
		const struct elf_segment *s = &f->segments[i];
		uint64_t at = address - s->vaddr;

		if (address < s->vaddr || at >= s->filesz)
			continue;
		if ((s->flags & flags) != flags || s->filesz - at < n || s->offset > f->size ||
		    at > f->size - s->offset || n > f->size - s->offset - at)
			return false;
		*ret = s->offset + at;
		return true;
	}
	return false;
}

enum symbolizer_probe_status usdt_look_at(const struct elf_file *f, uint64_t site, uint64_t *ret_offset,
					  uint8_t *ret_instruction)
{
	uint8_t code[MAX_INSTRUCTION];
	unsigned length;
	size_t n;

	if (!file_offset(f, site, 1, PF_X, ret_offset))
		return PROBE_BAD_SITE;
	n = elf_file_read(f, site, code, sizeof(code));
	*ret_instruction = (uint8_t)emulated_here(code, n, &length);
	return *ret_instruction == EMULATED_NOT ? PROBE_NOT_EMULATED : PROBE_FINE;
}

static enum symbolizer_probe_status look_at_site(struct usdt *u, struct symbolizer_probe *p)
{
	enum symbolizer_probe_status s = usdt_look_at(u->f, p->start, &p->offset, &p->instruction);

	if (s == PROBE_FINE && p->instruction == EMULATED_NOP5) {
		p->flags |= ALLOCATOR_NOP5;
		u->starts[u->n_starts++] = p->start; /* settled by look_for_functions() */
	}
	return s;
}

static int add_site(struct usdt *u, const struct usdt_note *n, uint8_t function)
{
	struct symbolizer_probe p = { .function = function, .start = n->site + n->moved };
	uint64_t semaphore = n->semaphore + n->moved;

	if (u->n_sites == USDT_MAX_SITES) {
		u->list->end.n_lost++;
		return 0;
	}
	u->n_sites++;
	p.n_name = (uint8_t)strnlen(n->name, sizeof(p.name) - 1);
	memcpy(p.name, n->name, p.n_name);
	p.status = (uint8_t)read_arguments(n->arguments, &p);
	if (p.status == PROBE_FINE && n->semaphore &&
	    (semaphore % 2 || !file_offset(u->f, semaphore, 2, PF_W, &p.semaphore)))
		p.status = PROBE_BAD_SEMAPHORE;
	if (p.status == PROBE_FINE)
		p.status = (uint8_t)look_at_site(u, &p);
	if (p.status != PROBE_FINE)
		memset(p.arguments, 0, sizeof(p.arguments));
	return probe_list_add(u->list, &p);
}

static int on_note(void *context, const struct usdt_note *n)
{
	struct usdt *u = context;

	if (strcmp(n->provider, "otel_memory") != 0)
		return 0;
	if (!strcmp(n->name, "alloc"))
		return add_site(u, n, ALLOCATOR_USDT_ALLOC);
	if (!strcmp(n->name, "free"))
		return add_site(u, n, ALLOCATOR_USDT_FREE);
	return 0;
}

bool usdt_next_note(struct cursor *c, struct usdt_frame *ret)
{
	uint32_t n_name = cursor_u32(c), n_desc = cursor_u32(c);

	ret->type = cursor_u32(c);
	ret->name = cursor_sub(c, n_name);
	cursor_skip(c, (0 - n_name) % 4);
	ret->desc = cursor_sub(c, n_desc);
	if (c->bad)
		return false;
	if (cursor_left(c) >= (0 - n_desc) % 4) /* the last one may be without */
		cursor_skip(c, (0 - n_desc) % 4);
	return true;
}

static int on_probe(struct cursor desc, uint64_t base, struct symbolizer_probes_end *end, usdt_note_fn *call,
		    void *context)
{
	struct usdt_note n = { .site = cursor_u64(&desc) };
	uint64_t its_base = cursor_u64(&desc);

	n.semaphore = cursor_u64(&desc);
	n.provider = cursor_string(&desc);
	n.name = cursor_string(&desc);
	n.arguments = cursor_string(&desc);
	n.moved = base ? base - its_base : 0;
	if (!desc.bad && n.provider && n.name && n.arguments)
		return call(context, &n);
	end->n_bad_notes++;
	return 0;
}

int usdt_scan(struct elf_file *f, struct symbolizer_probes_end *end, usdt_note_fn *call, void *context)
{
	struct elf_section s;
	uint64_t base = 0;
	struct cursor c;
	int r = 0;

	if (elf_file_section(f, ".stapsdt.base", &s))
		base = s.address;
	if (!elf_file_section(f, ".note.stapsdt", &s))
		return 0;
	c = cursor_over(s.data, s.n);
	while (r == 0 && cursor_left(&c) && end->n_notes < USDT_MAX_NOTES) {
		struct usdt_frame note;

		if (!usdt_next_note(&c, &note)) {
			end->n_bad_notes++;
			return 0;
		}
		end->n_notes++;
		if (note.type == NOTE_STAPSDT && cursor_left(&note.name) == sizeof("stapsdt") &&
		    !memcmp(note.name.p, "stapsdt", sizeof("stapsdt")))
			r = on_probe(note.desc, base, end, call, context);
	}
	if (r == 0 && cursor_left(&c))
		end->n_lost++;
	return r;
}

static int on_symbol(void *context, const struct scanned_symbol *s)
{
	struct usdt *u = context;

	if (!s->defined || s->type != STT_FUNC)
		return 0;
	for (unsigned i = 0; i < u->n_starts; i++) {
		if (u->starts[i] == s->value && strstr(s->name, ".cold"))
			u->is_part[i] = true;
		else if (u->starts[i] == s->value)
			u->is_start[i] = true;
	}
	return 0;
}

/* Does a function begin where the 5-byte nops are? A .cold part has unwind rows of its own and may
 * stand in the middle of a leaf function. */
static void look_for_functions(struct usdt *u, size_t from)
{
	unsigned at = 0;

	if (!u->n_starts)
		return;
	symbol_scan(u->f, SHT_DYNSYM, on_symbol, u);
	symbol_scan(u->f, SHT_SYMTAB, on_symbol, u);
	for (size_t i = from; i < u->list->probes.n && at < u->n_starts; i++) {
		struct symbolizer_probe *p = &u->list->probes.data[i];
		uint64_t start;

		if (!(p->flags & ALLOCATOR_NOP5))
			continue;
		if (!u->is_start[at] && !u->is_part[at])
			u->is_start[at] = bounds_find(u->f, p->start, &start) && start == p->start;
		if (!u->is_start[at] || u->is_part[at]) {
			p->status = PROBE_NOP5;
			memset(p->arguments, 0, sizeof(p->arguments));
		}
		at++;
	}
}

int usdt_find(struct elf_file *f, struct probe_list *list)
{
	struct usdt u = { .f = f, .list = list };
	size_t from = list->probes.n;
	int r = usdt_scan(f, &list->end, on_note, &u);

	if (r == 0)
		look_for_functions(&u, from);
	return r;
}
