/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as a web configuration: refused in one line, or texts that are as many as it says. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/cursor.h"
#include "daemon/broker/web_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char error[WEB_FILE_MAX_TEXT] = "";
	struct web_file f;
	struct cursor c;

	if (n > WEB_FILE_MAX)
		return 0;
	if (web_file_parse("f", data, n, &f, error) < 0) {
		assert(!strncmp(error, "f:", 2) && !strpbrk(error, "\r\n"));
		return 0;
	}
	c = cursor_over(f.text.data, f.text.n);
	for (uint32_t i = 0; i < 2 * f.n_headers + 2 * f.n_users + f.n_sans; i++) {
		const char *text = cursor_string(&c);

		assert(text && (i >= 2 * f.n_headers || !strpbrk(text, "\r\n")));
	}
	assert(!c.bad && !cursor_left(&c));
	assert(*f.priorities && strlen(f.priorities) < sizeof(f.priorities) - 1);
	assert(!f.tls || f.pem[BROKER_PEM_KEY].file || f.pem[BROKER_PEM_KEY].inside);
	web_file_deinit(&f);
	return 0;
}
