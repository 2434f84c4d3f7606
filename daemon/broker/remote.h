/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* remote.h - `record --remote`: one profile from a pprofd that runs already.
 *
 * HTTP/1.0 over TCP or a Unix socket, without TLS; runs before anything else, with nothing loaded. What the server says
 * is bounded where it is kept; the profile itself goes to the file as it comes. */

#include "daemon/broker/options.h"

#define REMOTE_MAX_TEXT 512

/* 0, or negative: `error` says why in one line. */
int remote_record(const struct options *o, char error[REMOTE_MAX_TEXT]);

/* For tests. Where the URL leads: a socket's path or host and port, and the path in front of the name. */
struct remote_place {
	char host[256], port[8]; /* "": `path` is a Unix socket's */
	char socket[108];
	char base[512]; /* begins with '/', ends with "/debug/pprof/" */
};
int remote_parse(const char *url, struct remote_place *ret);
/* The request's path and query. */
void remote_target(const struct options *o, const char *base, bool terminal, char *to, size_t n);
