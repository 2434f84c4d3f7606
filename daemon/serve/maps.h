/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* maps.h - the executable lines of /proc/PID/maps.
 *
 * Owns the lines and their names. Bounded: past MAPS_MAX lines, or MAPS_MAX_BYTES of file, the
 * rest is left out and counted. Names are the target's choice and may hold anything but NUL. */

#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"

#define MAPS_MAX 4096
#define MAPS_MAX_BYTES (64u << 20)

struct maps_line {
	uint64_t start, end, offset;
	uint64_t dev, ino; /* ino 0: no file */
	uint8_t writable;
	char *name; /* as the kernel escapes it (\012 for a newline), "" for anonymous memory;
		     * " (deleted)" cut off */
};

struct maps {
	VEC(struct maps_line) lines;
	uint64_t exec_vm; /* pages, as the kernel counts mm->exec_vm */
	size_t n_left_out;
};

/* Reads the descriptor to its end. 0; -errno; an empty list for a process that has no memory. */
int maps_read(int fd, struct maps *ret);
/* One line, without its newline. 0; -ENODATA: not executable; -EBADMSG; -ENOMEM. */
int maps_parse(const char *text, size_t n, struct maps_line *ret);
void maps_deinit(struct maps *m);
