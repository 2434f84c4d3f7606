/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* custom.h - what a file says of profiles of its own (preload/pprofd.h): declared names, and sites.
 *
 * Reads .note.stapsdt, provider pprofd, and .note.pprofd, which has the names: type 1 a declared one, type 2 a
 * site's and where its string literal stands. Refuses what usdt.h refuses, and every 5-byte nop; bounded
 * in notes, sites and names. */

#include "base/vec.h"
#include "symbolizer/elf_file.h"
#include "symbolizer/probes.h"

struct custom_list {
	VEC(struct symbolizer_custom) all;
	struct symbolizer_probes_end end;
};

/* Sets *ret. 0, also where there is nothing; -ENOMEM; -ENOEXEC: not of this machine. */
int custom_find(struct elf_file *f, struct custom_list *ret);
void custom_list_deinit(struct custom_list *l);
