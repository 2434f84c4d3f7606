/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/uprobe_link.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

struct uprobe_multi_attr { /* union bpf_attr.link_create with .uprobe_multi */
	uint32_t prog_fd, target_fd, attach_type, flags;
	uint64_t path, offsets, semaphores, cookies; /* pointers */
	uint32_t n, multi_flags, pid, pad;
};

int uprobe_link(int program, int type, const char *path, const struct uprobe_place *places, uint32_t n,
		pid_t pid)
{
	uint64_t offsets[UPROBE_LINK_MAX], semaphores[UPROBE_LINK_MAX], cookies[UPROBE_LINK_MAX];
	struct uprobe_multi_attr a = { .prog_fd = (uint32_t)program,
				       .attach_type = (uint32_t)type,
				       .path = (uint64_t)(uintptr_t)path,
				       .offsets = (uint64_t)(uintptr_t)offsets,
				       .semaphores = (uint64_t)(uintptr_t)semaphores,
				       .cookies = (uint64_t)(uintptr_t)cookies,
				       .n = n,
				       .pid = (uint32_t)pid };
	long fd;

	if (n > UPROBE_LINK_MAX)
		return -E2BIG;
	for (uint32_t i = 0; i < n; i++) {
		offsets[i] = places[i].offset;
		semaphores[i] = places[i].semaphore;
		cookies[i] = places[i].cookie;
	}
	fd = syscall(SYS_bpf, BPF_LINK_CREATE, &a, sizeof(a) - sizeof(a.pad));
	return fd < 0 ? -errno : (int)fd;
}

static void close_all_but(unsigned a, unsigned b)
{
	unsigned low = a < b ? a : b, high = a < b ? b : a;

	if (low)
		syscall(SYS_close_range, 0, low - 1, 0);
	if (high - low > 1)
		syscall(SYS_close_range, low + 1, high - 1, 0);
	syscall(SYS_close_range, high + 1, ~0u, 0);
}

/* Ends when the other side of the pipe is closed, and then nobody else has the link. */
static void __attribute__((noreturn)) outlive(int fd, const int pipe[2])
{
	char none;

	close_all_but((unsigned)fd, (unsigned)pipe[0]);
	while (read(pipe[0], &none, 1) < 0 && errno == EINTR)
		;
	_exit(0);
}

/* Where SIGKILL is pending the kernel takes no breakpoint out, and never tries again: who was probed would pay for each
 * call as long as it lives. A process that is ending already is past that. So the last descriptor goes with one that ends. */
void uprobe_link_close(int fd)
{
	int pair[2];
	pid_t pid = -1;

	if (fd < 0)
		return;
	if (pipe2(pair, O_CLOEXEC) == 0) {
		pid = fork();
		if (pid == 0)
			outlive(fd, pair);
		close(pair[0]);
		close(fd);
		close(pair[1]);
	} else {
		close(fd);
	}
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

#define MAX_WAIT_S 10 /* systemd waits for 15 */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t none_left = PTHREAD_COND_INITIALIZER;
static unsigned n_taking;

void uprobe_links_begin(void)
{
	pthread_mutex_lock(&lock);
	n_taking++;
	pthread_mutex_unlock(&lock);
}

void uprobe_links_end(void)
{
	pthread_mutex_lock(&lock);
	if (!--n_taking)
		pthread_cond_broadcast(&none_left);
	pthread_mutex_unlock(&lock);
}

void uprobe_links_wait(void)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += MAX_WAIT_S;
	pthread_mutex_lock(&lock);
	while (n_taking && pthread_cond_clockwait(&none_left, &lock, CLOCK_MONOTONIC, &end) == 0)
		;
	pthread_mutex_unlock(&lock);
}

bool uprobe_link_has_sessions(void)
{
	static const struct bpf_insn nothing[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K }, { .code = BPF_JMP | BPF_EXIT } };
	const struct uprobe_place nowhere = { 0 };
	union bpf_attr a = { .prog_type = BPF_PROG_TYPE_KPROBE,
			     .insn_cnt = sizeof(nothing) / sizeof(nothing[0]),
			     .insns = (uint64_t)(uintptr_t)nothing,
			     .license = (uint64_t)(uintptr_t)"GPL",
			     .expected_attach_type = TRACE_UPROBE_SESSION };
	_cleanup_(closep) int program = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof(a));
	_cleanup_(closep) int link = -1;

	if (program < 0)
		return false;
	link = uprobe_link(program, TRACE_UPROBE_SESSION, "/", &nowhere, 1, 0);
	return link == -EBADF; /* not a regular file: without sessions it is the attach type that is refused */
}
