/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* procfs.h - what /proc says of a process that nobody has asked for yet.
 *
 * Owns nothing. Opens no file but those of /proc, and none that waits for the process: no cmdline, no exe. Each byte
 * is a stranger's: cut off at its bound, and of the path of a cgroup only what looks like a unit or an id is
 * taken for one. */

#include <stdbool.h>
#include <sys/types.h>

#include "daemon/protocol.h"

enum procfs_result {
	PROCFS_OK,
	PROCFS_NONE, /* it has ended, or is none to profile: of the kernel, 32-bit; or nothing may be known of it */
};

#define PROCFS_MAX_CGROUPS 16384 /* bytes of /proc/PID/cgroup; what is beyond is not seen */

/* All but id, matches, target and followed. `cgroups`: PROCFS_MAX_CGROUPS bytes for the text of /proc/PID/cgroup, its paths
 * from the root of the machine's cgroups as far as we can tell; or NULL. */
enum procfs_result procfs_read(pid_t pid, struct broker_known *ret, char *cgroups);

/* Whether all processes of the machine have a number here; false in a PID namespace. */
bool procfs_sees_machine(void);

/* unit, container (the innermost) and pod, as the path says them. */
void procfs_cgroup(const char *path, struct broker_known *to);
/* The path in the text of /proc/PID/cgroup that tells most: a container's, else of the one hierarchy, else of systemd's, else
 * of any; the root last. Of n bytes. */
void procfs_choose_cgroup(const char *text, char *to, size_t n);
/* Whether it is in the cgroup, or below, in any hierarchy; the path is n bytes. */
bool procfs_in_cgroup(const char *text, const char *path, size_t n);
/* Whether it is in a container whose id begins so, or in one that runs in that one. */
bool procfs_in_container(const char *text, const char *id);
/* Makes its paths those from the root. Who is in a cgroup namespace sees them from its own cgroup ("/../../x.slice");
 * `root`: the text of a process that is in the root of all. Paths that do not go by the root stay as they are. */
void procfs_from_root(char *text, const char *root);
