/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* threads.h - answers who asks for the threads of a process: registers from the kernel, stacks from its memory.
 *
 * A thread of ours for each, until the other end of the socket is closed; bounded in number and in time, whatever
 * the process does (peek.h). A stack goes with its registers only if its thread has not run between two looks at
 * it; else it is read again, a few times, and then said to be running. Whoever asks gets of a process's memory
 * what lies from a thread's stack pointer on, and the 16 bytes of its futex. */

#include "daemon/broker/kernel.h"

/* k: of this process; ours from now on, also on failure. A socket (daemon/protocol.h), or -errno. */
int threads_answer(const struct process *p, struct kernel_threads k, enum broker_threads_what what);
