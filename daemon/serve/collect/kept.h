/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* kept.h - collectors that count two values from the start on: from rows of core.kept to a capture. */

#include "daemon/serve/capture.h"
#include "daemon/serve/core.h"

/* How many rows there are of this collector and target. Takes the core's lock. */
uint64_t kept_count(struct core *c, const struct target *t, unsigned collector);

/* Both take the core's lock; 0 or -ENOMEM. */
int kept_read(struct core *c, struct totals_before *ret);
/* What the profile's collector has counted since `before` (all zero: since it was armed), and comments. */
int kept_capture(struct core *c, const struct target *t, const struct totals_before *before,
		 struct capture *to);
