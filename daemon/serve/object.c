/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/object.h"

#include <elf.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"

/* Addresses shown for position-independent files: one slot of 16 GiB each, above everything that a
 * user process can map (2^47) and below 2^52, so that a double still tells them apart. */
#define SLOT_BITS 34
#define FIRST_SLOT (1u << 13)
#define N_SLOTS ((1u << 18) - FIRST_SLOT)

struct object *objects_find(struct objects *o, uint32_t id)
{
	return id && id <= o->all.n ? o->all.data[id - 1] : NULL;
}

static bool same_file(const struct broker_file *a, const struct broker_file *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

void object_beside_close(struct object_beside *b)
{
	close_fd(&b->debug_fd);
	close_fd(&b->alt_fd);
	close_fd(&b->dwp_fd);
	b->fetched = b->spoiled = b->may_be_split = false;
}

static void object_free(struct object *x)
{
	close_fd(&x->fd);
	object_beside_close(&x->beside);
	object_beside_close(&x->next);
	symbolizer_probes_deinit(&x->allocator);
	symbolizer_customs_deinit(&x->custom);
	free(x->name);
	free(x);
}

struct object *objects_get(struct objects *o, enum symbolizer_kind kind,
			   const struct broker_file *file, int fd, const char *name)
{
	_cleanup_(closep) int owned = fd;
	struct object *x;

	for (size_t i = 0; i < o->all.n; i++) {
		x = o->all.data[i];
		if (!x || x->kind != kind || !same_file(&x->file, file))
			continue;
		if (x->fd < 0 && x->rows == OBJECT_ROWS_UNKNOWN)
			x->fd = TAKE_FD(owned);
		return x;
	}
	if (o->n >= OBJECT_MAX || o->all.n + 1 >= PP_MAX_OBJECT) {
		o->n_refused++;
		return NULL;
	}
	x = calloc(1, sizeof(*x));
	if (!x)
		return NULL;
	x->fd = -1;
	x->beside = x->next = (struct object_beside)OBJECT_ALONE;
	x->name = strdup(name);
	if (!x->name || vec_push(&o->all, x) < 0) {
		object_free(x);
		return NULL;
	}
	x->id = (uint32_t)o->all.n;
	x->kind = kind;
	x->file = *file;
	x->fd = TAKE_FD(owned);
	o->n++;
	return x;
}

void objects_forget(struct objects *o, struct object *x)
{
	o->all.data[x->id - 1] = NULL;
	o->n--;
	object_free(x);
}

void objects_deinit(struct objects *o)
{
	for (size_t i = 0; i < o->all.n; i++)
		if (o->all.data[i])
			object_free(o->all.data[i]);
	vec_deinit(&o->all);
}

static uint64_t span(const struct object *x)
{
	uint64_t high = 0;

	for (uint32_t i = 0; i < x->info.n_segments; i++) {
		uint64_t end = x->info.segments[i].vaddr + x->info.segments[i].memsz;

		if (end < x->info.segments[i].vaddr)
			return UINT64_MAX;
		if (end > high)
			high = end;
	}
	return high;
}

static bool slot_taken(const struct objects *o, const struct object *x, uint64_t base)
{
	for (size_t i = 0; i < o->all.n; i++)
		if (o->all.data[i] && o->all.data[i] != x && o->all.data[i]->slot == base)
			return true;
	return false;
}

void objects_place_shown(struct objects *o, struct object *x)
{
	const char *short_name = object_short_name(x);
	uint64_t h = x->info.n_build_id ?
			     hash_bytes(HASH_SEED, x->info.build_id, x->info.n_build_id) :
			     hash_bytes(hash_u64(HASH_SEED, x->file.size), short_name,
					strlen(short_name));
	uint64_t slot = (h >> 20) % N_SLOTS;

	while (slot_taken(o, x, (FIRST_SLOT + slot) << SLOT_BITS))
		slot = (slot + 1) % N_SLOTS;
	x->slot = (FIRST_SLOT + slot) << SLOT_BITS;
	x->fixed = x->info.type == ET_EXEC;
	x->unshowable = span(x) > 1ull << SLOT_BITS;
}

static bool address_in(const struct symbolizer_segment *s, uint64_t offset, uint64_t *ret)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (offset < (s->offset & ~(page - 1)) || offset >= s->offset + s->filesz)
		return false;
	*ret = s->vaddr - s->offset + offset;
	return true;
}

bool object_address_at(const struct object *x, uint64_t offset, uint64_t *ret)
{
	for (uint32_t i = 0; i < x->info.n_segments; i++)
		if ((x->info.segments[i].flags & PF_X) &&
		    address_in(&x->info.segments[i], offset, ret))
			return true;
	/* executable all the same: personality(READ_IMPLIES_EXEC), or mprotect */
	for (uint32_t i = 0; i < x->info.n_segments; i++)
		if (address_in(&x->info.segments[i], offset, ret))
			return true;
	return false;
}

const char *object_short_name(const struct object *x)
{
	const char *slash = strrchr(x->name, '/');

	return slash && slash[1] ? slash + 1 : x->name;
}
