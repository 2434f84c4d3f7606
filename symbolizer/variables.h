/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* variables.h - which variable is at an address of a file's data?
 *
 * Owns an index of the file's data symbols (STT_OBJECT with a size, in a writable segment), made
 * when it is first needed; borrows the file, which must outlive it. .symtab answers first, its own or
 * its debug file's, then .dynsym. Thread-local variables have no address in the file and are not in it. */

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "symbolizer/elf_file.h"

struct variables;

struct variable {
	const char *name; /* linkage name, without a version; borrowed until the next question */
	uint64_t start;	  /* not above the address that was asked about */
};

/* `debug`: what was stripped from the file, or NULL; likewise borrowed. 0 or -ENOMEM. */
int variables_new(struct elf_file *f, struct elf_file *debug, struct variables **ret);
void variables_free(struct variables *v);
DEFINE_CLEANUP(struct variables, variables_free)

/* The innermost that covers the address; false: none does. */
bool variables_find(struct variables *v, uint64_t address, struct variable *ret);
