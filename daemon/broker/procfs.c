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
#define PROC_STAT 1024

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

struct stat_line {
	char *comm; /* n_comm bytes, anything */
	size_t n_comm;
	char state;
	int parent;
	unsigned long flags;
	unsigned long long start;
};

/* proc(5): pid (comm) state ppid ... flags ... num_threads itrealvalue starttime; into `text`, which is PROC_STAT bytes. */
static bool read_stat(int dir, char *text, struct stat_line *ret)
{
	char *open, *close;

	if (read_file(dir, "stat", text, PROC_STAT) < 0)
		return false;
	open = strchr(text, '(');
	close = strrchr(text, ')');
	if (!open || !close || close < open ||
	    sscanf(close + 1, " %c %d %*d %*d %*d %*d %lu %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ret->state,
		   &ret->parent, &ret->flags, &ret->start) != 4)
		return false;
	ret->comm = open + 1;
	ret->n_comm = (size_t)(close - open - 1);
	return true;
}

static bool take_stat(int dir, struct broker_known *k)
{
	char text[PROC_STAT];
	struct stat_line s;

	if (!read_stat(dir, text, &s))
		return false;
	memcpy(k->comm, s.comm, s.n_comm < sizeof(k->comm) ? s.n_comm : sizeof(k->comm) - 1);
	k->parent = s.parent;
	k->start = s.start;
	return !(s.flags & PF_KTHREAD) && !strchr("ZXx", s.state);
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

/* A line of /proc/PID/cgroup: NUMBER:CONTROLLERS:PATH. */
struct line {
	const char *text;
	size_t n_hierarchy; /* bytes up to the path: the number and the controllers, with their colons */
	const char *path;
	size_t n;
	bool unified, systemd;
};

/* The next one that is one; false at the end. */
static bool next_line(const char **text, struct line *ret)
{
	while (**text) {
		const char *line = *text, *first, *second;
		size_t n = strcspn(line, "\n");

		*text += n + (line[n] == '\n');
		first = memchr(line, ':', n);
		second = first ? memchr(first + 1, ':', n - (size_t)(first + 1 - line)) : NULL;
		if (!second)
			continue;
		*ret = (struct line){ .text = line,
				      .n_hierarchy = (size_t)(second + 1 - line),
				      .path = second + 1,
				      .n = n - (size_t)(second + 1 - line),
				      .unified = second == first + 1,
				      .systemd = !strncmp(first, ":name=systemd:", 14) };
		return true;
	}
	return false;
}

static size_t hex_run(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n && strchr("0123456789abcdef", s[i]))
		i++;
	return i;
}

/* docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope, libpod-ID.scope, or the ID alone; CONTAINER_ID bytes of
 * `s`, or NULL. What watches over a container is none of it. */
static const char *find_container(const char *s, size_t n)
{
	static const char monitor[] = "conmon";

	if (memmem(s, n, monitor, sizeof(monitor) - 1))
		return NULL;
	for (size_t i = 0; i + CONTAINER_ID <= n;) {
		size_t run = hex_run(s + i, n - i);

		if (run == CONTAINER_ID)
			return s + i;
		i += run + 1;
	}
	return NULL;
}

/* Its parts, each with its length; NULL at the end. */
static const char *next_part(const char **path, const char *end, size_t *n)
{
	const char *part = *path;

	while (part < end && *part == '/')
		part++;
	if (part == end)
		return NULL;
	for (*n = 0; part + *n < end && part[*n] != '/';)
		++*n;
	*path = part + *n;
	return part;
}

static bool has_container(const char *path, size_t n_path, const char *id, size_t n_id)
{
	const char *part, *found, *end = path + n_path;
	size_t n;

	while ((part = next_part(&path, end, &n))) {
		found = find_container(part, n);
		if (found && !strncmp(found, id, n_id))
			return true;
	}
	return false;
}

void procfs_choose_cgroup(const char *text, char *to, size_t n)
{
	struct line line;
	int best = -1;

	*to = '\0';
	while (next_line(&text, &line)) {
		int worth = has_container(line.path, line.n, "", 0) * 8 + (line.n > 1) * 4 + line.unified * 2 + line.systemd;
		size_t length = line.n < n ? line.n : n - 1;

		if (worth <= best)
			continue;
		memcpy(to, line.path, length);
		to[length] = '\0';
		best = worth;
	}
}

bool procfs_in_cgroup(const char *text, const char *path, size_t n)
{
	struct line line;

	while (next_line(&text, &line))
		if (n <= line.n && !memcmp(line.path, path, n) && (n == 1 || n == line.n || line.path[n] == '/'))
			return true;
	return false;
}

