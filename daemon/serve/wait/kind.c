/* SPDX-License-Identifier: Apache-2.0 */

/* kind.c - what a wait is for. The kernel's side of it is the system call (the machine's numbers); the rest is told
 * by names: of glibc's and musl's pthreads, libstdc++, libc++, Rust's std, parking_lot, abseil, folly, and of
 * whoever calls his functions by what they do. */

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "daemon/serve/frame.h"
#include "daemon/serve/naming.h"
#include "daemon/serve/wait/wait.h"

#define MAX_DEPTH 16 /* frames from the leaf in which a name tells */
#define FUTEX_WAIT 0
#define FUTEX_LOCK_PI 6
#define FUTEX_LOCK_PI2 13

struct call {
	uint16_t number;
	const char *reason;
};

/* By what users look for. In the order of the calls' numbers. */
static const struct call calls[] = {
#ifdef SYS_poll /* newer machines have only what took their places */
	{ SYS_poll, "poll" }, { SYS_select, "poll" }, { SYS_epoll_wait, "poll" }, { SYS_pause, "sleep" }, { SYS_vfork, "child" },
#endif
	{ SYS_read, "io" }, { SYS_write, "io" }, { SYS_pread64, "disk" },
	{ SYS_pwrite64, "disk" }, { SYS_readv, "io" }, { SYS_writev, "io" },
	{ SYS_sched_yield, "preempted" }, { SYS_nanosleep, "sleep" },
	{ SYS_sendfile, "network" }, { SYS_connect, "network" }, { SYS_accept, "network" },
	{ SYS_sendto, "network" }, { SYS_recvfrom, "network" }, { SYS_sendmsg, "network" },
	{ SYS_recvmsg, "network" }, { SYS_wait4, "child" },
	{ SYS_semop, "sem" }, { SYS_msgsnd, "queue" }, { SYS_msgrcv, "queue" },
	{ SYS_fcntl, "filelock" }, { SYS_flock, "filelock" }, { SYS_fsync, "disk" },
	{ SYS_fdatasync, "disk" }, { SYS_rt_sigtimedwait, "signal" }, { SYS_rt_sigsuspend, "signal" },
	{ SYS_sync, "disk" }, { SYS_futex, "futex" }, { SYS_io_getevents, "disk" },
	{ SYS_semtimedop, "sem" }, { SYS_clock_nanosleep, "sleep" },
	{ SYS_mq_timedsend, "queue" }, { SYS_mq_timedreceive, "queue" }, { SYS_waitid, "child" },
	{ SYS_pselect6, "poll" }, { SYS_ppoll, "poll" }, { SYS_sync_file_range, "disk" },
	{ SYS_epoll_pwait, "poll" }, { SYS_accept4, "network" }, { SYS_preadv, "disk" },
	{ SYS_pwritev, "disk" }, { SYS_recvmmsg, "network" }, { SYS_sendmmsg, "network" },
	{ 426 /* io_uring_enter */, "io_uring" }, { 441 /* epoll_pwait2 */, "poll" },
	{ 449 /* futex_waitv */, "futex" }, { 454 /* futex_wake */, "futex" },
	{ 455 /* futex_wait */, "futex" }, { 456 /* futex_requeue */, "futex" },
};

static const char *const files[] = {
	[PP_FILE_OTHER] = "io",	    [PP_FILE_PIPE] = "pipe",	  [PP_FILE_SOCKET] = "network",
	[PP_FILE_EVENT] = "eventfd", [PP_FILE_TIMER] = "sleep", [PP_FILE_TERMINAL] = "terminal",
};

static const char *call_reason(uint32_t call)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i].number == call)
			return calls[i].reason;
	return "other";
}

