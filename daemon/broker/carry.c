/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/carry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"

#define MAX_NAME 64

static void name_of(const struct process *p, int which, char to[MAX_NAME])
{
	snprintf(to, MAX_NAME, "%d-%llu.%d", (int)p->pid, (unsigned long long)p->start_boottime, which);
}

/* The number of the process a file is of; 0: it is none of ours. */
static int pid_of(const char *name)
{
	unsigned long long start;
	int pid, which, n = 0;

	if (sscanf(name, "%d-%llu.%d%n", &pid, &start, &which, &n) != 3 || name[n] || pid <= 0)
		return 0;
	return pid;
}

static bool is_ours(int fd, mode_t type, mode_t forbidden)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type && st.st_uid == geteuid() && !(st.st_mode & forbidden);
}

/* A directory that others may write to would let them choose what we count. */
static int open_dir(const char *path)
{
	int fd, err = mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;

	if (err < 0)
		return err;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (is_ours(fd, S_IFDIR, S_IWGRP | S_IWOTH))
		return fd;
	close(fd);
	return -EPERM;
}

static bool usual_path(char *to, size_t n)
{
	const char *systemd = getenv("RUNTIME_DIRECTORY"), *xdg = getenv("XDG_RUNTIME_DIR");
	int k = -1;

	if (systemd && *systemd == '/')
		k = snprintf(to, n, "%.*s/counts", (int)strcspn(systemd, ":"), systemd);
	else if (geteuid() == 0)
		k = snprintf(to, n, "/run/pprofd");
	else if (xdg && *xdg == '/')
		k = snprintf(to, n, "%s/pprofd", xdg);
	return k > 0 && (size_t)k < n;
}

int carry_dir_open(const char *path, struct carry_dir *ret)
{
	bool given = path && strcmp(path, "none") != 0;
	struct carry_dir d = { .fd = -1, .keep = given };

	if (given)
		snprintf(d.path, sizeof(d.path), "%s", path);
	else if (path || !usual_path(d.path, sizeof(d.path)))
		*d.path = '\0';
	if (*d.path)
		d.fd = open_dir(d.path);
	*ret = d;
	if (d.fd < 0)
		ret->fd = -1;
	else
		carry_clean(ret, false);
	return given && d.fd < 0 ? d.fd : 0;
}

static int open_file(const struct carry_dir *d, const char *name)
{
	int fd = openat(d->fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (!is_ours(fd, S_IFREG, S_IRWXG | S_IRWXO))
		err = -EPERM;
	else if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		err = errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

int carry_open(const struct carry_dir *d, const struct process *p, int ret_fds[2])
{
	_cleanup_(closep) int first = -1;
	char name[MAX_NAME];
	int second;

	if (d->fd < 0 || !p->start_boottime)
		return -ENOENT;
	name_of(p, 0, name);
	first = open_file(d, name);
	if (first < 0)
		return first;
	name_of(p, 1, name);
	second = open_file(d, name);
	if (second < 0)
		return second;
	ret_fds[0] = TAKE_FD(first);
	ret_fds[1] = second;
	return 0;
}

/* Not access(2), which asks without our capabilities: where /proc shows strangers' processes to nobody, all would be gone. */
static bool is_there(int pid)
{
	struct stat st;
	char proc[32];

	snprintf(proc, sizeof(proc), "/proc/%d", pid);
	return stat(proc, &st) == 0 || errno != ENOENT;
}

static bool is_free(const struct carry_dir *d, const char *name)
{
	_cleanup_(closep) int fd = openat(d->fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

unsigned carry_clean(const struct carry_dir *d, bool all)
{
	int fd = d->fd < 0 ? -1 : openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	unsigned n = 0;

	if (fd >= 0 && !dir)
		close(fd);
	while (dir && (e = readdir(dir))) {
		int pid = pid_of(e->d_name);

		if (!pid || (!all && is_there(pid)) || !is_free(d, e->d_name))
			continue;
		n += unlinkat(d->fd, e->d_name, 0) == 0;
	}
	if (dir)
		closedir(dir);
	return n;
}

void carry_remove(const struct carry_dir *d, const struct process *p)
{
	char name[MAX_NAME];

	for (int k = 0; k < 2 && d->fd >= 0; k++) {
		name_of(p, k, name);
		if (p->start_boottime && is_free(d, name))
			unlinkat(d->fd, name, 0);
	}
}

void carry_dir_close(struct carry_dir *d, const struct process *processes, unsigned n)
{
	for (unsigned i = 0; i < n && !d->keep; i++)
		carry_remove(d, &processes[i]);
	close_fd(&d->fd);
}
