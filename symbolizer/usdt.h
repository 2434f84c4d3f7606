/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* usdt.h - the otel_memory probes of a file: where they are, and where their arguments are.
 *
 * Reads .note.stapsdt (type 3; SystemTap's wiki, "UserSpaceProbeImplementation"), bounded in notes
 * and in sites. Refuses sites where a probe does harm or is dear: a 5-byte nop that is not the
 * first instruction of a function (an optimised uprobe overwrites the stack below rsp there), and
 * whatever the kernel does not emulate; and arguments other than registers, constants and memory
 * near a register. Other providers' notes, and later probes of this one, are counted and left
 * alone. */

#include "base/cursor.h"
#include "symbolizer/elf_file.h"
#include "symbolizer/probe_list.h"

#define USDT_MAX_NOTES 4096
#define USDT_MAX_SITES 64

/* One probe of any provider, where it is in the file as it is. Strings are borrowed. */
struct usdt_note {
	uint64_t site, moved, semaphore; /* by how much the file has been moved since; 0: no semaphore */
	const char *provider, *name, *arguments;
};

/* Calls `on_note` for each; it answers 0, or -errno, which ends it. Counts into `end`. */
typedef int usdt_note_fn(void *context, const struct usdt_note *n);
int usdt_scan(struct elf_file *f, struct symbolizer_probes_end *end, usdt_note_fn *on_note, void *context);
/* What stands at the site, and where that is in the file: PROBE_FINE also for a 5-byte nop. */
enum symbolizer_probe_status usdt_look_at(const struct elf_file *f, uint64_t site, uint64_t *ret_offset,
					  uint8_t *ret_instruction);
/* A note's frame, as of any note section: the next one of *c. False: there is none, or it is malformed. */
struct usdt_frame {
	struct cursor name, desc;
	uint32_t type;
};
bool usdt_next_note(struct cursor *c, struct usdt_frame *ret);

/* Adds to the list. 0, also where there are none; -ENOMEM. */
int usdt_find(struct elf_file *f, struct probe_list *list);

/* The next argument of a descriptor such as "8@%rdi -4@$1 8@-8(%rbp)", and past it. False at the
 * end, or where the argument is of a form that is refused: then ret->kind is SYMBOLIZER_NOTHING,
 * *text is behind it, and *ret_unreadable tells the one from the other. */
bool usdt_argument(const char **text, struct symbolizer_argument *ret, bool *ret_unreadable);
/* The same of one argument as arm64 writes it, from first to last byte; false: unreadable. */
bool usdt_read_arm64(const char *from, const char *end, struct symbolizer_argument *ret);
