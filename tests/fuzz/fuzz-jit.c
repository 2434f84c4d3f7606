/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as a file in which a target tells of code that it made: a perf map file, or with its magic number a jitdump
 * file. Read in two steps, as it grows; what is found must be the same as after one. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "symbolizer/jit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void look(struct jit *grown, struct jit *whole, uint64_t address)
{
	struct jit_symbol a, b;
	bool found = jit_find(grown, address, &a);

	assert(found == jit_find(whole, address, &b));
	if (!found)
		return;
	assert(*a.name && strlen(a.name) <= JIT_MAX_NAME && a.start <= address);
	assert(!strcmp(a.name, b.name) && a.start == b.start);
	assert(strlen(a.file) <= JIT_MAX_NAME && !strcmp(a.file, b.file) && a.line == b.line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	enum jit_format format = n > 3 && !memcmp(data, "DTiJ", 4) ? JIT_DUMP : JIT_PERF_MAP;
	_cleanup_(jit_freep) struct jit *grown = NULL, *whole = NULL;
	_cleanup_(closep) int fd = memfd_create("jit", MFD_CLOEXEC);
	size_t half = n / 2;
	int r;

	if (fd < 0 || jit_new(format, &grown) < 0 || jit_new(format, &whole) < 0 ||
	    write(fd, data, half) != (ssize_t)half)
		return 0;
	jit_update(grown, fd);
	look(grown, grown, 0x1000);
	if (write(fd, data + half, n - half) != (ssize_t)(n - half))
		return 0;
	r = jit_update(grown, fd);
	assert(r == jit_update(whole, fd));
	if (r == 0)
		assert(jit_left_out(grown) == jit_left_out(whole));
	for (uint64_t at = 0; at < 64; at++)
		look(grown, whole, at * 0x123);
	look(grown, whole, UINT64_MAX);
	for (size_t i = 0; i + 8 <= n && i < 512; i++) {
		uint64_t at;

		memcpy(&at, data + i, 8);
		look(grown, whole, at);
		look(grown, whole, strtoull((char[17]){ (char)data[i], (char)data[i + 1], (char)data[i + 2],
							(char)data[i + 3] }, NULL, 16));
	}
	assert(ftruncate(fd, (off_t)half) == 0);
	jit_update(grown, fd);
	return 0;
}
