/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* text.h - a named capture as text, for people who have only curl.
 *
 * Owns nothing between calls. Functions are told apart by name, as `go tool pprof` does; inlined
 * calls count as calls. Names come from targets: control characters never reach a terminal.
 * Refuses texts past TEXT_MAX_BYTES. Adds nothing up in the capture itself. */

#include "base/bytes.h"
#include "daemon/serve/capture.h"
#include "daemon/serve/naming.h"

#define TEXT_MAX_BYTES (256ul << 20)

/* Both set `ret` (what it held is not freed) on success. 0; -E2BIG; -ENOMEM; -EINVAL: a profile
 * without sample types. */

/* The table of `go tool pprof -top -nodefraction=0`, with the place of each function behind its
 * name and the comments in front. Shows the default sample type, or else the last. */
int text_top(const struct capture *c, const struct naming *n, struct bytes *ret);

/* "thread;main;...;leaf count": what flamegraph.pl, inferno and speedscope read. Outermost first;
 * functions of the kernel end in "_[k]"; the first sample type, of heaps the default one. The largest first. */
int text_folded(const struct capture *c, const struct naming *n, struct bytes *ret);