bool procfs_in_container(const char *text, const char *id)
{
	struct line line;

	while (next_line(&text, &line))
		if (has_container(line.path, line.n, id, strlen(id)))
			return true;
	return false;
}

/* The root, as it is called from here, in the hierarchy of `line`; 0: it is not told, or is no other than "/". */
static size_t way_to_root(const char *root, const struct line *line, const char **ret)
{
	struct line r;

	while (next_line(&root, &r))
		if (r.n_hierarchy == line->n_hierarchy && !memcmp(r.text, line->text, r.n_hierarchy)) {
			*ret = r.path;
			return r.n > 2 && !strncmp(r.path, "/..", 3) ? r.n : 0;
		}
	return 0;
}

void procfs_from_root(char *text, const char *root)
{
	const char *from = text, *way;
	char *to = text;
	struct line line;

	while (next_line(&from, &line)) {
		size_t n = way_to_root(root, &line, &way);
		const char *path = line.path;
		bool ends = line.path[line.n] == '\n';

		if (n && line.n >= n && !memcmp(path, way, n) && (line.n == n || path[n] == '/'))
			path += n;
		n = line.n - (size_t)(path - line.path);
		memmove(to, line.text, line.n_hierarchy);
		to += line.n_hierarchy;
		if (!n && line.n)
			*to++ = '/';
		memmove(to, path, n);
		to += n;
		if (ends)
			*to++ = '\n';
	}
	*to = '\0';
}

static bool is_unit_text(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr(":-_.\\@", s[i]))
			return false;
	return true;
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

/* A service, or what an engine's own service holds: docker.service/docker/ID, user@1000.service/.../libpod-ID.scope.
 * A service whose container it is has libpod-payload-ID right below (podman's --cgroups=split). */
static void take_part(const char *s, size_t n, struct broker_known *k)
{
	static const char service[] = ".service", payload[] = "libpod-payload-";
	const size_t tail = sizeof(service) - 1;
	const char *id = find_container(s, n);

	if (n > tail && n < sizeof(k->unit) && !memcmp(s + n - tail, service, tail) && is_unit_text(s, n)) {
		memcpy(k->unit, s, n);
		k->unit[n] = '\0';
	}
	if (id) {
		memcpy(k->container, id, CONTAINER_ID);
		k->container[CONTAINER_ID] = '\0';
		if (strncmp(s, payload, sizeof(payload) - 1))
			*k->unit = '\0';
	}
	take_pod(s, n, k);
}

void procfs_cgroup(const char *path, struct broker_known *to)
{
	const char *part, *end = path + strlen(path);
	size_t n;

	while ((part = next_part(&path, end, &n)))
		take_part(part, n, to);
}

/* kthreadd, in the machine's own PID namespace; -1: there is none in ours. */
static int open_kthreadd(void)
{
	_cleanup_(closep) int dir = open("/proc/2", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char line[PROC_STAT];
	struct stat_line s;

	return dir >= 0 && read_stat(dir, line, &s) && s.flags & PF_KTHREAD ? TAKE_FD(dir) : -1;
}

bool procfs_sees_machine(void)
{
	_cleanup_(closep) int dir = open_kthreadd();

	return dir >= 0;
}

/* The kernel's own threads are in the root of each hierarchy, and stay there: how /proc calls theirs is where the root is.
 * Another path than "/" where we are in a cgroup namespace. */
static const char *root_cgroups(void)
{
	static char text[PROCFS_MAX_CGROUPS];
	static bool known;
	_cleanup_(closep) int dir = -1;

	if (known)
		return text;
	known = true;
	dir = open_kthreadd();
	if (dir < 0 || read_file(dir, "cgroup", text, sizeof(text)) < 0)
		*text = '\0';
	return text;
}

enum procfs_result procfs_read(pid_t pid, struct broker_known *ret, char *cgroups)
{
	struct broker_known k = { .pid = pid };
	_cleanup_(closep) int dir = -1;
	char path[32], own[PROCFS_MAX_CGROUPS], *text = cgroups ? cgroups : own;

	*text = '\0';
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || !take_stat(dir, &k) || !take_status(dir, &k) || !is_64_bit(dir))
		return PROCFS_NONE;
	take_exe(dir, &k);
	if (read_file(dir, "cgroup", text, PROCFS_MAX_CGROUPS) >= 0)
		procfs_from_root(text, root_cgroups());
	procfs_choose_cgroup(text, k.cgroup, sizeof(k.cgroup));
	procfs_cgroup(k.cgroup, &k);
	*ret = k;
	return PROCFS_OK;
}
