/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* client_parts.h - what the files of the client share: one question and the records of its answer. */

#include <stdbool.h>

#include "symbolizer/client.h"

int client_ask(struct symbolizer *s, uint32_t type, const struct symbolizer_object *o,
	       const struct symbolizer_question *q, const uint64_t *addresses);
/* One record, into s->record. */
int client_receive(struct symbolizer *s);
struct symbolizer_question client_question(const struct symbolizer_object *o);
/* Of a SYMBOLIZER_END: the file's own error, or 0. */
int client_status(const struct record *r);
bool client_good_argument(const struct symbolizer_argument *a);
