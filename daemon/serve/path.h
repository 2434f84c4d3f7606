/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* path.h - request targets as Go's net/url and ServeMux read them.
 *
 * Owns what path_parse decoded. Pure text: knows the shape of our own trees, /debug/pprof,
 * /pid/PID/debug/pprof and /t/NAME/debug/pprof, but not which of them exist. Refuses what Go refuses: control
 * characters, spaces, bad escapes, targets that neither begin with '/' nor are absolute. */

#include <stdbool.h>

#include "base/bytes.h"

enum path_verdict {
	PATH_OK,
	PATH_REDIRECT,	/* 307 to `location` */
	PATH_MALFORMED, /* 400 */
};

struct path {
	char *text;	       /* PATH_OK: decoded */
	char *location;	       /* PATH_REDIRECT: with the query, ASCII, begins with one '/' */
	char *authority;       /* of an absolute-form target, or NULL */
	const char *raw_query; /* in the target; "" */
};

/* Cleaning comes before decoding, as in ServeMux: "%2e%2e" is a name and not the parent. So the
 * decoded text may hold "..", and is good for comparing, never for opening. An encoded slash stays
 * "%2F" outside the trees' own names, so that it never matches a separator. A NUL becomes U+FFFD.
 * Returns a verdict, or -ENOMEM. */
int path_parse(const char *target, struct path *ret);
void path_deinit(struct path *p);

/* %xx in place; a NUL becomes U+FFFD. false: a bad escape, and the text is spoilt. */
bool path_unescape(char *text);
/* Go's URL.EscapedPath of a decoded path. */
void path_escape(struct bytes *b, const char *text);
/* A name that is one segment, whatever is in it: no slash, dot or colon means anything. */
void path_escape_name(struct bytes *b, const char *name);
/* Go's html.EscapeString. */
void path_escape_html(struct bytes *b, const char *text);
/* The short page that Go's http.Redirect writes. */
void path_redirect_body(struct bytes *b, const char *location);
