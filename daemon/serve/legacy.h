/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* legacy.h - the frame lines of Go's text profiles (debug=1), as runtime/pprof's printStackRecord lays them
 * out: "#", pc, name+offset, file:line, in columns of tabs. Clients skip them; people read
 * them. Owns nothing. */

#include "base/bytes.h"
#include "daemon/serve/capture.h"
#include "daemon/serve/naming.h"

#define LEGACY_MAX_NAME 1000 /* bytes: a line of 64 KiB makes clients give up the whole text */

/* Inlined calls have lines of their own, innermost first, with the pc of the call that is really there. */
void legacy_frames(const struct capture *c, const struct naming *n, struct capture_stack stack,
		   struct bytes *out);
