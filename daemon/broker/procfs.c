/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/procfs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define PF_KTHREAD 0x00200000 /* linux/sched.h */
#define CONTAINER_ID 64
#define UUID 36

/* NUL-terminated; bytes, or -errno. */
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

/* proc(5): pid (comm) state ppid ... flags ... num_threads itrealvalue starttime; comm may hold anything. */
static bool take_stat(int dir, struct broker_known *k)
{
	char text[1024], state, *open, *close;
	unsigned long long start;
	unsigned long flags;
	int parent;
	size_t n;

	if (read_file(dir, "stat", text, sizeof(text)) < 0)
		return false;
	open = strchr(text, '(');
	close = strrchr(text, ')');
	if (!open || !close || close < open ||
	    sscanf(close + 1, " %c %d %*d %*d %*d %*d %lu %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &state,
		   &parent, &flags, &start) != 4)
		return false;
	n = (size_t)(close - open - 1);
	memcpy(k->comm, open + 1, n < sizeof(k->comm) ? n : sizeof(k->comm) - 1);
	k->parent = parent;
	k->start = start;
	return !(flags & PF_KTHREAD) && !strchr("ZXx", state);
}

static bool take_status(int dir, struct broker_known *k)
{
	char text[4096], *line;
	int tgid = 0;

	if (read_file(dir, "status", text, sizeof(text)) < 0)
		return false;
	line = strstr(text, "\nTgid:");
	if (!line || sscanf(line, "\nTgid: %d", &tgid) != 1 || tgid != k->pid)
		return false;
	line = strstr(text, "\nUid:");
	return line && sscanf(line, "\nUid: %u", &k->uid) == 1;
}

/* Who is ending has no memory any more, although /proc says for a while that it runs. An entry of a 64-bit process is two
 * u64, and no type is large; two u32 look like one large number. */
static bool is_64_bit(int dir)
{
	_cleanup_(closep) int fd = openat(dir, "auxv", O_RDONLY | O_CLOEXEC);
	uint64_t type = 0;
	ssize_t n = fd < 0 ? -1 : read(fd, &type, sizeof(type));

	if (n < 0)
		return errno == EACCES || errno == EPERM; /* nothing may be known of it */
	return n == sizeof(type) && type <= UINT32_MAX;
}

static void take_exe(int dir, struct broker_known *k)
{
	static const char deleted[] = " (deleted)";
	ssize_t n = readlinkat(dir, "exe", k->exe, sizeof(k->exe) - 1);
	const size_t tail = sizeof(deleted) - 1;

	k->exe[n > 0 ? n : 0] = '\0';
	if (n > (ssize_t)tail && !strcmp(k->exe + n - tail, deleted))
		k->exe[n - (ssize_t)tail] = '\0';
}

void procfs_choose_cgroup(const char *text, char *to, size_t n)
{
	int best = -1;

	*to = '\0';
	while (*text) {
		size_t line = strcspn(text, "\n");
		const char *first = memchr(text, ':', line);
		const char *second = first ? memchr(first + 1, ':', line - (size_t)(first + 1 - text)) : NULL;
		int worth = !second ? -1 : 0;

		if (second && second == first + 1) /* the one hierarchy */
			worth = second[1] == '/' && second + 2 < text + line ? 3 : 1;
		else if (second && !strncmp(first, ":name=systemd:", 14))
			worth = 2;
		if (worth > best) {
			size_t length = (size_t)(text + line - second - 1);

			length = length < n ? length : n - 1;
			memcpy(to, second + 1, length);
			to[length] = '\0';
			best = worth;
		}
		text += line + (text[line] == '\n');
	}
}

static bool is_unit_text(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr(":-_.\\@", s[i]))
			return false;
	return true;
}

static size_t hex_run(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n && strchr("0123456789abcdef", s[i]))
		i++;
	return i;
}

/* docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope, libpod-ID.scope, or the ID alone. */
static void take_container(const char *s, size_t n, struct broker_known *k)
{
	static const char monitor[] = "conmon";

	if (memmem(s, n, monitor, sizeof(monitor) - 1))
		return;
	for (size_t i = 0; i + CONTAINER_ID <= n; i++) {
		size_t run = hex_run(s + i, n - i);

		if (run == CONTAINER_ID) {
			memcpy(k->container, s + i, run);
			k->container[run] = '\0';
			return;
		}
		i += run;
	}
}

/* kubepods-burstable-podUID.slice, podUID: the parts of a UID are joined by - or _; of a static pod it is 32
 * digits. */
static void take_pod(const char *s, size_t n, struct broker_known *k)
{
	char uid[sizeof(k->pod)] = "";
	const char *at = memmem(s, n, "pod", 3);
	size_t i;

	while (at && (size_t)(at - s) + 3 < n && at[3] == 's') /* kubepods */
		at = memmem(at + 3, n - (size_t)(at + 3 - s), "pod", 3);
	if (!at)
		return;
	at += 3;
	for (i = 0; i < n - (size_t)(at - s) && i < UUID; i++) {
		if (!strchr("0123456789abcdef-_", at[i]))
			break;
		uid[i] = at[i] == '_' ? '-' : at[i];
	}
	if ((i == UUID && uid[8] == '-' && uid[23] == '-') || (i == 32 && hex_run(uid, i) == i))
		memcpy(k->pod, uid, sizeof(k->pod));
}

void procfs_cgroup(const char *path, struct broker_known *to)
{
	static const char service[] = ".service";
	const size_t tail = sizeof(service) - 1;

	while (*path) {
		size_t n = strcspn(path, "/");

		if (n > tail && n < sizeof(to->unit) && !memcmp(path + n - tail, service, tail) &&
		    is_unit_text(path, n)) {
			memcpy(to->unit, path, n);
			to->unit[n] = '\0';
		}
		take_container(path, n, to);
		take_pod(path, n, to);
		path += n + (path[n] == '/');
	}
}

enum procfs_result procfs_read(pid_t pid, struct broker_known *ret)
{
	struct broker_known k = { .pid = pid };
	_cleanup_(closep) int dir = -1;
	char path[32], text[4096];

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || !take_stat(dir, &k) || !take_status(dir, &k) || !is_64_bit(dir))
		return PROCFS_NONE;
	take_exe(dir, &k);
	if (read_file(dir, "cgroup", text, sizeof(text)) >= 0)
		procfs_choose_cgroup(text, k.cgroup, sizeof(k.cgroup));
	procfs_cgroup(k.cgroup, &k);
	*ret = k;
	return PROCFS_OK;
}