const char *wait_reason(uint32_t item)
{
	uint32_t call = PP_WAIT_CALL(item), file = PP_WAIT_FILE(item);
	const char *reason;

	if (item & (PP_WAIT_PREEMPTED | PP_WAIT_YIELDED))
		return "preempted";
	if (item & PP_WAIT_STOPPED)
		return "stopped";
	if (item & PP_WAIT_DISK)
		return call == PP_WAIT_NO_CALL ? "pagefault" : "disk";
	if (call == PP_WAIT_NO_CALL)
		return "pagefault";
	reason = call_reason(call);
	if (item & PP_WAIT_KERNEL && strcmp(reason, "child"))
		return "kernel";
	if (!strcmp(reason, "io") && file < sizeof(files) / sizeof(files[0]))
		return files[file];
	return reason;
}

bool wait_may_be_sync(uint32_t item)
{
	static const char *const reasons[] = { "futex", "pipe", "eventfd", "sem", "queue" };
	const char *reason = wait_reason(item);

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (!strcmp(reason, reasons[i]))
			return true;
	return false;
}

struct pattern {
	const char *name; /* as fnmatch has it, with ?(>): Rust's v0 names are <std::sync::Once>::call */
	enum wait_kind kind;
};

/* The first that fits a name. What only says "it waits" comes last, and is given up for a frame further out
 * that says more. */
static const struct pattern patterns[] = {
	{ "pthread_cond_*wait*", WAIT_COND }, { "__pthread_cond_*wait*", WAIT_COND },
	{ "cnd_*wait", WAIT_COND }, { "pthread_mutex_*lock", WAIT_MUTEX },
	{ "__pthread_mutex_*lock*", WAIT_MUTEX }, { "mtx_*lock", WAIT_MUTEX },
	{ "pthread_rwlock_*lock", WAIT_RWLOCK }, { "__pthread_rwlock_*lock*", WAIT_RWLOCK },
	{ "pthread_barrier_wait", WAIT_BARRIER }, { "__pthread_barrier_wait", WAIT_BARRIER },
	{ "pthread_*join*", WAIT_JOIN }, { "__pthread_*join*", WAIT_JOIN }, { "thrd_join", WAIT_JOIN },
	{ "sem_*wait", WAIT_SEM }, { "__new_sem_wait*", WAIT_SEM }, { "__sem_*wait*", WAIT_SEM },
	{ "pthread_once", WAIT_ONCE }, { "__pthread_once*", WAIT_ONCE }, { "call_once", WAIT_ONCE },
	{ "__cxa_guard_acquire", WAIT_ONCE }, { "__lll_lock_wait*", WAIT_MUTEX },
	/* Rust */
	{ "*::Mutex?(>)::lock_contended*", WAIT_MUTEX }, { "*::futex::Mutex?(>)::*", WAIT_MUTEX },
	{ "*::RawMutex?(>)::lock_slow*", WAIT_MUTEX }, { "*::RawRwLock?(>)::*", WAIT_RWLOCK },
	{ "*::RwLock?(>)::*", WAIT_RWLOCK }, { "*::Condvar?(>)::wait*", WAIT_COND }, { "*::Once?(>)::*", WAIT_ONCE },
	{ "*::mpmc::*", WAIT_QUEUE }, { "*::mpsc::*", WAIT_QUEUE }, { "*crossbeam_channel::*", WAIT_QUEUE },
	{ "*::JoinHandle*::join*", WAIT_JOIN }, { "*::Barrier?(>)::wait*", WAIT_BARRIER },
	/* C++ */
	{ "absl::*CondVar::*", WAIT_COND }, { "absl::*Mutex::Await*", WAIT_COND },
	{ "absl::*Mutex::*Lock", WAIT_MUTEX }, /* Block, LockSlowLoop: conditions come through them too */
	{ "absl::*Mutex::LockSlow", WAIT_MUTEX }, { "absl::*Mutex::LockSlowWithDeadline", WAIT_MUTEX },
	{ "absl::*Mutex::lock*", WAIT_MUTEX }, { "folly::SharedMutex*", WAIT_RWLOCK },
	{ "std::*latch*::*wait*", WAIT_BARRIER }, { "std::*barrier*::*", WAIT_BARRIER },
	{ "std::*semaphore*::*", WAIT_SEM }, { "std::*semaphore_base*", WAIT_SEM },
	{ "std::*shared_mutex*::*lock*", WAIT_RWLOCK }, { "std::*condition_variable*::wait*", WAIT_COND },
	{ "std::*__future*::*wait*", WAIT_COND }, { "std::*__atomic_futex*", WAIT_COND },
	{ "std::*mutex::lock*", WAIT_MUTEX }, { "std::*call_once*", WAIT_ONCE },
	{ "*::__libcpp_condvar_*wait*", WAIT_COND }, { "nsync*_mu_*lock*", WAIT_MUTEX },
	{ "nsync*_cv_wait*", WAIT_COND }, { "uv_mutex_lock", WAIT_MUTEX }, { "uv_cond_*wait", WAIT_COND },
	{ "uv_sem_wait", WAIT_SEM }, { "ObjectMonitor::*enter*", WAIT_MUTEX },
	/* Go's threads are not its goroutines */
	{ "runtime.futex*", WAIT_RUNTIME }, { "runtime.notesleep*", WAIT_RUNTIME },
};

