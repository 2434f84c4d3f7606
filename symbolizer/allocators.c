/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/allocators.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "symbolizer/allocator_names.h"
#include "symbolizer/chooser.h"
#include "symbolizer/symbol_scan.h"
#include "symbolizer/usdt.h"

#define MAX_FOUND 1024 /* names, before those of one address are put together */
#define MAX_SLOTS 1024
#define STUB 16	      /* bytes of a PLT entry */
#define MAX_STUBS 256 /* that are looked at for a function */
#define PART 512      /* bytes of a function's .cold part that are looked at */
#define MAX_PARTS 64

struct function {
	uint64_t start, size;
	const char *text; /* of the symbol */
	const struct allocator_name *name;
	unsigned prefix;
	bool is_operator; /* and has no other name */
	bool throws;
};

struct finder {
	struct elf_file *f;
	VEC(struct function) functions;
	VEC(uint64_t)
	slots; /* that hold the address of one of these names, from this file or another */
	bool is_glibc, has_malloc;
	uint8_t *code; /* of one function: SYMBOLIZER_MAX_FUNCTION bytes */
	struct probe_list *list;
};

static bool take(const struct scanned_symbol *s, const struct allocator_name *name, unsigned prefix)
{
	bool plain = (name->flags & NAME_C) && !prefix;

	if (s->type != STT_FUNC || !s->defined)
		return false;
	return s->bind != STB_LOCAL || !plain || s->visibility != STV_DEFAULT;
}

static int on_symbol(void *context, const struct scanned_symbol *s)
{
	struct finder *x = context;
	const struct allocator_name *name;
	unsigned prefix;

	if (s->defined && (!strcmp(s->name, "gnu_get_libc_version") ||
			   !strcmp(s->name, "__libc_setup_tls"))) /* linked statically */
		x->is_glibc = true;
	name = allocator_name_find(s->name, &prefix);
	if (!name || !take(s, name, prefix))
		return 0;
	if (x->functions.n == MAX_FOUND) {
		x->list->end.n_lost++;
		return 0;
	}
	return vec_push(&x->functions, ((struct function){
					       .start = s->value,
					       .size = s->size,
					       .text = s->name,
					       .name = name,
					       .prefix = prefix,
					       .is_operator = name->flags & NAME_OPERATOR,
					       .throws = name->flags & NAME_THROWS,
				       }));
}

static int on_slot(void *context, const struct scanned_symbol *s)
{
	struct finder *x = context;
	unsigned prefix;

	if (x->slots.n == MAX_SLOTS || !allocator_name_find(s->name, &prefix))
		return 0;
	return vec_push(&x->slots, s->value);
}

/* Of the names of one address first what C calls it, without a prefix, and the shortest. */
static int by_start(const void *a, const void *b)
{
	const struct function *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	if (x->is_operator != y->is_operator)
		return x->is_operator ? 1 : -1;
	if (x->prefix != y->prefix)
		return x->prefix < y->prefix ? -1 : 1;
	if (strlen(x->text) != strlen(y->text))
		return strlen(x->text) < strlen(y->text) ? -1 : 1;
	return strcmp(y->text, x->text); /* _Znwm, then _Znam */
}

static void put_aliases_together(struct finder *x)
{
	struct function *q = x->functions.data;
	size_t n = 0;

	if (x->functions.n)
		qsort(q, x->functions.n, sizeof(*q), by_start);
	for (size_t i = 0; i < x->functions.n; i++) {
		if (!n || q[n - 1].start != q[i].start) {
			q[n++] = q[i];
			continue;
		}
		q[n - 1].throws |= q[i].throws;
		if (q[i].size > q[n - 1].size)
			q[n - 1].size = q[i].size;
	}
	x->functions.n = n;
	for (size_t i = 0; i < n; i++)
		x->has_malloc |= !q[i].is_operator && q[i].name->function == ALLOCATOR_MALLOC;
}

static bool is_slot(const struct finder *x, uint64_t address)
{
	for (size_t i = 0; i < x->slots.n; i++)
		if (x->slots.data[i] == address)
			return true;
	return false;
}

static void on_stub(void *context, const struct chooser_exit *e)
{
	uint64_t *slot = context;

	if (e->thunk && e->kind == EXIT_JUMP_SLOT)
		*slot = e->target;
}

