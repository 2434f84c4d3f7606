/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/objects.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>

#include "base/cleanup.h"
#include "symbolizer/answers.h"
#include "symbolizer/protocol.h"
#include "symbolizer/shown.h"

_Static_assert(OBJECTS_MAX_HEAP + ANSWERS_MAX_BYTES + SHOWN_MAX_BYTES <= SYMBOLIZER_MAX_BYTES, "what the protocol says");

static void object_forget(struct object *o)
{
	callees_free(o->callees);
	variables_free(o->variables);
	names_free(o->names);
	bounds_free(o->bounds);
	elf_file_close(o->elf);
	kernel_free(o->kernel);
	jit_free(o->jit);
	*o = (struct object){ 0 };
}

static struct object *oldest(struct objects *l, const struct object *except)
{
	struct object *found = NULL;

	for (size_t i = 0; i < OBJECTS_MAX; i++) {
		struct object *o = &l->all[i];

		if (o == except || !o->id)
			continue;
		if (!found || o->used < found->used)
			found = o;
	}
	return found;
}

static size_t memory(size_t n_elsewhere)
{
	struct mallinfo2 m = mallinfo2();
	size_t n = m.uordblks + m.hblkhd;

	return n > n_elsewhere ? n - n_elsewhere : 0;
}

static size_t size_of_others(const struct objects *l, const struct object *except)
{
	size_t n = 0;

	for (size_t i = 0; i < OBJECTS_MAX; i++)
		if (&l->all[i] != except)
			n += l->all[i].size;
	return n;
}

size_t objects_bytes(const struct objects *l)
{
	return size_of_others(l, NULL);
}

/* Until they have no more than this. */
static void forget_others(struct objects *l, const struct object *except, size_t max)
{
	bool freed = false;

	while (size_of_others(l, except) > max) {
		object_forget(oldest(l, except));
		freed = true;
	}
	if (freed)
		malloc_trim(0);
}

static bool is_large(const struct object *o)
{
	return (o->elf && o->elf->size > OBJECTS_LARGE_FILE) ||
	       (o->debug && o->debug->size > OBJECTS_LARGE_FILE);
}

void objects_make_room(struct objects *l, const struct object *o, size_t n_elsewhere)
{
	forget_others(l, o, is_large(o) ? OBJECTS_MAX_BESIDE_LARGE : OBJECTS_MAX_OTHERS);
	l->before = memory(n_elsewhere);
}

void objects_account(struct objects *l, struct object *o, size_t n_elsewhere)
{
	size_t now = memory(n_elsewhere);

	o->size += now;
	o->size = o->size > l->before ? o->size - l->before : 1;
	if (now > OBJECTS_MAX_HEAP)
		forget_others(l, o, o->size < OBJECTS_MAX_HEAP ? OBJECTS_MAX_HEAP - o->size : 0);
}

bool objects_make_room_for_split(struct objects *l, const struct object *except)
{
	for (;;) {
		struct object *found = NULL;
		size_t n = 0;

		for (size_t i = 0; i < OBJECTS_MAX; i++) {
			struct object *o = &l->all[i];
			size_t split = o->names ? names_n_split(o->names) : 0;

			n += split;
			if (split && o != except && (!found || o->used < found->used))
				found = o;
		}
		if (n < OBJECTS_MAX_SPLIT)
			return true;
		if (!found)
			return false;
		object_forget(found);
	}
}

static int read_jit(const struct object *o, int fd)
{
	return fd < 0 ? -EBADF : jit_update(o->jit, fd);
}

static int object_open(struct objects *l, struct object *o, uint32_t kind, int *fd)
{
	int r;

	if (kind == SYMBOLIZER_PERF_MAP || kind == SYMBOLIZER_JITDUMP) {
		r = jit_new(kind == SYMBOLIZER_JITDUMP ? JIT_DUMP : JIT_PERF_MAP, &o->jit);
		return r < 0 ? r : read_jit(o, *fd);
	}
	if (kind == SYMBOLIZER_KERNEL)
		return *fd < 0 ? -EBADF : kernel_open(*fd, &o->kernel);
	if (kind == SYMBOLIZER_VDSO)
		r = l->vdso.image ? elf_file_open_memory(l->vdso.image, l->vdso.n, &o->elf) : -ENOENT;
	else
		r = *fd < 0 ? -EBADF : elf_file_open(TAKE_FD(*fd), &o->elf);
	return r < 0 ? r : names_new(o->elf, &o->names);
}

int objects_find(struct objects *l, uint32_t id, uint32_t kind, int *fd, struct object **ret)
{
	struct object *at = NULL;
	int r;

	for (size_t i = 0; i < OBJECTS_MAX; i++) {
		if (l->all[i].id == id) {
			*ret = &l->all[i];
			(*ret)->used = ++l->clock;
			return (*ret)->jit ? read_jit(*ret, *fd) : 0;
		}
		if (!l->all[i].id)
			at = &l->all[i];
	}
	if (!at) {
		at = oldest(l, NULL);
		object_forget(at);
	}
	r = object_open(l, at, kind, fd);
	if (r < 0) {
		object_forget(at);
		return r;
	}
	at->id = id;
	at->used = at->generation = ++l->clock;
	*ret = at;
	return 0;
}

void objects_deinit(struct objects *l)
{
	for (size_t i = 0; i < OBJECTS_MAX; i++)
		object_forget(&l->all[i]);
}

int objects_begin_anew(struct objects *l, struct object *o)
{
	uint32_t id = o->id;
	int fd = o->elf && o->elf->fd >= 0 ? fcntl(o->elf->fd, F_DUPFD_CLOEXEC, 0) : -1;
	int r;

	objects_deinit(l);
	malloc_trim(0);
	if (fd < 0)
		return -ENOMEM;
	r = object_open(l, o, SYMBOLIZER_FILE, &fd);
	if (r < 0) {
		object_forget(o);
		return r;
	}
	o->id = id;
	o->used = o->generation = ++l->clock;
	return 0;
}
