/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* config.h - a configuration file, as keys with values: what YAML is of it.
 *
 * One mapping, or a list of them, for options whose order matters; a value is a scalar, or a list of scalars, each of which
 * is an item of its own. Refuses everything else that YAML has: anchors, aliases, tags, nested mappings, several documents,
 * a key twice in a mapping. What keys mean, and values, is
 * options.c's: they are its long options. */

#include <stddef.h>

#define CONFIG_MAX_BYTES 65536
#define CONFIG_MAX_ITEMS 1024
#define CONFIG_MAX_TEXT 400

struct config_item {
	char *key;
	char *value; /* NULL: nothing stands there */
	unsigned line; /* from 1 on */
};

struct config {
	struct config_item *items;
	size_t n;
};

/* 0; -errno; -EBADMSG: it is none, `error` (CONFIG_MAX_TEXT) tells in one line what is wrong, beginning with the number of
 * its line and a colon. */
int config_parse(const char *text, size_t n, struct config *ret, char *error);
/* Of a file, at most CONFIG_MAX_BYTES: the same; -EFBIG. */
int config_read(const char *path, struct config *ret, char *error);
void config_deinit(struct config *c);