/* What a name says to a reader. */
static const struct pattern words[] = {
	{ "*[Uu]nlock*", WAIT_NONE }, { "*[Rr][Ww]_[Ll]ock*", WAIT_RWLOCK },
	{ "*[Rr][Ww][Ll]ock*", WAIT_RWLOCK }, { "*[Ss]hared*[Ll]ock*", WAIT_RWLOCK },
	{ "*[Cc]ond*[Ww]ait*", WAIT_COND }, { "*[Ss]emaphore*", WAIT_SEM }, { "*[Bb]arrier*", WAIT_BARRIER },
	{ "*[Mm]utex*", WAIT_MUTEX }, { "lock", WAIT_MUTEX }, { "*_lock", WAIT_MUTEX },
	{ "*::lock", WAIT_MUTEX }, { "*::Lock", WAIT_MUTEX }, { "*[Ll]ock_slow*", WAIT_MUTEX },
	{ "*[Ll]ockSlow*", WAIT_MUTEX }, { "*::acquire", WAIT_MUTEX }, { "*_lock_wait*", WAIT_MUTEX },
};

static enum wait_kind look_up(const struct pattern *p, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!fnmatch(p[i].name, name, FNM_EXTMATCH))
			return p[i].kind;
	return WAIT_NONE;
}

/* glibc from 2.25 on, by the name of its file: libc.so.6 since 2.34. */
static bool is_new_glibc(const char *file)
{
	const char *base = strrchr(file, '/');

	base = base ? base + 1 : file;
	if (!strncmp(base, "libc-2.", 7))
		return atoi(base + 7) >= 25;
	if (!strncmp(base, "libpthread-2.", 13))
		return atoi(base + 13) >= 25;
	return !strncmp(base, "libc.so.6", 9);
}

/* glibc takes the mutex again inside pthread_cond_wait; that wait is the mutex's. It can be told by the
 * operation: its condition variables wait with a bit set since 2.25. */
static bool takes_mutex_again(uint32_t item, const struct naming *n, uint32_t location)
{
	const struct naming_location *l = &n->locations.data[location];
	const char *file = l->mapping ? n->mappings.data[l->mapping - 1].file : "";

	return PP_WAIT_CALL(item) == SYS_futex && PP_WAIT_OP(item) == FUTEX_WAIT &&
	       is_new_glibc(file);
}

/* What the name of a function at this location, or of one that ended in a jump to it, tells. */
static enum wait_kind by_name(uint32_t item, const struct naming *named, uint32_t location, const char *name)
{
	enum wait_kind found = look_up(patterns, sizeof(patterns) / sizeof(patterns[0]), name);

	if (found == WAIT_COND && location != UINT32_MAX && !strncmp(name, "pthread_cond", 12) &&
	    takes_mutex_again(item, named, location))
		return WAIT_MUTEX;
	return found;
}

