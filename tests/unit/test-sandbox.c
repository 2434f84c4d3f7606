/* SPDX-License-Identifier: Apache-2.0 */

/* test-sandbox.c - what serve, the symbolizer and pprofd-fetch cannot do once they have shut themselves in, tried by
 * children that enter the same filters. Needs no rights. x86_64 numbers where libc has no name. */

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/fetch/sandbox.h"
#include "daemon/serve/sandbox.h"
#include "symbolizer/sandbox.h"

#define MAP_SIZE 4096
#define ALLOWED 0
#define FATAL (-1) /* the process is killed; positive: the errno of the refusal */

/* Made before the filter is entered, used after it. */
static int file, stranger, pair[2];
static pid_t parent;
static char *memory;

static long try_open(void)
{
	return syscall(SYS_openat, AT_FDCWD, "/proc/self/status", O_RDONLY);
}

static long try_old_open(void)
{
	return syscall(SYS_open, "/proc/self/status", O_RDONLY);
}

static long try_create(void)
{
	return syscall(SYS_openat, AT_FDCWD, "/tmp/pprofd-test-sandbox", O_CREAT | O_WRONLY, 0600);
}

static long try_unlink(void)
{
	return syscall(SYS_unlink, "/tmp/pprofd-no-such-file");
}

static long try_readlink(void)
{
	char text[64];

	return syscall(SYS_readlink, "/proc/self/exe", text, sizeof(text));
}

static long try_socket(void)
{
	return syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
}

static long try_connect(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "/nosuch" };

	return syscall(SYS_connect, stranger, &a, sizeof(a));
}

/* Of TCP it connects. */
static long try_send_connecting(void)
{
	return syscall(SYS_sendto, pair[0], "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, NULL, 0);
}

static long try_message_connecting(void)
{
	struct iovec one = { memory, 1 };
	struct msghdr m = { .msg_iov = &one, .msg_iovlen = 1 };

	return syscall(SYS_sendmsg, pair[0], &m, MSG_FASTOPEN | MSG_NOSIGNAL);
}

static long try_bind(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	return syscall(SYS_bind, stranger, &a, sizeof(sa_family_t));
}

/* A child that comes into being all the same says so and goes. */
static long born(long pid)
{
	if (pid == 0)
		_exit(ALLOWED);
	return pid;
}

static long try_fork(void)
{
	return born(syscall(SYS_fork));
}

static long try_clone(void)
{
	return born(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0));
}

static long try_clone3(void)
{
	uint64_t a[8] = { 0, 0, 0, 0, SIGCHLD };

	return born(syscall(SYS_clone3, a, sizeof(a)));
}

static long try_execve(void)
{
	char *none[] = { NULL };

	return syscall(SYS_execve, "/bin/true", none, none);
}

static long try_execveat(void)
{
	char *none[] = { NULL };

	return syscall(SYS_execveat, file, "", none, none, AT_EMPTY_PATH);
}

static long try_ptrace(void)
{
	return syscall(SYS_ptrace, 0 /* PTRACE_TRACEME */, 0, 0, 0);
}

static long try_process_vm_readv(void)
{
	return syscall(SYS_process_vm_readv, parent, NULL, 0, NULL, 0, 0);
}

static long try_kill(void)
{
	return syscall(SYS_kill, parent, 0);
}

static long try_tgkill_of_another(void)
{
	return syscall(SYS_tgkill, parent, parent, 0);
}

static long try_limits_of_another(void)
{
	struct rlimit r;

	return syscall(SYS_prlimit64, parent, RLIMIT_CORE, NULL, &r);
}

static long try_dumpable(void)
{
	return syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static long try_mmap_exec(void)
{
	return syscall(SYS_mmap, NULL, MAP_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
}

static long try_mmap_file_exec(void)
{
	return syscall(SYS_mmap, NULL, MAP_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
}

static long try_mmap_file(void)
{
	return syscall(SYS_mmap, NULL, MAP_SIZE, PROT_READ, MAP_PRIVATE, file, 0);
}

static long try_mprotect_exec(void)
{
	return syscall(SYS_mprotect, memory, MAP_SIZE, PROT_READ | PROT_EXEC);
}

static long try_pkey_mprotect_exec(void)
{
	return syscall(SYS_pkey_mprotect, memory, MAP_SIZE, PROT_READ | PROT_EXEC, -1);
}

static long try_memfd(void)
{
	return syscall(SYS_memfd_create, "x", 0);
}

static long try_bpf_map_create(void)
{
	union bpf_attr a = { .map_type = BPF_MAP_TYPE_ARRAY,
			     .key_size = 4,
			     .value_size = 4,
			     .max_entries = 1 };

	return syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof(a));
}

static long try_bpf_program(void)
{
	union bpf_attr a = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER };

	return syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof(a));
}

static long try_perf_event(void)
{
	struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(a) };

	return syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
}

static long try_mount(void)
{
	return syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL);
}

