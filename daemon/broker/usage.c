/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "daemon/broker/broker.h"
#include "version.h"

#define MAX_MAPS 512 /* that are told apart; a map may have several descriptors */

static bool read_text(int dir, const char *name, char *to, size_t n)
{
	_cleanup_(closep) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, to, n - 1);

	if (got <= 0)
		return false;
	to[got] = '\0';
	return true;
}

static int64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static uint32_t count_entries(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	uint32_t n = 0;

	if (!d) {
		close_fd(&fd);
		return 0;
	}
	for (struct dirent *e; (e = readdir(d));)
		n += *e->d_name != '.';
	closedir(d);
	return n;
}

/* proc_pid_stat(5): fields 14, 15, 20, 22 to 24, behind the name, which may hold anything. */
static void read_stat(const char *text, struct broker_process_usage *ret)
{
	unsigned long long user, system, threads, start, size, pages;
	const char *s = strrchr(text, ')');
	uint64_t tick_ns = 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK);

	if (!s || sscanf(s + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %llu %*d %llu %llu %llu",
			 &user, &system, &threads, &start, &size, &pages) != 6)
		return;
	ret->cpu_ns = (user + system) * tick_ns;
	ret->n_threads = (uint32_t)threads;
	ret->started_ns = now_ns(CLOCK_REALTIME) - now_ns(CLOCK_BOOTTIME) + (int64_t)(start * tick_ns);
	ret->virtual_bytes = size;
	ret->resident_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void usage_stat(const struct broker_known *k, struct broker_stat *ret)
{
	unsigned long long user, system, threads, start, pages;
	uint64_t tick_ns = 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK);
	char path[32], text[1024];
	const char *s;

	*ret = (struct broker_stat){ 0 };
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)k->pid);
	s = read_text(AT_FDCWD, path, text, sizeof(text)) ? strrchr(text, ')') : NULL;
	if (!s || sscanf(s + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %llu %*d %llu %*u %llu",
			 &user, &system, &threads, &start, &pages) != 5 || start != k->start)
		return; /* the number is another one's now */
	ret->cpu_ns = (user + system) * tick_ns;
	ret->n_threads = (uint32_t)threads;
	ret->resident_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void read_process(pid_t pid, struct broker_process_usage *ret)
{
	_cleanup_(closep) int dir = -1;
	char text[1024];

	snprintf(text, sizeof(text), "/proc/%d", (int)pid);
	dir = pid > 0 ? open(text, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (dir < 0 || !read_text(dir, "stat", text, sizeof(text)))
		return;
	read_stat(text, ret);
	ret->n_fds = count_entries(dir, "fd");
}

static uint64_t field(const char *text, const char *name)
{
	const char *s = strstr(text, name);

	return s ? strtoull(s + strlen(name), NULL, 10) : 0;
}

static bool is_new(uint64_t *ids, unsigned *n, uint64_t id)
{
	for (unsigned i = 0; i < *n; i++)
		if (ids[i] == id)
			return false;
	if (*n < MAX_MAPS)
		ids[(*n)++] = id;
	return true;
}

/* What the kernel says of the maps and programs that we have descriptors of. */
static void read_kernel(struct broker_usage *ret)
{
	int fd = open("/proc/self/fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	uint64_t ids[MAX_MAPS];
	unsigned n_ids = 0;
	char text[1024];

	if (!d) {
		close_fd(&fd);
		return;
	}
	for (struct dirent *e; (e = readdir(d));) {
		if (*e->d_name == '.' || !read_text(fd, e->d_name, text, sizeof(text)))
			continue;
		if (strstr(text, "\nmap_id:") && is_new(ids, &n_ids, field(text, "\nmap_id:"))) {
			ret->maps_bytes += field(text, "\nmemlock:");
			ret->n_maps++;
		} else if (strstr(text, "\nprog_id:")) {
			ret->programs_bytes += field(text, "\nmemlock:");
			ret->n_programs++;
		}
	}
	closedir(d);
}

void usage_read(const struct broker *b, struct broker_usage *ret)
{
	*ret = (struct broker_usage){ 0 };
	read_process(getpid(), &ret->processes[BROKER_PROCESS_BROKER]);
	read_process(b->serve.pid, &ret->processes[BROKER_PROCESS_SERVE]);
	read_process(b->symbolizer.pid, &ret->processes[BROKER_PROCESS_SYMBOLIZER]);
	read_kernel(ret);
	ret->n_symbolizers = b->n_symbolizers;
	snprintf(ret->version, sizeof(ret->version), "%s", PPROFD_VERSION);
}
