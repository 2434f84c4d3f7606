/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/confine.h"

#include <cap-ng.h>
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/broker/uprobe_link.h"

#define EXIT_VIOLATION 159 /* as a shell tells of SIGSYS */
#define IOC_TYPE 0xff00	   /* linux/ioctl.h */

/* Debian's kernels at perf_event_paranoid 3 want CAP_SYS_ADMIN for perf_event_open, whatever else one has. Without links
 * of uprobe sessions (6.13) probes are perf events, too, and want it at any level. */
static bool needs_admin(void)
{
	FILE *f = fopen("/proc/sys/kernel/perf_event_paranoid", "re");
	int paranoid = 2;

	if (f) {
		if (fscanf(f, "%d", &paranoid) != 1)
			paranoid = 2;
		fclose(f);
	}
	return paranoid > 2 || !uprobe_link_has_sessions();
}

/* BPF and PERFMON: programs and perf events; SYS_PTRACE: /proc/PID of others; DAC_READ_SEARCH: their files;
 * CHECKPOINT_RESTORE: map_files; SYSLOG: kallsyms. */
void confine_capabilities(void)
{
	static const unsigned keep[] = { CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH,
					 CAP_CHECKPOINT_RESTORE, CAP_SYSLOG, CAP_SYS_ADMIN };
	size_t n = sizeof(keep) / sizeof(keep[0]);
	bool had[sizeof(keep) / sizeof(keep[0])], had_setpcap;
	bool admin;

	capng_get_caps_process();
	/* an engine that knows no CAP_BPF (Docker 20.10) can give CAP_SYS_ADMIN alone, which the kernel takes for both */
	admin = capng_have_capability(CAPNG_PERMITTED, CAP_SYS_ADMIN) &&
		(needs_admin() || !capng_have_capability(CAPNG_PERMITTED, CAP_BPF) ||
		 !capng_have_capability(CAPNG_PERMITTED, CAP_PERFMON));
	for (size_t i = 0; i < n; i++)
		had[i] = capng_have_capability(CAPNG_PERMITTED, keep[i]) && (keep[i] != CAP_SYS_ADMIN || admin);
	had_setpcap = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	capng_clear(CAPNG_SELECT_BOTH);
	for (size_t i = 0; i < n; i++)
		if (had[i])
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, keep[i]);
	/* the bounding set takes CAP_SETPCAP; libcap-ng tells the system's log where it is missing */
	capng_apply(had_setpcap ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static const int allowed[] = {
	/* the kernel's programs, and other processes, as far as capabilities let us */
	SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(process_vm_readv), SCMP_SYS(pidfd_open),
	SCMP_SYS(pidfd_send_signal), SCMP_SYS(kill), SCMP_SYS(wait4), SCMP_SYS(waitid), SCMP_SYS(membarrier),
	/* files: all are opened by name; written are the cache and what was opened before */
	SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(close), SCMP_SYS(close_range), SCMP_SYS(read),
	SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(preadv), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(pwrite64),
	SCMP_SYS(lseek), SCMP_SYS(stat), SCMP_SYS(fstat), SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(statx),
	SCMP_SYS(statfs), SCMP_SYS(fstatfs), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2),
	SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getdents64), SCMP_SYS(getcwd), SCMP_SYS(mkdir),
	SCMP_SYS(mkdirat), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(rmdir), SCMP_SYS(linkat), SCMP_SYS(rename),
	SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(utimensat), SCMP_SYS(ftruncate), SCMP_SYS(fallocate),
	SCMP_SYS(fsync), SCMP_SYS(flock), SCMP_SYS(fdatasync), SCMP_SYS(fadvise64), SCMP_SYS(umask), SCMP_SYS(fcntl), SCMP_SYS(dup),
	SCMP_SYS(dup2), SCMP_SYS(dup3), SCMP_SYS(memfd_create), SCMP_SYS(name_to_handle_at), SCMP_SYS(sendfile),
	/* what waits and tells */
	SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6), SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_create1), SCMP_SYS(eventfd2),
	SCMP_SYS(signalfd4), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime), SCMP_SYS(timerfd_gettime),
	SCMP_SYS(inotify_init1), SCMP_SYS(inotify_add_watch), SCMP_SYS(inotify_rm_watch), SCMP_SYS(pipe), SCMP_SYS(pipe2),
	SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(shutdown),
	SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
	/* memory, threads, signals of our own */
	SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(msync), SCMP_SYS(mincore), SCMP_SYS(mlock),
	SCMP_SYS(munlock), SCMP_SYS(brk), SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(get_robust_list),
	SCMP_SYS(rseq), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_setaffinity), SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler),
	SCMP_SYS(sched_get_priority_min), SCMP_SYS(sched_get_priority_max), SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigpending), SCMP_SYS(rt_sigtimedwait),
	SCMP_SYS(rt_sigsuspend), SCMP_SYS(sigaltstack), SCMP_SYS(tgkill), SCMP_SYS(tkill), SCMP_SYS(set_tid_address),
	SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getppid), SCMP_SYS(getpgrp), SCMP_SYS(getpgid), SCMP_SYS(getsid),
	SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(getresuid),
	SCMP_SYS(getresgid), SCMP_SYS(getgroups), SCMP_SYS(capget), SCMP_SYS(capset), SCMP_SYS(prctl),
	SCMP_SYS(arch_prctl), SCMP_SYS(prlimit64), SCMP_SYS(getrlimit), SCMP_SYS(setrlimit), SCMP_SYS(getrusage),
	SCMP_SYS(getcpu), SCMP_SYS(getpriority), SCMP_SYS(times), SCMP_SYS(uname), SCMP_SYS(sysinfo),
	/* time and chance */
	SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
	SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getrandom), SCMP_SYS(restart_syscall),
