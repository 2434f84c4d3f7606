/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/track.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symbolizer/allocators.h"
#include "symbolizer/symbol_scan.h"
#include "symbolizer/usdt.h"

#define MAX_FOUND 256

struct found {
	uint64_t start, size;
	uint32_t track;
};

struct tracker {
	struct elf_file *f;
	const struct symbolizer_track *tracks;
	uint32_t n;
	VEC(struct found) found;
	struct custom_list *list;
	uint8_t *code; /* of one function: SYMBOLIZER_MAX_FUNCTION bytes */
};

static int add(struct custom_list *l, const struct symbolizer_custom *x)
{
	if (l->all.n < SYMBOLIZER_MAX_CUSTOM)
		return vec_push(&l->all, *x);
	l->end.n_lost++;
	return 0;
}

/* Two names of one function are one. */
static bool is_known(const struct tracker *x, const struct found *f)
{
	for (size_t i = 0; i < x->found.n; i++) {
		const struct found *k = &x->found.data[i];

		if (k->start == f->start && x->tracks[k->track].kind == x->tracks[f->track].kind &&
		    !strcmp(x->tracks[k->track].name, x->tracks[f->track].name))
			return true;
	}
	return false;
}

static int on_symbol(void *context, const struct scanned_symbol *s)
{
	struct tracker *x = context;

	if (!s->defined || s->type != STT_FUNC)
		return 0;
	for (uint32_t i = 0; i < x->n; i++) {
		struct found f = { s->value, s->size, i };

		if (strncmp(s->name, x->tracks[i].function, sizeof(x->tracks[i].function)) != 0 || is_known(x, &f))
			continue;
		if (x->found.n == MAX_FOUND) {
			x->list->end.n_lost++;
			return 0;
		}
		if (vec_push(&x->found, f) < 0)
			return -ENOMEM;
	}
	return 0;
}

struct returns {
	struct tracker *x;
	const struct chooser_code *code;
	const struct symbolizer_custom *like;
	uint64_t offset; /* of the function in the file */
	unsigned n, n_jumps;
	int error;
};

static void on_exit_of(void *context, const struct chooser_exit *e)
{
	struct returns *r = context;
	struct symbolizer_custom one = *r->like;
	uint64_t at = e->address - r->code->address;

	/* a conditional jump out leads to the function's .cold part, in the way of a compiler */
	r->n_jumps += e->kind == EXIT_JUMP || e->kind == EXIT_JUMP_SLOT ||
		      (e->kind == EXIT_RETURN && !emulated_is_return(r->code->data + at, r->code->n - at));
	if (e->kind != EXIT_RETURN || !emulated_is_return(r->code->data + at, r->code->n - at) || r->error < 0)
		return;
	r->n++;
	one.offset = r->offset + at;
	r->error = add(r->x->list, &one);
}

static int add_returns(struct tracker *x, const struct chooser_code *code, uint64_t offset,
		       struct symbolizer_custom *c)
{
	struct returns r = { .x = x, .code = code, .like = c, .offset = offset };
	enum symbolizer_probe_status status = chooser_exits(code, on_exit_of, &r);

	if (r.error < 0 || (status == PROBE_FINE && !r.n_jumps && r.n))
		return r.error;
	c->status = status == PROBE_FINE ? PROBE_RESULT_JUMPS : (uint8_t)status;
	c->offset = offset;
	memset(c->arguments, 0, sizeof(c->arguments));
	return add(x->list, c);
}

static int add_entry(struct tracker *x, const struct chooser_code *code, uint64_t offset, unsigned argument,
		     struct symbolizer_custom *c)
{
#if defined(__aarch64__)
	static const uint8_t registers[SYMBOLIZER_N_ARGUMENTS] = { 0, 1, 2 };
#else
	static const uint8_t registers[SYMBOLIZER_N_ARGUMENTS] = { 5, 4, 1 }; /* rdi, rsi, rdx */
#endif
	struct symbolizer_probe p = { .start = code->address, .offset = offset };

