/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* track.h - functions that stand for Add or Remove of a profile (--track), and where they can be watched.
 *
 * Found by their names as they are linked, every one that a file defines. What they are given is read where
 * chooser.h says; what they give back, on their own return instructions, never by a return probe: so it
 * does not matter whether they are left by exceptions or cancelled. Bounded like custom.h. */

#include "symbolizer/custom.h"
#include "symbolizer/protocol.h"

/* As custom_find. */
/* By what was asked: SYMBOLIZER_CUSTOM, the notes, or SYMBOLIZER_TRACK, the functions that follow the question. */
int track_answer(struct elf_file *f, uint32_t type, const struct symbolizer_question *q, struct custom_list *ret);
int track_find(struct elf_file *f, const struct symbolizer_track *tracks, uint32_t n, struct custom_list *ret);
