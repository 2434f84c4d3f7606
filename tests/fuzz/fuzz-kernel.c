/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as /proc/kallsyms. */

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "symbolizer/kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const uint64_t addresses[] = {
		0, 1, 0xffffffff81000000, 0xffffffff81000123, 0xffffffffc0000010, UINT64_MAX
	};
	_cleanup_(kernel_freep) struct kernel *k = NULL;
	_cleanup_(closep) int fd = memfd_create("kallsyms", MFD_CLOEXEC);
	struct kernel_symbol s;

	if (fd < 0 || write(fd, data, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET))
		return 0;
	if (kernel_open(fd, &k) < 0) {
		assert(!k);
		return 0;
	}
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		if (!kernel_find(k, addresses[i], &s))
			assert(*s.name && strlen(s.module) < 2048 && s.offset <= addresses[i]);
	return 0;
}
