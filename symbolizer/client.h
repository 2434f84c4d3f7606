/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* client.h - asks the symbolizer child; the face of this room that serve sees.
 *
 * Owns our end of the socket. One question at a time: the caller holds a lock around each call.
 * Answers are checked for shape and bounds; what they say is still a stranger's word. After
 * -EPIPE, -ETIMEDOUT or -EBADMSG the child is of no more use: get another one and
 * symbolizer_replace it. Other errors are the file's own. No question takes longer than three times
 * the silence that is waited for, however much the child has to say. */

#include <stdint.h>

#include "base/vec.h"
#include "symbolizer/protocol.h"

/* Waiting for one record. A child that parses a large file is silent for a while. */
#define SYMBOLIZER_TIMEOUT_MS 20000
#define SYMBOLIZER_MAX_OWN_BYTES (18u << 20)

struct functions;

struct symbolizer {
	int fd; /* -1: none */
	int timeout_ms;	     /* of silence; 0: SYMBOLIZER_TIMEOUT_MS */
	int64_t deadline_ms; /* of the question that is being asked */
	uint32_t serial;
	struct symbolizer_names_end names_end; /* of the last answer with names */
	struct functions *functions; /* of the child's frames; NULL: none yet */
	struct record record; /* scratch */
};

struct symbolizer_rows {
	VEC(struct unwind_rule) rules;
	VEC(struct unwind_row) rows; /* ascending, every rule index is in range */
	struct symbolizer_rows_end end;
};

struct symbolizer_probes {
	VEC(struct symbolizer_probe) probes; /* checked: every enum, register, size and name */
	struct symbolizer_probes_end end;
};

/* Which file: serve's id for it, its kind, and a descriptor (borrowed; -1 for the vdso). What was found of it
 * elsewhere stands beside it. */
struct symbolizer_object {
	uint32_t id;
	enum symbolizer_kind kind;
	int fd;
	unsigned beside; /* enum symbolizer_beside: which of these there are */
	int debug_fd, alt_fd, dwp_fd;
};

/* `frame` and its strings (n_* bytes each, no NUL) are borrowed. It has its texts, told before or not. */
typedef void symbolizer_frame_fn(void *context, const struct symbolizer_frame *frame,
				 const char *name, const char *system_name, const char *file);

/* What our end remembers of the conversation, at most SYMBOLIZER_MAX_OWN_BYTES. */
size_t symbolizer_own_bytes(const struct symbolizer *s);
void symbolizer_replace(struct symbolizer *s, int fd);

int symbolizer_ask_info(struct symbolizer *s, const struct symbolizer_object *o,
			struct symbolizer_info *ret);
int symbolizer_ask_rows(struct symbolizer *s, const struct symbolizer_object *o,
			struct symbolizer_rows *ret);
void symbolizer_rows_deinit(struct symbolizer_rows *r);
/* n <= SYMBOLIZER_MAX_ADDRESSES. frame->index is below n; frames of one address in a row. */
int symbolizer_ask_names(struct symbolizer *s, const struct symbolizer_object *o,
			 enum symbolizer_demangle how, const uint64_t *addresses, uint32_t n,
			 symbolizer_frame_fn *frame, void *context);
/* The same for the functions that were called there: at most one frame an address, without lines. */
int symbolizer_ask_callees(struct symbolizer *s, const struct symbolizer_object *o,
			   enum symbolizer_demangle how, const uint64_t *addresses, uint32_t n,
			   symbolizer_frame_fn *frame, void *context);
/* The same for the variables there, at most one an address: frame->shown is where it starts. */
int symbolizer_ask_variables(struct symbolizer *s, const struct symbolizer_object *o,
			     enum symbolizer_demangle how, const uint64_t *addresses, uint32_t n,
			     symbolizer_frame_fn *frame, void *context);

/* What it says of files split off it; of the debug file, where one is beside. */
int symbolizer_ask_links(struct symbolizer *s, const struct symbolizer_object *o,
			 struct symbolizer_links *ret);
/* Whether the last file beside belongs to the one before it. 0: it does; -ESTALE: it does not. */
int symbolizer_ask_fits(struct symbolizer *s, const struct symbolizer_object *o,
			enum symbolizer_fit how);

/* .dwo files that units at the addresses lack, as a stranger calls them: each is told once. At most n. */
struct symbolizer_dwos {
	VEC(struct symbolizer_dwo) all; /* strings that end */
};
int symbolizer_ask_dwos(struct symbolizer *s, const struct symbolizer_object *o,
			const uint64_t *addresses, uint32_t n, struct symbolizer_dwos *ret);
/* Here is one, in the place of the package. 0; -ESTALE: it is another one; -EMFILE: there are too many. */
int symbolizer_give_dwo(struct symbolizer *s, const struct symbolizer_object *o);

/* The allocation functions and otel_memory sites of a file; also 0 where there are none. Of other
 * machines than the own one -ENOEXEC. */
int symbolizer_ask_probes(struct symbolizer *s, const struct symbolizer_object *o,
			  struct symbolizer_probes *ret);
void symbolizer_probes_deinit(struct symbolizer_probes *p);
struct symbolizer_customs {
	VEC(struct symbolizer_custom) all; /* checked likewise */
	struct symbolizer_probes_end end;
};
/* What the file says of profiles of its own; also 0 where that is nothing. */
int symbolizer_ask_custom(struct symbolizer *s, const struct symbolizer_object *o,
			  struct symbolizer_customs *ret);
/* Functions of the file that stand for such. n <= SYMBOLIZER_MAX_TRACKS. */
int symbolizer_ask_track(struct symbolizer *s, const struct symbolizer_object *o,
			 const struct symbolizer_track *tracks, uint32_t n, struct symbolizer_customs *ret);
void symbolizer_customs_deinit(struct symbolizer_customs *c);
/* enum symbolizer_probe_status in words, to stand behind a function's name; of any number. */
const char *symbolizer_probe_text(unsigned status);
