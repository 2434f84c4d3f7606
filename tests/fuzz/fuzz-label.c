/* SPDX-License-Identifier: Apache-2.0 */

/* Any words as a stored set of labels, and any bytes as a process context: keys of one go with the other. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/label.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The first byte: where the context ends, in eighths. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct target_labels t = { 0 };
	struct label found[LABEL_MAX];
	uint64_t words[PP_MAX_WORDS];
	size_t context;
	uint32_t n_found;

	if (!n)
		return 0;
	context = (n - 1) * (data[0] & 7) / 8;
	t.n_keys = label_read_keys(data + 1, context, t.keys);
	assert(t.n_keys <= LABEL_MAX_KEYS);
	data += 1 + context;
	n -= 1 + context;
	n = n / 8 < PP_MAX_WORDS ? n / 8 : PP_MAX_WORDS;
	memcpy(words, data, n * 8);
	n_found = label_decode(words, (uint32_t)n, &t, found);
	assert(n_found <= LABEL_MAX);
	for (uint32_t i = 0; i < n_found; i++) {
		assert(*found[i].key && *found[i].value && strlen(found[i].key) <= LABEL_MAX_KEY);
		assert(strlen(found[i].value) <= LABEL_MAX_VALUE);
		for (uint32_t k = 0; k < i; k++)
			assert(strcmp(found[i].key, found[k].key) != 0);
	}
	while (t.n_keys)
		free(t.keys[--t.n_keys]);
	return 0;
}
