/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/kernel.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/vec.h"

#define MAX_SYMBOLS (4u << 20)
#define MAX_NAMES (256u << 20) /* bytes */
#define MAX_MODULES UINT16_MAX
/* KSYM_NAME_LEN is 512, MODULE_NAME_LEN 56; a longer line is not kallsyms's and is passed over. */
#define MAX_LINE 1024
/* Symbols have no sizes. The last one before something else is this long at most. */
#define MAX_TAIL (64 * 1024)

struct module {
	uint32_t name;	 /* in names */
	uint32_t place;	 /* 1..n by name; 0: the kernel */
	uint64_t lowest; /* of its text symbols */
};

/* Sorted by address, and one at each. As arrays, because there are 120,000 of them. */
struct kernel {
	uint64_t *addresses;
	uint32_t *names;
	uint16_t *modules;
	size_t n;
	VEC(struct module) module; /* in order of appearance; the first is the kernel */
	struct bytes text;	   /* every name, NUL-terminated */
};

struct symbol {
	uint64_t address;
	uint32_t name;
	uint16_t module;
	uint16_t rank; /* the smaller wins */
};

struct builder {
	struct kernel *k;
	VEC(struct symbol) symbols;
	struct hash_index module_index;
	uint16_t module; /* of the line before: they come in runs */
	bool any_address;
};

static bool module_equal(uint32_t item, const void *key, const void *context)
{
	const struct kernel *k = context;

	return !strcmp(k->text.data + k->module.data[item].name, key);
}

static int add_name(struct kernel *k, const char *name, uint32_t *ret)
{
	size_t n = strlen(name) + 1, at = k->text.n;

	if (n > MAX_NAMES - at)
		return -E2BIG;
	bytes_add(&k->text, name, n);
	*ret = (uint32_t)at;
	return k->text.bad ? -ENOMEM : 0;
}

static int find_module(struct builder *b, const char *name)
{
	struct kernel *k = b->k;
	uint64_t h = hash_bytes(HASH_SEED, name, strlen(name));
	struct module m = { .lowest = UINT64_MAX };
	uint32_t i;
	int r;

	if (k->module.n && module_equal(b->module, name, k))
		return 0;
	i = hash_get(&b->module_index, h, module_equal, name, k);
	if (i == HASH_NONE) {
		i = (uint32_t)k->module.n;
		if (i == MAX_MODULES)
			return -E2BIG;
		r = add_name(k, name, &m.name);
		if (!r)
			r = vec_push(&k->module, m);
		if (!r)
			r = hash_put(&b->module_index, h, i);
		if (r < 0)
			return r;
	}
	b->module = (uint16_t)i;
	return 0;
}

/* Half of all names are "__pfx_" and the name of the function that follows: the space before it.
 * The function's own name is the tail of that. */
static bool share_name(const struct builder *b, const char *name, uint32_t *ret)
{
	uint32_t before;

	if (!b->symbols.n)
		return false;
	before = b->symbols.data[b->symbols.n - 1].name;
	if (strncmp(b->k->text.data + before, "__pfx_", 6) ||
	    strcmp(b->k->text.data + before + 6, name))
		return false;
	*ret = before + 6;
	return true;
}

static uint16_t rank(char type, const char *name)
{
	uint16_t underscores = 0;

	while (name[underscores] == '_' && underscores < 8)
		underscores++;
	return (uint16_t)((type == 'T'		      ? 0 :
			   type == 'W' || type == 'w' ? 1 :
							2) *
				  16 +
			  underscores);
}

/* "ffffffff81000000 T _text" or "... t name\t[module]" (kernel/kallsyms.c, s_show). */
static int parse_line(struct builder *b, char *line)
{
	struct symbol s = { 0 };
	char *p = line, *name, *module;
	char type;
	int r;

	for (; p - line < 16; p++) {
		int digit = *p >= '0' && *p <= '9' ? *p - '0' :
			    *p >= 'a' && *p <= 'f' ? *p - 'a' + 10 :
						     -1;

		if (digit < 0)
			break;
		s.address = s.address << 4 | (unsigned)digit;
	}
	if (p == line || p[0] != ' ' || !p[1] || p[2] != ' ' || !p[3] || !strchr("tTwWi", p[1]))
		return 0;
	type = p[1];
	name = p + 3;
	module = strchr(name, '\t');
	if (module) {
		*module++ = '\0';
		if (*module == '[')
			module++;
		module[strcspn(module, "]")] = '\0';
	}
	if (!*name)
		return 0;
	r = find_module(b, module ? module : "");
	if (!r && !share_name(b, name, &s.name))
		r = add_name(b->k, name, &s.name);
	if (r < 0)
		return r;
	s.module = b->module;
	s.rank = rank(type, name);
	b->any_address |= s.address != 0;
	if (b->symbols.n == MAX_SYMBOLS)
		return -E2BIG;
	return vec_push(&b->symbols, s);
}

