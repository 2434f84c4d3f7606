/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cursor.h"

#include <string.h>

static void fail(struct cursor *c)
{
	c->bad = true;
	c->p = c->end;
}

uint64_t cursor_uint(struct cursor *c, unsigned n)
{
	uint64_t v = 0;

	if (cursor_left(c) < n) {
		fail(c);
		return 0;
	}
	memcpy(&v, c->p, n);
	c->p += n;
	return v;
}

uint64_t cursor_uleb128(struct cursor *c)
{
	uint64_t v = 0;

	for (unsigned shift = 0; c->p < c->end; shift += 7) {
		uint8_t b = *c->p++;

		if (shift < 64)
			v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return v;
	}
	fail(c);
	return 0;
}

int64_t cursor_sleb128(struct cursor *c)
{
	uint64_t v = 0;

	for (unsigned shift = 0; c->p < c->end;) {
		uint8_t b = *c->p++;

		if (shift < 64)
			v |= (uint64_t)(b & 0x7f) << shift;
		shift += 7;
		if (b & 0x80)
			continue;
		if (shift < 64 && (b & 0x40))
			v |= ~0ull << shift;
		return (int64_t)v;
	}
	fail(c);
	return 0;
}

void cursor_skip(struct cursor *c, uint64_t n)
{
	if (n > cursor_left(c))
		fail(c);
	else
		c->p += n;
}

struct cursor cursor_sub(struct cursor *c, uint64_t n)
{
	struct cursor sub = { c->p, c->p, true };

	if (n > cursor_left(c)) {
		fail(c);
		return sub;
	}
	c->p += n;
	sub.end = c->p;
	sub.bad = c->bad;
	return sub;
}

const char *cursor_string(struct cursor *c)
{
	size_t left = cursor_left(c);
	const uint8_t *start = c->p, *nul = left ? memchr(c->p, 0, left) : NULL;

	if (!nul) {
		fail(c);
		return NULL;
	}
	c->p = nul + 1;
	return (const char *)start;
}
