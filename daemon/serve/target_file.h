/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* target_file.h - the files that a target has mapped: opened by the broker, asked about at the symbolizer.
 *
 * What cannot be had now, and may be later (no room, no answer, no symbolizer), is `lacking`: whoever looks at the target
 * looks again. What a file itself is to blame for is for good. The scan_lock is held. */

struct core;
struct object;
struct target;
struct maps_line;

/* The file of a mapping; NULL for memory without one that could be an ELF file. */
struct object *target_file_open(struct core *c, struct target *t, const struct maps_line *l);
/* Asks the symbolizer once, unless it lacks something, what the file is and how its code is unwound. */
void target_file_rows(struct core *c, struct object *x);
