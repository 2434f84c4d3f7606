/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* contention.h - block?debug=1 and mutex?debug=1: the text of Go's runtime/pprof writeProfileInternal. A
 * "cycle" is a nanosecond. Owns nothing. */

#include "base/bytes.h"
#include "daemon/serve/capture.h"
#include "daemon/serve/naming.h"

/* Sets `ret`. 0; -ENOMEM; -E2BIG. */
int contention_text(const struct capture *c, const struct naming *n, struct bytes *ret);
