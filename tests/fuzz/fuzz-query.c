/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as a query string: what comes out was in there, and numbers are in range. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/serve/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	_cleanup_(freep) char *raw = strndup((const char *)data, n);
	_cleanup_(query_deinit) struct query q = { 0 };
	size_t sum = 0;

	if (!raw || query_parse(raw, &q) < 0)
		return 0;
	assert(q.n <= QUERY_MAX);
	for (size_t i = 0; i < q.n; i++) {
		const char *value = query_get(&q, q.pairs[i].key);
		int64_t v, number = query_number(&q, q.pairs[i].key);

		assert(!value || *value);
		if (value && query_int(value, &v))
			assert(v == number);
		sum += strlen(q.pairs[i].key) + strlen(q.pairs[i].value);
	}
	assert(sum <= strlen(raw));
	return 0;
}
