/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/json.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

void json_string(struct bytes *b, const char *text)
{
	size_t n = strlen(text) + 1;
	_cleanup_(freep) char *copy = malloc(n);

	if (!copy) {
		b->bad = true;
		return;
	}
	utf8_copy(copy, n, text, n - 1);
	bytes_puts(b, "\"");
	for (const char *s = copy; *s;) {
		size_t plain = strcspn(s, "\"\\");

		bytes_add(b, s, plain);
		s += plain;
		if (*s)
			bytes_printf(b, "\\%c", *s++);
	}
	bytes_puts(b, "\"");
}
