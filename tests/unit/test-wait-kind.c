/* SPDX-License-Identifier: Apache-2.0 */

/* What a wait is for: by its system call, and by names as the symbolizer gives them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "daemon/serve/naming.h"
#include "daemon/serve/wait/wait.h"
#include "symbolizer/demangle.h"

#define OP(n) ((uint32_t)(n) << PP_WAIT_OP_SHIFT)
#define FILE_IS(kind) ((uint32_t)(kind) << PP_WAIT_FILE_SHIFT)
#define FUTEX(op) (SYS_futex | OP(op))
#define FUTEX_WAIT 0
#define FUTEX_WAIT_BITSET 9
#define GLIBC "/usr/lib/x86_64-linux-gnu/libc.so.6"
#define MAX_FRAMES 24

struct world {
	struct naming n;
	char *shown[MAX_FRAMES];
	uint64_t words[MAX_FRAMES];
	uint32_t n_words;
};

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct world));
	return *state ? 0 : -1;
}

static void clear(struct world *w)
{
	for (uint32_t i = 0; i < MAX_FRAMES; i++)
		free(w->shown[i]);
	naming_free(&w->n);
	memset(w, 0, sizeof(*w));
}

static int teardown(void **state)
{
	clear(*state);
	free(*state);
	return 0;
}

/* The next frame further out, of one line; the name is a linkage name. */
static void frame(struct world *w, const char *file, const char *name)
{
	char text[SYMBOLIZER_MAX_NAME + 1];
	struct naming_function f = { .file = "" };
	struct naming_mapping m = { .file = file, .build_id = "" };
	struct naming_line l = { (uint32_t)w->n.functions.n, 1 };
	struct naming_location at = { .address = 0x1000, .first_line = (uint32_t)w->n.lines.n, .n_lines = 1 };
	uint64_t word = 100 + w->n_words;

	assert_true(w->n_words < MAX_FRAMES);
	demangle(name, DEMANGLE_SIMPLE, text);
	f.name = f.system_name = w->shown[w->n_words] = strdup(text);
	assert_non_null(f.name);
	w->words[w->n_words++] = word;
	assert_int_equal(vec_push(&w->n.mappings, m), 0);
	at.mapping = (uint32_t)w->n.mappings.n;
	assert_int_equal(vec_push(&w->n.functions, f), 0);
	assert_int_equal(vec_push(&w->n.lines, l), 0);
	assert_int_equal(hash_put(&w->n.word_index, hash_u64(HASH_SEED, word), (uint32_t)w->n.words.n), 0);
	assert_int_equal(vec_push(&w->n.words, word), 0);
	assert_int_equal(vec_push(&w->n.locations, at), 0);
}

/* A stack of functions of one file, innermost first. */
static void check(struct world *w, uint32_t item, const char *file, enum wait_kind wanted, const char *names)
{
	char all[2048], *rest = all, *name;
	enum wait_kind got;

	assert_true(strlen(names) < sizeof(all));
	strcpy(all, names);
	while ((name = strsep(&rest, " ")))
		frame(w, file, name);
	got = wait_kind(item, w->words, w->n_words, &w->n);
	if (got != wanted)
		fail_msg("%s (%s): %s instead of %s", names, w->shown[0], wait_kind_name(got),
			 wait_kind_name(wanted));
	clear(w);
}

struct claim {
	enum wait_kind kind;
	const char *names;
};

#define CHECK_ALL(w, item, file, claims)                                                           \
	for (size_t i = 0; i < sizeof(claims) / sizeof((claims)[0]); i++)                          \
	check(w, item, file, (claims)[i].kind, (claims)[i].names)

