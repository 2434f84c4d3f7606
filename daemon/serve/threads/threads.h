/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* threads.h - the threads of a target as Go shows goroutines: from a dump to a capture and to texts.
 *
 * view.c makes the capture, and tells of each thread what it waits for, since when and for whom; state.c says
 * it in Go's words; deadlock.c finds threads that wait for each other; dump_text.c writes goroutine?debug=2;
 * count_text.c writes debug=1; created.c knows who created them. */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "daemon/serve/capture.h"
#include "daemon/serve/naming.h"
#include "daemon/serve/threads/created.h"
#include "daemon/serve/threads/dump.h"
#include "daemon/serve/wait/wait.h"

struct core;
struct target;

/* One thread of the dump. */
struct thread_view {
	const struct pp_thread *t; /* borrowed from the dump */
	const uint64_t *words;	   /* likewise; the marker alone where there is no stack */
	uint32_t n;
	uint32_t item;		 /* as wait_item */
	enum wait_kind kind;
	int64_t waited_ns;	 /* at least; 0: not known */
	uint32_t for_whom;	 /* index of another one, + 1: the mutex's holder, or the one to be joined */
	uint32_t creator;	 /* its number; 0: it has none, or was not seen */
	uint32_t creator_stack;	 /* of the capture, + 1; 0: not seen */
};

struct threads {
	struct dump dump;
	struct capture *capture; /* one sample a stack and label set */
	struct naming names;
	VEC(struct thread_view) all; /* in the dump's order; those that have ended are left out */
	VEC(uint32_t) cycles;	 /* indices, each cycle ends with UINT32_MAX */
	uint64_t n_running;	 /* without a stack */
	uint64_t n_broken;	 /* whose stack is not complete */
};

struct profile;

/* Adds the threads of the dump to the capture, each `value` times. tid: a label for each. 0 or -ENOMEM. Takes the
 * core's lock for threads with labels. */
int threads_add(struct core *c, const struct target *t, const struct dump *d, bool tid, int64_t value,
		struct capture *to);
/* Everything that debug=2 needs; without `whole` only the capture and its names. Takes the locks in turn.
 * 0; -ESRCH: it has ended; or -errno. */
int threads_read(struct core *c, struct target *t, const struct profile *p, bool tid, bool whole,
		 struct threads *ret);
/* The capture of now less what `before` had, and its names. Likewise. */
int threads_less(struct core *c, struct target *t, const struct profile *p, bool tid, const struct dump *before,
		 struct threads *ret);
void threads_deinit(struct threads *t);

/* The words of a thread as profiles show it: its stack, or *marker. */
const uint64_t *threads_words(const struct dump *d, const struct dump_thread *t, uint64_t *marker, uint32_t *n);

/* "sync.Cond.Wait", "IO wait", "syscall: fsync"...: what stands in the brackets, without whom and since when.
 * Borrowed until the next call in this thread. */
const char *thread_state(const struct thread_view *v, const struct naming *n);

/* Fills for_whom of all, by what their locks say. Numbers that no thread has are left out. */
void deadlock_owners(struct threads *t);
/* The cycles among them, into t->cycles. 0 or -ENOMEM. */
int deadlock_cycles(struct threads *t);
/* Whether a thread still waits where it did, in a later dump. */
bool deadlock_still(const struct dump *now, const struct pp_thread *was);

/* goroutine?debug=2. label: the threads' names. panicparse: so that it reads files that do not end in .c,
 * .go or .s, and nothing else in the brackets. 0; -ENOMEM; -E2BIG. */
struct dump_style {
	bool labels, panicparse;
};
int dump_text(const struct threads *t, const struct target *of, struct dump_style style, struct bytes *ret);

/* NAME?debug=1: "NAME profile: total N", groups, comments. notes: a line behind the frames of a group, or
 * NULL. 0; -ENOMEM; -E2BIG. */
typedef void count_note(void *context, const struct capture_sample *s, struct bytes *out);
int count_text(const struct capture *c, const struct naming *n, count_note *note, void *context,
	       struct bytes *ret);
