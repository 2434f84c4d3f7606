/* SPDX-License-Identifier: Apache-2.0 */

/* The broker's own filter: what it does not let through ends a process with a line. */

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/broker/confine.h"

#define ENDED 159

static char said[512];

/* In a process of its own, behind the filter: its exit status. */
static int confined(int (*f)(void))
{
	int out = memfd_create("out", 0), status;
	pid_t pid;
	ssize_t n;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		dup2(out, STDERR_FILENO);
		if (confine_calls() < 0)
			_exit(100);
		_exit(f());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	n = pread(out, said, sizeof(said) - 1, 0);
	said[n > 0 ? n : 0] = '\0';
	close(out);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int is_filtered(void)
{
	char text[8192];
	int fd = open("/proc/self/status", O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return strstr(text, "Seccomp:\t2") != NULL;
}

static int network(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) < 0;
}

static int run_program(void)
{
	return execl("/bin/true", "true", NULL);
}

static int run_descriptor(void)
{
	char *const none[] = { NULL };

	return (int)syscall(SYS_execveat, open("/bin/true", O_PATH), "", none, none, 0x1000);
}

static int trace(void)
{
	return (int)syscall(SYS_ptrace, 16, getppid(), 0, 0);
}

static int write_memory(void)
{
	return (int)syscall(SYS_process_vm_writev, getppid(), NULL, 0, NULL, 0, 0);
}

static int change_user(void)
{
	return setresuid(1, 1, 1);
}

static int executable(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

static int made_executable(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static int user_namespace(void)
{
	return (int)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, 0) < 0;
}

static int mounts(void)
{
	return (int)syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL);
}

static int terminal_input(void)
{
	return ioctl(STDIN_FILENO, TIOCSTI, "x");
}

static int open_by_handle(void)
{
	return (int)syscall(SYS_open_by_handle_at, -100, NULL, 0);
}

static void test_what_is_not_ours_ends_us(void **state)
{
	static const struct {
		int (*f)(void);
		long call;
	} bad[] = {
		{ run_program, SYS_execve },
		{ run_descriptor, SYS_execveat },    { trace, SYS_ptrace },
		{ write_memory, SYS_process_vm_writev }, { change_user, SYS_setresuid },
		{ mounts, SYS_mount },
		{ open_by_handle, SYS_open_by_handle_at },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char line[80];

		assert_int_equal(confined(bad[i].f), ENDED);
		snprintf(line, sizeof(line), "pprofd: ended: system call %ld is not", bad[i].call);
		assert_ptr_equal(strstr(said, line), said);
		assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
	}
}

/* Refused, and we go on. */
static int refused(void)
{
	errno = 0;
	if (executable() != 1 || errno != ENOSYS)
		return 1;
	if (made_executable() != -1 || errno != ENOSYS)
		return 2;
	if (terminal_input() != -1 || errno != ENOSYS)
		return 3;
	if (network() != 1 || errno != ENOSYS)
		return 5;
	if (user_namespace() != 1 || errno != ENOSYS)
		return 6;
	return syscall(100000) == -1 && errno == ENOSYS ? 0 : 4;
}

static void test_what_is_not_known_is_refused(void **state)
{
	(void)state;
	assert_int_equal(confined(refused), 0);
	assert_string_equal(said, "");
}

static void *in_thread(void *ret)
{
	*(int *)ret = open("/proc/self/maps", O_RDONLY | O_CLOEXEC) < 0;
	return NULL;
}

/* Threads, processes, files, terminals, the library's own. */
static int work(void)
{
	int r = 1, status = 1, pair[2];
	union bpf_attr a = { 0 };
	pthread_t thread;
	char *line = NULL;
	size_t n = 0;
	FILE *f;
	pid_t pid;

	if (pthread_create(&thread, NULL, in_thread, &r) || pthread_join(thread, NULL) || r)
		return 1;
	pid = fork();
	if (pid == 0)
		_exit(0);
	if (waitpid(pid, &status, 0) != pid || status)
		return 2;
	f = fopen("/proc/self/status", "re");
	while (f && getline(&line, &n, f) > 0)
		;
	free(line);
	if (!f || fclose(f) || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return 3;
	if (socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) < 0 || !realpath("/proc/self", NULL))
		return 4;
	isatty(STDERR_FILENO);
	syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &a, sizeof(a)); /* may fail */
	usleep(1);
	sysconf(_SC_NPROCESSORS_ONLN);
	return malloc(64 << 20) ? 0 : 5;
}

static void test_what_is_ours_is_let_through(void **state)
{
	(void)state;
	assert_int_equal(confined(work), 0);
	assert_string_equal(said, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_ours_is_let_through),
		cmocka_unit_test(test_what_is_not_ours_ends_us),
		cmocka_unit_test(test_what_is_not_known_is_refused),
	};

	/* a build with sanitizers has no filter */
	return _cmocka_run_group_tests("confine", tests, confined(is_filtered) ? 3 : 1, NULL, NULL);
}