static void test_reasons_of_calls(void **state)
{
	static const struct {
		uint32_t call;
		const char *reason;
	} claims[] = {
		{ SYS_read, "io" }, { SYS_write, "io" }, { SYS_readv, "io" }, { SYS_writev, "io" },
		{ SYS_poll, "poll" }, { SYS_ppoll, "poll" }, { SYS_select, "poll" },
		{ SYS_pselect6, "poll" }, { SYS_epoll_wait, "poll" }, { SYS_epoll_pwait, "poll" },
		{ 441, "poll" }, { SYS_pread64, "disk" }, { SYS_pwrite64, "disk" }, { SYS_preadv, "disk" },
		{ SYS_pwritev, "disk" }, { SYS_fsync, "disk" }, { SYS_fdatasync, "disk" }, { SYS_sync, "disk" },
		{ SYS_sync_file_range, "disk" }, { SYS_io_getevents, "disk" }, { SYS_sched_yield, "preempted" },
		{ SYS_pause, "sleep" }, { SYS_nanosleep, "sleep" }, { SYS_clock_nanosleep, "sleep" },
		{ SYS_sendfile, "network" }, { SYS_connect, "network" }, { SYS_accept, "network" },
		{ SYS_accept4, "network" }, { SYS_sendto, "network" }, { SYS_recvfrom, "network" },
		{ SYS_sendmsg, "network" }, { SYS_recvmsg, "network" }, { SYS_sendmmsg, "network" },
		{ SYS_recvmmsg, "network" }, { SYS_vfork, "child" }, { SYS_wait4, "child" },
		{ SYS_waitid, "child" }, { SYS_semop, "sem" }, { SYS_semtimedop, "sem" },
		{ SYS_msgsnd, "queue" }, { SYS_msgrcv, "queue" }, { SYS_mq_timedsend, "queue" },
		{ SYS_mq_timedreceive, "queue" }, { SYS_fcntl, "filelock" }, { SYS_flock, "filelock" },
		{ SYS_rt_sigtimedwait, "signal" }, { SYS_rt_sigsuspend, "signal" }, { SYS_futex, "futex" },
		{ 449, "futex" }, { 454, "futex" }, { 455, "futex" }, { 456, "futex" }, { 426, "io_uring" },
		{ SYS_getpid, "other" }, { 1000, "other" }, { PP_WAIT_NO_CALL, "pagefault" },
	};

	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++)
		assert_string_equal(wait_reason(claims[i].call), claims[i].reason);
}

static void test_what_a_read_is_of(void **state)
{
	static const uint32_t calls[] = { SYS_read, SYS_write, SYS_readv, SYS_writev };

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		assert_string_equal(wait_reason(calls[i] | FILE_IS(PP_FILE_OTHER)), "io");
		assert_string_equal(wait_reason(calls[i] | FILE_IS(PP_FILE_PIPE)), "pipe");
		assert_string_equal(wait_reason(calls[i] | FILE_IS(PP_FILE_SOCKET)), "network");
		assert_string_equal(wait_reason(calls[i] | FILE_IS(PP_FILE_EVENT)), "eventfd");
		assert_string_equal(wait_reason(calls[i] | FILE_IS(PP_FILE_TIMER)), "sleep");
		assert_string_equal(wait_reason(calls[i] | FILE_IS(PP_FILE_TERMINAL)), "terminal");
		assert_string_equal(wait_reason(calls[i] | FILE_IS(6)), "io");
		assert_string_equal(wait_reason(calls[i] | FILE_IS(7)), "io");
	}
	assert_string_equal(wait_reason(SYS_poll | FILE_IS(PP_FILE_PIPE)), "poll");
}

