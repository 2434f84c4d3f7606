/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/context.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

#define MAX_MAPPINGS 16 /* of that name: others have it by chance or ill will */
#define MAX_TRIES 3	/* a header that changes meanwhile */
#define MAX_MAPS (64u << 20)
#define MAX_LINE (4096 * 4 + 256) /* proc(5): PATH_MAX, each byte escaped to four */

struct header {
	char signature[8];
	uint32_t version, size;
	uint64_t published_ns, payload;
};

/* Where the mapping of this line of maps begins, if it may be one; else 0. */
static uint64_t candidate(const char *line)
{
	static const char *const names[] = { "[anon:OTEL_CTX]", "[anon_shmem:OTEL_CTX]", "/memfd:OTEL_CTX" };
	const char *name = line;

	for (int field = 0; field < 5; field++) {
		name += strcspn(name, " ");
		name += strspn(name, " ");
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strncmp(name, names[i], strlen(names[i])))
			return strtoull(line, NULL, 16);
	return 0;
}

static bool read_header(int memory, uint64_t at, struct header *ret)
{
	return pread(memory, ret, sizeof(*ret), (off_t)at) == sizeof(*ret) &&
	       !memcmp(ret->signature, "OTEL_CTX", sizeof(ret->signature)) &&
	       (ret->version == 1 || ret->version == 2) && ret->published_ns && ret->size &&
	       ret->size <= CONTEXT_MAX && ret->payload < 1ull << 63;
}

/* Copies what the header at this address tells of. */
static int copy(int memory, uint64_t at)
{
	static char bytes[CONTEXT_MAX];
	struct header before, after;

	for (int i = 0; i < MAX_TRIES; i++) {
		_cleanup_(closep) int to = -1;

		if (!read_header(memory, at, &before) ||
		    pread(memory, bytes, before.size, (off_t)before.payload) != (ssize_t)before.size)
			return -ENOENT;
		if (!read_header(memory, at, &after) || memcmp(&before, &after, sizeof(before)) != 0)
			continue;
		to = memfd_create("pprofd-context", MFD_CLOEXEC);
		if (to < 0)
			return -errno;
		if (write(to, bytes, before.size) != (ssize_t)before.size || lseek(to, 0, SEEK_SET) < 0)
			return -EIO;
		return TAKE_FD(to);
	}
	return -EAGAIN;
}

/* Looks at the whole lines of the buffer; what is left of the last one moves to its start. */
static int look_at_lines(int memory, char *buffer, size_t *n, unsigned *n_mappings)
{
	char *line = buffer, *newline;
	int r = -ENOENT;

	buffer[*n] = '\0';
	while (r == -ENOENT && (newline = strchr(line, '\n'))) {
		uint64_t at;

		*newline = '\0';
		at = candidate(line);
		if (at && (*n_mappings)++ < MAX_MAPPINGS)
			r = copy(memory, at);
		line = newline + 1;
	}
	*n -= (size_t)(line - buffer);
	memmove(buffer, line, *n);
	return r;
}

/* Without malloc: the process of ours that this runs in may have been cloned while somebody held its locks. */
static int find(int dir, void *context)
{
	_cleanup_(closep) int memory = openat(dir, "mem", O_RDONLY | O_CLOEXEC);
	_cleanup_(closep) int maps = openat(dir, "maps", O_RDONLY | O_CLOEXEC);
	static char buffer[MAX_LINE + 1];
	unsigned n_mappings = 0;
	size_t n = 0, total = 0;
	int r = -ENOENT;

	(void)context;
	if (memory < 0 || maps < 0)
		return -errno;
	while (r == -ENOENT && total < MAX_MAPS && n < MAX_LINE) {
		ssize_t got = read(maps, buffer + n, MAX_LINE - n);

		if (got <= 0)
			break;
		n += (size_t)got;
		total += (size_t)got;
		r = look_at_lines(memory, buffer, &n, &n_mappings);
	}
	return r;
}

int context_open(struct process *p)
{
	char nothing = 0;

	return process_open_guarded(p, false, find, &nothing, sizeof(nothing));
}
