/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* shown.h - names as answers show them: demangled, and as UTF-8; each is made once.
 *
 * Owns the texts, at most SHOWN_MAX and SHOWN_MAX_BYTES of them: past either, it begins anew. */

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/vec.h"
#include "symbolizer/protocol.h"

#define SHOWN_MAX 32768
#define SHOWN_MAX_BYTES (16u << 20)

struct shown_text {
	uint32_t how; /* enum symbolizer_demangle */
	uint32_t n_key;
	uint16_t n_name, n_system_name;
	char *text; /* the name as the file has it, the name, the system name */
};

struct shown {
	VEC(struct shown_text) all;
	struct hash_index index;
	size_t size; /* bytes of texts */
	/* scratch */
	char name[SYMBOLIZER_MAX_NAME + 1], system_name[SYMBOLIZER_MAX_NAME + 1];
};

/* Borrowed until the next call. */
struct shown_name {
	const char *name, *system_name; /* not terminated */
	uint16_t n_name, n_system_name; /* bytes */
};

struct shown_name shown_get(struct shown *s, const char *system_name, enum symbolizer_demangle how);
/* What it takes. */
size_t shown_bytes(const struct shown *s);
void shown_deinit(struct shown *s);
