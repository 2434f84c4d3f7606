/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* peek.h - reads memory of a process that may let its reader wait for ever.
 *
 * A page can be one that the target itself, or its file system, has yet to provide (userfaultfd, FUSE). So a
 * process of ours does the reading, which shares nothing with us but our descriptors and the pieces, and which
 * is killed when it does not get on; another one goes on behind the piece. After few of those nothing more is
 * read. The process ends with the thread that uses it. One thread at a time for each struct peek. */

#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "bpf/threads.h"

#define PEEK_MAX_PIECES 16384
#define PEEK_BYTES (16u << 20) /* of all pieces together */
#define PEEK_MAX_LOOKS 32

/* n bytes at `at`; got: as many as could be read before the first page that is not there. */
struct peek_piece {
	uint64_t at;
	uint32_t n, got;
	uint32_t to; /* offset in data */
	pid_t tid;   /* a thread that lives, in our PID namespace: its process's memory */
	int look;    /* -1, or: `at` is found by it */
	uint32_t how; /* enum peek_how, then */
};

enum peek_how {
	PEEK_BEFORE = 1, /* looks first */
	PEEK_LOCK = 2,	 /* at its futex, if it has one; else at its stack pointer */
	PEEK_AFTER = 4,	 /* looks again */
};

/* At one thread that does not hold still: its registers right before its memory is read, and right after. */
struct peek_look {
	int fds[2];    /* each gives its struct pp_thread once; the caller's */
	uint32_t n[2]; /* bytes that they gave; UINT32_MAX: they have not been read */
	struct pp_thread t[2];
};

/* Written by the reader, and read by us once it has said so. */
struct peek_area {
	uint32_t done, n; /* pieces */
	uint32_t n_looks;
	struct peek_look looks[PEEK_MAX_LOOKS];
	struct peek_piece pieces[PEEK_MAX_PIECES];
	unsigned char data[PEEK_BYTES];
};

struct peek {
	struct peek_area *area;
	uint32_t used;	/* bytes of area->data */
	uint64_t n_late; /* pieces that were given up */
	unsigned n_stuck; /* times that the reader was killed */
	int64_t left_ns;  /* time that may still be waited */
	pid_t reader;	  /* 0: none */
	int ours, theirs; /* the reader's socket */
};

int peek_init(struct peek *p);
void peek_deinit(struct peek *p);

/* Empties the list; adds a piece, or a look and a piece by it: its number, or -1 where there is no room. */
void peek_clear(struct peek *p);
int peek_add(struct peek *p, pid_t tid, uint64_t at, uint32_t n);
int peek_add_look(struct peek *p, const int fds[2]);
int peek_add_by(struct peek *p, pid_t tid, int look, uint32_t how, uint32_t n);
/* Reads all. What could not be had in time has got nothing, and counts in n_late. */
void peek_run(struct peek *p);

static inline const unsigned char *peek_bytes(const struct peek *p, int piece)
{
	return p->area->data + p->area->pieces[piece].to;
}
