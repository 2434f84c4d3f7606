/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* carry.h - the directory in which counts outlive us: two files for each process, named by its number and when it
 * began, so that another process with that number is never taken for it.
 *
 * Serve writes and reads them (serve/carry.h); here they are opened, and never read. The directory is ours alone; a file
 * is regular, ours, and locked for as long as serve has it open, so that two pprofd never write the same. A pprofd that is
 * stopped removes them, unless it was told the directory: then whoever comes next goes on from there too. */

#include <stdbool.h>

#include "daemon/broker/process.h"

struct carry_dir {
	int fd;	       /* -1: nothing outlives us */
	bool keep;     /* when we are stopped as well */
	char path[4096];
};

/* `path` as --state-dir: NULL: the usual one, if it can be had; "none". Removes what is of processes that have ended. 0;
 * -errno, with a path that was given: ret->path. */
int carry_dir_open(const char *path, struct carry_dir *ret);
/* Descriptors of its files, made if need be; -ENOENT: there are none; -EBUSY: another pprofd has them; -errno. */
int carry_open(const struct carry_dir *d, const struct process *p, int ret_fds[2]);
/* What is of nobody (`all`: of anybody) and nobody writes. Returns how many files went. */
unsigned carry_clean(const struct carry_dir *d, bool all);
/* The process is no target any more, and its counts are dropped. */
void carry_remove(const struct carry_dir *d, const struct process *p);
/* We are stopped. */
void carry_dir_close(struct carry_dir *d, const struct process *processes, unsigned n);
