/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/debug_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#define DEBUG_ROOT "/usr/lib/debug"
#define MAX_COMPONENTS 8

static bool __attribute__((format(printf, 2, 3))) make(char to[BROKER_MAX_PATH], const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(to, BROKER_MAX_PATH, format, ap);
	va_end(ap);
	return n > 0 && n < BROKER_MAX_PATH;
}

void debug_file_cache(char to[BROKER_MAX_PATH])
{
	const char *path = getenv("DEBUGINFOD_CACHE_PATH"), *xdg = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");
	bool made = false;

	if (path && *path == '/')
		made = make(to, "%s", path);
	else if (xdg && *xdg == '/')
		made = make(to, "%s/debuginfod_client", xdg);
	else if (home && *home == '/')
		made = make(to, "%s/.cache/debuginfod_client", home);
	if (!made)
		*to = '\0';
}

/* One part of a path: not empty, and leading nowhere but down. */
static bool good_component(const char *name, size_t n)
{
	return n && n <= 255 && !memchr(name, '/', n) && !(n == 1 && name[0] == '.') &&
	       !(n == 2 && name[0] == '.' && name[1] == '.');
}

static bool good_components(const char *path)
{
	for (int i = 0; i < MAX_COMPONENTS; i++) {
		size_t n = strcspn(path, "/");

		if (!good_component(path, n))
			return false;
		if (!path[n])
			return true;
		path += n + 1;
	}
	return false;
}

static bool hex_id(const struct broker_debug *q, char to[2 * BROKER_MAX_BUILD_ID + 1])
{
	if (q->n_id < 2 || q->n_id > BROKER_MAX_BUILD_ID)
		return false;
	for (uint32_t i = 0; i < q->n_id; i++)
		snprintf(to + 2ul * i, 3, "%02x", q->id[i]);
	return true;
}

/* What dwz's users give as the name: .../.dwz/REST */
static bool dwz_path(const struct broker_debug *q, char to[BROKER_MAX_PATH])
{
	const char *rest = strstr(q->name, "/.dwz/");

	return rest && good_components(rest + 6) && make(to, DEBUG_ROOT "/.dwz/%s", rest + 6);
}

bool debug_file_path(const struct broker_debug *q, enum broker_place place, const char *directory,
		     const char *cache, char to[BROKER_MAX_PATH])
{
	char hex[2 * BROKER_MAX_BUILD_ID + 1];
	size_t n = strnlen(q->name, sizeof(q->name));
	bool name = n < sizeof(q->name) && good_component(q->name, n);

	/* "/" or "/a/b" */
	if (*directory && (*directory != '/' || (directory[1] && !good_components(directory + 1))))
		directory = "";
	if (!strcmp(directory, "/"))
		directory = "//"; /* so that it has a part in what follows */
	if (n == sizeof(q->name))
		return false;
	switch (place) {
	case BROKER_PLACE_BUILD_ID:
	case BROKER_PLACE_HOST_BUILD_ID:
		return hex_id(q, hex) && make(to, DEBUG_ROOT "/.build-id/%.2s/%s.debug", hex, hex + 2);
	case BROKER_PLACE_BESIDE:
	case BROKER_PLACE_HOST_BESIDE:
		return name && *directory && make(to, "%s/%s", directory, q->name);
	case BROKER_PLACE_BELOW:
	case BROKER_PLACE_HOST_BELOW:
		return name && *directory && make(to, "%s/.debug/%s", directory, q->name);
	case BROKER_PLACE_GLOBAL:
	case BROKER_PLACE_HOST_GLOBAL:
		return name && *directory && make(to, DEBUG_ROOT "%s/%s", directory, q->name);
	case BROKER_PLACE_DWZ:
	case BROKER_PLACE_HOST_DWZ:
		return dwz_path(q, to);
	case BROKER_PLACE_CACHE:
	case BROKER_PLACE_FETCHED:
		return *cache && hex_id(q, hex) && make(to, "%s/%s/debuginfo", cache, hex);
	case BROKER_N_PLACES:
		break;
	}
	return false;
}

