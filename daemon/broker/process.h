/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* process.h - the processes named on the command line, and their files.
 *
 * Owns a pidfd for each, so that a number used again is never mistaken for the old process. Opens
 * /proc files from a fixed list and files that are mapped there, by address; never a path that
 * someone gave. Opening may block where the target's file system is its own (FUSE), so it
 * happens in a child that can be killed, and that is left where even that does not end it. */

#include <stdbool.h>
#include <sys/types.h>

#include "daemon/protocol.h"

#define PROCESS_NOBODYS ((uid_t)-1)

struct process {
	pid_t pid;
	int pidfd;
	uid_t uid; /* whose it is; PROCESS_NOBODYS: it runs with the rights of several (setuid) */
	char comm[16];
	uint32_t host_tgid; /* as BPF programs see it; 0: not resolved yet */
	uint64_t start_boottime, exec_id;
	uint64_t known; /* struct broker_known.id */
	unsigned n_stuck; /* opens that its file system did not answer; few are waited for in a row, then seldom */
	int64_t stuck_ns; /* monotonic: the last one */
	pid_t stuck;	  /* who has been left in it, and may be there still; 0: nobody */
};

enum process_result {
	PROCESS_OK,
	PROCESS_NONE,	/* no such process */
	PROCESS_KERNEL, /* a kernel thread */
	PROCESS_THREAD, /* a thread, not a process; pid in ret->pid */
	PROCESS_32_BIT,
	PROCESS_ZOMBIE,
};

/* enum process_result or -errno. */
int process_open(pid_t pid, struct process *ret);
/* One that the census knows, if it is that one still. Nothing that may block is opened. 0; -ESRCH; -errno. */
int process_take(const struct broker_known *k, struct process *ret);
bool process_alive(const struct process *p);
/* It has executed another program: whose it is now. Once it is another's, or one that its user may not look into (proc(5),
 * PR_SET_DUMPABLE), it is PROCESS_NOBODYS for good: what was counted is of both. */
void process_look_whose(struct process *p);

/* A descriptor, or -errno (-ESRCH: it has ended). */
int process_open_proc(const struct process *p, enum broker_proc_file file);
/* The regular file behind one line of /proc/PID/maps, read-only: descriptor and its fstat; or
 * -errno; -EMEDIUMTYPE: not a regular file; -ETIMEDOUT: its file system does not answer. */
int process_open_mapped(struct process *p, uint64_t start, uint64_t end,
			struct broker_file *ret);
/* Runs `open` in a child that can be killed, with a copy of n bytes of *context, which comes back as `open` left it
 * unless it was killed (-ETIMEDOUT). `open` gets the directory of the process in /proc, or with `any` -errno where it has ended,
 * and returns a descriptor or -errno. n: at most PROCESS_MAX_CONTEXT. */
#define PROCESS_MAX_CONTEXT 256
typedef int process_open_fn(int dir, void *context);
int process_open_guarded(struct process *p, bool any, process_open_fn *open, void *context, size_t n);
