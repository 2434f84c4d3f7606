/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as a configuration file: what comes out has keys, values without control characters, and lines that the file has;
 * what is refused is told in one line that begins with a number. */

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/broker/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char error[CONFIG_MAX_TEXT];
	struct config c = { 0 };
	int r = config_parse((const char *)data, n, &c, error);
	unsigned n_lines = 2; /* the end may be told of as a line of its own */

	if (r < 0) {
		assert(!c.items && !c.n);
		assert(r == -ENOMEM || (r == -EFBIG) == (n > CONFIG_MAX_BYTES));
		assert(r != -EBADMSG || (*error >= '1' && *error <= '9' && strstr(error, ": ")));
		return 0;
	}
	for (size_t i = 0; i < n; i++) /* YAML's breaks: LF, CR, and those of more bytes */
		n_lines += data[i] == '\n' || data[i] == '\r' || data[i] >= 0x80 || !data[i];
	assert(c.n <= CONFIG_MAX_ITEMS);
	for (size_t i = 0; i < c.n; i++) {
		assert(*c.items[i].key && c.items[i].line >= 1 && c.items[i].line <= n_lines);
		for (const char *p = c.items[i].value; p && *p; p++)
			assert((unsigned char)*p >= ' ' && *p != 0x7f);
	}
	config_deinit(&c);
	return 0;
}