static bool is_start(const struct finder *x, uint64_t address)
{
	size_t low = 0, high = x->functions.n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (x->functions.data[middle].start < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < x->functions.n && x->functions.data[low].start == address;
}

/* Is this address the PLT's entry for one of our functions? */
static bool is_stub(const struct finder *x, uint64_t address)
{
	uint8_t bytes[STUB];
	uint64_t slot = 0;
	size_t n = elf_file_read(x->f, address, bytes, sizeof(bytes));

	chooser_exits(&(struct chooser_code){ bytes, n, address }, on_stub, &slot);
	return slot && is_slot(x, slot);
}

/* How a function leaves, to our functions and to others. */
struct leaving {
	const struct finder *x;
	uint64_t start;
	unsigned n_looked_at;
	unsigned n_ours, n_others, n_any, n_returns;
	unsigned n_our_jumps, n_other_jumps;
	bool first_is_ours; /* of what it calls or jumps to by name */
	bool thunk, again;
};

static bool goes_to_ours(struct leaving *l, const struct chooser_exit *e)
{
	if (e->kind == EXIT_CALL_SLOT || e->kind == EXIT_JUMP_SLOT)
		return is_slot(l->x, e->target);
	if (!e->target || is_start(l->x, e->target))
		return e->target;
	return l->x->slots.n && l->n_looked_at++ < MAX_STUBS && is_stub(l->x, e->target);
}

static void on_exit_of(void *context, const struct chooser_exit *e)
{
	struct leaving *l = context;
	bool branch = e->kind == EXIT_BRANCH;
	bool any = e->kind == EXIT_CALL_ANY || e->kind == EXIT_JUMP_ANY;
	bool jump = e->kind == EXIT_JUMP || e->kind == EXIT_JUMP_SLOT || e->kind == EXIT_JUMP_ANY;
	bool ours;

	if (e->kind == EXIT_RETURN) {
		l->n_returns++;
		return;
	}
	if ((e->kind == EXIT_JUMP || branch) && e->target == l->start) {
		l->again = true;
		return;
	}
	ours = goes_to_ours(l, e);
	if (!branch && !any && !l->n_ours && !l->n_others)
		l->first_is_ours = ours;
	l->thunk |= ours && jump && e->thunk;
	l->n_our_jumps += ours && (jump || branch);
	l->n_other_jumps += !ours && (jump || branch);
	l->n_ours += ours;
	l->n_others += !ours && !any && !branch;
	l->n_any += any || (branch && !ours);
}

/* Do the calls of this function arrive at another one? */
static bool is_elsewhere(const struct finder *x, const struct function *q, const struct leaving *l)
{
	bool only_jumps = !l->n_returns && l->n_our_jumps && !l->n_other_jumps;

	if (l->thunk || only_jumps)
		return true;
	if (q->is_operator && !x->has_malloc)
		return true;
	if ((q->is_operator || q->throws) && l->first_is_ours)
		return true;
	if (q->name->function == ALLOCATOR_REALLOCARRAY)
		return l->n_ours;
	return q->name->function != ALLOCATOR_REALLOC && l->n_ours && !l->n_others && !l->n_any;
}

/* The function's bytes, and where they are in the file. */
static enum symbolizer_probe_status code_of(const struct finder *x, const struct function *q,
					    struct chooser_code *ret, uint64_t *ret_offset)
{
	for (unsigned i = 0; i < x->f->n_segments; i++) {
		const struct elf_segment *s = &x->f->segments[i];
		uint64_t at = q->start - s->vaddr;

		if (q->start < s->vaddr || at >= s->filesz)
			continue;
		if (!(s->flags & PF_X) || s->offset > x->f->size || at > x->f->size - s->offset)
			return PROBE_NO_CODE;
		*ret_offset = s->offset + at;
		if (!q->size || q->size > SYMBOLIZER_MAX_FUNCTION ||
		    q->size > UINT64_MAX - q->start)
			return PROBE_NO_SIZE;
		if (elf_file_read(x->f, q->start, x->code, q->size) != q->size)
			return PROBE_NO_CODE;
		*ret = (struct chooser_code){ x->code, q->size, q->start };
		return PROBE_FINE;
	}
	return PROBE_NO_CODE;
}

struct parts {
	struct elf_file *f;
	uint64_t low, high;
	unsigned n;
	bool lead_back;
};

static void on_part(void *context, const struct chooser_exit *e)
{
	struct parts *p = context;
	uint8_t bytes[PART];
	size_t n;

	if ((e->kind != EXIT_JUMP && e->kind != EXIT_BRANCH) || p->n++ >= MAX_PARTS)
		return;
	n = elf_file_read(p->f, e->target, bytes, sizeof(bytes));
	p->lead_back |=
		chooser_leads_into(&(struct chooser_code){ bytes, n, e->target }, p->low, p->high);
}

void allocators_choose(struct elf_file *f, const struct chooser_code *code, unsigned arguments,
		       struct symbolizer_probe *p)
{
	struct parts parts = { .f = f, .low = p->start };
	struct choice c;

	p->status = (uint8_t)chooser_choose(code, arguments, &c);
	if (p->status != PROBE_FINE)
		return;
	parts.high = p->start + c.offset;
	if (c.offset)
		chooser_exits(code, on_part, &parts);
	if (parts.lead_back) {
		p->status = PROBE_LOOP;
		return;
	}
	p->offset += c.offset;
	p->instruction = (uint8_t)c.instruction;
	if (c.instruction == EMULATED_NOP5)
		p->flags |= ALLOCATOR_NOP5;
	for (unsigned i = 0; i < SYMBOLIZER_N_ARGUMENTS; i++)
		if (c.registers[i] != SYMBOLIZER_NO_REGISTER)
			p->arguments[i] = (struct symbolizer_argument){ .kind = SYMBOLIZER_REGISTER,
									.reg = c.registers[i],
									.size = 8 };
}

static int add(const struct finder *x, const struct function *q)
{
	struct symbolizer_probe p = { .function = q->name->function, .start = q->start };
	struct leaving l = { .x = x, .start = q->start };
	struct chooser_code code;

	p.n_name = (uint8_t)strnlen(q->text, sizeof(p.name) - 1);
	memcpy(p.name, q->text, p.n_name);
	if (q->throws)
		p.flags |= ALLOCATOR_MAY_THROW;
	if (x->is_glibc && (q->name->flags & NAME_C) && (!q->prefix || !strncmp(q->text, "__", 2)))
		p.flags |= ALLOCATOR_GLIBC;
	p.status = (uint8_t)code_of(x, q, &code, &p.offset);
	if (p.status == PROBE_FINE) {
		p.size = code.n;
		p.status = (uint8_t)chooser_exits(&code, on_exit_of, &l);
	}
	if (l.n_our_jumps || l.again)
		p.flags |= ALLOCATOR_TAIL;
	if (is_elsewhere(x, q, &l))
		p.status = PROBE_ELSEWHERE;
	if (p.status == PROBE_FINE)
		allocators_choose(x->f, &code, symbolizer_function_arguments(p.function), &p);
	return probe_list_add(x->list, &p);
}

static int find_functions(struct finder *x)
{
	int r = symbol_scan(x->f, SHT_DYNSYM, on_symbol, x);

	if (r == 0)
		r = symbol_scan(x->f, SHT_SYMTAB, on_symbol, x);
	if (r == 0 && x->functions.n)
		r = symbol_scan_slots(x->f, on_slot, x);
	if (r == 0)
		put_aliases_together(x);
	for (size_t i = 0; i < x->functions.n && r == 0; i++) {
		if (x->list->probes.n < SYMBOLIZER_MAX_PROBES)
			r = add(x, &x->functions.data[i]);
		else
			x->list->end.n_lost++;
	}
	return r;
}

int allocators_find(struct elf_file *f, struct probe_list *ret)
{
	struct probe_list list = { 0 };
	struct finder x = { .f = f, .list = &list };
	int r = f->machine == ELF_MACHINE_HERE ? 0 : -ENOEXEC;

	x.code = malloc(SYMBOLIZER_MAX_FUNCTION);
	if (!x.code)
		return -ENOMEM;
	if (r == 0)
		r = find_functions(&x);
	if (r == 0)
		r = usdt_find(f, &list);
	list.end.n_probes = (uint32_t)list.probes.n;
	vec_deinit(&x.functions);
	vec_deinit(&x.slots);
	free(x.code);
	if (r < 0)
		probe_list_deinit(&list);
	else
		*ret = list;
	return r;
}
