/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* life.h - what life.bpf.c tells: processes that come, become another program, and go. */

#include <linux/types.h>

enum pp_life_what { PP_LIFE_FORK = 1, PP_LIFE_EXEC, PP_LIFE_EXIT };

/* A record of its ring. */
struct pp_life {
	__u32 what; /* enum pp_life_what */
	__u32 pid;  /* in the namespace that was asked for (identity.h) */
	__u32 parent; /* PP_LIFE_FORK: likewise; 0: it has no number there */
	__u32 pad;
};
_Static_assert(sizeof(struct pp_life) == 16, "no padding");

#define PP_LIFE_RING (256 * 1024) /* bytes: some 10,000 records */
