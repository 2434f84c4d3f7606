/* SPDX-License-Identifier: Apache-2.0 */

/* derived.c - entry points that are made of others.
 *
 * They call the others by their public names, which may not be ours: where an allocator stands
 * before us and lacks one of these, it must still be that allocator that serves. So this file is
 * apart, or the compiler would take a short cut. */

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "preload/alloc.h"

EXPORT void cfree(void *p);
EXPORT void free_sized(void *p, size_t n);
EXPORT void free_aligned_sized(void *p, size_t align, size_t n);

EXPORT void *reallocarray(void *p, size_t each, size_t size)
{
	size_t n;

	if (__builtin_mul_overflow(each, size, &n)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(p, n);
}

EXPORT void *valloc(size_t n)
{
	return memalign((size_t)sysconf(_SC_PAGESIZE), n);
}

EXPORT void *pvalloc(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), whole;

	if (__builtin_add_overflow(n, page - 1, &whole)) {
		errno = ENOMEM;
		return NULL;
	}
	return memalign(page, whole & ~(page - 1));
}

EXPORT void cfree(void *p)
{
	free(p);
}

EXPORT void free_sized(void *p, size_t n)
{
	free(p);
}

EXPORT void free_aligned_sized(void *p, size_t align, size_t n)
{
	free(p);
}
