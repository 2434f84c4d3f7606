/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/fetch_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/vec.h"

#define FILE_NAME "debuginfo"

struct entry {
	char hex[2 * BROKER_MAX_BUILD_ID + 1];
	uint64_t bytes;
	struct timespec used;
};

struct entries {
	VEC(struct entry) all;
	uint64_t bytes;
};

bool fetch_hex(const uint8_t *id, uint32_t n, char to[2 * BROKER_MAX_BUILD_ID + 1])
{
	*to = '\0';
	if (n < 2 || n > BROKER_MAX_BUILD_ID)
		return false;
	for (uint32_t i = 0; i < n; i++)
		snprintf(to + 2ul * i, 3, "%02x", id[i]);
	return true;
}

static bool is_hex(const char *name)
{
	size_t n = strspn(name, "0123456789abcdef");

	return n >= 4 && n <= 2 * BROKER_MAX_BUILD_ID && !name[n];
}

static bool default_path(char *to, size_t n)
{
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int k = -1;

	if (geteuid() == 0)
		k = snprintf(to, n, "/var/cache/pprofd/debuginfod");
	else if (xdg && *xdg == '/')
		k = snprintf(to, n, "%s/pprofd/debuginfod", xdg);
	else if (home && *home == '/')
		k = snprintf(to, n, "%s/.cache/pprofd/debuginfod", home);
	return k > 0 && (size_t)k < n;
}

/* Ours alone, whatever the umask. */
static int make_all(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST && access(path, X_OK) < 0) {
			*slash = '/';
			return -errno;
		}
		*slash = '/';
	}
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int fetch_cache_open(const char *path, struct fetch_cache *ret)
{
	_cleanup_(freep) char *real = NULL;
	_cleanup_(closep) int dir = -1;
	struct stat st;
	int r;

	*ret = (struct fetch_cache){ .dir = -1, .max_bytes = FETCH_CACHE_MAX, .max_files = FETCH_CACHE_MAX_FILES };
	if (path ? (size_t)snprintf(ret->path, sizeof(ret->path), "%s", path) >= sizeof(ret->path) || !*path :
		   !default_path(ret->path, sizeof(ret->path)))
		return -ENOENT;
	r = make_all(ret->path);
	if (r < 0)
		return r;
	real = realpath(ret->path, NULL);
	if (!real || strlen(real) >= sizeof(ret->path) - 2 * BROKER_MAX_BUILD_ID - 16)
		return real ? -ENAMETOOLONG : -errno;
	strcpy(ret->path, real);
	dir = open(real, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
		return -EPERM;
	ret->dir = TAKE_FD(dir);
	return 0;
}

void fetch_cache_close(struct fetch_cache *c)
{
	close_fd(&c->dir);
}

int fetch_cache_create(const struct fetch_cache *c)
{
	int fd = openat(c->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fd;
}

void fetch_cache_discard(const struct fetch_cache *c, const char *hex)
{
	char name[sizeof(FILE_NAME) + 2 * BROKER_MAX_BUILD_ID + 1];

	if (!is_hex(hex))
		return;
	snprintf(name, sizeof(name), "%s/" FILE_NAME, hex);
	unlinkat(c->dir, name, 0);
	unlinkat(c->dir, hex, AT_REMOVEDIR); /* where somebody put more into it, it stays */
}

static int list(const struct fetch_cache *c, struct entries *ret)
{
	int fd = openat(c->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!d)
		return close_fd(&fd), -errno;
	while (r == 0 && (e = readdir(d))) {
		char name[sizeof(FILE_NAME) + 2 * BROKER_MAX_BUILD_ID + 1];
		struct entry x = { .bytes = 0 };
		struct stat st;

		if (!is_hex(e->d_name))
			continue;
		memcpy(x.hex, e->d_name, strlen(e->d_name));
		snprintf(name, sizeof(name), "%s/" FILE_NAME, x.hex);
		if (fstatat(c->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			continue;
		x.bytes = (uint64_t)st.st_blocks * 512;
		x.used = st.st_mtim;
		ret->bytes += x.bytes;
		r = vec_push(&ret->all, x);
	}
	closedir(d);
	return r;
}

static int by_use(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->used.tv_sec != y->used.tv_sec)
		return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
	return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

/* For one more file, of so many bytes. */
static int make_room(const struct fetch_cache *c, uint64_t bytes)
{
	struct entries e = { 0 };
	int r = list(c, &e);

	if (r == 0 && e.all.n)
		qsort(e.all.data, e.all.n, sizeof(*e.all.data), by_use);
	for (size_t i = 0; r == 0 && i < e.all.n; i++) {
		if (e.bytes + bytes <= c->max_bytes && e.all.n - i < c->max_files)
			break;
		fetch_cache_discard(c, e.all.data[i].hex);
		e.bytes -= e.all.data[i].bytes;
	}
	if (r == 0 && e.bytes + bytes > c->max_bytes)
		r = -EFBIG;
	vec_deinit(&e.all);
	return r;
}

int fetch_cache_publish(const struct fetch_cache *c, int fd, const char *hex)
{
	_cleanup_(closep) int below = -1;
	struct stat st;
	char self[64];
	int r;

	if (!is_hex(hex))
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	fetch_cache_discard(c, hex);
	r = make_room(c, (uint64_t)st.st_blocks * 512);
	if (r < 0)
		return r;
	if (mkdirat(c->dir, hex, 0700) < 0 && errno != EEXIST)
		return -errno;
	below = openat(c->dir, hex, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (below < 0)
		return -errno;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, self, below, FILE_NAME, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

void fetch_cache_used(int fd)
{
	futimens(fd, NULL); /* of no use on a file system that is full, or read-only by now */
}
