/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* protobuf.h - fields of protobuf messages, appended to bytes as they come.
 *
 * For messages that are written once and streamed; a profile, which is built as a whole, has protobuf-c (encode.c). A message
 * within a message is built in bytes of its own first. A lack of memory is sticky there. */

#include <string.h>

#include "base/bytes.h"

static inline void pb_varint(struct bytes *b, uint64_t v)
{
	uint8_t to[10];
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		to[n++] = (uint8_t)(v | 0x80);
	to[n++] = (uint8_t)v;
	bytes_add(b, to, n);
}

static inline void pb_number(struct bytes *b, uint32_t field, uint64_t v)
{
	pb_varint(b, (uint64_t)field << 3);
	pb_varint(b, v);
}

static inline void pb_data(struct bytes *b, uint32_t field, const void *data, size_t n)
{
	pb_varint(b, (uint64_t)field << 3 | 2);
	pb_varint(b, n);
	bytes_add(b, data, n);
}

static inline void pb_text(struct bytes *b, uint32_t field, const char *text)
{
	pb_data(b, field, text, strlen(text));
}

/* And empties the inner one. */
static inline void pb_message(struct bytes *b, uint32_t field, struct bytes *inner)
{
	pb_data(b, field, inner->data, inner->n);
	b->bad |= inner->bad;
	bytes_clear(inner);
}