static void test_states_say_more_than_calls(void **state)
{
	assert_string_equal(wait_reason(SYS_futex | PP_WAIT_PREEMPTED), "preempted");
	assert_string_equal(wait_reason(PP_WAIT_NO_CALL | PP_WAIT_PREEMPTED), "preempted");
	assert_string_equal(wait_reason(SYS_read | PP_WAIT_YIELDED), "preempted");
	assert_string_equal(wait_reason(SYS_read | PP_WAIT_STOPPED), "stopped");
	assert_string_equal(wait_reason(SYS_read | FILE_IS(PP_FILE_PIPE) | PP_WAIT_DISK), "disk");
	assert_string_equal(wait_reason(SYS_futex | PP_WAIT_DISK), "disk");
	assert_string_equal(wait_reason(PP_WAIT_NO_CALL | PP_WAIT_DISK), "pagefault");
	assert_string_equal(wait_reason(PP_WAIT_NO_CALL | PP_WAIT_KERNEL), "pagefault");
	assert_string_equal(wait_reason(SYS_mmap | PP_WAIT_KERNEL), "kernel");
	assert_string_equal(wait_reason(SYS_futex | PP_WAIT_KERNEL), "kernel");
	assert_string_equal(wait_reason(SYS_vfork | PP_WAIT_KERNEL), "child"); /* waits so by design */
}

static void test_synchronisation_by_item(void **state)
{
	assert_true(wait_may_be_sync(FUTEX(FUTEX_WAIT)));
	assert_true(wait_may_be_sync(FUTEX(FUTEX_WAIT_BITSET)));
	assert_true(wait_may_be_sync(449));
	assert_true(wait_may_be_sync(SYS_read | FILE_IS(PP_FILE_PIPE)));
	assert_true(wait_may_be_sync(SYS_read | FILE_IS(PP_FILE_EVENT)));
	assert_true(wait_may_be_sync(SYS_semop));
	assert_true(wait_may_be_sync(SYS_mq_timedreceive));
	assert_false(wait_may_be_sync(SYS_read | FILE_IS(PP_FILE_SOCKET)));
	assert_false(wait_may_be_sync(SYS_read));
	assert_false(wait_may_be_sync(SYS_read | FILE_IS(PP_FILE_PIPE) | PP_WAIT_DISK));
	assert_false(wait_may_be_sync(SYS_futex | PP_WAIT_PREEMPTED));
	assert_false(wait_may_be_sync(SYS_futex | PP_WAIT_STOPPED));
	assert_false(wait_may_be_sync(SYS_nanosleep));
	assert_false(wait_may_be_sync(SYS_epoll_wait));
	assert_false(wait_may_be_sync(PP_WAIT_NO_CALL));
}

static void test_kinds_that_need_no_names(void **state)
{
	struct world *w = *state;

	check(w, SYS_read | FILE_IS(PP_FILE_PIPE), GLIBC, WAIT_QUEUE, "pthread_mutex_lock");
	check(w, SYS_read | FILE_IS(PP_FILE_EVENT), GLIBC, WAIT_QUEUE, "read");
	check(w, SYS_msgrcv, GLIBC, WAIT_QUEUE, "msgrcv");
	check(w, SYS_semtimedop, GLIBC, WAIT_SEM, "semtimedop");
	check(w, SYS_read, GLIBC, WAIT_NONE, "pthread_mutex_lock");
	check(w, SYS_nanosleep, GLIBC, WAIT_NONE, "pthread_cond_wait");
	check(w, FUTEX(FUTEX_WAIT) | PP_WAIT_PREEMPTED, GLIBC, WAIT_NONE, "pthread_mutex_lock");
	check(w, PP_WAIT_NO_CALL, GLIBC, WAIT_NONE, "pthread_mutex_lock");
}

static void test_futex_that_no_name_tells(void **state)
{
	struct world *w = *state;

	check(w, FUTEX(FUTEX_WAIT), GLIBC, WAIT_FUTEX, "syscall work main");
	check(w, FUTEX(6), GLIBC, WAIT_MUTEX, "syscall work main");
	check(w, FUTEX(13), GLIBC, WAIT_MUTEX, "syscall work main");
	check(w, FUTEX(11), GLIBC, WAIT_FUTEX, "syscall work main"); /* a PI condition waits before its lock */
	check(w, FUTEX(6), GLIBC, WAIT_RWLOCK, "syscall pthread_rwlock_wrlock main");
	assert_int_equal(wait_kind(FUTEX(FUTEX_WAIT), w->words, 0, &w->n), WAIT_FUTEX);
	w->words[0] = 12345; /* a frame that was never named */
	assert_int_equal(wait_kind(FUTEX(FUTEX_WAIT), w->words, 1, &w->n), WAIT_FUTEX);
}

