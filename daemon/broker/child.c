/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/child.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/record.h"
#include "version.h"

#define CHILD_SOCKET 3
#define NOBODY 65534

/* Read before anything is given up: afterwards there is nothing to give the children. */
struct user {
	uid_t uid;
	gid_t gid;
};

/* "pprofd" where the package made it, else nobody. /etc/passwd only: no name service, no network. */
static struct user unprivileged_user(void)
{
	struct user u = { NOBODY, NOBODY };
	FILE *f = fopen("/etc/passwd", "re");
	struct passwd *p;

	while (f && (p = fgetpwent(f))) {
		if (strcmp(p->pw_name, "pprofd") || !p->pw_uid)
			continue;
		u = (struct user){ p->pw_uid, p->pw_gid };
		break;
	}
	if (f)
		fclose(f);
	return u;
}

static int find_program(const char *name, char *to, size_t n)
{
	char self[1024], *slash;
	ssize_t got = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (got > 0) {
		self[got] = '\0';
		slash = strrchr(self, '/');
		*slash = '\0';
		if ((size_t)snprintf(to, n, "%s/%s", self, name) < n && access(to, X_OK) == 0)
			return 0;
		/* a tree that was put elsewhere as a whole */
		if ((size_t)snprintf(to, n, "%s/../libexec/pprofd/%s", self, name) < n && access(to, X_OK) == 0)
			return 0;
	}
	if ((size_t)snprintf(to, n, "%s/pprofd/%s", PPROFD_LIBEXECDIR, name) >= n)
		return -ENAMETOOLONG;
	return access(to, X_OK) == 0 ? 0 : -errno;
}

/* In the child, between fork and exec. */
static int give_up_everything(const struct user *u)
{
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETUID) &&
	    (setgroups(0, NULL) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 ||
	     setresuid(u->uid, u->uid, u->uid) < 0))
		return -errno;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	capng_clear(CAPNG_SELECT_CAPS);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return -EPERM;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return 0;
}

static void drop_bounding_set(void)
{
	for (int c = 0; c <= CAP_LAST_CAP; c++)
		prctl(PR_CAPBSET_DROP, c, 0, 0, 0); /* refused without CAP_SETPCAP */
}

static void __attribute__((noreturn)) run_child(const char *program, const char *name, int socket,
						 pid_t parent, const struct user *u)
{
	static char *const no_environment[] = { NULL };
	char *const argv[] = { (char *)name, NULL };
	sigset_t none;
	int r, fd;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(socket, CHILD_SOCKET) < 0 || (socket == CHILD_SOCKET &&
					       fcntl(socket, F_SETFD, 0) < 0))
		_exit(126);
	/* While we may: it can lie below a directory that is closed to others, as /root is. */
	fd = open(program, O_PATH | O_CLOEXEC);
	drop_bounding_set();
	r = give_up_everything(u);
	if (r < 0 || getppid() != parent) {
		fprintf(stderr, "pprofd: %s: cannot give up rights: %s\n", name, strerror(-r));
		_exit(126);
	}
	syscall(SYS_execveat, fd, "", argv, no_environment, AT_EMPTY_PATH);
	fprintf(stderr, "pprofd: %s: %s\n", program, strerror(errno));
	_exit(127);
}

int child_start(const char *name, struct child *ret)
{
	_cleanup_(closep) int ours = -1, theirs = -1;
	struct user u = unprivileged_user();
	char program[1200];
	pid_t pid, self = getpid();
	int pair[2], r = find_program(name, program, sizeof(program));

	if (r < 0)
		return r;
	r = record_pair(pair);
	if (r < 0)
		return r;
	ours = pair[0];
	theirs = pair[1];
	capng_get_caps_process();
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		run_child(program, name, theirs, self, &u);
	*ret = (struct child){ .pid = pid, .socket = TAKE_FD(ours) };
	ret->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return 0;
}

void child_stop(struct child *c)
{
	if (c->pid > 0) {
		if (c->pidfd >= 0)
			syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
		else
			kill(c->pid, SIGKILL);
		close_fd(&c->socket); /* where we may not signal it, this ends it */
		waitpid(c->pid, NULL, 0);
	}
	close_fd(&c->socket);
	close_fd(&c->pidfd);
	c->pid = 0;
}

/* /proc/PID/root needs SYS_PTRACE, map_files CHECKPOINT_RESTORE, others' files DAC_READ_SEARCH;
 * kallsyms SYSLOG; the last three start and stop the children under another user. Debian's
 * kernels at perf_event_paranoid 3 want SYS_ADMIN for perf_event_open: kept if it was there. */
void privilege_drop(void)
{
	static const unsigned keep[] = { CAP_BPF,	   CAP_PERFMON,	       CAP_SYS_PTRACE,
					 CAP_DAC_READ_SEARCH, CAP_CHECKPOINT_RESTORE,
					 CAP_SYSLOG,	   CAP_SETUID,	       CAP_SETGID,
					 CAP_KILL,	   CAP_SETPCAP,	       CAP_SYS_ADMIN };
	size_t n = sizeof(keep) / sizeof(keep[0]);
	bool had[sizeof(keep) / sizeof(keep[0])];
	FILE *f = fopen("/proc/sys/kernel/perf_event_paranoid", "re");
	int paranoid = 2;
	bool had_setpcap;

	if (f) {
		if (fscanf(f, "%d", &paranoid) != 1)
			paranoid = 2;
		fclose(f);
	}
	capng_get_caps_process();
	for (size_t i = 0; i < n; i++)
		had[i] = capng_have_capability(CAPNG_PERMITTED, keep[i]) &&
			 (keep[i] != CAP_SYS_ADMIN || paranoid > 2);
	had_setpcap = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	capng_clear(CAPNG_SELECT_BOTH);
	for (size_t i = 0; i < n; i++)
		if (had[i])
			capng_update(CAPNG_ADD,
				     CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET,
				     keep[i]);
	/* the bounding set takes CAP_SETPCAP; libcap-ng tells the system's log where it is missing */
	capng_apply(had_setpcap ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}
