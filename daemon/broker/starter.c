/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/starter.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
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

#define OOM_SOONER 200 /* thousandths of all memory */
#define OOM_FIRST 1000
#define CHILD_SOCKET 3 /* and the starter's own */
#define NOBODY 65534
#define MAX_STARTED 16

static const char *const names[STARTER_N_PROGRAMS] = { "pprofd-serve", "pprofd-symbolizer", "pprofd-fetch" };

struct starter {
	pid_t broker;
	struct user {
		uid_t uid;
		gid_t gid;
	} user;
	bool other_user; /* we may start as that one */
	int programs[STARTER_N_PROGRAMS]; /* -errno: there is none */
	struct {
		pid_t pid; /* 0: free */
		int pidfd;
	} started[MAX_STARTED];
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

/* In the child, between clone and exec: libcap-ng would take it for its parent. */
static int give_up_everything(const struct user *u, bool other_user)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	static const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];

	if (other_user &&
	    (setgroups(0, NULL) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 ||
	     setresuid(u->uid, u->uid, u->uid) < 0))
		return -errno;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &header, none) < 0)
		return -errno;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return 0;
}

static void drop_bounding_set(void)
{
	for (int c = 0; c <= CAP_LAST_CAP; c++)
		prctl(PR_CAPBSET_DROP, c, 0, 0, 0); /* refused without CAP_SETPCAP */
}

/* While we may: it can lie below a directory that is closed to others, as /root is. */
static int open_program(const char *name)
{
	char path[1200];
	int r = find_program(name, path, sizeof(path)), fd;

	if (r < 0)
		return r;
	fd = open(path, O_PATH | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Where memory runs out, what can be started again goes before the broker, and before other people's processes. */
static void go_first(void)
{
	int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	char text[16] = "";
	ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof(text) - 1, 0);
	int score = atoi(text) + OOM_SOONER;

	snprintf(text, sizeof(text), "%d", score < OOM_FIRST ? score : OOM_FIRST);
	if (n > 0 && pwrite(fd, text, strlen(text), 0) < 0)
		fprintf(stderr, "pprofd: oom_score_adj: %s\n", strerror(errno));
	close_fd(&fd);
}

static void __attribute__((noreturn)) run_child(const struct starter *s, unsigned program, int socket)
{
	static char *const no_environment[] = { NULL };
	const char *name = names[program];
	char *const argv[] = { (char *)name, NULL };
	sigset_t none;
	int r;

	sigemptyset(&none);
	signal(SIGUSR1, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(socket, CHILD_SOCKET) < 0 || (socket == CHILD_SOCKET &&
					       fcntl(socket, F_SETFD, 0) < 0))
		_exit(126);
	go_first();
	drop_bounding_set();
	r = give_up_everything(&s->user, s->other_user);
	if (r < 0 || getppid() != s->broker) {
		fprintf(stderr, "pprofd: %s: cannot give up rights: %s\n", name, strerror(-r));
		_exit(126);
	}
	syscall(SYS_execveat, s->programs[program], "", argv, no_environment, AT_EMPTY_PATH);
	fprintf(stderr, "pprofd: %s: %s\n", name, strerror(errno));
	_exit(127);
}

static int find_room(struct starter *s)
{
	for (int i = 0; i < MAX_STARTED; i++) {
		struct pollfd f = { .fd = s->started[i].pidfd, .events = POLLIN };

		if (s->started[i].pid && poll(&f, 1, 0) <= 0)
			continue;
		if (s->started[i].pid)
			close_fd(&s->started[i].pidfd);
		s->started[i].pid = 0;
		return i;
	}
	return -EAGAIN;
}

/* The broker is the parent, which waits for it and is told of its end. */
static int start(struct starter *s, unsigned program, int socket, int *ret_pidfd)
{
	int pidfd = -1, room = find_room(s);
	pid_t pid;

	if (room < 0)
		return room;
	if (program >= STARTER_N_PROGRAMS)
		return -EINVAL;
	if (s->programs[program] < 0)
		return s->programs[program];
	pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | CLONE_PIDFD | SIGCHLD, NULL, &pidfd, NULL, 0);
	if (pid < 0)
		return -errno;
	if (pid == 0)
		run_child(s, program, socket);
	s->started[room].pid = pid;
	s->started[room].pidfd = pidfd;
	*ret_pidfd = pidfd;
	return pid;
}

