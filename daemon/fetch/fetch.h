/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* fetch.h - gets the debug file with a build-id from debuginfod servers, over http and https.
 *
 * Owns the connections. fetch_open reads what TLS trusts and looks up the servers' addresses: all that needs files is done
 * there, before the process shuts itself in. From then on it connects to those addresses and to no others, whatever a
 * server redirects to; the bytes it gets are written to a descriptor and not looked at. Bounded in bytes, time,
 * redirects and slowness. https://sourceware.org/elfutils/Debuginfod.html */

#include "daemon/fetch_protocol.h"

struct fetch;

/* `text`: q->n_text bytes of URLs. 0; -EBADMSG: the question is not in order; -errno. */
int fetch_open(const struct fetch_question *q, const char *text, struct fetch **ret);
/* Asks the servers in turn, and leaves what the first one has in the file, from its beginning on. 0, FETCH_NONE, or
 * -errno, with why not. */
int fetch_run(struct fetch *f, int fd, char why[FETCH_MAX_TEXT]);
void fetch_free(struct fetch *f);
