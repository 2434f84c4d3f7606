/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/command.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "version.h"

#define SAMPLER "libpprofd-alloc.so"

/* Where we are, when we run where we were built, else where it is installed. */
static bool find_sampler(char *to, size_t n)
{
	char self[1024], *slash;
	ssize_t got = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (got > 0) {
		self[got] = '\0';
		slash = strrchr(self, '/');
		*slash = '\0';
		if ((size_t)snprintf(to, n, "%s/" SAMPLER, self) < n && access(to, R_OK) == 0)
			return true;
	}
	return (size_t)snprintf(to, n, "%s/" SAMPLER, PPROFD_LIBDIR) < n && access(to, R_OK) == 0;
}

static int preload(char *told)
{
	char path[1200], *all = NULL;
	const char *others = getenv("LD_PRELOAD");
	int r;

	if (!find_sampler(path, sizeof(path))) {
		snprintf(told, COMMAND_MAX_TEXT, SAMPLER " is not installed: allocations are seen by uprobes");
		return 0;
	}
	if (asprintf(&all, "%s%s%s", path, others && *others ? ":" : "", others ? others : "") < 0)
		return -ENOMEM;
	r = setenv("LD_PRELOAD", all, 1) < 0 ? -errno : 0;
	free(all);
	return r;
}

static void __attribute__((noreturn)) run(char **arguments, const sigset_t *signals, int failed)
{
	int err;

	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, signals, NULL);
	syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
	execvp(arguments[0], arguments);
	err = errno;
	if (write(failed, &err, sizeof(err)) < 0)
		_exit(126);
	_exit(127);
}

/* Its number, or the errno of its exec, negative. */
static int start(char **arguments, const sigset_t *signals)
{
	_cleanup_(closep) int ours = -1, theirs = -1;
	int ends[2], err = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	ours = ends[0];
	theirs = ends[1];
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		run(arguments, signals, theirs);
	close_fd(&theirs);
	do
		n = read(ours, &err, sizeof(err)); /* the exec closes it */
	while (n < 0 && errno == EINTR);
	if (n != sizeof(err))
		return pid;
	waitpid(pid, NULL, 0);
	return -err;
}

int command_start(char **arguments, bool sampler, const sigset_t *signals, struct command *ret, char *told)
{
	const char *was = getenv("LD_PRELOAD");
	_cleanup_(freep) char *before = was ? strdup(was) : NULL;
	int r = 0;

	*told = '\0';
	if (sampler)
		r = preload(told);
	if (r == 0)
		r = start(arguments, signals);
	if (before)
		setenv("LD_PRELOAD", before, 1);
	else
		unsetenv("LD_PRELOAD");
	if (r < 0)
		return r;
	*ret = (struct command){ .pid = r, .pidfd = (int)syscall(SYS_pidfd_open, r, 0) };
	return 0;
}

void command_signal(const struct command *c, int number, bool from_terminal)
{
	if (c->pid && !c->ended && !from_terminal)
		kill(c->pid, number);
}

bool command_ended(struct command *c, bool wait)
{
	int status;

	if (c->ended || !c->pid)
		return c->ended;
	if (waitpid(c->pid, &status, wait ? 0 : WNOHANG) != c->pid)
		return false;
	c->ended = true;
	c->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	close_fd(&c->pidfd);
	return true;
}
