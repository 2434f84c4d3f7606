/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* query.h - query strings as Go's net/url reads them (go-endpoints: first value of a repeated key
 * wins; '+' is a space; a pair with ';' or a bad escape is dropped, the others are kept).
 *
 * Owns the decoded text. Bounded: past QUERY_MAX pairs the rest is dropped. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUERY_MAX 64

struct query_pair {
	const char *key, *value; /* decoded, in `text` */
};

struct query {
	char *text;
	struct query_pair pairs[QUERY_MAX];
	size_t n;
};

/* 0 or -ENOMEM. */
int query_parse(const char *raw, struct query *ret);
void query_deinit(struct query *q);

/* The first value, or NULL: absent or empty. Borrowed. */
const char *query_get(const struct query *q, const char *key);

/* Go's strconv.ParseInt(s, 10, 64) on the whole text; false: it is not one, or out of range. */
bool query_int(const char *text, int64_t *ret);
/* Go's FormValue then Atoi, as for `debug` and `gc`: 0 when absent or not a number. */
int64_t query_number(const struct query *q, const char *key);
