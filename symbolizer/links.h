/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* links.h - what a file says of the files that were split off it, and whether a file found elsewhere is one.
 *
 * Owns nothing. Knows no paths: a name is bytes that somebody else looks for, by his own rules. A file belongs to
 * another when their build-ids are the same; where it was found by .gnu_debuglink its CRC has to fit besides.
 * https://sourceware.org/gdb/current/onlinedocs/gdb.html/Separate-Debug-Files.html */

#include "symbolizer/elf_file.h"
#include "symbolizer/protocol.h"

/* The largest file whose CRC is looked at: the time this takes is bounded. */
#define LINKS_MAX_CRC (1ull << 30)

/* What is missing, or not in order, is empty. */
void links_read(struct elf_file *f, struct symbolizer_links *ret);
/* The CRC of .gnu_debuglink, over the whole file. 0; -errno; -EFBIG. */
int links_crc(const struct elf_file *f, uint32_t *ret);
/* Whether `debug` is what was stripped from `f`. by_link: it was found by the name in .gnu_debuglink. */
bool links_fit_debug(struct elf_file *f, const struct elf_file *debug, bool by_link);
/* Whether it is a package of .dwo files; which of its units belong to a file, their ids tell. */
bool links_is_package(struct elf_file *f);
/* Whether `alt` is what dwz moved out of `f`. */
bool links_fit_alt(struct elf_file *f, const struct elf_file *alt);
