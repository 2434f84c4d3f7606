/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* allocators.h - the allocation functions that a file defines, each with its probe or the reason
 * why there is none.
 *
 * Finds them by name (symbolizer/allocator_names.h) in .dynsym and .symtab, one for an address. A
 * function whose calls arrive at another one of the list is PROBE_ELSEWHERE, so that nothing is
 * counted twice: one that can only end by jumping there; one that calls nothing else (but realloc,
 * which may do without on other paths); reallocarray, which has nothing to do but call realloc;
 * operator new and delete, when the first function they call is one of these (libstdc++'s call
 * malloc) or the file has no malloc of its own. Whatever else they do among each other is left to
 * the caller's range (start, size) and, for jumps, to ALLOCATOR_TAIL. Refuses IFUNCs, and local
 * symbols of a plain name that were not made local by the linker. The machine's own files only.
 */

#include "symbolizer/chooser.h"
#include "symbolizer/elf_file.h"
#include "symbolizer/probe_list.h"

/* Functions, then otel_memory sites. 0, also where there are none; -ENOEXEC: not of this machine;
 * -ENOMEM. */
int allocators_find(struct elf_file *f, struct probe_list *ret);
/* Chooses the instruction of any function: p->start is its address, p->offset its place in the file, which moves to the
 * instruction; sets status, instruction, flags and arguments. */
void allocators_choose(struct elf_file *f, const struct chooser_code *code, unsigned arguments,
		       struct symbolizer_probe *p);
