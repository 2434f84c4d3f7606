/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* sandbox.h - shuts the symbolizer in: from here on it can read the descriptors it is given, write
 * to its socket, and use memory and time up to a limit. */

/* 0 or -errno. Nothing that comes after may open, connect, fork or map a file. */
int sandbox_enter(void);
