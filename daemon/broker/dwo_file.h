/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* dwo_file.h - opening .dwo files, whose paths stand in a stranger's file as its compiler wrote them.
 *
 * Owns the rules for that one door through which a stranger's words reach a path: it has to end in ".dwo" or ".o"
 * (-gsplit-dwarf=single), and leads nowhere but below the target's own root (".." ends there, too); never ours, even where the target is gone. First where the compiler
 * said; then by the same name, and by its last part, beside the file that is mapped. Opens regular files that hold
 * something, and those only that the target's owner could read without us: his own, or what all may read. Whether a unit
 * of the file lacks it, the symbolizer finds out. */

#include "daemon/broker/process.h"

/* The path at this place, from the target's root; `directory`: where the file is that lacks it, "": unknown. False: there
 * is none, or the question is not in order. */
bool dwo_file_path(const struct broker_dwo *q, enum broker_dwo_place place, const char *directory,
		   char to[BROKER_MAX_PATH]);

/* The first file there is, from place q->place on. A descriptor, with *ret_place; -ENOENT: no more; -errno. */
int dwo_file_open(struct process *p, const struct broker_dwo *q, enum broker_dwo_place *ret_place);
