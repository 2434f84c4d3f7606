/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* page.h - /metrics: which numbers there are, and what they are called.
 *
 * Pure but for the clocks: facts in, text out. Series of profiles come from the table of profiles; those of a target are
 * there only while it has a place in the kernel's tables. */

#include <sys/types.h>

#include "daemon/serve/metrics/facts.h"
#include "daemon/serve/metrics/text.h"

struct http_tally;

void metrics_page(struct metrics_text *t, const struct facts *f, const struct tallies *tally,
		  const struct http_tally *http);
