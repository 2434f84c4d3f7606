/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* encode.h - a named capture as the gzip'ed protobuf that pprof and the scrapers read.
 *
 * Owns nothing between calls. Writes what go-endpoints.md section 3 asks for: ids from 1 in the
 * order of first use, strings that are UTF-8 whatever a target chose, one gzip member. Refuses
 * profiles past ENCODE_MAX_BYTES rather than answer a part of one. Adds nothing up: see
 * capture_merge. */

#include "base/bytes.h"
#include "daemon/serve/capture.h"
#include "daemon/serve/naming.h"

#define ENCODE_MAX_BYTES (256ul << 20) /* before gzip */

/* Sets `ret` (what it held is not freed) on success. 0; -E2BIG; -ENOMEM; -EINVAL: a profile without
 * sample types. */
int encode_pprof(const struct capture *c, const struct naming *n, struct bytes *ret);
