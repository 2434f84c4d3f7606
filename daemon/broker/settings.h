/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* settings.h - a configuration file's keys are the long options: the table that the command line is parsed by is its schema.
 *
 * Knows nothing of single options. What a value means, and whether it is a good one, the option's own parser says. */

#include <argp.h>
#include <stdbool.h>
#include <stdio.h>

#include "daemon/broker/config.h"

/* The option of that name, of this table or its children's; NULL: none. `ret` is the parser that takes it. */
const struct argp_option *settings_find(const struct argp *argp, const char *name, argp_parser_t *ret);

/* An option without an argument, of which the file says that it is not given. */
bool settings_is_off(const struct argp_option *o, const struct config_item *item);

/* Hands one item to its parser, with `input`: `true` and `false` for options without an argument. 0; -EINVAL: it is none,
 * `error` (CONFIG_MAX_TEXT) says why. */
int settings_apply(const struct argp *argp, void *input, const struct config_item *item, char *error);
