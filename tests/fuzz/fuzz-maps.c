/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as /proc/PID/maps, and as one line of it. */

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/serve/maps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_line(const struct maps_line *l)
{
	assert(l->start < l->end && l->writable <= 1);
	assert(l->name && !strchr(l->name, '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	_cleanup_(closep) int fd = memfd_create("maps", MFD_CLOEXEC);
	struct maps_line l;
	struct maps m;

	if (!memchr(data, '\n', n) && maps_parse((const char *)data, n, &l) == 0) {
		check_line(&l);
		assert(strlen(l.name) < n);
		free(l.name);
	}
	if (fd < 0 || write(fd, data, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) ||
	    maps_read(fd, &m) < 0)
		return 0;
	assert(m.lines.n <= MAPS_MAX);
	for (size_t i = 0; i < m.lines.n; i++) {
		check_line(&m.lines.data[i]);
		assert(!(m.lines.data[i].start >> 63));
	}
	maps_deinit(&m);
	return 0;
}
