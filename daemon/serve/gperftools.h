/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* gperftools.h - profiles as gperftools writes them, for the clients of /pprof/...: counts under addresses, and
 * which files the addresses are of. Names come from /pprof/symbol.
 *
 * Owns nothing. Addresses are those that all our answers show. Return addresses are written as such, because
 * readers subtract one; only the leaf of a CPU sample is where it is. Refuses texts past TEXT_MAX_BYTES. */

#include "base/bytes.h"
#include "daemon/serve/capture.h"
#include "daemon/serve/naming.h"

/* Each sets `ret` (what it held is not freed) on success. 0; -ENOMEM; -E2BIG. */

/* Four columns, as heap and allocs have them. `rate`: the samples are as they were taken, one in so many
 * bytes, and readers scale them; 0: they are scaled. */
int gperftools_heap(const struct capture *c, const struct naming *n, uint64_t rate, struct bytes *ret);
/* Two columns: objects, bytes. */
int gperftools_growth(const struct capture *c, const struct naming *n, struct bytes *ret);
/* Two columns: contentions, nanoseconds. */
int gperftools_contention(const struct capture *c, const struct naming *n, struct bytes *ret);
/* The first column, samples, as binary words of 64 bits. */
int gperftools_cpu(const struct capture *c, const struct naming *n, struct bytes *ret);