/* Exported names; then those of its debug information. */
static void test_glibc(void **state)
{
	static const struct claim claims[] = {
		{ WAIT_MUTEX, "pthread_mutex_lock work" },
		{ WAIT_MUTEX, "pthread_mutex_timedlock work" },
		{ WAIT_MUTEX, "pthread_mutex_clocklock work" },
		{ WAIT_MUTEX, "mtx_lock" },
		{ WAIT_MUTEX, "mtx_timedlock" },
		{ WAIT_COND, "pthread_cond_wait work" },
		{ WAIT_COND, "pthread_cond_timedwait work" },
		{ WAIT_COND, "pthread_cond_clockwait work" },
		{ WAIT_COND, "cnd_wait" },
		{ WAIT_COND, "cnd_timedwait" },
		{ WAIT_RWLOCK, "pthread_rwlock_rdlock" },
		{ WAIT_RWLOCK, "pthread_rwlock_wrlock" },
		{ WAIT_RWLOCK, "pthread_rwlock_timedrdlock" },
		{ WAIT_RWLOCK, "pthread_rwlock_clockwrlock" },
		{ WAIT_SEM, "sem_wait" },
		{ WAIT_SEM, "sem_timedwait" },
		{ WAIT_SEM, "sem_clockwait" },
		{ WAIT_BARRIER, "pthread_barrier_wait" },
		{ WAIT_JOIN, "pthread_join" },
		{ WAIT_JOIN, "pthread_timedjoin_np" },
		{ WAIT_JOIN, "pthread_clockjoin_np" },
		{ WAIT_JOIN, "thrd_join" },
		{ WAIT_ONCE, "pthread_once" },
		{ WAIT_ONCE, "call_once" },
		{ WAIT_MUTEX, "__futex_lock_wait __lll_lock_wait ___pthread_mutex_lock work" },
		{ WAIT_MUTEX, "__lll_lock_wait_private malloc work" },
		{ WAIT_MUTEX, "__lll_lock_wait __pthread_mutex_cond_lock __pthread_cond_wait_common "
			      "___pthread_cond_wait work" },
		{ WAIT_COND, "__futex_abstimed_wait_common64 __futex_abstimed_wait_common "
			     "__futex_abstimed_wait_cancelable64 __pthread_cond_wait_common ___pthread_cond_wait "
			     "work" },
		{ WAIT_RWLOCK, "__futex_abstimed_wait_common __pthread_rwlock_wrlock_full64 "
			       "___pthread_rwlock_wrlock work" },
		{ WAIT_SEM, "__futex_abstimed_wait_common __new_sem_wait_slow64 __new_sem_wait work" },
		{ WAIT_BARRIER, "futex_wait ___pthread_barrier_wait work" },
		{ WAIT_JOIN, "__futex_abstimed_wait_common __pthread_clockjoin_ex ___pthread_join work" },
		{ WAIT_ONCE, "futex_wait __pthread_once_slow ___pthread_once work" },
	};

	CHECK_ALL(*state, FUTEX(FUTEX_WAIT_BITSET), GLIBC, claims);
}

static void test_musl(void **state)
{
	static const struct claim claims[] = {
		{ WAIT_MUTEX, "__timedwait_cp __timedwait __pthread_mutex_timedlock __pthread_mutex_lock" },
		{ WAIT_MUTEX, "__timedwait_cp __timedwait pthread_mutex_timedlock work" },
		{ WAIT_COND, "__timedwait_cp __pthread_cond_timedwait pthread_cond_wait work" },
		{ WAIT_COND, "__timedwait_cp pthread_cond_timedwait work" },
		{ WAIT_RWLOCK, "__timedwait __pthread_rwlock_timedrdlock __pthread_rwlock_rdlock work" },
		{ WAIT_SEM, "__timedwait_cp sem_timedwait sem_wait work" },
		{ WAIT_JOIN, "__timedwait_cp __pthread_timedjoin_np __pthread_join work" },
		{ WAIT_BARRIER, "__wait pthread_barrier_wait work" },
		{ WAIT_ONCE, "__wait __pthread_once_full __pthread_once work" },
		{ WAIT_MUTEX, "__wait __lock work" }, /* its own locks */
	};

	CHECK_ALL(*state, FUTEX(FUTEX_WAIT), "/lib/ld-musl-x86_64.so.1", claims);
}

