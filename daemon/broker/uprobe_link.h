/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* uprobe_link.h - uprobes of one file in one link (BPF_LINK_CREATE with uprobe_multi), which libbpf 1.1 does
 * not know. Owns the number of threads that take probes out. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* linux/bpf.h of 6.13: newer than the headers that we build with. */
#define TRACE_UPROBE_MULTI 48
#define TRACE_UPROBE_SESSION 57

struct uprobe_place {
	uint64_t offset, semaphore, cookie; /* in the file; 0: none; what bpf_get_attach_cookie gives */
};

#define UPROBE_LINK_MAX 128

/* For one process, or 0: any. A descriptor, or -errno. */
int uprobe_link(int program, int type, const char *path, const struct uprobe_place *places, uint32_t n,
		pid_t pid);

/* Takes the probes out, whatever becomes of us meanwhile. -1: there is none. Waits for the kernel: some hundredths of a second. */
void uprobe_link_close(int fd);

/* Around what takes probes out in a thread of its own, of whatever kind they are: when the process ends meanwhile, they may stay
 * in the target. Whoever is about to end waits, 10 seconds at most. */
void uprobe_links_begin(void);
void uprobe_links_end(void);
void uprobe_links_wait(void);

/* Whether the kernel has links of uprobe sessions: tried with a program that does nothing. */
bool uprobe_link_has_sessions(void);
