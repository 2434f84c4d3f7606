/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* pulse.h - tells the broker now and then that serve lives, for a watchdog's sake.
 *
 * A thread of its own: the one that watches targets may wait for a long scan of another's, which is no reason to be
 * killed. It takes the innermost lock of all answers, so that a process whose threads have locked each other
 * out falls silent; and the broker passes it on only from the loop that answers requests. */

#include "daemon/serve/core.h"

/* Every so many milliseconds until stop_fd is readable; 0: not at all. 0 or -errno. */
int pulse_start(struct core *c, uint32_t every_ms);