#ifdef __x86_64__
	335, 336, /* uretprobe, uprobe: what a probe of somebody else's in our code turns into */
#endif
};

/* What nobody does by accident. */
static const int ending[] = {
	SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(ptrace), SCMP_SYS(process_vm_writev), SCMP_SYS(pidfd_getfd),
	SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setreuid), SCMP_SYS(setregid), SCMP_SYS(setresuid), SCMP_SYS(setresgid),
	SCMP_SYS(setfsuid), SCMP_SYS(setfsgid), SCMP_SYS(setgroups), SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(chroot),
	SCMP_SYS(pivot_root), SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(move_mount), SCMP_SYS(open_tree), SCMP_SYS(fsopen),
	SCMP_SYS(open_by_handle_at), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4),
	SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load),
	SCMP_SYS(reboot), SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup), SCMP_SYS(keyctl), SCMP_SYS(add_key),
};

static int end_at(scmp_filter_ctx f)
{
	int r = 0;

	for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]) && r == 0; i++)
		r = seccomp_rule_add(f, SCMP_ACT_TRAP, ending[i], 0);
	return r;
}

static int allow(scmp_filter_ctx f, int call, struct scmp_arg_cmp compare)
{
	return seccomp_rule_add(f, SCMP_ACT_ALLOW, call, 1, compare);
}

static int add_some(scmp_filter_ctx f)
{
	/* processes and threads in our own namespaces; clone3 hides its flags, so glibc is told that there is none */
	const scmp_datum_t spaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
				    CLONE_NEWPID | CLONE_NEWNET;
	int r = allow(f, SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, spaces, 0));

	/* memory that is never executable */
	if (r == 0)
		r = allow(f, SCMP_SYS(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r == 0)
		r = allow(f, SCMP_SYS(mprotect), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	/* nothing of the network */
	if (r == 0)
		r = allow(f, SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0));
	if (r == 0)
		r = allow(f, SCMP_SYS(socketpair), SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0));
	/* with MSG_FASTOPEN sending connects, also a socket that listened and was shut down */
	if (r == 0)
		r = allow(f, SCMP_SYS(sendto), SCMP_A3(SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, 0));
	if (r == 0)
		r = allow(f, SCMP_SYS(sendmsg), SCMP_A2(SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, 0));
	/* perf events; PROCMAP_QUERY; is it a terminal; how much is there to read */
	if (r == 0)
		r = allow(f, SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, IOC_TYPE, '$' << 8));
	if (r == 0)
		r = allow(f, SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffff, 'f' << 8 | 17));
	if (r == 0)
		r = allow(f, SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, TCGETS));
	if (r == 0)
		r = allow(f, SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, FIONREAD));
	return r;
}

static void put_number(char *to, unsigned n)
{
	char digits[12];
	size_t k = sizeof(digits);

	digits[--k] = '\0';
	do
		digits[--k] = (char)('0' + n % 10);
	while (n /= 10);
	strcpy(to, digits + k);
}

/* Runs at the call, which was not made. */
static void on_violation(int signal, siginfo_t *info, void *context)
{
	char text[160] = "pprofd: ended: system call ";

	(void)signal, (void)context;
	put_number(text + strlen(text), (unsigned)info->si_syscall);
	strcat(text, " is not among those that the broker makes (please report it)\n");
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		_exit(EXIT_VIOLATION + 1);
	_exit(EXIT_VIOLATION);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

int confine_calls(void)
{
#ifdef SANITIZED /* they trace themselves at their end, and map what is executable */
	return 0;
#endif
	struct sigaction a = { .sa_sigaction = on_violation, .sa_flags = SA_SIGINFO };
	/* a C library that we have not seen does without a call that the kernel seems not to have */
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	int r = f ? add_some(f) : -ENOMEM;

	if (r == 0)
		r = end_at(f);

	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]) && r == 0; i++)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
	if (r == 0)
		r = sigaction(SIGSYS, &a, NULL) < 0 ? -errno : 0;
	if (r == 0)
		r = seccomp_load(f);
	seccomp_release(f);
	return r;
}