/* Sets *guess, unless it is set or NULL, where a name only speaks to a reader. */
static enum wait_kind by_location(uint32_t item, const struct naming *named, uint32_t location,
				  enum wait_kind *guess)
{
	uint32_t n;
	const struct naming_line *lines = naming_lines(named, location, &n);

	for (uint32_t k = 0; k < n; k++) {
		const char *name = naming_function(named, lines[k].function)->name;
		enum wait_kind found = by_name(item, named, location, name);

		if (found != WAIT_NONE)
			return found;
		if (guess && *guess == WAIT_NONE)
			*guess = look_up(words, sizeof(words) / sizeof(words[0]), name);
	}
	return WAIT_NONE;
}

/* The first frame that is not in the leaf's object, or where it is not looked for further. */
static uint32_t first_foreign(const uint64_t *stack, uint32_t n)
{
	uint32_t i = 0;

	while (i < n && i < WAIT_MAX_CALLERS && frame_kind(stack[i]) == FRAME_FILE &&
	       frame_object(stack[i]) == frame_object(stack[0]))
		i++;
	return i;
}

static enum wait_kind by_names(uint32_t item, const uint64_t *stack, uint32_t n, const struct naming *named)
{
	uint32_t below = UINT32_MAX, foreign = first_foreign(stack, n);
	enum wait_kind guess = WAIT_NONE, found = WAIT_NONE;

	for (uint32_t i = 0; i < n && i < MAX_DEPTH && found == WAIT_NONE; i++) {
		uint32_t location = naming_find(named, stack[i]);
		const char *callee = NULL;

		if (i && i <= foreign && location != UINT32_MAX)
			callee = named->locations.data[location].callee;
		if (callee)
			found = by_name(item, named, below, callee);
		if (found == WAIT_NONE)
			found = by_location(item, named, location, i < MAX_DEPTH / 2 ? &guess : NULL);
		below = location;
	}
	return found == WAIT_NONE ? guess : found;
}

uint32_t wait_callers(uint32_t item, const uint64_t *stack, uint32_t n, const struct naming *named,
		      uint64_t *ret)
{
	uint32_t foreign = first_foreign(stack, n), n_callers = 0;

	if (strcmp(wait_reason(item), "futex") || !foreign)
		return 0;
	for (uint32_t i = 0; i < foreign; i++)
		if (by_location(item, named, naming_find(named, stack[i]), NULL) != WAIT_NONE)
			return 0;
	for (uint32_t i = 1; i <= foreign && i < n && n_callers < WAIT_MAX_CALLERS; i++)
		if (frame_kind(stack[i]) == FRAME_FILE)
			ret[n_callers++] = stack[i];
	return n_callers;
}

enum wait_kind wait_kind(uint32_t item, const uint64_t *stack, uint32_t n, const struct naming *named)
{
	const char *reason = wait_reason(item);
	uint32_t op = PP_WAIT_OP(item);
	enum wait_kind k;

	if (!strcmp(reason, "pipe") || !strcmp(reason, "eventfd") || !strcmp(reason, "queue"))
		return WAIT_QUEUE;
	if (!strcmp(reason, "sem"))
		return WAIT_SEM;
	if (strcmp(reason, "futex"))
		return WAIT_NONE;
	k = by_names(item, stack, n, named);
	if (k != WAIT_NONE)
		return k;
	return op == FUTEX_LOCK_PI || op == FUTEX_LOCK_PI2 ? WAIT_MUTEX : WAIT_FUTEX;
}

const char *wait_kind_name(enum wait_kind k)
{
	static const char *const names[WAIT_N_KINDS] = {
		[WAIT_NONE] = "none",	    [WAIT_FUTEX] = "futex",	[WAIT_MUTEX] = "mutex",
		[WAIT_RWLOCK] = "rwlock",   [WAIT_COND] = "cond",	[WAIT_SEM] = "sem",
		[WAIT_BARRIER] = "barrier", [WAIT_JOIN] = "join",	[WAIT_ONCE] = "once",
		[WAIT_QUEUE] = "queue",	    [WAIT_RUNTIME] = "runtime",
	};

	return names[k];
}