void debug_file_directory(int dir, uint64_t start, uint64_t end, char to[BROKER_MAX_PATH])
{
	char name[64];
	char *slash;
	ssize_t n;

	*to = '\0';
	if (dir < 0)
		return;
	snprintf(name, sizeof(name), "map_files/%" PRIx64 "-%" PRIx64, start, end);
	n = readlinkat(dir, name, to, BROKER_MAX_PATH - 1);
	to[n > 0 ? n : 0] = '\0';
	slash = strrchr(to, '/');
	if (slash)
		slash[slash == to] = '\0';
	else
		*to = '\0';
}

int debug_file_open_below(int root, const char *path, uint64_t resolve, struct stat *ret)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve };
	_cleanup_(closep) int at = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	char name[64];
	int fd;

	if (at < 0)
		return -errno;
	/* O_PATH first: opening a device for good may do something */
	if (fstat(at, ret) < 0)
		return -errno;
	if (!S_ISREG(ret->st_mode))
		return -EMEDIUMTYPE;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", at);
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

int debug_file_root(int dir)
{
	int fd = dir < 0 ? dir : openat(dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 && dir >= 0 ? -errno : fd;
}

struct looking {
	const struct process *p;
	const struct broker_debug *q;
	const struct debug_caches *caches;
	enum broker_place place; /* in shared memory: where it is */
};

/* Where the target's owner may have put what is there, only what he could read without us. */
static bool allowed(const struct looking *l, const struct stat *st)
{
	switch (l->place) {
	case BROKER_PLACE_HOST_BUILD_ID:
	case BROKER_PLACE_HOST_GLOBAL:
	case BROKER_PLACE_HOST_DWZ:
	case BROKER_PLACE_CACHE:
	case BROKER_PLACE_FETCHED:
		return true;
	default:
		return st->st_uid == l->p->uid || st->st_mode & S_IROTH;
	}
}

static int look(int dir, void *context)
{
	struct looking *l = context;
	_cleanup_(closep) int root = debug_file_root(dir), host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char directory[BROKER_MAX_PATH], path[BROKER_MAX_PATH];

	debug_file_directory(dir, l->q->start, l->q->end, directory);
	for (; l->place < BROKER_N_PLACES; l->place++) {
		bool theirs = l->place < BROKER_PLACE_HOST_BUILD_ID;
		const char *cache = l->place == BROKER_PLACE_FETCHED ? l->caches->fetched : l->caches->client;
		struct stat st;
		int fd;

		if ((theirs ? root : host) < 0 ||
		    !debug_file_path(l->q, l->place, directory, cache, path))
			continue;
		fd = debug_file_open_below(theirs ? root : host, path, 0, &st);
		/* an empty one is how debuginfod remembers that there is none */
		if (fd >= 0 && st.st_size && allowed(l, &st))
			return fd;
		close_fd(&fd);
	}
	return -ENOENT;
}

int debug_file_open(struct process *p, const struct broker_debug *q, const struct debug_caches *caches,
		    enum broker_place *ret_place)
{
	struct looking l = { p, q, caches, (enum broker_place)q->place };
	int fd = process_open_guarded(p, q->place >= BROKER_PLACE_HOST_BUILD_ID, look, &l, sizeof(l));

	*ret_place = l.place;
	return fd;
}

/* The last of NSpid in /proc/PID/status: in the innermost namespace. */
static int own_pid(int dir, pid_t *ret)
{
	_cleanup_(closep) int fd = openat(dir, "status", O_RDONLY | O_CLOEXEC);
	char text[4096], *line, *last;
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	line = strstr(text, "\nNSpid:");
	if (!line)
		return -ENODATA;
	line[1 + strcspn(line + 1, "\n")] = '\0';
	last = strrchr(line, '\t');
	*ret = last ? atoi(last + 1) : 0;
	return *ret > 0 ? 0 : -ENODATA;
}

static int look_for_map(int dir, void *context)
{
	const struct looking *l = context;
	_cleanup_(closep) int root = debug_file_root(dir);
	char path[64];
	struct stat st;
	pid_t pid;
	int r = root < 0 ? root : own_pid(dir, &pid), fd;

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)pid);
	fd = debug_file_open_below(root, path, RESOLVE_NO_SYMLINKS, &st);
	if (fd >= 0 && (st.st_uid != l->p->uid || st.st_nlink > 1)) /* /tmp is everybody's */
		close_fd(&fd), fd = -EPERM;
	return fd;
}

int perf_map_open(struct process *p)
{
	struct looking l = { .p = p };

	return process_open_guarded(p, false, look_for_map, &l, sizeof(l));
}
