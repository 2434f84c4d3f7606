/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* vec.h - a growing array of one type.
 *
 * Owns its storage until vec_deinit. A push that finds no memory, or that would pass the bound
 * given to it, leaves the vector as it was and says so. */

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define VEC(type)                                                                                  \
	struct {                                                                                   \
		type *data;                                                                        \
		size_t n, cap;                                                                     \
	}

static inline int vec_grow(void **data, size_t *cap, size_t need, size_t item)
{
	size_t to = *cap ? *cap : 16;
	void *p;

	if (need <= *cap)
		return 0;
	while (to < need) {
		if (to > (size_t)-1 / 2 / item)
			return -ENOMEM;
		to *= 2;
	}
	p = realloc(*data, to * item);
	if (!p)
		return -ENOMEM;
	*data = p;
	*cap = to;
	return 0;
}

/* Room for `need` items in all; 0 or -ENOMEM. */
#define vec_reserve(v, need)                                                                       \
	vec_grow((void **)&(v)->data, &(v)->cap, (need), sizeof(*(v)->data))

/* Appends a copy; 0 or -ENOMEM. */
#define vec_push(v, item)                                                                          \
	({                                                                                         \
		int _r = vec_reserve((v), (v)->n + 1);                                             \
		if (!_r)                                                                           \
			(v)->data[(v)->n++] = (item);                                              \
		_r;                                                                                \
	})

/* Gives back what was allocated ahead. */
#define vec_fit(v)                                                                                 \
	do {                                                                                       \
		void *_fit = (v)->n ? realloc((v)->data, (v)->n * sizeof(*(v)->data)) : NULL;      \
		if (_fit) {                                                                        \
			(v)->data = _fit;                                                          \
			(v)->cap = (v)->n;                                                         \
		}                                                                                  \
	} while (0)

#define vec_deinit(v)                                                                              \
	do {                                                                                       \
		free((v)->data);                                                                   \
		memset((v), 0, sizeof(*(v)));                                                      \
	} while (0)
