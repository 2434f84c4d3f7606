/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* object.h - the files that code comes from: ELF files, the vdso, the kernel.
 *
 * Owns one descriptor each, so that a file can still be named when its process has ended, and the
 * words of its unwind rows in the kernel. An object is one file as it was at one time: keyed by
 * device, inode, times and size, never by a build-id alone, which can be forged. Ids are never
 * used again. Guarded by the core lock. */

#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"
#include "daemon/protocol.h"
#include "daemon/serve/table.h"
#include "symbolizer/client.h"

#define OBJECT_MAX 4096 /* at one time */
#define OBJECT_MAX_KEPT 1024 /* of these, those that nobody has mapped any more and stacks tell of */

enum object_rows {
	OBJECT_ROWS_UNKNOWN,
	OBJECT_ROWS_READY,
	OBJECT_ROWS_NONE,   /* the file has none: frame pointers */
	OBJECT_ROWS_FAILED, /* not an ELF file we can read, or no room in our tables */
};

/* Files that were split off one, -1: there is none. */
struct object_beside {
	int debug_fd, alt_fd, dwp_fd;
	bool fetched; /* one of them came over the network */
	bool spoiled; /* and the symbolizer cannot do with it: not to be asked about */
	bool may_be_split; /* and no package is among them */
};
#define OBJECT_ALONE { -1, -1, -1, false, false, false }

struct object_search {
	bool done;     /* once */
	bool lacking;  /* one was not found that may come yet */
	bool fetching; /* over the network: wanted_id */
	uint32_t n_wanted_id;
	uint8_t wanted_id[BROKER_MAX_BUILD_ID];
	int64_t at_ns;	    /* when it was done last */
	uint64_t n_refused; /* then */
};

struct object {
	uint32_t id;
	enum symbolizer_kind kind;
	struct broker_file file; /* its identity */
	int fd;
	char *name;	     /* path as the first target calls it; "[vdso]" */
	uint32_t n_users;    /* mapping lists that refer to it */
	bool not_elf, names_failed;
	struct symbolizer_info info;
	enum object_rows rows;
	bool lacking; /* scan_lock: it, or its rows, could not be had when it was tried last, and may be another time */
	struct table_place place; /* OBJECT_ROWS_READY */
	uint64_t slot;	     /* base of its addresses in answers, when it is not `fixed` */
	bool fixed;	     /* loaded where it says: its addresses give nothing away */
	bool unshowable;     /* larger than a slot: addresses are told apart as they come */
	uint32_t n_bad_fdes, n_unsupported;
	uint64_t text_bytes;
	struct symbolizer_probes allocator; /* scan_lock: where it may be probed, once asked */
	bool allocator_asked;
	struct symbolizer_customs custom; /* both locks to write: of its own profiles, once asked */
	bool custom_asked;
	uint32_t seen_target;	      /* who has it mapped, or had, and where */
	uint64_t seen_start, seen_end;
	struct object_search search;  /* sources_lock: for files that were split off it */
	struct object_beside beside;  /* lock: those that there are */
	struct object_beside next;    /* lock: from the next naming on, if has_next */
	bool has_next;
	bool may_be_split;		      /* .dwo files may be looked for, as many as: */
	uint32_t n_dwos;		      /* sources_lock: that were */
	uint64_t n_lost;		      /* lock: of its debug information, past a bound */
	/* session.c, lock: */
	bool kept;     /* stacks that are kept refer to it */
	uint64_t idle; /* windows.epoch + 1 when nobody was seen to use it; 0: somebody does */
};

struct objects {
	VEC(struct object *) all; /* by id - 1; NULL: forgotten */
	uint32_t n;		  /* that are not forgotten */
	uint64_t n_refused;	  /* past OBJECT_MAX */
	uint64_t n_dropped;	  /* past OBJECT_MAX_KEPT: their frames lose their names, but for those that are in the cache */
};

/* The object of this identity; takes the descriptor either way (-1: its name alone is known so far). NULL: no room. */
struct object *objects_get(struct objects *o, enum symbolizer_kind kind,
			   const struct broker_file *file, int fd, const char *name);
struct object *objects_find(struct objects *o, uint32_t id);
/* When nobody refers to it any more. */
void objects_forget(struct objects *o, struct object *x);
void object_beside_close(struct object_beside *b);
void objects_deinit(struct objects *o);

/* Gives the object its place among the addresses that answers show, once its info is known: the same
 * file gets the same one in every run, unless another has taken it. */
void objects_place_shown(struct objects *o, struct object *x);

/* The address in the file of the first byte of a mapping that starts at this file offset. */
bool object_address_at(const struct object *x, uint64_t offset, uint64_t *ret);
/* What a mapping of it is called: the last part of its path. */
const char *object_short_name(const struct object *x);
