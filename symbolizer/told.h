/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* told.h - which functions serve has been told of: the child's end of functions.h, and how to find one by what it is.
 *
 * Owns both. Two that fall into one place displace each other, and are told again. */

#include "symbolizer/functions.h"
#include "symbolizer/protocol.h"

#define TOLD_PLACES (2 * FUNCTIONS_SLOTS)

struct told {
	struct functions functions;
	uint32_t by_hash[TOLD_PLACES]; /* numbers */
};

/* Makes *f, which has its texts behind it, one without where they were told before. Its function is kept in either case. */
void told_frame(struct told *t, struct symbolizer_frame *f, const char *name,
		const char *system_name, const char *file);