/* A condition of glibc's from 2.25 on waits with a bit set; the mutex it takes again does not. */
static void test_condition_that_takes_its_mutex_again(void **state)
{
	struct world *w = *state;

	check(w, FUTEX(FUTEX_WAIT), GLIBC, WAIT_MUTEX, "pthread_cond_wait work");
	check(w, FUTEX(FUTEX_WAIT), "/lib/libpthread-2.31.so", WAIT_MUTEX, "pthread_cond_timedwait work");
	check(w, FUTEX(FUTEX_WAIT), "/lib/libc-2.33.so", WAIT_MUTEX, "pthread_cond_wait work");
	check(w, FUTEX(FUTEX_WAIT_BITSET), GLIBC, WAIT_COND, "pthread_cond_wait work");
	check(w, FUTEX(FUTEX_WAIT), "/lib/ld-musl-x86_64.so.1", WAIT_COND, "pthread_cond_wait work");
	check(w, FUTEX(FUTEX_WAIT), "/app/static", WAIT_COND, "pthread_cond_wait work");
	check(w, 455, GLIBC, WAIT_COND, "pthread_cond_wait work"); /* a call without an operation */
	check(w, FUTEX(FUTEX_WAIT), GLIBC, WAIT_COND, "cnd_wait work");
}

static void test_conditions_of_old_glibcs(void **state)
{
	struct world *w = *state;

	check(w, FUTEX(FUTEX_WAIT), "/lib64/libpthread-2.17.so", WAIT_COND, "pthread_cond_wait work");
	check(w, FUTEX(FUTEX_WAIT), "/lib64/libpthread-2.24.so", WAIT_COND, "pthread_cond_wait work");
	check(w, FUTEX(FUTEX_WAIT), "/lib64/libpthread-2.25.so", WAIT_MUTEX, "pthread_cond_wait work");
}

static void test_cxx(void **state)
{
	static const struct claim claims[] = {
		{ WAIT_ONCE, "syscall __cxa_guard_acquire _ZN3app8instanceEv" },
		{ WAIT_COND, "_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE work" },
		{ WAIT_COND, "_ZNSt3__118condition_variable4waitERNS_11unique_lockINS_5mutexEEE work" },
		{ WAIT_COND, "syscall _ZNSt28__atomic_futex_unsigned_base19_M_futex_wait_untilEPjjbNSt6chrono8durationIlSt5ratio"
			     "ILl1ELl1EEEENS2_IlS3_ILl1ELl1000000000EEEE _ZNSt13__future_base13_State_baseV24waitEv" },
		{ WAIT_MUTEX, "_ZNSt3__15mutex4lockEv work" },
		{ WAIT_MUTEX, "_ZNSt15recursive_mutex4lockEv work" },
		{ WAIT_RWLOCK, "_ZNSt12shared_mutex11lock_sharedEv work" },
		{ WAIT_RWLOCK, "_ZNSt22__shared_mutex_pthread4lockEv work" },
		{ WAIT_SEM, "syscall _ZNSt18__atomic_semaphore10_M_acquireEv work" },
		{ WAIT_SEM, "syscall _ZNSt18counting_semaphoreILl1EE7acquireEv work" },
		{ WAIT_BARRIER, "syscall _ZNSt5latch4waitEv work" },
		{ WAIT_BARRIER, "syscall _ZNKSt5latch15arrive_and_waitEl work" },
		{ WAIT_BARRIER, "syscall _ZNSt7barrierISt26__empty_completion_functionE15arrive_and_waitEl" },
		{ WAIT_FUTEX, "syscall _ZNSt8__detail15__platform_waitIiEEvPKT_i work" },
	};

	CHECK_ALL(*state, FUTEX(FUTEX_WAIT), "/usr/lib/libstdc++.so.6", claims);
}

