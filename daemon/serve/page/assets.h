/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* assets.h - what the page loads besides itself: the files of web/, as the build has put them into the program.
 *
 * Owns nothing that changes. Their address bears a hash of them all, so that clients may keep them for ever. */

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

struct http_request;
struct http_response;

struct asset {
	const char *name, *type;
	const unsigned char *data; /* gzip'ed */
	size_t n_data, n;	   /* bytes, and unpacked */
};

extern const struct asset assets[]; /* web_files.c, by tools/embed_web.py */
extern const size_t n_assets;
extern const char asset_hash[];

#define ASSET_TREE "/-/ui/"

/* NULL: there is none. */
const struct asset *asset_find(const char *name);
/* Its address from a page that is at `root` ("./", "../../"), for an attribute of HTML; nothing if there is none. */
void asset_address(struct bytes *to, const char *root, const char *name);
/* `rest`: behind ASSET_TREE. False: there is no such file. */
bool asset_answer(const struct http_request *q, const char *rest, struct http_response *ret);
