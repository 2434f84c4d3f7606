/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* bytes.h - a growing run of bytes or text.
 *
 * Owns its storage until bytes_deinit. Failure is sticky (`bad`): a writer appends without asking
 * and the one who sends the result checks once. */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
	char *data;
	size_t n, cap;
	bool bad;
};

#define BYTES_INIT { NULL, 0, 0, false }

void bytes_add(struct bytes *b, const void *data, size_t n);
void bytes_puts(struct bytes *b, const char *text);
void bytes_printf(struct bytes *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The bytes as C text, with a NUL behind them that is not counted; NULL when bad. Borrowed. */
const char *bytes_text(struct bytes *b);
void bytes_clear(struct bytes *b);
void bytes_deinit(struct bytes *b);

/* Copies text to `to` (size n > 0, always NUL-terminated) as valid UTF-8 without control
 * characters: each byte that is neither becomes '?'. protobuf strings must be UTF-8, and what a
 * target calls its threads and files is the target's choice. Returns the length. */
size_t utf8_copy(char *to, size_t n, const char *text, size_t len);