static void test_abseil(void **state)
{
	static const struct claim claims[] = {
		{ WAIT_MUTEX, "syscall _ZN4absl12lts_2023080224synchronization_internal11FutexWaiter4WaitENS1_13KernelTimeoutE "
			      "AbslInternalPerThreadSemWait_lts_20230802 "
			      "_ZN4absl12lts_202308025Mutex5BlockEPNS0_13base_internal14PerThreadSynchE "
			      "_ZN4absl12lts_202308025Mutex12LockSlowLoopEPNS0_15SynchWaitParamsEi "
			      "_ZN4absl12lts_202308025Mutex20LockSlowWithDeadlineEPKvi "
			      "_ZN4absl12lts_202308025Mutex8LockSlowEPKvi work" },
		{ WAIT_MUTEX, "syscall _ZN4absl5Mutex10ReaderLockEv work" },
		/* the innermost frame is the mutex's in these two as well */
		{ WAIT_COND, "syscall _ZN4absl12lts_202308025Mutex17DecrementSynchSemEPS1_i "
			     "_ZN4absl12lts_202308027CondVar10WaitCommonEPNS0_5MutexEi work" },
		{ WAIT_COND, "syscall _ZN4absl12lts_202308025Mutex5BlockEPNS0_13base_internal14PerThreadSynchE "
			     "_ZN4absl12lts_202308025Mutex12LockSlowLoopEPNS0_15SynchWaitParamsEi "
			     "_ZN4absl12lts_202308025Mutex11AwaitCommonERKNS0_9ConditionEi work" },
		/* the lock, taken again by the condition */
		{ WAIT_MUTEX, "syscall _ZN4absl5Mutex5BlockEPi _ZN4absl5Mutex12LockSlowLoopEPii "
			      "_ZN4absl5Mutex8LockSlowEPii _ZN4absl5Mutex5TransEPi "
			      "_ZN4absl7CondVar10WaitCommonEPNS_5MutexEi work" },
	};

	CHECK_ALL(*state, FUTEX(FUTEX_WAIT_BITSET), "/app/server", claims);
}

static void test_folly(void **state)
{
	static const struct claim claims[] = {
		{ WAIT_RWLOCK, "syscall _ZN5folly15SharedMutexImplILb0EvSt6atomicvvE11WaitForever6doWaitERj work" },
		{ WAIT_RWLOCK, "syscall _ZN5folly15SharedMutexImplILb0EvSt6atomicE17lockExclusiveImplERjj work" },
		{ WAIT_MUTEX, "syscall _ZN5folly13MicroLockCore12lockSlowPathEjPj work" },
	};

	CHECK_ALL(*state, FUTEX(FUTEX_WAIT), "/app/server", claims);
}

