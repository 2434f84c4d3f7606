/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* feed.h - what one target does, as it comes out of the kernel's ring, cut into pieces.
 *
 * Owns the open piece. Events come nearly in the order of their times; a piece is sorted when it is cut. Each piece
 * has the stacks of its events, as words of bpf/event.h. Knows no windows and no names. Guarded by the lock of its
 * owner (record.c). */

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "bpf/trace.h"
#include "daemon/serve/capture.h"
#include "daemon/serve/pool.h"

/* A record, 32 bytes. */
struct feed_event {
	uint64_t time;
	uint32_t tid, other, item;
	uint32_t stack; /* of the piece, + 1; 0: none */
	uint32_t name;	/* likewise */
	uint16_t cpu;
	uint8_t kind; /* enum pp_trace_kind */
	uint8_t pad;
};

struct feed_name {
	char text[16];
};

struct feed_text {
	char text[PP_TRACE_TEXT];
};

struct feed_note { /* what a program said */
	uint64_t task, parent;
	uint32_t site;		/* whose name it is, + 1; 0: */
	uint32_t name, message; /* texts of the piece, + 1; 0: none */
	uint32_t pad;
};

struct feed_piece {
	unsigned n_users; /* the owner's lock */
	uint64_t began, ended;
	VEC(struct feed_event) events; /* sorted */
	VEC(struct feed_name) names;
	VEC(struct feed_note) notes; /* an event has its number + 1 in `other` */
	VEC(struct feed_text) texts;
	struct capture *stacks;
	uint64_t n_lost;     /* events: no room in the ring, or in memory */
	uint64_t n_no_stack; /* stacks that could not be had */
};

void feed_piece_free(struct feed_piece *p);
DEFINE_CLEANUP(struct feed_piece, feed_piece_free)
/* Bytes that it takes. */
size_t feed_piece_size(const struct feed_piece *p);

struct feed {
	struct feed_piece *open;
	uint32_t *rows; /* of the stack table, both halves: stacks of the open piece, + 1 */
	uint32_t n_rows;
	uint64_t began;	    /* of the open piece */
	uint64_t lost_seen; /* of the kernel's count */
};

/* 0 or -ENOMEM. */
int feed_open(struct feed *f, const struct pool *p, uint64_t now, uint64_t n_lost);
void feed_close(struct feed *f);

/* Adds a record of n bytes, or a struct pp_trace_note. `oldest`: the epoch of the stack table before which nothing is there any more. The core's lock
 * is held as well. */
void feed_add(struct feed *f, const struct pool *p, uint64_t oldest, const struct pp_trace_record *r, size_t n);
/* A half of the stack table is emptied: its rows mean other stacks from now on. */
void feed_forget_rows(struct feed *f);

/* What was before `at` becomes a piece, the rest begins the next one. n_lost: the kernel's count. 0 or -ENOMEM. */
int feed_cut(struct feed *f, uint64_t at, uint64_t n_lost, struct feed_piece **ret);
