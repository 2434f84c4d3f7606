/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* symbol.h - /debug/pprof/symbol: names for addresses, as clients of text profiles ask for them.
 *
 * Owns nothing. Understands the addresses that our answers show, and no others: a runtime address of a file
 * of the target's means nothing here, on purpose. */

#include "base/bytes.h"
#include "daemon/serve/core.h"

#define SYMBOL_MAX_WORDS 65536
#define SYMBOL_MAX_BYTES (8u << 20) /* of an answer, which ends there */

/* `input` is the raw query or the body: numbers as in Go (0x, 0b, 0o, 0, decimal, underscores) with '+' between
 * them. Appends "num_symbols: 1" and a line for each that has a name. 0 or -ENOMEM. */
int symbol_answer(struct core *c, struct target *t, const char *input, size_t n, struct bytes *out);

/* strconv.ParseUint(word, 0, 64). False: it is not one. */
bool symbol_number(const char *word, size_t n, uint64_t *ret);