	allocators_choose(x->f, code, 1u << (argument - 1), &p);
	if (p.status != PROBE_FINE && emulated_is_stepped(code->data, code->n)) { /* dear, at its first instruction */
		p.status = PROBE_FINE;
		p.offset = offset;
		p.arguments[argument - 1] = (struct symbolizer_argument){
			.kind = SYMBOLIZER_REGISTER, .reg = registers[argument - 1], .size = 8 };
	}
	c->status = p.status;
	c->offset = p.offset;
	if (p.status == PROBE_FINE)
		c->arguments[0] = p.arguments[argument - 1];
	else
		memset(c->arguments, 0, sizeof(c->arguments));
	return add(x->list, c);
}

static int add_function(struct tracker *x, const struct found *f)
{
	const struct symbolizer_track *t = &x->tracks[f->track];
	const struct symbolizer_argument none = { .kind = SYMBOLIZER_CONSTANT, .size = 8 };
	struct symbolizer_custom c = { .kind = (uint8_t)t->kind, .arguments = { none, none } };
	struct chooser_code code = { x->code, f->size, f->start };
	uint8_t instruction;
	uint64_t offset = 0;

	c.n_name = (uint8_t)strnlen(t->name, sizeof(t->name) - 1);
	memcpy(c.name, t->name, c.n_name);
	if (usdt_look_at(x->f, f->start, &offset, &instruction) == PROBE_BAD_SITE)
		c.status = PROBE_NO_CODE;
	else if (!f->size || f->size > SYMBOLIZER_MAX_FUNCTION)
		c.status = PROBE_NO_SIZE;
	else if (elf_file_read(x->f, f->start, x->code, f->size) != f->size)
		c.status = PROBE_NO_CODE;
	if (c.status != PROBE_FINE) {
		memset(c.arguments, 0, sizeof(c.arguments));
		return add(x->list, &c);
	}
	if (t->kind == CUSTOM_ADD || t->kind == CUSTOM_REMOVE || t->kind == CUSTOM_ENTER)
		return add_entry(x, &code, offset, t->argument, &c);
	return add_returns(x, &code, offset, &c);
}

static bool is_good(const struct symbolizer_track *t)
{
	bool entry = t->kind == CUSTOM_ADD || t->kind == CUSTOM_REMOVE || t->kind == CUSTOM_ENTER;

	return t->kind > CUSTOM_PROFILE && t->kind <= CUSTOM_ENTER && *t->name && !t->name[sizeof(t->name) - 1] &&
	       *t->function && !t->function[sizeof(t->function) - 1] &&
	       (!entry || (t->argument && t->argument <= SYMBOLIZER_N_ARGUMENTS));
}

int track_find(struct elf_file *f, const struct symbolizer_track *tracks, uint32_t n, struct custom_list *ret)
{
	struct custom_list list = { 0 };
	struct tracker x = { .f = f, .tracks = tracks, .n = n, .list = &list };
	int r = f->machine == ELF_MACHINE_HERE ? 0 : -ENOEXEC;

	for (uint32_t i = 0; i < n && r == 0; i++)
		r = is_good(&tracks[i]) ? 0 : -EINVAL;
	x.code = malloc(SYMBOLIZER_MAX_FUNCTION);
	if (!x.code)
		return -ENOMEM;
	if (r == 0)
		r = symbol_scan(f, SHT_DYNSYM, on_symbol, &x);
	if (r == 0)
		r = symbol_scan(f, SHT_SYMTAB, on_symbol, &x);
	for (size_t i = 0; i < x.found.n && r == 0; i++)
		r = add_function(&x, &x.found.data[i]);
	vec_deinit(&x.found);
	free(x.code);
	list.end.n_probes = (uint32_t)list.all.n;
	if (r < 0)
		custom_list_deinit(&list);
	else
		*ret = list;
	return r;
}

int track_answer(struct elf_file *f, uint32_t type, const struct symbolizer_question *q, struct custom_list *ret)
{
	uint32_t n = (uint32_t)(q->n * sizeof(uint64_t) / sizeof(struct symbolizer_track));

	return type == SYMBOLIZER_CUSTOM ? custom_find(f, ret) :
					   track_find(f, (const struct symbolizer_track *)(q + 1), n, ret);
}
