/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* redact.h - what --redact keeps back of what we have read.
 *
 * paths: of each file of a naming (mappings, sources, the scripts that runtimes put into the names of their code) the
 * last part is left. Everything that shows names is made of a naming: profiles, texts, dumps, traces. cmdline: of a
 * command line the last part of its program's name is left. */

#include "base/bytes.h"
#include "daemon/serve/naming.h"

/* The last part of a path; of one that ends in slashes too. In place. Returns text. */
char *redact_path(char *text);
/* Of each word that is a path (after a blank, '(' or at the start: '/', "./", "../", "file:") the last part. In place. */
char *redact_words(char *text);
/* All its texts that have a path in them are its own. */
void redact_naming(struct naming *n);
/* NUL-separated arguments, or their first. */
void redact_cmdline(struct bytes *b);
