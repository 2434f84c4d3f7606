/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* functions.h - the functions that frames told of last, so that a frame need not tell of its function again.
 *
 * Owned by both ends of the conversation, which add the same ones in the same order: the child sends a function's texts
 * once and then its number for as long as it is among the last FUNCTIONS_SLOTS, and FUNCTIONS_BYTES of text. What is
 * dropped follows from what was added and nothing else, so both ends know the same numbers. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUNCTIONS_SLOTS 65536
#define FUNCTIONS_BYTES (16u << 20)

struct function {
	uint64_t at; /* of its texts, counted from the first one ever */
	uint32_t start_line;
	uint16_t n_name, n_system_name, n_file; /* bytes */
	uint16_t pad;
};

struct functions {
	uint32_t first, end; /* numbers [first, end) are there; they wrap around */
	uint64_t at;	     /* where the next one's texts may stand */
	struct function all[FUNCTIONS_SLOTS];
	char text[FUNCTIONS_BYTES];
};

/* f: the lengths, which are at most those of protocol.h, and the line. The texts are copied. Returns the number. */
uint32_t functions_add(struct functions *s, const struct function *f, const char *name,
		       const char *system_name, const char *file);

/* What has been written to: the rest is not in memory. */
static inline size_t functions_bytes(const struct functions *s)
{
	if (!s)
		return 0;
	return (s->end < FUNCTIONS_SLOTS ? s->end : FUNCTIONS_SLOTS) * sizeof(s->all[0]) + (s->at < FUNCTIONS_BYTES ? s->at : FUNCTIONS_BYTES);
}

#define FUNCTIONS_MAX_BYTES (FUNCTIONS_SLOTS * sizeof(struct function) + FUNCTIONS_BYTES)

static inline bool functions_has(const struct functions *s, uint32_t number)
{
	return (uint32_t)(number - s->first) < (uint32_t)(s->end - s->first);
}

/* NULL: it is not there, or no more. Both are borrowed until the next functions_add; the three texts stand behind one
 * another. */
static inline const struct function *functions_get(const struct functions *s, uint32_t number,
						   const char **ret_text)
{
	const struct function *f = &s->all[number % FUNCTIONS_SLOTS];

	if (!functions_has(s, number))
		return NULL;
	*ret_text = s->text + f->at % FUNCTIONS_BYTES;
	return f;
}
