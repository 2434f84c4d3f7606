/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* left.h - the end of what waits for somebody else.
 *
 * Some waits of the kernel's are not ended by a signal (a FUSE whose server has taken the question and is silent), and
 * closing a file may be one. A child that waits so is killed and left: it ends when it is answered, or with the file system;
 * and such files are closed by threads. Few may be left at a time. Any thread may ask. */

#include <stdbool.h>
#include <sys/types.h>

/* Whether another child may be started; those that have ended by now make room. */
bool left_has_room(void);
/* Kills it, and waits for its end as long as that takes at most where it does end. False: it is left. */
bool left_end(pid_t child);
/* Whether this one was left, and has not ended yet; 0: no. */
bool left_is_there(pid_t child);
/* Closes a file of a stranger's file system. */
void left_close(int fd);

static inline void left_closep(int *fd)
{
	left_close(*fd);
}
