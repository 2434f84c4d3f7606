/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/dwo_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "daemon/broker/debug_file.h"

static bool ends_well(const char *name, size_t n)
{
	static const char *const suffixes[] = { ".dwo", ".o" };

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
		size_t k = strlen(suffixes[i]);

		if (n > k && name[n - k - 1] != '/' && !memcmp(name + n - k, suffixes[i], k))
			return true;
	}
	return false;
}

/* What is in order ends within its array. */
static bool in_order(const struct broker_dwo *q)
{
	size_t n = strnlen(q->name, sizeof(q->name));

	return n < sizeof(q->name) && ends_well(q->name, n) &&
	       strnlen(q->directory, sizeof(q->directory)) < sizeof(q->directory);
}

bool dwo_file_path(const struct broker_dwo *q, enum broker_dwo_place place, const char *directory,
		   char to[BROKER_MAX_PATH])
{
	const char *name = q->name, *before = directory;
	int n;

	if (!in_order(q))
		return false;
	if (place == BROKER_DWO_AS_TOLD)
		before = *name == '/' ? "" : q->directory;
	else if (place == BROKER_DWO_LAST_PART)
		name = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
	else if (*name == '/')
		return false; /* there is no such name beside it */
	if (*before != '/' && *name != '/')
		return false;
	n = snprintf(to, BROKER_MAX_PATH, "%s%s%s", before, *name == '/' ? "" : "/", name);
	return n > 0 && n < BROKER_MAX_PATH;
}

struct looking {
	const struct process *p;
	const struct broker_dwo *q;
	enum broker_dwo_place place; /* in shared memory: where it is */
};

static int look(int dir, void *context)
{
	struct looking *l = context;
	_cleanup_(closep) int root = debug_file_root(dir);
	char directory[BROKER_MAX_PATH], path[BROKER_MAX_PATH];

	if (root < 0)
		return root;
	debug_file_directory(dir, l->q->start, l->q->end, directory);
	for (; l->place < BROKER_N_DWO_PLACES; l->place++) {
		struct stat st;
		int fd;

		if (!dwo_file_path(l->q, l->place, directory, path))
			continue;
		fd = debug_file_open_below(root, path, 0, &st);
		if (fd >= 0 && st.st_size && (st.st_uid == l->p->uid || st.st_mode & S_IROTH))
			return fd;
		close_fd(&fd);
	}
	return -ENOENT;
}

int dwo_file_open(struct process *p, const struct broker_dwo *q, enum broker_dwo_place *ret_place)
{
	struct looking l = { p, q, (enum broker_dwo_place)q->place };
	int fd = process_open_guarded(p, false, look, &l, sizeof(l));

	*ret_place = l.place;
	return fd;
}
