/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/callees.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/vec.h"
#include "symbolizer/chooser.h"
#include "symbolizer/symbol_scan.h"
#include "symbolizer/symtab.h"

#define MAX_SLOTS (1u << 20)
#define STUB 16 /* bytes of a PLT entry */
#define CALL 6	/* bytes of the longest call that is understood */

struct slot {
	uint64_t address;
	const char *name; /* borrowed from the file */
};

struct callees {
	struct elf_file *f;
	struct names *names;
	bool scanned;		/* or tried to */
	VEC(struct slot) slots; /* ascending */
};

int callees_new(struct elf_file *f, struct names *names, struct callees **ret)
{
	struct callees *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->f = f;
	c->names = names;
	*ret = c;
	return 0;
}

void callees_free(struct callees *c)
{
	if (!c)
		return;
	vec_deinit(&c->slots);
	free(c);
}

static int on_slot(void *context, const struct scanned_symbol *s)
{
	struct callees *c = context;

	if (c->slots.n == MAX_SLOTS)
		return -E2BIG;
	return vec_push(&c->slots, ((struct slot){ s->value, s->name }));
}

static int by_address(const void *a, const void *b)
{
	const struct slot *x = a, *y = b;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

/* What the dynamic linker puts into the slot at this address. */
static const char *slot_name(struct callees *c, uint64_t address)
{
	size_t low = 0, high;

	if (!c->scanned) {
		c->scanned = true;
		symbol_scan_slots(c->f, on_slot, c); /* those up to an error are as good */
		if (c->slots.n)
			qsort(c->slots.data, c->slots.n, sizeof(*c->slots.data), by_address);
	}
	high = c->slots.n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (c->slots.data[middle].address < address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == c->slots.n || c->slots.data[low].address != address ||
	    strnlen(c->slots.data[low].name, SYMTAB_MAX_NAME + 1) > SYMTAB_MAX_NAME)
		return NULL;
	return c->slots.data[low].name;
}

static void on_exit_of(void *context, const struct chooser_exit *e)
{
	uint64_t *slot = context;

	if (e->thunk && e->kind == EXIT_JUMP_SLOT)
		*slot = e->target;
}

/* The function that the PLT's entry at this address leads to. */
static const char *stub_name(struct callees *c, uint64_t address)
{
	uint8_t bytes[STUB];
	uint64_t slot = 0;
	size_t n = elf_file_read(c->f, address, bytes, sizeof(bytes));

	chooser_exits(&(struct chooser_code){ bytes, n, address }, on_exit_of, &slot);
	return slot ? slot_name(c, slot) : NULL;
}

/* Instructions cannot be read backwards: bytes that only look like a call are told from one by
 * where they lead to, which has to be exactly a function, a stub or a slot. */
const char *callees_find(struct callees *c, uint64_t address)
{
	uint64_t after = address + 1, target;
	uint8_t bytes[CALL];
	const char *name;
	int32_t distance;

	if (c->f->machine != EM_X86_64 || elf_file_read(c->f, after - CALL, bytes, CALL) != CALL)
		return NULL;
	memcpy(&distance, bytes + 2, sizeof(distance));
	target = after + (uint64_t)(int64_t)distance;
	if (bytes[0] == 0xff && bytes[1] == 0x15) /* call *slot(%rip) */
		return slot_name(c, target);
	if (bytes[1] != 0xe8) /* call rel32, after any prefixes */
		return NULL;
	name = names_symbol(c->names, target);
	return name ? name : stub_name(c, target);
}
