/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as a linkage name, in every form that is asked for. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "symbolizer/demangle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char to[SYMBOLIZER_MAX_NAME + 1], again[SYMBOLIZER_MAX_NAME + 1];
	_cleanup_(freep) char *name = strndup((const char *)data, n);

	if (!name)
		return 0;
	for (int how = DEMANGLE_NONE; how <= DEMANGLE_FULL; how++) {
		size_t k = demangle(name, (enum symbolizer_demangle)how, to);

		assert(k <= SYMBOLIZER_MAX_NAME && strlen(to) == k);
		assert(utf8_copy(again, sizeof(again), to, k) == k && !memcmp(to, again, k));
	}
	return 0;
}
