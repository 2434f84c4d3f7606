/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* data.h - the data of a target's files: which addresses of locks can have a name.
 *
 * Tells the kernel the ranges in which addresses of locks stay apart in counts, and finds the file
 * that such an address was of when it was counted. Data is where the file says that it is loaded,
 * .bss included, never memory that the program got otherwise. Owns the list of what has been mapped
 * so far. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"
#include "bpf/wait.h"

#define WAIT_MAX_PARTS 1024 /* of one target; the oldest goes */

struct core;
struct target;

/* The data of one file, where one image has it. */
struct wait_part {
	uint64_t start, end, bias;
	uint32_t object, image;
};

/* Written under scan_lock and lock. */
struct wait_data {
	VEC(struct wait_part) parts;  /* those that were seen last are last */
	uint32_t n_files, n_left_out; /* that have data; whose data is in no range */
	uint64_t n_forgotten;
};

/* A file, where it is mapped. */
struct wait_file {
	uint64_t start, end;	 /* whole pages, from the first segment to the last */
	uint64_t data, data_end; /* from the first writable one to the last; equal: none */
	uint64_t bias;
	uint32_t object;
	bool main; /* the executable */
};

/* Data of files that touch becomes one range. The executable's is first, then those with the most
 * data. Sorts the files. The number of ranges; sets the number of files with data that are in none
 * of them. */
uint32_t wait_ranges(struct wait_file *files, size_t n, uint64_t ret[PP_WAIT_RANGES][2],
		     uint32_t *left_out);

/* After a scan that found something else, and once when the tables are there. The scan_lock is held. */
void wait_data_follow(struct core *c, struct target *t);
/* The variable's PP_FRAME word, as the namer knows it; 0: none, or one address of several files.
 * The lock is held. */
uint64_t wait_data_word(const struct target *t, uint32_t image, uint64_t address);
/* Whether the kernel would keep the address apart. The scan_lock is held, or the lock. */
bool wait_data_watched(const struct pp_wait_state *s, uint64_t address);
