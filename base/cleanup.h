/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* cleanup.h - ownership that shows in the line.
 *
 * An owning local carries _cleanup_; the value leaves the function through TAKE_PTR or TAKE_FD
 * or not at all. Free functions take NULL (or -1) and half-built objects. */

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) *_taken_from = &(p);                                                 \
		__typeof__(p) _taken = *_taken_from;                                               \
		*_taken_from = NULL;                                                               \
		_taken;                                                                            \
	})

#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int *_taken_from = &(fd);                                                          \
		int _taken = *_taken_from;                                                         \
		*_taken_from = -1;                                                                 \
		_taken;                                                                            \
	})

/* Makes NAMEp(), the _cleanup_ form of NAME(type *). */
#define DEFINE_CLEANUP(type, name)                                                                 \
	static inline void name##p(type **p)                                                       \
	{                                                                                          \
		if (*p)                                                                            \
			name(*p);                                                                  \
	}

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