static void test_rust_legacy(void **state)
{
	static const struct claim claims[] = {
		{ WAIT_MUTEX, "syscall _ZN3std3sys4sync5mutex5futex5Mutex14lock_contended17h0123456789abcdefE work" },
		{ WAIT_MUTEX, "syscall _ZN3std3sys4unix5locks11futex_mutex5Mutex14lock_contended17h0123456789abcdefE" },
		{ WAIT_RWLOCK, "syscall _ZN3std3sys4sync6rwlock5futex6RwLock14read_contended17h0123456789abcdefE" },
		{ WAIT_COND, "syscall _ZN3std3sys4sync7condvar5futex7Condvar21wait_optional_timeout17h0123456789abcdefE" },
		{ WAIT_ONCE, "syscall _ZN3std3sys4sync4once5futex4Once4call17h0123456789abcdefE work" },
		{ WAIT_QUEUE, "syscall _ZN3std6thread4park17h0123456789abcdefE "
			      "_ZN3std4sync4mpmc7context7Context10wait_until17h0123456789abcdefE "
			      "_ZN3std4sync4mpmc4list16Channel$LT$T$GT$4recv17h0123456789abcdefE work" },
		{ WAIT_QUEUE, "syscall _ZN17crossbeam_channel7context7Context10wait_until17h0123456789abcdefE" },
		{ WAIT_JOIN, "pthread_join _ZN3std6thread19JoinInner$LT$T$GT$4join17h0123456789abcdefE" },
		{ WAIT_MUTEX, "syscall _ZN16parking_lot_core11parking_lot4park17h0123456789abcdefE "
			      "_ZN11parking_lot9raw_mutex8RawMutex9lock_slow17h0123456789abcdefE work" },
		{ WAIT_RWLOCK, "syscall _ZN11parking_lot10raw_rwlock9RawRwLock17lock_shared_slow17h0123456789abcdefE" },
		{ WAIT_COND, "syscall _ZN11parking_lot7condvar7Condvar19wait_until_internal17h0123456789abcdefE" },
		{ WAIT_ONCE, "syscall _ZN11parking_lot4once4Once14call_once_slow17h0123456789abcdefE" },
		{ WAIT_FUTEX, "syscall _ZN3std6thread4park17h0123456789abcdefE work" },
	};

	CHECK_ALL(*state, FUTEX(FUTEX_WAIT_BITSET), "/app/server", claims);
}


static void test_rust_v0(void **state)
{
	static const struct claim claims[] = {
		{ WAIT_MUTEX, "syscall _RNvMNtNtNtNtCs0_3std3sys4sync5mutex5futexNtNtNtNtNtCs0_3std3sys4sync5mutex"
			      "5futex5Mutex14lock_contended work" },
		{ WAIT_RWLOCK, "syscall _RNvMNtNtNtNtCs0_3std3sys4sync6rwlock5futexNtNtNtNtNtCs0_3std3sys4sync"
			       "6rwlock5futex6RwLock14read_contended work" },
		{ WAIT_COND, "syscall _RNvMNtNtNtNtCs0_3std3sys4sync7condvar5futexNtNtNtNtNtCs0_3std3sys4sync"
			     "7condvar5futex7Condvar21wait_optional_timeout work" },
		{ WAIT_ONCE, "syscall _RNvMNtNtNtNtCs0_3std3sys4sync4once5futexNtNtNtNtNtCs0_3std3sys4sync4once"
			     "5futex4Once4call work" },
		{ WAIT_QUEUE, "syscall _RNvMNtNtNtCs0_3std4sync4mpmc7contextNtNtNtNtCs0_3std4sync4mpmc7context"
			      "7Context10wait_until work" },
		{ WAIT_MUTEX, "syscall _RNvMNtCs0_11parking_lot9raw_mutexNtNtCs0_11parking_lot9raw_mutex8RawMutex"
			      "9lock_slow work" },
		{ WAIT_RWLOCK, "syscall _RNvMNtCs0_11parking_lot10raw_rwlockNtNtCs0_11parking_lot10raw_rwlock"
			       "9RawRwLock17lock_shared_slow work" },
		{ WAIT_ONCE, "syscall _RNvMNtCs0_11parking_lot4onceNtNtCs0_11parking_lot4once4Once14call_once_slow" },
		/* a channel's own mutex is a mutex, although a frame further out is the channel's */
		{ WAIT_MUTEX, "syscall _RNvMNtNtNtNtCs0_3std3sys4sync5mutex5futexNtNtNtNtNtCs0_3std3sys4sync5mutex"
			      "5futex5Mutex14lock_contended _RNvNtNtNtCs0_3std4sync4mpmc5waker6notify work" },
	};

	CHECK_ALL(*state, FUTEX(FUTEX_WAIT_BITSET), "/app/server", claims);
}

