/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/custom.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/emulated.h"
#include "symbolizer/usdt.h"

enum { NOTE_PROFILE = 1, NOTE_LITERAL = 2 };

/* Where the name of a site's literal stands. */
struct literal {
	uint64_t site, text;
};

struct finder {
	struct elf_file *f;
	struct custom_list *list;
	VEC(struct literal) literals; /* sorted by site */
};

static int add(struct custom_list *l, const struct symbolizer_custom *x)
{
	if (l->all.n < SYMBOLIZER_MAX_CUSTOM)
		return vec_push(&l->all, *x);
	l->end.n_lost++;
	return 0;
}

/* The name as it stands in the text, at most n bytes of it. */
static enum symbolizer_probe_status take_name(struct symbolizer_custom *x, const char *text, size_t n)
{
	size_t length = strnlen(text, n);

	if (!length || length == n || length >= sizeof(x->name))
		return PROBE_BAD_NAME;
	memcpy(x->name, text, length);
	x->n_name = (uint8_t)length;
	return PROBE_FINE;
}

static int on_profile(struct finder *x, struct cursor desc)
{
	struct symbolizer_custom p = { .kind = CUSTOM_PROFILE };

	p.status = (uint8_t)take_name(&p, (const char *)desc.p, cursor_left(&desc));
	return add(x->list, &p);
}

static int on_literal(struct finder *x, struct cursor desc)
{
	struct literal l = { .site = cursor_u64(&desc) };

	l.text = cursor_u64(&desc);
	if (!desc.bad && x->literals.n < USDT_MAX_NOTES)
		return vec_push(&x->literals, l);
	if (desc.bad)
		x->list->end.n_bad_notes++;
	else
		x->list->end.n_lost++;
	return 0;
}

static int by_site(const void *a, const void *b)
{
	const struct literal *x = a, *y = b;

	return (x->site > y->site) - (x->site < y->site);
}

static int read_names(struct finder *x)
{
	struct elf_section s;
	struct cursor c;
	unsigned n = 0;
	int r = 0;

	if (!elf_file_section(x->f, ".note.pprofd", &s))
		return 0;
	c = cursor_over(s.data, s.n);
	while (r == 0 && cursor_left(&c) && n++ < 2 * USDT_MAX_NOTES) {
		struct usdt_frame note;

		if (!usdt_next_note(&c, &note)) {
			x->list->end.n_bad_notes++;
			break;
		}
		if (cursor_left(&note.name) != sizeof("pprofd") || memcmp(note.name.p, "pprofd", sizeof("pprofd")))
			continue;
		if (note.type == NOTE_PROFILE)
			r = on_profile(x, note.desc);
		if (note.type == NOTE_LITERAL)
			r = on_literal(x, note.desc);
	}
	if (x->literals.n)
		qsort(x->literals.data, x->literals.n, sizeof(*x->literals.data), by_site);
	return r;
}

static enum symbolizer_probe_status read_arguments(const char *text, struct symbolizer_custom *x, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		bool unreadable;

		if (!usdt_argument(&text, &x->arguments[i], &unreadable))
			return unreadable ? PROBE_UNREADABLE_ARGUMENT : PROBE_MISSING_ARGUMENT;
	}
	return PROBE_FINE;
}

static enum symbolizer_probe_status read_literal(const struct finder *x, uint64_t text,
						 struct symbolizer_custom *p)
{
	char name[SYMBOLIZER_PROBE_NAME];
	size_t n = elf_file_read(x->f, text, name, sizeof(name));

	return take_name(p, name, n);
}

static uint8_t kind_of(const char *probe)
{
	static const struct {
		const char *probe;
		uint8_t kind;
	} all[] = {
		{ "add", CUSTOM_ADD },
		{ "remove", CUSTOM_REMOVE },
		{ "task_begin", CUSTOM_TASK_BEGIN },
		{ "task_end", CUSTOM_TASK_END },
		{ "region_begin", CUSTOM_REGION_BEGIN },
		{ "region_end", CUSTOM_REGION_END },
		{ "log", CUSTOM_LOG },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (!strcmp(probe, all[i].probe))
			return all[i].kind;
	return 0;
}

static int on_note(void *context, const struct usdt_note *n)
{
	struct finder *x = context;
	struct literal key = { .site = n->site };
	const struct literal *literal;
	struct symbolizer_custom p = { 0 };
	uint8_t instruction;

	if (strcmp(n->provider, "pprofd") != 0)
		return 0;
	p.kind = kind_of(n->name);
	if (!p.kind) /* of a later version */
		return 0;
	literal = x->literals.n ? bsearch(&key, x->literals.data, x->literals.n, sizeof(key), by_site) : NULL;
	p.status = (uint8_t)read_arguments(n->arguments, &p, literal ? 2 : 3);
	if (p.status == PROBE_FINE && literal)
		p.status = (uint8_t)read_literal(x, literal->text + n->moved, &p);
	if (p.status == PROBE_FINE)
		p.status = (uint8_t)usdt_look_at(x->f, n->site + n->moved, &p.offset, &instruction);
	if (p.status == PROBE_BAD_SITE) /* of a function that the linker has left out */
		return 0;
	if (p.status == PROBE_FINE && instruction == EMULATED_NOP5)
		p.status = PROBE_NOP5;
	if (p.status != PROBE_FINE)
		memset(p.arguments, 0, sizeof(p.arguments));
	return add(x->list, &p);
}

int custom_find(struct elf_file *f, struct custom_list *ret)
{
	struct custom_list list = { 0 };
	struct finder x = { .f = f, .list = &list };
	int r = f->machine == ELF_MACHINE_HERE ? read_names(&x) : -ENOEXEC;

	if (r == 0)
		r = usdt_scan(f, &list.end, on_note, &x);
	vec_deinit(&x.literals);
	list.end.n_probes = (uint32_t)list.all.n;
	if (r < 0)
		custom_list_deinit(&list);
	else
		*ret = list;
	return r;
}

void custom_list_deinit(struct custom_list *l)
{
	vec_deinit(&l->all);
}
