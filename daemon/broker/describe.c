/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/describe.h"

#include <errno.h>
#include <fnmatch.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "daemon/broker/procfs.h"

#define COMM 15		/* bytes that the kernel keeps of a name */
#define MIN_CONTAINER 4 /* digits of an id */
#define MAX_CONTAINER 64
#define SHORT_ID 12	/* as engines shorten it */
#define CGROUPS "/sys/fs/cgroup"

static const char *const options[BROKER_N_DESCRIBED] = {
	[BROKER_BY_PID] = "pid",   [BROKER_BY_COMM] = "comm",		[BROKER_BY_EXE] = "exe",
	[BROKER_BY_CGROUP] = "cgroup", [BROKER_BY_UNIT] = "unit",	[BROKER_BY_CONTAINER] = "container",
	[BROKER_BY_USER] = "user", [BROKER_BY_ALL] = "all",
};

/* Without a name service: /etc/passwd alone. */
static bool user_number(const char *name, uint32_t *ret)
{
	FILE *f;
	struct passwd *p;
	bool found = false;
	char *end;
	unsigned long n = strtoul(name, &end, 10);

	if (*name >= '0' && *name <= '9' && !*end && n < UINT32_MAX) {
		*ret = (uint32_t)n;
		return true;
	}
	f = fopen("/etc/passwd", "re");
	while (f && !found && (p = fgetpwent(f))) {
		found = !strcmp(p->pw_name, name);
		if (found)
			*ret = p->pw_uid;
	}
	if (f)
		fclose(f);
	return found;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Whether the n bytes are what a hierarchy of version 1 is mounted as: its controllers. */
static bool is_hierarchy(const char *s, size_t n)
{
	static const char all[] = ",cpu,cpuacct,cpuset,memory,blkio,devices,freezer,pids,net_cls,net_prio,perf_event,hugetlb,"
				  "rdma,misc,systemd,unified,";

	while (n) {
		const char *comma = memchr(s, ',', n);
		size_t part = comma ? (size_t)(comma - s) : n;
		char word[16];

		snprintf(word, sizeof(word), ",%.*s,", (int)part, s);
		if (!part || part + 2 >= sizeof(word) || !strstr(all, word))
			return false;
		s += part + (comma != NULL);
		n -= part + (comma != NULL);
	}
	return true;
}

void describe_cgroup(struct description *d, bool several)
{
	const char *what = d->what;
	size_t n;

	if (!strncmp(what, CGROUPS "/", sizeof(CGROUPS))) {
		what += sizeof(CGROUPS) - 1;
		n = strcspn(what + 1, "/");
		if (several && n && is_hierarchy(what + 1, n))
			what = what[n + 1] ? what + n + 1 : "/";
	}
	n = strlen(what);
	while (n > 1 && what[n - 1] == '/')
		n--;
	d->key = what;
	d->n_key = n;
}

/* Hierarchies beside each other, of version 1 or mixed. */
static bool several_hierarchies(void)
{
	struct statfs f;

	return statfs(CGROUPS, &f) == 0 && f.f_type != CGROUP2_SUPER_MAGIC;
}

/* Of docker://ID, containerd://ID, as Kubernetes tells of them, the id. */
static void take_id(struct description *d)
{
	const char *scheme = strstr(d->what, "://");

	d->key = scheme ? scheme + 3 : d->what;
	d->n_key = strlen(d->key);
}

static void default_name(struct description *d)
{
	const char *from = d->key;
	size_t n = d->n_key;

	if (d->kind == BROKER_BY_PID || d->kind == BROKER_BY_ALL)
		return;
	if (d->kind == BROKER_BY_CONTAINER && n > SHORT_ID)
		n = SHORT_ID;
	if (d->kind == BROKER_BY_EXE || d->kind == BROKER_BY_CGROUP) {
		const char *slash = memrchr(from, '/', n);

		n -= slash ? (size_t)(slash + 1 - from) : 0;
		from = slash ? slash + 1 : from;
	}
	if (d->kind == BROKER_BY_EXE && strpbrk(from, "*?["))
		return;
	if (d->kind == BROKER_BY_UNIT && n > 8 && !strcmp(from + n - 8, ".service"))
		n -= 8;
	snprintf(d->name, sizeof(d->name), "%.*s", (int)(n < sizeof(d->name) ? n : sizeof(d->name) - 1), from);
	for (char *s = d->name; *s; s++)
		if (*s == '/' || (unsigned char)*s < ' ' || *s == 0x7f)
			*s = '_';
}

static int refuse(char *error, enum broker_described kind, const char *what, const char *why)
{
	snprintf(error, DESCRIBE_MAX_TEXT, "--%s %.100s: %s", options[kind], what, why);
	return -EINVAL;
}

int describe_add(struct descriptions *d, enum broker_described kind, const char *what, char *error)
{
	struct description new = { .kind = kind, .what = what, .key = what, .n_key = strlen(what) };

	if (d->n == BROKER_MAX_DESCRIPTIONS)
		return refuse(error, kind, what, "too many descriptions of processes");
	if (!*what && kind != BROKER_BY_ALL)
		return refuse(error, kind, what, "it is empty");
	if (kind == BROKER_BY_PID)
		new.number = (uint32_t)strtoul(what, NULL, 10);
	if (kind == BROKER_BY_USER && !user_number(what, &new.number))
		return refuse(error, kind, what, "no such user");
	if (kind == BROKER_BY_CGROUP && *what != '/')
		return refuse(error, kind, what, "a path is wanted, which begins with /");
	if (kind == BROKER_BY_CGROUP)
		describe_cgroup(&new, several_hierarchies());
	if (kind == BROKER_BY_CONTAINER)
		take_id(&new);
	if (kind == BROKER_BY_CONTAINER &&
	    (new.n_key < MIN_CONTAINER || new.n_key > MAX_CONTAINER || new.key[strspn(new.key, "0123456789abcdef")]))
		return refuse(error, kind, what,
			      "its id is wanted, or at least 4 digits (0-9, a-f) that it begins with: docker inspect -f '{{.Id}}' NAME, "
			      "podman likewise; crictl ps --no-trunc");
	default_name(&new);
	d->all[d->n++] = new;
	return 0;
}

int describe_name(struct descriptions *d, const char *name, char *error)
{
	size_t n = strlen(name);

	snprintf(error, DESCRIBE_MAX_TEXT, "--name %.100s: ", name);
	if (!d->n)
		strcat(error, "it comes after what it names");
	else if (!n || n >= sizeof(d->all->name) || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		strcat(error, "up to 63 letters are wanted, and no slash");
	else
		*error = '\0';
	for (const char *s = name; *s && !*error; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			snprintf(error, DESCRIBE_MAX_TEXT, "--name: letters are wanted");
	if (*error)
		return -EINVAL;
	memcpy(d->all[d->n - 1].name, name, n + 1);
	return 0;
}

bool describe_needs_news(const struct descriptions *d)
{
	bool needs = d->follow;

	for (unsigned i = 0; i < d->n; i++)
		needs |= d->all[i].kind != BROKER_BY_PID;
	return needs;
}

static bool is_unit(const char *unit, const char *what)
{
	size_t n = strlen(what);

	return *unit && !strncmp(unit, what, n) && (!unit[n] || !strcmp(unit + n, ".service"));
}

static bool holds(const struct description *d, const struct broker_known *k, const char *cgroups)
{
	switch (d->kind) {
	case BROKER_BY_PID:
		return (uint32_t)k->pid == d->number;
	case BROKER_BY_COMM:
		return !strncmp(k->comm, d->what, COMM);
	case BROKER_BY_EXE:
		return *k->exe && !fnmatch(d->what, strchr(d->what, '/') ? k->exe : last_part(k->exe), 0);
	case BROKER_BY_CGROUP:
		return procfs_in_cgroup(cgroups, d->key, d->n_key);
	case BROKER_BY_UNIT:
		return is_unit(k->unit, d->what);
	case BROKER_BY_CONTAINER:
		return procfs_in_container(cgroups, d->key);
	case BROKER_BY_USER:
		return k->uid == d->number;
	case BROKER_BY_ALL:
		return true;
	case BROKER_N_DESCRIBED:
		break;
	}
	return false;
}

uint64_t describe_matches(const struct descriptions *d, const struct broker_known *k, const char *cgroups)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < d->n; i++)
		bits |= (uint64_t)holds(&d->all[i], k, cgroups) << i;
	return bits;
}

unsigned describe_tell(const struct descriptions *d, struct broker_description ret[BROKER_MAX_DESCRIPTIONS])
{
	for (unsigned i = 0; i < d->n; i++) {
		ret[i] = (struct broker_description){ .kind = d->all[i].kind };
		memcpy(ret[i].name, d->all[i].name, sizeof(ret[i].name));
		snprintf(ret[i].what, sizeof(ret[i].what), "%s", d->all[i].what);
	}
	return d->n;
}