static void test_go(void **state)
{
	static const struct claim claims[] = {
		{ WAIT_RUNTIME, "runtime.futex runtime.futexsleep runtime.notesleep runtime.mPark" },
		{ WAIT_RUNTIME, "runtime.futex.abi0 runtime.futexsleep" },
		{ WAIT_RUNTIME, "runtime.notesleep runtime.stopm" },
		{ WAIT_MUTEX, "__lll_lock_wait pthread_mutex_lock work runtime.asmcgocall.abi0 runtime.notesleep" },
	};

	CHECK_ALL(*state, FUTEX(FUTEX_WAIT), "/app/server", claims);
}

static void test_names_that_readers_understand(void **state)
{
	static const struct claim claims[] = {
		{ WAIT_MUTEX, "syscall my_mutex_lock work" },
		{ WAIT_MUTEX, "syscall spin_lock work" },
		{ WAIT_MUTEX, "syscall lock work" },
		{ WAIT_MUTEX, "syscall _ZN3app4Gate7acquireEv work" },
		{ WAIT_MUTEX, "syscall _ZN3app4Gate8LockSlowEv work" },
		{ WAIT_RWLOCK, "syscall RWLockSlow work" },
		{ WAIT_RWLOCK, "syscall my_rw_lock_read work" },
		{ WAIT_RWLOCK, "syscall take_shared_lock work" },
		{ WAIT_COND, "syscall my_cond_timed_wait work" },
		{ WAIT_SEM, "syscall _ZN3app9Semaphore4downEv work" },
		{ WAIT_BARRIER, "syscall gomp_team_barrier_wait_end work" },
		{ WAIT_FUTEX, "syscall unlock work" },
		{ WAIT_FUTEX, "syscall my_mutex_unlock work" },
		{ WAIT_FUTEX, "syscall mutexUnlockSlow work" },
		{ WAIT_FUTEX, "syscall block_clock clockwork work" },
		/* a function that is known says more, from wherever it is */
		{ WAIT_COND, "syscall my_mutex_helper pthread_cond_wait work" },
		{ WAIT_SEM, "syscall spin_lock a b c d e f g h i sem_wait" },
	};

	CHECK_ALL(*state, FUTEX(FUTEX_WAIT_BITSET), "/app/server", claims);
}

static void test_names_count_near_the_leaf_only(void **state)
{
	struct world *w = *state;

	check(w, FUTEX(FUTEX_WAIT), "/app", WAIT_MUTEX, "a b c d e f g h i j k l m n o pthread_mutex_lock");
	check(w, FUTEX(FUTEX_WAIT), "/app", WAIT_FUTEX, "a b c d e f g h i j k l m n o p pthread_mutex_lock");
	check(w, FUTEX(FUTEX_WAIT), "/app", WAIT_MUTEX, "a b c d e f g my_mutex_lock");
	check(w, FUTEX(FUTEX_WAIT), "/app", WAIT_FUTEX, "a b c d e f g h my_mutex_lock");
}

static void test_every_kind_has_a_name(void **state)
{
	for (int i = 0; i < WAIT_N_KINDS; i++)
		for (int k = 0; k < i; k++)
			assert_string_not_equal(wait_kind_name((enum wait_kind)i), wait_kind_name((enum wait_kind)k));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reasons_of_calls),
		TEST(test_what_a_read_is_of),
		TEST(test_states_say_more_than_calls),
		TEST(test_synchronisation_by_item),
		TEST(test_kinds_that_need_no_names),
		TEST(test_futex_that_no_name_tells),
		TEST(test_glibc),
		TEST(test_musl),
		TEST(test_condition_that_takes_its_mutex_again),
		TEST(test_conditions_of_old_glibcs),
		TEST(test_cxx),
		TEST(test_abseil),
		TEST(test_folly),
		TEST(test_rust_legacy),
		TEST(test_rust_v0),
		TEST(test_go),
		TEST(test_names_that_readers_understand),
		TEST(test_names_count_near_the_leaf_only),
		TEST(test_every_kind_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
