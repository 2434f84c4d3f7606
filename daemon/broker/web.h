/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* web.h - keeps up with the file of --web.config.file, for serve, which may open nothing.
 *
 * The broker reads the file, which is the operator's own, and opens those that it names; serve gets what the
 * first says and descriptors of the others. A private key passes through here unread, unless it stands
 * in the file itself. Looked at when serve asks (which does so when somebody connects) and on SIGHUP:
 * by inode, size and times. A file that is no good changes nothing and is told once. */

#include "base/record.h"
#include "daemon/broker/web_file.h"

#define WEB_MAX_PATH 4096
#define WEB_MAX_TEXT (WEB_FILE_MAX_TEXT + WEB_MAX_PATH)

struct web_stamp {
	uint64_t dev, ino, size;
	int64_t mtime_ns, ctime_ns; /* all 0: it is not there */
};

struct web {
	const char *path; /* NULL: there is none, and everything here does nothing */
	bool open_listeners; /* some are beyond loopback and there has to be authentication */
	uint32_t generation;
	struct web_file file; /* in force */
	int fds[BROKER_N_PEM];
	char paths[BROKER_N_PEM][WEB_MAX_PATH]; /* of those that are files; "" */
	struct web_stamp seen[1 + BROKER_N_PEM]; /* the file itself first */
};

#define WEB_NONE { .fds = { -1, -1, -1 } }

/* Reads it for the first time. 0 or -errno; `error` (WEB_MAX_TEXT) says why not. */
int web_open(struct web *w, const char *path, char *error);
void web_close(struct web *w);

/* 1: something has changed and is in force; 0: nothing has. Negative: what is there now is no good, and `error`
 * says why; said once. */
int web_look(struct web *w, bool even_if_same, char *error);

/* What is in force, as a record: all of it, or nothing where serve has that generation. 0 or -errno; r->fds are the
 * caller's to close. */
int web_record(const struct web *w, uint32_t has_generation, struct record *r);
