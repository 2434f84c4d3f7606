/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* html.h - the pages that a person opens first: the list of processes, and a process's own, as they are without scripts.
 *
 * Appends text and owns none. Names of processes, their command lines and the names of their profiles are strangers'
 * words: they come out as UTF-8 without control characters, and escaped. No script and no style stands in the page
 * itself. All addresses are relative, so that a proxy may put a path in front. */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "daemon/serve/profile.h"

struct page_row {
	int pid;
	char name[33];
	char service[128]; /* what it is called at /t/, if that is another name; "": not */
	bool ended;
	bool known; /* what follows is */
	uint64_t cpu_ns, resident_bytes;
	uint32_t n_threads;
	int64_t started_ms; /* since 1970 */
};

enum page_order { PAGE_BY_CPU, PAGE_BY_NAME, PAGE_BY_PID, PAGE_BY_RSS, PAGE_BY_THREADS, PAGE_BY_SINCE, PAGE_N_ORDERS };

/* "cpu", "name"...; anything else is PAGE_BY_CPU. */
enum page_order page_order(const char *name);
/* Sorts the rows: the largest first, but names and numbers of processes upwards. */
void page_list(struct bytes *b, struct page_row *rows, size_t n, enum page_order order);

struct page_target {
	const char *name;
	int pid;		   /* 0: several */
	const char *cmdline;	   /* "": not known */
	const char *root;	   /* the way to "/": "./", or "../../" */
	bool ended;
	const struct page_row *several;
	size_t n_several, n_all;
	const struct profile *profiles; /* those of the target */
	size_t n_profiles;
};

void page_target(struct bytes *b, const struct page_target *t);
