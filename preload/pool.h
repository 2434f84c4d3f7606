/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* pool.h - a few freed samples, kept to be samples again.
 *
 * A small object at the start of a page costs glibc a page that nobody touched before, and leaves
 * the page to the program's cache when it is freed. Where samples die as they are made, the same
 * few serve again. The allocator sees them as objects in use: at most POOL_WAYS for each class of
 * 16 bytes, together 130 KiB. Refuses: what has no class (by the allocator's own account of its
 * size), what does not start a page, and what would be one too many. No locks. */

#include <stdbool.h>
#include <stddef.h>

#define POOL_STEP 16
#define POOL_CLASSES 64
#define POOL_WAYS 4
#define POOL_LARGEST ((size_t)POOL_STEP * POOL_CLASSES)

/* What to ask the allocator for, so that the object has a class of its own when it is freed. */
static inline size_t pool_round(size_t n)
{
	return n <= POOL_LARGEST ? (n + POOL_STEP - 1) & ~(size_t)(POOL_STEP - 1) : n;
}

/* An object of at least n > 0 bytes, at the start of a page, that is the caller's; or NULL. */
void *pool_take(size_t n);

/* p has been freed by the program, and holds `usable` bytes. True if it stays here. */
bool pool_give(void *p, size_t usable);