static long try_unshare(void)
{
	return syscall(SYS_unshare, CLONE_NEWUSER);
}

static long try_setuid(void)
{
	return syscall(SYS_setuid, getuid());
}

static long try_io_uring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL);
}

static long try_personality(void)
{
	return syscall(SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */);
}

/* What both need to do their work. */

static long do_read(void)
{
	char byte;

	return pread(file, &byte, 1, 0);
}

static long do_memory(void)
{
	char *p = malloc(32 << 20);

	if (!p)
		return -1;
	memset(p, 1, 32 << 20);
	free(p);
	return 0;
}

static long do_talk(void)
{
	char byte = 'x';
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	return sendmsg(pair[0], &m, 0) == 1 && recvmsg(pair[1], &m, 0) == 1 ? 0 : -1;
}

static void *thread(void *arg)
{
	return arg;
}

static long do_thread(void)
{
	pthread_t t;

	errno = pthread_create(&t, NULL, thread, NULL);
	return errno ? -1 : pthread_join(t, NULL);
}

static long do_name(void)
{
	return prctl(PR_SET_NAME, "x");
}

static long do_map_shared(void)
{
	return mmap(NULL, MAP_SIZE, PROT_READ, MAP_SHARED, file, 0) == MAP_FAILED ? -1 : 0;
}

/* More than the symbolizer may have. */
static long do_much_memory(void)
{
	return mmap(NULL, 256ul << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED ?
		       -1 :
		       0;
}

enum who { SERVE, SYMBOLIZER, FETCH };

static const struct attempt {
	const char *name;
	long (*run)(void);
	int of[3]; /* enum who */
} attempts[] = {
	{ "open", try_open, { EPERM, EACCES, EACCES } },
	{ "open, the old call", try_old_open, { EPERM, EACCES, EACCES } },
	{ "create a file", try_create, { EPERM, EACCES, EACCES } },
	{ "unlink", try_unlink, { EPERM, EACCES, EACCES } },
	{ "readlink", try_readlink, { EPERM, EACCES, EACCES } },
	{ "socket", try_socket, { EPERM, FATAL, ALLOWED } },
	{ "connect", try_connect, { EPERM, FATAL, ENOENT } },
	{ "connect by sending", try_send_connecting, { EPERM, EACCES, ALLOWED } },
	{ "connect by a message", try_message_connecting, { EPERM, ALLOWED, ALLOWED } },
	{ "bind", try_bind, { EPERM, FATAL, FATAL } },
	{ "fork", try_fork, { EPERM, FATAL, FATAL } },
	{ "clone", try_clone, { EPERM, FATAL, EACCES } },
	{ "clone3", try_clone3, { ENOSYS, FATAL, EACCES } },
	{ "execve", try_execve, { EPERM, FATAL, FATAL } },
	{ "execveat", try_execveat, { EPERM, FATAL, FATAL } },
	{ "ptrace", try_ptrace, { EPERM, FATAL, FATAL } },
	{ "process_vm_readv", try_process_vm_readv, { EPERM, FATAL, FATAL } },
	{ "kill", try_kill, { EPERM, FATAL, FATAL } },
	{ "tgkill of another", try_tgkill_of_another, { EPERM, EACCES, EACCES } },
	{ "limits of another", try_limits_of_another, { EPERM, EACCES, EACCES } },
	{ "become dumpable", try_dumpable, { EPERM, EACCES, EACCES } },
	{ "mmap executable", try_mmap_exec, { EPERM, EACCES, EACCES } },
	{ "mmap a file executable", try_mmap_file_exec, { EPERM, EACCES, EACCES } },
	{ "mmap a file", try_mmap_file, { ALLOWED, EACCES, EACCES } },
	{ "mprotect executable", try_mprotect_exec, { EPERM, EACCES, EACCES } },
	{ "pkey_mprotect executable", try_pkey_mprotect_exec, { EPERM, EACCES, EACCES } },
	{ "memfd_create", try_memfd, { EPERM, EACCES, EACCES } },
	{ "bpf map create", try_bpf_map_create, { EPERM, FATAL, FATAL } },
	{ "bpf program load", try_bpf_program, { EPERM, FATAL, FATAL } },
	{ "perf_event_open", try_perf_event, { EPERM, FATAL, FATAL } },
	{ "mount", try_mount, { EPERM, EACCES, EACCES } },
	{ "unshare", try_unshare, { EPERM, EACCES, EACCES } },
	{ "setuid", try_setuid, { EPERM, EACCES, EACCES } },
	{ "io_uring_setup", try_io_uring, { EPERM, FATAL, FATAL } },
	{ "personality", try_personality, { EPERM, EACCES, EACCES } },
	{ "read", do_read, { ALLOWED, ALLOWED, EACCES } },
	{ "memory", do_memory, { ALLOWED, ALLOWED, ALLOWED } },
	{ "talk", do_talk, { ALLOWED, ALLOWED, ALLOWED } },
	{ "start a thread", do_thread, { ALLOWED, FATAL, EACCES } },
	{ "name a thread", do_name, { ALLOWED, EACCES, EACCES } },
	{ "map a table", do_map_shared, { ALLOWED, EACCES, EACCES } },
	{ "256 MiB of memory", do_much_memory, { ALLOWED, ENOMEM, ENOMEM } },
};

static int prepare(void **state)
{
	parent = getpid();
	file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	stranger = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	memory = mmap(NULL, MAP_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return file < 0 || stranger < 0 || memory == MAP_FAILED ||
	       socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0;
}

/* 255: the filter could not be entered; else the outcome as it stands in the table. */
static int outcome(int (*enter)(void), const struct attempt *a)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		if (enter() < 0)
			_exit(255);
		errno = 0;
		_exit(a->run() < 0 ? errno : ALLOWED);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? FATAL : 1000 + WTERMSIG(status);
	return WEXITSTATUS(status);
}

static int check_all(int (*enter)(void), enum who who)
{
	int bad = 0;

	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		const struct attempt *a = &attempts[i];
		int want = a->of[who], got = outcome(enter, a);

		if (got == want)
			continue;
		print_message("# %s: %d, not %d\n", a->name, got, want);
		bad++;
	}
	return bad;
}

