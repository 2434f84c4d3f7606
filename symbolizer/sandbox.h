/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* sandbox.h - shuts the symbolizer in: from here on it can read the descriptors it is given, write
 * to its socket, and use memory and time up to a limit. */

#define SANDBOX_MAX_MEMORY (240u << 20) /* bytes: heap and private anonymous mappings, touched or not */
#define SANDBOX_MAX_STACK (8u << 20)

/* 0 or -errno. Nothing that comes after may open, connect, fork or map a file. */
int sandbox_enter(void);
