/* SPDX-License-Identifier: Apache-2.0 */

/* why.c - what a thread leaves its CPU for, from the system call that it is in. */

#include <sys/syscall.h>

#include "bpf/trace.h"
#include "daemon/serve/trace/record.h"

static const struct {
	uint16_t call;
	uint8_t why;
} calls[] = {
	{ SYS_futex, TRACE_SYNC },
#ifdef SYS_futex_waitv
	{ SYS_futex_waitv, TRACE_SYNC },
#endif
	{ 455, TRACE_SYNC }, /* futex_wait, where headers are older */
	{ SYS_accept, TRACE_NETWORK },
	{ SYS_accept4, TRACE_NETWORK },
	{ SYS_connect, TRACE_NETWORK },
	{ SYS_recvfrom, TRACE_NETWORK },
	{ SYS_recvmsg, TRACE_NETWORK },
	{ SYS_recvmmsg, TRACE_NETWORK },
	{ SYS_sendto, TRACE_NETWORK },
	{ SYS_sendmsg, TRACE_NETWORK },
	{ SYS_sendmmsg, TRACE_NETWORK },
#ifdef SYS_poll
	{ SYS_poll, TRACE_POLL },
	{ SYS_select, TRACE_POLL },
	{ SYS_epoll_wait, TRACE_POLL },
	{ SYS_pause, TRACE_SIGNAL },
#endif
	{ SYS_ppoll, TRACE_POLL },
	{ SYS_pselect6, TRACE_POLL },
	{ SYS_epoll_pwait, TRACE_POLL },
	{ 441, TRACE_POLL }, /* epoll_pwait2 */
	{ SYS_nanosleep, TRACE_SLEEP },
	{ SYS_clock_nanosleep, TRACE_SLEEP },
	{ SYS_wait4, TRACE_CHILD },
	{ SYS_waitid, TRACE_CHILD },
	{ SYS_rt_sigsuspend, TRACE_SIGNAL },
	{ SYS_rt_sigtimedwait, TRACE_SIGNAL },
};

/* Of read and write: by what they are of. */
static const uint8_t files[] = {
	[PP_FILE_OTHER] = TRACE_SYSCALL,   [PP_FILE_PIPE] = TRACE_PIPE,	  [PP_FILE_SOCKET] = TRACE_NETWORK,
	[PP_FILE_EVENT] = TRACE_EVENTFD,   [PP_FILE_TIMER] = TRACE_SLEEP, [PP_FILE_TERMINAL] = TRACE_SYSCALL,
};

static uint8_t block(uint32_t item)
{
	uint32_t call = PP_WAIT_CALL(item), file = PP_WAIT_FILE(item);

	if (call == PP_WAIT_NO_CALL)
		return TRACE_FAULT;
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		if (calls[i].call == call)
			return calls[i].why;
	return file < sizeof(files) ? files[file] : TRACE_SYSCALL;
}

uint8_t trace_why(uint32_t item)
{
	if (item & PP_TRACE_DEAD)
		return TRACE_DEAD;
	if (item & PP_WAIT_PREEMPTED)
		return TRACE_PREEMPTED;
	if (item & PP_WAIT_YIELDED)
		return PP_WAIT_CALL(item) == SYS_sched_yield ? TRACE_YIELDED : TRACE_PREEMPTED;
	if (item & PP_WAIT_STOPPED)
		return TRACE_STOPPED;
	return block(item);
}
