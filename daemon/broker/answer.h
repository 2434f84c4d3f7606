/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* answer.h - what an answer to serve is, for broker.c and answer_files.c, which has those that open
 * files of a process, or read its memory. */

#include "daemon/broker/broker.h"

/* Each answer sets r->status; descriptors it puts into r->fds are ours unless it says `give`. */
struct answer {
	struct record *r;
	bool give; /* close r->fds once they are sent */
	bool foreign; /* and they are files of a stranger's file system */
};

void answer_text(struct answer *a, int status, const char *error);
/* A descriptor that is given away, or -errno. */
void answer_fd(struct answer *a, int fd);
void answer_file(struct answer *a, int fd); /* of a stranger's file system */

void answer_proc(struct broker *b, struct answer *a);
void answer_object(struct broker *b, struct answer *a);
void answer_debug(struct broker *b, struct answer *a);
void answer_fetch(struct broker *b, struct answer *a);
void answer_dwo(struct broker *b, struct answer *a);
void answer_perf_map(struct broker *b, struct answer *a);
void answer_context(struct broker *b, struct answer *a);
void answer_web(struct broker *b, struct answer *a);
void answer_labels(struct broker *b, struct answer *a);
void answer_usage(struct broker *b, struct answer *a);
void answer_stats(struct broker *b, struct answer *a);
void answer_cmdline(struct broker *b, struct answer *a);
void answer_carry(struct broker *b, struct answer *a);
void answer_bind(struct broker *b, struct answer *a);
void answer_release(struct broker *b, struct answer *a);
struct broker_target broker_describe(const struct broker *b, unsigned slot);
