/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/process.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/record.h"
#include "daemon/broker/left.h"
#include "daemon/broker/procfs.h"

#define PF_KTHREAD 0x00200000 /* linux/sched.h */
#define OPEN_TIMEOUT_MS 2000
#define MAX_STUCK 3
#define MIN_PAUSE_NS (30 * 1000000000ll) /* after so many; each more doubles it */
#define MAX_PAUSE_NS (3600 * 1000000000ll)

static int pidfd_open(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

bool process_alive(const struct process *p)
{
	struct pollfd f = { .fd = p->pidfd, .events = POLLIN };

	return poll(&f, 1, 0) == 0;
}

static int read_file(int dir, const char *name, char *to, size_t n)
{
	_cleanup_(closep) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return -errno;
	got = read(fd, to, n - 1);
	if (got < 0)
		return -errno;
	to[got] = '\0';
	return (int)got;
}

static int open_dir(pid_t pid)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Whoever has ended has no mappings; but nor has, for a moment, the memory that an exec leaves behind while it is
 * being read. A second reading is of the new one. */
static bool has_memory(int dir)
{
	char text[16];

	for (int tries = 0; tries < 3; tries++)
		if (read_file(dir, "maps", text, sizeof(text)) != 0)
			return true;
	return false;
}

/* The thread whose /proc files tell of the memory: the leader, or where the leader has ended
 * before the others, one of them. */
static int open_memory_dir(const struct process *p)
{
	_cleanup_(closep) int dir = open_dir(p->pid);
	char text[16];
	struct dirent *d;
	DIR *tasks;
	int fd, found = -ESRCH;

	if (dir < 0)
		return dir;
	if (has_memory(dir))
		return TAKE_FD(dir);
	fd = openat(dir, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	tasks = fd < 0 ? NULL : fdopendir(fd);
	if (!tasks)
		return close_fd(&fd), -ESRCH;
	while (found < 0 && (d = readdir(tasks))) {
		pid_t tid = (pid_t)atoi(d->d_name);

		if (tid <= 0 || tid == p->pid)
			continue;
		found = open_dir(tid);
		if (found >= 0 && read_file(found, "maps", text, sizeof(text)) <= 0)
			close_fd(&found), found = -ESRCH;
	}
	closedir(tasks);
	return found;
}

static uid_t whose(const char *status)
{
	const char *line = strstr(status, "\nUid:");
	unsigned uid[4];

	return line && sscanf(line, "\nUid: %u %u %u %u", &uid[0], &uid[1], &uid[2], &uid[3]) == 4 &&
			       uid[0] == uid[1] && uid[0] == uid[2] && uid[0] == uid[3] ?
		       uid[0] :
		       PROCESS_NOBODYS;
}

static int check_status(int dir, struct process *p)
{
	char text[4096], *line;
	int tgid = 0, r = read_file(dir, "status", text, sizeof(text));

	if (r < 0)
		return r == -ENOENT || r == -ESRCH ? PROCESS_NONE : r;
	line = strstr(text, "\nTgid:");
	if (line)
		sscanf(line, "\nTgid: %d", &tgid);
	if (tgid != p->pid) {
		p->pid = tgid;
		return PROCESS_THREAD;
	}
	p->uid = whose(text);
	return PROCESS_OK;
}

void process_look_whose(struct process *p)
{
	_cleanup_(closep) int dir = open_dir(p->pid);
	struct stat files;
	char text[4096];

	/* What cannot be read has ended: what is known of it was its own. */
	if (dir < 0 || read_file(dir, "status", text, sizeof(text)) <= 0 || fstatat(dir, "status", &files, 0) < 0)
		return;
	if (whose(text) != p->uid || files.st_uid != p->uid)
		p->uid = PROCESS_NOBODYS;
}

/* proc(5): pid (comm) state ppid pgrp session tty tpgid flags ...; comm may hold anything. */
static int check_stat(int dir, struct process *p)
{
	char text[1024], state, *open, *close;
	unsigned long flags;
	size_t n;
	int r = read_file(dir, "stat", text, sizeof(text));

	if (r < 0)
		return r == -ENOENT || r == -ESRCH ? PROCESS_NONE : r;
	open = strchr(text, '(');
	close = strrchr(text, ')');
	if (!open || !close || sscanf(close + 1, " %c %*d %*d %*d %*d %*d %lu", &state, &flags) != 2)
		return -EBADMSG;
	n = (size_t)(close - open - 1);
	memcpy(p->comm, open + 1, n < sizeof(p->comm) ? n : sizeof(p->comm) - 1);
	if (flags & PF_KTHREAD)
		return PROCESS_KERNEL;
	return state == 'X' ? PROCESS_NONE : PROCESS_OK;
}

/* A process whose leader alone has ended is still one to profile. */
static int check_program(int dir, const struct process *p)
{
	unsigned char ident[EI_NIDENT];
	_cleanup_(closep) int memory = open_memory_dir(p);
	_cleanup_(closep) int fd = -1;

	if (memory == -ESRCH)
		return PROCESS_ZOMBIE;
	fd = openat(memory < 0 ? dir : memory, "exe", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == EACCES || errno == EPERM ? -errno : PROCESS_OK;
	if (pread(fd, ident, sizeof(ident), 0) == sizeof(ident) && !memcmp(ident, ELFMAG, SELFMAG) &&
	    ident[EI_CLASS] != ELFCLASS64)
		return PROCESS_32_BIT;
	return PROCESS_OK;
}

int process_open(pid_t pid, struct process *ret)
{
	struct process p = { .pid = pid, .pidfd = -1 };
	_cleanup_(closep) int dir = open_dir(pid), pidfd = -1;
	int r;

	if (dir < 0)
		return dir == -ENOENT ? PROCESS_NONE : dir;
	r = check_status(dir, &p);
	if (r == PROCESS_OK)
		r = check_stat(dir, &p);
	if (r == PROCESS_OK) {
		pidfd = pidfd_open(pid);
		if (pidfd < 0)
			return pidfd == -ESRCH ? PROCESS_NONE : pidfd;
		r = check_program(dir, &p);
	}
	if (r == PROCESS_OK)
		p.pidfd = TAKE_FD(pidfd);
	if (r >= 0)
		*ret = p;
	return r;
}

int process_take(const struct broker_known *k, struct process *ret)
{
	struct process p = { .pid = k->pid, .uid = k->uid, .known = k->id };
	_cleanup_(closep) int pidfd = pidfd_open(k->pid);
	struct broker_known now;

	if (pidfd < 0)
		return pidfd;
	if (procfs_read(k->pid, &now, NULL) != PROCFS_OK || now.start != k->start)
		return -ESRCH;
	memcpy(p.comm, now.comm, sizeof(p.comm));
	p.pidfd = TAKE_FD(pidfd);
	*ret = p;
	return 0;
}

int process_open_proc(const struct process *p, enum broker_proc_file file)
{
	static const char *const names[BROKER_N_PROC] = {
		[BROKER_PROC_MAPS] = "maps",
		[BROKER_PROC_AUXV] = "auxv",
		[BROKER_PROC_CMDLINE] = "cmdline",
		[BROKER_PROC_STAT] = "stat",
		[BROKER_PROC_STATUS] = "status",
	};
	_cleanup_(closep) int dir = open_memory_dir(p);
	_cleanup_(closep) int fd = -1;

	if (dir < 0)
		return dir == -ENOENT ? -ESRCH : dir;
	fd = openat(dir, names[file], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* while the pidfd says that it lives, the number was its own */
	return process_alive(p) ? TAKE_FD(fd) : -ESRCH;
}

/* Without CAP_CHECKPOINT_RESTORE the link cannot be followed, but it can be read: then by path,
 * below the target's own root. */
static int open_by_path(int dir, const char *range)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	_cleanup_(closep) int root = -1;
	char name[64], path[4096];
	ssize_t n;
	int fd;

	snprintf(name, sizeof(name), "map_files/%s", range);
	n = readlinkat(dir, name, path, sizeof(path) - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	root = openat(dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	return fd < 0 ? -errno : fd;
}

static int open_mapped(int dir, const char *range, struct broker_file *ret)
{
	_cleanup_(closep) int at = -1;
	bool by_path;
	char name[64];
	struct stat st;
	int fd;

	snprintf(name, sizeof(name), "map_files/%s", range);
	at = openat(dir, name, O_PATH | O_CLOEXEC);
	by_path = at < 0 && (errno == EPERM || errno == EACCES);
	if (by_path)
		at = open_by_path(dir, range);
	else if (at < 0)
		at = -errno;
	if (at < 0)
		return at;
	/* O_PATH first: opening a device for good may do something */
	if (fstat(at, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EMEDIUMTYPE;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", at);
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	*ret = (struct broker_file){
		.dev = st.st_dev,
		.ino = st.st_ino,
		.size = (uint64_t)st.st_size,
		.mtime_ns = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec,
		.ctime_ns = st.st_ctim.tv_sec * 1000000000ll + st.st_ctim.tv_nsec,
		.by_path = by_path,
	};
	return fd;
}

static void close_range_of(int first, int last)
{
	if (first <= last)
		syscall(SYS_close_range, first, last, 0);
}

/* All descriptors but these and stdio's; a: -1: none. */
static void close_others(int a, int b)
{
	int low = a < b ? a : b, high = a < b ? b : a;

	close_range_of(STDERR_FILENO + 1, low - 1);
	close_range_of(low < STDERR_FILENO ? STDERR_FILENO + 1 : low + 1, high - 1);
	close_range_of(high + 1, INT_MAX);
}

/* The child's whole life. What it has opened goes with it, and nothing of ours stays where it cannot be ended. */
static void __attribute__((noreturn)) run_open(int dir, int socket, process_open_fn *open_it, void *context, size_t n)
{
	static struct record r;

	close_others(dir, socket);
	r = (struct record){ .status = open_it(dir, context), .n = (uint32_t)n };
	if (r.status >= 0)
		r.fds[r.n_fds++] = r.status;
	memcpy(r.data, context, n);
	_exit(record_send(socket, &r) < 0);
}

static int open_in_child(struct process *p, int dir, process_open_fn *open_it, void *context, size_t n)
{
	_cleanup_(closep) int ours = -1, theirs = -1;
	static struct record r;
	int pair[2], err = record_pair(pair);
	pid_t child;

	if (err < 0)
		return err;
	ours = pair[0];
	theirs = pair[1];
	child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
	if (child < 0)
		return -errno;
	if (child == 0)
		run_open(dir, theirs, open_it, context, n);
	close_fd(&theirs);
	err = record_receive(ours, &r, OPEN_TIMEOUT_MS);
	if (!left_end(child))
		p->stuck = child;
	if (err < 0)
		return err == -EPIPE ? -ETIMEDOUT : err; /* it was killed by somebody else */
	memcpy(context, r.data, n);
	return r.n_fds ? r.fds[0] : r.status;
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* A file system that is silent may be a hostile one, or have been so for a minute. */
static bool is_silent(const struct process *p)
{
	int64_t pause = MIN_PAUSE_NS;

	if (p->n_stuck < MAX_STUCK)
		return false;
	for (unsigned i = MAX_STUCK; i < p->n_stuck && pause < MAX_PAUSE_NS; i++)
		pause *= 2;
	return now_ns() - p->stuck_ns < (pause < MAX_PAUSE_NS ? pause : MAX_PAUSE_NS) || left_is_there(p->stuck);
}

int process_open_guarded(struct process *p, bool any, process_open_fn *open_it, void *context, size_t n)
{
	_cleanup_(closep) int dir = -1;
	int fd;

	if (n > PROCESS_MAX_CONTEXT)
		return -E2BIG;
	if ((!any && is_silent(p)) || !left_has_room())
		return -ETIMEDOUT;
	dir = open_memory_dir(p);
	if (dir < 0 && !any)
		return dir == -ENOENT ? -ESRCH : dir;
	fd = open_in_child(p, dir, open_it, context, n);
	if (fd == -ETIMEDOUT) {
		p->n_stuck++;
		p->stuck_ns = now_ns();
	}
	if (fd >= 0 && !any && !process_alive(p))
		left_close(fd), fd = -ESRCH;
	return fd;
}

struct mapped {
	uint64_t start, end;
	struct broker_file file;
};

static int open_range(int dir, void *context)
{
	struct mapped *m = context;
	char range[40];

	snprintf(range, sizeof(range), "%" PRIx64 "-%" PRIx64, m->start, m->end);
	return open_mapped(dir, range, &m->file);
}

int process_open_mapped(struct process *p, uint64_t start, uint64_t end, struct broker_file *ret)
{
	struct mapped m = { .start = start, .end = end };
	int fd = process_open_guarded(p, false, open_range, &m, sizeof(m));

	if (fd >= 0)
		*ret = m.file;
	return fd;
}
