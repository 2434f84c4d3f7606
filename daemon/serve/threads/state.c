/* SPDX-License-Identifier: Apache-2.0 */

/* state.c - what a thread does, in the words that Go has for goroutines; where Go has none, the system call. */

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "daemon/serve/threads/threads.h"

#define MAX_STATE 64
#define TRACED 8 /* include/linux/sched.h: __TASK_TRACED */
#define READER_DEPTH 8

/* Those in which threads are found waiting. */
#define CALL(name) [SYS_##name] = #name
static const char *const calls[] = {
#ifdef SYS_open /* newer machines have only what took their places */
	CALL(open), CALL(stat), CALL(lstat), CALL(poll), CALL(select), CALL(pause), CALL(fork), CALL(vfork), CALL(getdents),
	CALL(rename), CALL(mkdir), CALL(unlink), CALL(chmod), CALL(epoll_wait),
#endif
	CALL(read), CALL(write), CALL(close), CALL(fstat),
	CALL(mmap), CALL(munmap), CALL(mprotect), CALL(madvise), CALL(ioctl), CALL(pread64), CALL(pwrite64),
	CALL(readv), CALL(writev), CALL(sched_yield), CALL(msync), CALL(nanosleep),
	CALL(sendfile), CALL(connect), CALL(accept), CALL(sendto), CALL(recvfrom), CALL(sendmsg),
	CALL(recvmsg), CALL(clone), CALL(execve), CALL(exit), CALL(wait4),
	CALL(semop), CALL(msgsnd), CALL(msgrcv), CALL(fcntl), CALL(flock), CALL(fsync), CALL(fdatasync),
	CALL(ftruncate), CALL(ptrace),
	CALL(rt_sigtimedwait), CALL(rt_sigsuspend), CALL(sync), CALL(mount), CALL(umount2), CALL(futex),
	CALL(io_getevents), CALL(getdents64), CALL(semtimedop), CALL(clock_nanosleep), CALL(exit_group),
	CALL(mq_timedsend), CALL(mq_timedreceive), CALL(waitid), CALL(openat),
	CALL(unlinkat), CALL(renameat), CALL(pselect6), CALL(ppoll), CALL(splice), CALL(sync_file_range),
	CALL(epoll_pwait), CALL(fallocate), CALL(accept4), CALL(preadv), CALL(pwritev), CALL(recvmmsg),
	CALL(syncfs), CALL(sendmmsg), CALL(process_vm_readv), CALL(getrandom), CALL(membarrier),
	CALL(copy_file_range), CALL(preadv2), CALL(pwritev2), CALL(statx), CALL(io_uring_enter), CALL(clone3),
};

static const char *call_name(uint32_t item)
{
	static __thread char text[MAX_STATE];
	uint32_t call = PP_WAIT_CALL(item);

	if (call == PP_WAIT_NO_CALL)
		return "waiting: page fault";
	if (call < sizeof(calls) / sizeof(*calls) && calls[call])
		snprintf(text, sizeof(text), "syscall: %s", calls[call]);
	else
		snprintf(text, sizeof(text), "syscall: %u", call);
	return text;
}

/* Of a lock for many readers or one writer. */
static bool reads(const struct thread_view *v, const struct naming *named)
{
	static const char *const patterns[] = { "*rdlock*", "*lock_shared*", "*read_lock*", "*[Rr]eader*",
						"*RLock*", "*RwLock*::read*" };

	for (uint32_t i = 0; i < v->n && i < READER_DEPTH; i++) {
		uint32_t n;
		const struct naming_line *lines = naming_lines(named, naming_find(named, v->words[i]), &n);

		for (uint32_t k = 0; k < n; k++)
			for (size_t p = 0; p < sizeof(patterns) / sizeof(*patterns); p++)
				if (!fnmatch(patterns[p], naming_function(named, lines[k].function)->name, 0))
					return true;
	}
	return false;
}

static const char *lock_state(const struct thread_view *v, const struct naming *named)
{
	switch (v->kind) {
	case WAIT_MUTEX:
		return "sync.Mutex.Lock";
	case WAIT_RWLOCK:
		return reads(v, named) ? "sync.RWMutex.RLock" : "sync.RWMutex.Lock";
	case WAIT_COND:
		return "sync.Cond.Wait";
	case WAIT_JOIN:
		return "semacquire: join";
	case WAIT_BARRIER:
		return "semacquire: barrier";
	case WAIT_ONCE:
		return "semacquire: once";
	case WAIT_RUNTIME:
		return "idle";
	default:
		return "semacquire";
	}
}

static bool is_pause(uint32_t item)
{
#ifdef SYS_pause
	return PP_WAIT_CALL(item) == SYS_pause;
#else
	return false;
#endif
}

const char *thread_state(const struct thread_view *v, const struct naming *named)
{
	static const char *const io[] = { "poll", "network", "pipe", "eventfd", "terminal" };
	const char *reason = wait_reason(v->item);

	if (v->t->running)
		return "running";
	if (!v->t->state)
		return "runnable";
	if (v->item & PP_WAIT_STOPPED)
		return v->t->state & TRACED ? "waiting: traced" : "waiting: stopped";
	if (!strcmp(reason, "futex") || !strcmp(reason, "sem"))
		return lock_state(v, named);
	if (!strcmp(reason, "sleep") && !is_pause(v->item))
		return "sleep";
	for (size_t i = 0; i < sizeof(io) / sizeof(*io); i++)
		if (!strcmp(reason, io[i]))
			return "IO wait";
	return call_name(v->item);
}