static void test_serve_is_shut_in(void **state)
{
	assert_int_equal(check_all(sandbox_enter_serve, SERVE), 0);
}

/* Address sanitizer's own memory is more than the symbolizer is allowed. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED __has_feature(address_sanitizer)
#else
#define SANITIZED 0
#endif

static void test_symbolizer_is_shut_in(void **state)
{
	if (SANITIZED) { /* meson takes cmocka's skip for a failure */
		print_message("# not looked at under address sanitizer\n");
		return;
	}
	assert_int_equal(check_all(sandbox_enter, SYMBOLIZER), 0);
}

static int enter_fetch(void)
{
	sandbox_limit_fetch(1 << 20);
	return sandbox_enter_fetch();
}

static void test_fetch_is_shut_in(void **state)
{
	if (SANITIZED) {
		print_message("# not looked at under address sanitizer\n");
		return;
	}
	assert_int_equal(check_all(enter_fetch, FETCH), 0);
}

/* Of all calls that there are, with arguments that nothing can be done with. */
static const long needed[] = {
	SYS_read, SYS_pread64, SYS_write, SYS_recvmsg, SYS_sendmsg, SYS_ppoll, SYS_close, SYS_fstat, SYS_lseek,
	SYS_fcntl, SYS_munmap, SYS_mremap, SYS_madvise, SYS_brk, SYS_futex, SYS_exit, SYS_exit_group,
	SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_clock_gettime, SYS_restart_syscall, SYS_getrandom,
	SYS_sched_yield, SYS_sysinfo,
#ifdef SYS_poll
	SYS_poll,
#endif
};

/* What the kernel's own trampolines of uprobes call on x86_64, and of which it asks no filter (6.14 and later). */
static bool is_never_filtered(long number)
{
#ifdef __x86_64__
	return number == 335 || number == 336;
#else
	return false;
#endif
}

static bool is_needed(long number)
{
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (needed[i] == number)
			return true;
	return false;
}

static bool is_allowed(long number)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		alarm(60);
		if (sandbox_enter() < 0)
			_exit(2);
		errno = 0;
		syscall(number, -1, -1, -1, -1, -1, -1);
		_exit(errno == EACCES);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 2);
	return !(WIFEXITED(status) && WEXITSTATUS(status) == 1) &&
	       !(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void test_symbolizer_can_call_nothing_else(void **state)
{
	int bad = 0;

	if (SANITIZED)
		return;
	for (long number = 0; number < 512; number++)
		if (!is_never_filtered(number) && is_allowed(number) != is_needed(number)) {
			print_message("# system call %ld: %s\n", number, is_needed(number) ? "is refused" : "is allowed");
			bad++;
		}
	assert_int_equal(bad, 0);
}

/* The table proves nothing if this machine refuses these things to everybody. */
static int no_sandbox(void)
{
	return 0;
}

static void test_outside_it_works(void **state)
{
	static const char *const ordinary[] = { "open", "readlink", "socket", "fork", "clone",
						"execve", "ptrace", "kill", "mmap executable",
						"mprotect executable", "memfd_create", "read",
						"start a thread", "256 MiB of memory" };

	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++)
		for (size_t k = 0; k < sizeof(ordinary) / sizeof(ordinary[0]); k++)
			if (!strcmp(attempts[i].name, ordinary[k]))
				assert_int_equal(outcome(no_sandbox, &attempts[i]), ALLOWED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outside_it_works),
		cmocka_unit_test(test_serve_is_shut_in),
		cmocka_unit_test(test_symbolizer_is_shut_in),
		cmocka_unit_test(test_symbolizer_can_call_nothing_else),
		cmocka_unit_test(test_fetch_is_shut_in),
	};

	return cmocka_run_group_tests(tests, prepare, NULL);
}
