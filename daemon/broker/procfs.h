/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* procfs.h - what /proc says of a process that nobody has asked for yet.
 *
 * Owns nothing. Opens no file but those of /proc, and none that waits for the process: no cmdline, no exe. Each byte
 * is a stranger's: cut off at its bound, and of the path of a cgroup only what looks like a unit or an id is
 * taken for one. */

#include <sys/types.h>

#include "daemon/protocol.h"

enum procfs_result {
	PROCFS_OK,
	PROCFS_NONE, /* it has ended, or is none to profile: of the kernel, 32-bit; or nothing may be known of it */
};

/* All but id, matches, target and followed. */
enum procfs_result procfs_read(pid_t pid, struct broker_known *ret);

/* unit, container and pod, as the path says them. */
void procfs_cgroup(const char *path, struct broker_known *to);
/* The path in the text of /proc/PID/cgroup that tells most; of n bytes. */
void procfs_choose_cgroup(const char *text, char *to, size_t n);
