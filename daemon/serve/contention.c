/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/contention.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/serve/legacy.h"
#include "daemon/serve/profile.h"
#include "daemon/serve/text.h"

static int by_delay(const void *a, const void *b)
{
	const struct capture_sample *x = a, *y = b;

	return (y->values[1] > x->values[1]) - (y->values[1] < x->values[1]);
}

static void add_sample(struct bytes *out, const struct capture *c, const struct naming *n,
		       const struct capture_sample *s)
{
	struct capture_stack stack = c->stacks.data[s->stack];

	bytes_printf(out, "%lld %lld @", (long long)s->values[1], (long long)s->values[0]);
	for (uint32_t i = 0; i < stack.n; i++) {
		uint32_t l = naming_find(n, c->words.data[stack.first + i]);

		/* the return address, as Go prints it: frames point into the call before it */
		bytes_printf(out, " 0x%llx", l == UINT32_MAX ? 0ull : n->locations.data[l].address + 1ull);
	}
	bytes_puts(out, "\n");
	legacy_frames(c, n, stack, out);
	bytes_puts(out, "\n");
}

int contention_text(const struct capture *c, const struct naming *n, struct bytes *ret)
{
	_cleanup_(freep) struct capture_sample *sorted = malloc((c->samples.n + 1) * sizeof(*sorted));
	bool mutex = !strcmp(c->profile->name, "mutex");
	struct bytes out = { 0 };

	if (!sorted)
		return -ENOMEM;
	if (c->samples.n)
		memcpy(sorted, c->samples.data, c->samples.n * sizeof(*sorted));
	qsort(sorted, c->samples.n, sizeof(*sorted), by_delay);
	bytes_puts(&out, mutex ? "--- mutex:\n" : "--- contention:\n");
	bytes_puts(&out, "cycles/second=1000000000\n");
	if (mutex)
		bytes_puts(&out, "sampling period=1\n");
	for (size_t i = 0; i < c->samples.n && out.n < TEXT_MAX_BYTES; i++)
		add_sample(&out, c, n, &sorted[i]);
	for (size_t i = 0; i < c->comments.n; i++)
		bytes_printf(&out, "# pprofd: %s\n", c->comments.data[i]);
	if (out.bad || out.n >= TEXT_MAX_BYTES) {
		bytes_deinit(&out);
		return out.bad ? -ENOMEM : -E2BIG;
	}
	*ret = out;
	return 0;
}
