/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* objects.h - what the worker has parsed, by serve's ids.
 *
 * Owns up to OBJECTS_MAX of them and OBJECTS_MAX_HEAP bytes of memory in all: past either, what was used least recently
 * is forgotten. Before an object is asked about, the others give way until they have OBJECTS_MAX_OTHERS at most, or
 * OBJECTS_MAX_BESIDE_LARGE where its file is large: the process may have SANDBOX_MAX_MEMORY in all, and what is read of a file
 * for a moment takes its share. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symbolizer/bounds.h"
#include "symbolizer/callees.h"
#include "symbolizer/elf_file.h"
#include "symbolizer/jit.h"
#include "symbolizer/kernel.h"
#include "symbolizer/names.h"
#include "symbolizer/variables.h"
#include "symbolizer/worker.h"

#define OBJECTS_MAX 64
#define OBJECTS_MAX_HEAP (160u << 20)
#define OBJECTS_MAX_OTHERS (96u << 20)
#define OBJECTS_MAX_BESIDE_LARGE (24u << 20)
#define OBJECTS_LARGE_FILE (32u << 20)
#define OBJECTS_MAX_SPLIT 512 /* .dwo files of all; sandbox.c knows it */

struct object {
	uint32_t id; /* 0: free */
	uint64_t used;
	size_t size; /* bytes of memory, about */
	uint64_t generation; /* of its answers, of all objects'; never 0 */
	struct elf_file *elf;
	struct names *names;
	struct bounds *bounds;
	struct callees *callees; /* NULL: not asked yet */
	struct variables *variables; /* likewise */
	struct kernel *kernel;
	struct jit *jit;
	unsigned beside; /* enum symbolizer_beside: that came with some question, whether they were of use or not */
	struct elf_file *debug; /* borrowed from names */
};

struct objects {
	struct object all[OBJECTS_MAX];
	struct worker_vdso vdso;
	uint64_t clock;
	size_t before; /* bytes of memory, when the question came */
};

/* The object with this id, opened if it is not there. Takes *fd if it has use for it. 0 or -errno. */
int objects_find(struct objects *l, uint32_t id, uint32_t kind, int *fd, struct object **ret);
/* Room for one more file that was split off `except`: of other objects that have such, the one not used for longest is
 * forgotten. False: it has all there may be. */
bool objects_make_room_for_split(struct objects *l, const struct object *except);
/* When a question about the object has been answered: counts what it took, and forgets others until it is little enough.
 * n_elsewhere: bytes of memory that are nobody's here. */
void objects_account(struct objects *l, struct object *o, size_t n_elsewhere);
/* Before one, likewise. */
void objects_make_room(struct objects *l, const struct object *o, size_t n_elsewhere);
/* There was too little memory: forgets all, and opens this one anew. 0 or -errno; there is no such object then. */
int objects_begin_anew(struct objects *l, struct object *o);
/* What they take, about. */
size_t objects_bytes(const struct objects *l);
void objects_deinit(struct objects *l);
