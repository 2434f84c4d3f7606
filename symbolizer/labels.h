/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* labels.h - which variables of a thread hold labels, and how does one find them in a thread?
 *
 * Owns nothing. The variables are known by their names in .dynsym, ours also by a note, which a static or stripped
 * program keeps. Where the file is a library, the dynamic linker decides where its variables are: then the answer is
 * a slot that it fills. Refuses variables that are not in the file's own block. Formats: ELF TLS
 * (Drepper) 3.4 and 4.1 for x86-64, psABI x86-64, AAELF64 5.7.4. On arm64 ours has no note, and a symbol is needed. */

#include <stdint.h>

#include "symbolizer/elf_file.h"
#include "symbolizer/protocol.h"

/* How many there are. */
uint32_t labels_find(struct elf_file *f, struct symbolizer_label ret[SYMBOLIZER_MAX_LABELS]);
