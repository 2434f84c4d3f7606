/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* identity.h - the question and the answer of task.bpf.c. */

#include <linux/types.h>

#define PP_MAX_PID_LEVELS 32 /* the kernel's MAX_PID_NS_LEVEL */

struct pp_identity_query {
	__u32 pid;		/* as the namespace below calls it */
	__u32 namespace_inode;	/* of /proc/self/ns/pid */
};

struct pp_identity {
	__u64 start_boottime; /* ns; tells a reused number */
	__u64 exec_id;	      /* counts the programs it has executed */
	__u32 tgid;	      /* the host's number */
	__u32 pad;
};
