/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* describe.h - which processes the command line means, as words about them.
 *
 * Owns the words. Knows nothing of /proc: whoever has read what a process is (procfs.h) asks whether it is meant. Each
 * description may have a name, by which its processes are found under /t/NAME/. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/protocol.h"

#define DESCRIBE_MAX_TEXT 300

struct description {
	enum broker_described kind;
	const char *what; /* borrowed: the command line's */
	const char *key;  /* in it: the id of a container, the path of a cgroup below the root; else all of it */
	size_t n_key;	  /* of its bytes, those that count */
	char name[sizeof(((struct broker_description *)0)->name)];
	uint32_t number; /* pid, uid */
};

struct descriptions {
	struct description all[BROKER_MAX_DESCRIPTIONS];
	unsigned n;
	bool follow; /* children of what is described are, too */
};

/* Adds what an option says; `what` is borrowed for good. 0, or -EINVAL with one line in `error` (DESCRIBE_MAX_TEXT). */
int describe_add(struct descriptions *d, enum broker_described kind, const char *what, char *error);
/* Names the last one. Likewise. */
int describe_name(struct descriptions *d, const char *name, char *error);
/* Whether any is about more than one process that is known at the start: what comes later has to be heard of. */
bool describe_needs_news(const struct descriptions *d);
/* 1 << i for each that holds; `cgroups` as procfs_read gives them. */
uint64_t describe_matches(const struct descriptions *d, const struct broker_known *k, const char *cgroups);
/* The key of a path: below /sys/fs/cgroup, and where there are several hierarchies below the directory of one. */
void describe_cgroup(struct description *d, bool several);
/* As serve is told them; how many. */
unsigned describe_tell(const struct descriptions *d, struct broker_description ret[BROKER_MAX_DESCRIPTIONS]);
