/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* confine.h - what the broker gives up once it has opened what needs more: listening sockets, directories, files that
 * are named on its command line, a command that it starts. Refuses nothing by itself: with fewer rights than are kept here, less works
 * (check.h tells what). */

#include <stdbool.h>

/* Every capability but those that profiling takes, from the bounding set as well, and the way to new ones. Errors are no
 * reason to stop. */
void confine_capabilities(void);

/* The system calls that we make from here on, and no others: those that lead elsewhere (another program, another user,
 * mounts, others' memory) end us with a line; any other, executable memory, the network, namespaces and devices among them, is
 * answered as one that the kernel does not have. The other processes of ours do not inherit it: their starter (starter.h)
 * must be there. 0 or -errno. */
int confine_calls(void);
