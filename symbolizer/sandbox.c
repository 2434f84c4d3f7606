/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/cleanup.h"

#define LARGE_PIECE (1 << 20) /* bytes */
#define MAX_FILES 840 /* an object may have three beside its own; and OBJECTS_MAX_SPLIT */

static void limit(int what, rlim_t to)
{
	struct rlimit r = { to, to };

	setrlimit((__rlimit_resource_t)what, &r); /* lowering needs no right; if it fails so be it */
}

/* What libelf, libdw, malloc and our own loop use. */
static const int allowed[] = {
	SCMP_SYS(read),	       SCMP_SYS(pread64),      SCMP_SYS(write),	    SCMP_SYS(recvmsg),
	SCMP_SYS(sendmsg),     SCMP_SYS(poll),	       SCMP_SYS(ppoll),	    SCMP_SYS(close),
	SCMP_SYS(fstat),       SCMP_SYS(lseek),	       SCMP_SYS(fcntl),	    SCMP_SYS(munmap),
	SCMP_SYS(mremap),      SCMP_SYS(madvise),      SCMP_SYS(brk),	    SCMP_SYS(futex),
	SCMP_SYS(exit),	       SCMP_SYS(exit_group),   SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(clock_gettime), SCMP_SYS(restart_syscall),
	SCMP_SYS(getrandom),   SCMP_SYS(sched_yield),  SCMP_SYS(sysinfo),
};

/* No library asks for these, so somebody has taken the process over. */
static const int fatal[] = {
	SCMP_SYS(execve),  SCMP_SYS(execveat), SCMP_SYS(fork),	 SCMP_SYS(vfork),
	SCMP_SYS(clone),   SCMP_SYS(clone3),   SCMP_SYS(socket), SCMP_SYS(connect),
	SCMP_SYS(bind),	   SCMP_SYS(ptrace),   SCMP_SYS(bpf),	 SCMP_SYS(perf_event_open),
	SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(kill),
	SCMP_SYS(io_uring_setup),
};

static int add_rules(scmp_filter_ctx f)
{
	int r = 0;

	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]) && r == 0; i++)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]) && r == 0; i++)
		r = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, fatal[i], 0);
	/* fstat of newer C libraries */
	if (r == 0)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
				     SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH, 0));
	/* memory: anonymous and never executable */
	if (r == 0)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
				     SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS));
	if (r == 0)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return r;
}

int sandbox_enter(void)
{
	scmp_filter_ctx f;
	int r;

	/* together less than the 256 MiB that it may have; what is freed goes back, large pieces at once */
	limit(RLIMIT_DATA, SANDBOX_MAX_MEMORY);
	limit(RLIMIT_STACK, SANDBOX_MAX_STACK);
	mallopt(M_MMAP_THRESHOLD, LARGE_PIECE);
	limit(RLIMIT_NOFILE, MAX_FILES);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_FSIZE, 0);
	limit(RLIMIT_NPROC, 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	/* the rest is refused and not fatal: libdw looks for debug files by name and does without,
	 * and C libraries differ in what they try */
	f = seccomp_init(SCMP_ACT_ERRNO(EACCES));
	if (!f)
		return -ENOMEM;
	r = add_rules(f);
	if (r == 0)
		r = seccomp_load(f);
	seccomp_release(f);
	return r;
}
