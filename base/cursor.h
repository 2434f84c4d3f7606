/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* cursor.h - reads foreign bytes without ever leaving them.
 *
 * Owns nothing: it walks a buffer that outlives it. Failure is sticky: after the first short read
 * `bad` is set and every later read answers 0, so a parser runs straight through and asks once. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
	const uint8_t *p, *end;
	bool bad;
};

static inline struct cursor cursor_over(const void *data, size_t n)
{
	return (struct cursor){ data, n ? (const uint8_t *)data + n : data, false }; /* NULL + 0 is undefined */
}

static inline size_t cursor_left(const struct cursor *c)
{
	return (size_t)(c->end - c->p);
}

/* Little-endian, n <= 8 bytes. */
uint64_t cursor_uint(struct cursor *c, unsigned n);
/* DWARF 5, 7.6. Bits past the 64th are dropped. */
uint64_t cursor_uleb128(struct cursor *c);
int64_t cursor_sleb128(struct cursor *c);
void cursor_skip(struct cursor *c, uint64_t n);
/* The next n bytes as a cursor of their own, and past them. */
struct cursor cursor_sub(struct cursor *c, uint64_t n);
/* A NUL-terminated string, borrowed from the buffer; NULL where no NUL follows. */
const char *cursor_string(struct cursor *c);

static inline uint8_t cursor_u8(struct cursor *c)
{
	return (uint8_t)cursor_uint(c, 1);
}

static inline uint16_t cursor_u16(struct cursor *c)
{
	return (uint16_t)cursor_uint(c, 2);
}

static inline uint32_t cursor_u32(struct cursor *c)
{
	return (uint32_t)cursor_uint(c, 4);
}

static inline uint64_t cursor_u64(struct cursor *c)
{
	return cursor_uint(c, 8);
}
