/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* told.h - which functions serve has been told of: the child's end of functions.h, and how to find one by what it is.
 *
 * Owns both. Two that fall into one place displace each other, and are told again. There are as few places as will do: each may be
 * on a page of its own. */

#include "symbolizer/functions.h"
#include "symbolizer/protocol.h"

#define TOLD_PLACES (2 * FUNCTIONS_SLOTS)
#define TOLD_FIRST_PLACES 1024

struct told {
	struct functions functions;
	uint32_t n_places;	       /* in use, of: */
	uint32_t by_hash[TOLD_PLACES]; /* numbers */
};

/* Makes *f, which has its texts behind it, one without where they were told before. Its function is kept in either case. */
void told_frame(struct told *t, struct symbolizer_frame *f, const char *name,
		const char *system_name, const char *file);
