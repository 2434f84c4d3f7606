/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* session.h - one capture: arm, wait, subtract.
 *
 * Any number of windows share one sampler; each is the difference of two readings of totals that only
 * grow. A window keeps the objects of its frames until session_close. */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/serve/capture.h"
#include "daemon/serve/core.h"

enum session_result {
	SESSION_OK,
	SESSION_GONE,	  /* the process has ended before the window began */
	SESSION_NO_KERNEL, /* programs could not be loaded */
	SESSION_REFUSED,   /* attaching failed: ret_error says why */
	SESSION_CLIENT_GONE,
	SESSION_STOPPING,
};

/* How a window is waited for; the caller knows the client. */
enum session_wait { SESSION_WAITED, SESSION_WAIT_CLIENT_GONE, SESSION_WAIT_STOPPING,
		    SESSION_WAIT_TARGET };
typedef enum session_wait session_wait_fn(void *context, int64_t until_ns, int target_fd);

struct session {
	struct core *core;
	struct target *target;
	const struct profile *profile;
	int64_t window_ns;
	bool kernel; /* keep kernel frames */
	session_wait_fn *wait;
	void *context;
	char error[BROKER_MAX_TEXT];
	bool open, armed;
	unsigned held; /* while it is open */
};

/* Runs the window; SESSION_OK: *ret is the capture (the caller frees it) and the session is open
 * until session_close. Else, or on -errno, there is nothing to close. */
int session_run(struct session *s, struct capture **ret);
void session_close(struct session *s);

/* Keeps the objects of frames that are seen from now on, until session_let_go is given what it returned. Takes the lock;
 * letting go may take scan_lock first. */
unsigned session_keep(struct core *c);
void session_let_go(struct core *c, unsigned held);
/* The same, of a window: old counts of windows are thrown away before the first of several. */
unsigned session_hold(struct core *c);
/* Files that nobody maps any more are let go, when no window that is open can need their names. Takes scan_lock and lock. */
void session_forget_objects(struct core *c);
/* Stacks that were kept have gone, and with them what they referred to. The lock is held. */
void session_mark_anew(struct core *c);