static int end(struct starter *s, pid_t pid)
{
	for (int i = 0; i < MAX_STARTED; i++)
		if (pid > 0 && s->started[i].pid == pid)
			return syscall(SYS_pidfd_send_signal, s->started[i].pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
	return -ESRCH;
}

static void answer(struct starter *s, struct record *r)
{
	const struct starter_question *q = record_payload(r, struct starter_question);
	int pidfd = -1, status = -EBADMSG;

	if (q && r->type == STARTER_START && r->n_fds == 1)
		status = start(s, q->program, r->fds[0], &pidfd);
	else if (q && r->type == STARTER_END)
		status = end(s, q->pid);
	record_close_fds(r);
	r->status = status;
	r->n = 0;
	if (pidfd >= 0)
		r->fds[r->n_fds++] = pidfd;
}

/* What starting and ending under another user takes; nothing where we are not privileged. */
static void keep_little(struct starter *s)
{
	static const unsigned keep[] = { CAP_SETUID, CAP_SETGID, CAP_KILL, CAP_SETPCAP };
	size_t n = sizeof(keep) / sizeof(keep[0]);
	bool had[sizeof(keep) / sizeof(keep[0])], had_setpcap;

	capng_get_caps_process();
	for (size_t i = 0; i < n; i++)
		had[i] = capng_have_capability(CAPNG_PERMITTED, keep[i]);
	had_setpcap = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	capng_clear(CAPNG_SELECT_BOTH);
	for (size_t i = 0; i < n; i++)
		if (had[i])
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, keep[i]);
	/* the bounding set takes CAP_SETPCAP; libcap-ng tells the system's log where it is missing */
	capng_apply(had_setpcap ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	s->other_user = had[0];
}

/* Descriptors that are not ours go: listening sockets and files of a broker that starts us late. */
static int settle(struct starter *s, int socket)
{
	int first = CHILD_SOCKET + 1 + STARTER_N_PROGRAMS;

	socket = fcntl(socket, F_DUPFD_CLOEXEC, first);
	if (socket < 0)
		return -errno;
	for (int i = 0; i < STARTER_N_PROGRAMS; i++) {
		int fd = open_program(names[i]);

		s->programs[i] = fd;
		if (fd < 0)
			close(CHILD_SOCKET + 1 + i);
		if (fd < 0 || fd == CHILD_SOCKET + 1 + i)
			continue;
		s->programs[i] = CHILD_SOCKET + 1 + i;
		if (dup3(fd, s->programs[i], O_CLOEXEC) < 0)
			return -errno;
	}
	if (dup3(socket, CHILD_SOCKET, O_CLOEXEC) < 0)
		return -errno;
	return syscall(SYS_close_range, first, ~0u, 0) < 0 ? -errno : 0;
}

static struct starter s;

static void __attribute__((noreturn)) end_all(int signal)
{
	(void)signal;
	for (int i = 0; i < MAX_STARTED; i++)
		if (s.started[i].pid)
			syscall(SYS_pidfd_send_signal, s.started[i].pidfd, SIGKILL, NULL, 0);
	_exit(0);
}

/* The kernel signals children at their parent's death as that one might: ours may not signal another user's. So we do,
 * and do not rely on the end of our socket alone: a process of the broker's that hangs in an open shares its descriptors. */
static void end_with_broker(void)
{
	struct sigaction a = { .sa_handler = end_all };
	sigset_t set;

	sigaction(SIGUSR1, &a, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
}

static void __attribute__((noreturn)) run(pid_t broker, int socket)
{
	static struct record r;

	end_with_broker();
	prctl(PR_SET_NAME, "pprofd-starter");
	s.broker = broker;
	s.user = unprivileged_user();
	if (settle(&s, socket) < 0)
		_exit(1);
	keep_little(&s);
	if (getppid() != broker)
		_exit(1);
	while (record_receive(CHILD_SOCKET, &r, -1) == 0) {
		answer(&s, &r);
		if (record_send(CHILD_SOCKET, &r) < 0)
			break;
	}
	end_all(0);
}

int starter_program(const char *name)
{
	for (int i = 0; i < STARTER_N_PROGRAMS; i++)
		if (!strcmp(names[i], name))
			return i;
	return -ENOENT;
}

int starter_begin(pid_t *ret_pid)
{
	pid_t pid, self = getpid();
	int pair[2], r = record_pair(pair);

	if (r < 0)
		return r;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		run(self, pair[1]);
	}
	r = pid < 0 ? -errno : pair[0];
	close(pair[1]);
	if (pid < 0)
		close(pair[0]);
	else
		*ret_pid = pid;
	return r;
}
