/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as a request target: a redirect stays on this server, fits a header line, and leads to
 * a path that needs no other. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/serve/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_redirect(const struct path *p)
{
	_cleanup_(path_deinit) struct path next = { 0 };
	_cleanup_(bytes_deinit) struct bytes body = BYTES_INIT;

	assert(p->location[0] == '/' && p->location[1] != '/' && p->location[1] != '\\');
	for (const char *s = p->location; *s; s++)
		assert((unsigned char)*s > ' ' && (unsigned char)*s < 0x7f);
	assert(path_parse(p->location, &next) == PATH_OK);
	path_redirect_body(&body, p->location);
	/* Only its own three. */
	assert(strchr(bytes_text(&body), '"') == body.data + 8);
	assert(strchr(body.data + 9, '"') == strrchr(body.data, '"'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	_cleanup_(freep) char *target = strndup((const char *)data, n);
	_cleanup_(path_deinit) struct path p = { 0 };
	int r;

	if (!target)
		return 0;
	r = path_parse(target, &p);
	if (r == PATH_OK) {
		assert(p.text[0] == '/' && strlen(p.text) <= strlen(target) + 1);
		assert(p.raw_query >= target && p.raw_query <= target + strlen(target));
	} else if (r == PATH_REDIRECT) {
		check_redirect(&p);
	} else {
		assert(r == PATH_MALFORMED && !p.text && !p.location && !p.authority);
	}
	return 0;
}
