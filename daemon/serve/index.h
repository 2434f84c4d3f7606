/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* index.h - the index of a target's profiles, byte for byte in the shape of Go's (go-endpoints.md 2), but for one link
 * to the page.
 *
 * Appends text and owns none. */

#include "base/bytes.h"
#include "daemon/serve/profile.h"

/* What the column Count says. */
typedef uint64_t index_count(void *context, const struct profile *p);

void index_page(struct bytes *b, index_count *count, void *context);
/* The same over any table. */
void index_page_of(struct bytes *b, const struct profile *table, size_t n, index_count *count,
		   void *context);