static int parse(struct builder *b, int fd)
{
	char buffer[32 * 1024];
	size_t have = 0;
	bool skip = false; /* the rest of a line that is too long */
	int r = 0;

	for (;;) {
		ssize_t n = read(fd, buffer + have, sizeof(buffer) - have);
		char *line = buffer, *end;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0; /* what has no newline is no line */
		have += (size_t)n;
		while (!r && (end = memchr(line, '\n', have - (size_t)(line - buffer)))) {
			*end = '\0';
			if (!skip && end - line <= MAX_LINE)
				r = parse_line(b, line);
			skip = false;
			line = end + 1;
		}
		if (r < 0)
			return r;
		have -= (size_t)(line - buffer);
		memmove(buffer, line, have);
		if (have > MAX_LINE) {
			skip = true;
			have = 0;
		}
	}
}

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

static int by_name(const void *a, const void *b, void *context)
{
	const struct kernel *k = context;
	const struct module *x = &k->module.data[*(const uint16_t *)a];
	const struct module *y = &k->module.data[*(const uint16_t *)b];

	return strcmp(k->text.data + x->name, k->text.data + y->name);
}

static int place_modules(struct kernel *k)
{
	_cleanup_(freep) uint16_t *order = calloc(k->module.n, sizeof(*order));

	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < k->module.n; i++)
		order[i] = (uint16_t)i;
	/* The kernel itself has the empty name, which sorts first. */
	qsort_r(order, k->module.n, sizeof(*order), by_name, k);
	for (size_t i = 0; i < k->module.n; i++)
		k->module.data[order[i]].place = (uint32_t)i;
	return 0;
}

static int finish(struct builder *b)
{
	struct kernel *k = b->k;
	size_t n = b->symbols.n;

	qsort(b->symbols.data, n, sizeof(struct symbol), by_address);
	k->addresses = malloc(n * sizeof(*k->addresses));
	k->names = malloc(n * sizeof(*k->names));
	k->modules = malloc(n * sizeof(*k->modules));
	if (!k->addresses || !k->names || !k->modules)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct symbol *s = &b->symbols.data[i];
		struct module *m = &k->module.data[s->module];

		if (s->address < m->lowest)
			m->lowest = s->address;
		if (k->n && k->addresses[k->n - 1] == s->address)
			continue;
		k->addresses[k->n] = s->address;
		k->names[k->n] = s->name;
		k->modules[k->n++] = s->module;
	}
	return place_modules(k);
}

int kernel_open(int fd, struct kernel **ret)
{
	_cleanup_(kernel_freep) struct kernel *k = calloc(1, sizeof(*k));
	struct builder b = { .k = k };
	char *exact;
	int r;

	if (!k)
		return -ENOMEM;
	r = find_module(&b, "");
	if (!r)
		r = parse(&b, fd);
	if (!r)
		r = !b.symbols.n ? -ENODATA : !b.any_address ? -EPERM : finish(&b);
	vec_deinit(&b.symbols);
	hash_deinit(&b.module_index);
	if (r < 0)
		return r;
	exact = realloc(k->text.data, k->text.n);
	if (exact) {
		k->text.data = exact;
		k->text.cap = k->text.n;
	}
	*ret = TAKE_PTR(k);
	return 0;
}

void kernel_free(struct kernel *k)
{
	if (!k)
		return;
	free(k->addresses);
	free(k->names);
	free(k->modules);
	vec_deinit(&k->module);
	bytes_deinit(&k->text);
	free(k);
}

int kernel_find(const struct kernel *k, uint64_t address, struct kernel_symbol *ret)
{
	size_t low = 0, n = k->n;
	const struct module *m;

	if (!n || address < k->addresses[0])
		return -ENOENT;
	while (n > 1) {
		size_t half = n / 2;

		if (k->addresses[low + half] <= address)
			low += half;
		n -= half;
	}
	if (address - k->addresses[low] >= MAX_TAIL &&
	    (low + 1 == k->n || k->modules[low + 1] != k->modules[low]))
		return -ENOENT;
	m = &k->module.data[k->modules[low]];
	*ret = (struct kernel_symbol){
		.name = k->text.data + k->names[low],
		.module = k->text.data + m->name,
		.offset = address - k->addresses[low],
		.shown = (uint64_t)m->place << 32 | ((address - m->lowest) & UINT32_MAX),
	};
	return 0;
}
