/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"

static bool room(struct bytes *b, size_t more)
{
	if (b->bad || more > SIZE_MAX - b->n - 1 ||
	    vec_grow((void **)&b->data, &b->cap, b->n + more + 1, 1) < 0)
		b->bad = true;
	return !b->bad;
}

void bytes_add(struct bytes *b, const void *data, size_t n)
{
	if (!n || !room(b, n))
		return;
	memcpy(b->data + b->n, data, n);
	b->n += n;
}

void bytes_puts(struct bytes *b, const char *text)
{
	bytes_add(b, text, strlen(text));
}

void bytes_printf(struct bytes *b, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(NULL, 0, format, ap);
	va_end(ap);
	if (n < 0) {
		b->bad = true;
		return;
	}
	if (!room(b, (size_t)n))
		return;
	va_start(ap, format);
	vsnprintf(b->data + b->n, (size_t)n + 1, format, ap);
	va_end(ap);
	b->n += (size_t)n;
}

const char *bytes_text(struct bytes *b)
{
	if (!room(b, 0))
		return NULL;
	b->data[b->n] = '\0';
	return b->data;
}

void bytes_clear(struct bytes *b)
{
	b->n = 0;
	b->bad = false;
}

void bytes_deinit(struct bytes *b)
{
	free(b->data);
	*b = (struct bytes)BYTES_INIT;
}

/* Length of the UTF-8 sequence at s (Unicode 15, table 3-7), 0 when it is none. */
static size_t sequence(const unsigned char *s, size_t left)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
	unsigned long c;

	if (!n || n > left)
		return 0;
	if (n == 1)
		return s[0] >= 0x20 && s[0] != 0x7f;
	c = s[0] & (0x7f >> n);
	for (size_t i = 1; i < n; i++) {
		if (s[i] >> 6 != 2)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < (n == 2 ? 0xa0ul : n == 3 ? 0x800ul : 0x10000ul) || c > 0x10ffff || c >> 11 == 0x1b)
		return 0;
	return n;
}

/* How many bytes from the beginning on are printable ASCII: eight at a time. */
static size_t plain_prefix(const char *text, size_t len)
{
	const uint64_t ones = 0x0101010101010101ull, high = ones * 0x80;
	size_t i = 0;

	for (; i + 8 <= len; i += 8) {
		uint64_t v;

		memcpy(&v, text + i, 8);
		/* high bits, bytes below 0x20, and 0x7f; a borrow only makes it look twice */
		if ((v | (v - ones * 0x20) | ((v ^ ones * 0x7f) - ones)) & high)
			break;
	}
	return i;
}

size_t utf8_copy(char *to, size_t n, const char *text, size_t len)
{
	size_t out = plain_prefix(text, len < n ? len : n - 1);

	memcpy(to, text, out);
	for (size_t i = out; i < len;) {
		size_t k = sequence((const unsigned char *)text + i, len - i);

		if (out + (k ? k : 1) >= n)
			break;
		if (k)
			memcpy(to + out, text + i, k);
		else
			to[out] = '?';
		out += k ? k : 1;
		i += k ? k : 1;
	}
	to[out] = '\0';
	return out;
}
