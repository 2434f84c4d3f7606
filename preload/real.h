/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* real.h - the allocator behind us, found by dlsym(RTLD_NEXT), and what serves until it is found.
 *
 * `real` holds the next function of each name. Before real_find() has run, malloc, free and realloc
 * in it run it; what dlsym itself allocates meanwhile comes from a few static pages, which are
 * never given back. real_find() may run in several threads at once: each finds the same. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* For functions of the C++ ABI, which we pass on: the size, and whatever else there may be. */
typedef void *new_function(size_t n, uintptr_t second, uintptr_t third);
typedef void delete_function(void *p, uintptr_t second, uintptr_t third);

struct real {
	void *(*malloc)(size_t n);
	void (*free)(void *p);
	void *(*realloc)(void *p, size_t n);
	void *(*calloc)(size_t count, size_t size);
	void *(*memalign)(size_t align, size_t n);
	void *(*aligned_alloc)(size_t align, size_t n);
	int (*posix_memalign)(void **out, size_t align, size_t n);
	/* the following only where they are malloc's own, else NULL */
	size_t (*malloc_usable_size)(void *p);
	void *(*place)(size_t align, size_t n); /* gives samples: memalign, or what it ends in */
	/* aligned, and zeroed without being touched */
	void *(*jemalloc_mallocx)(size_t n, int flags);
	void *(*mimalloc_zalloc_aligned)(size_t n, size_t align);
};

extern struct real real __attribute__((visibility("hidden")));

/* Finds everything in `real`; a second call finds nothing new. Aborts, with a line on stderr, where
 * there is no allocator behind us. */
void real_find(void);

/* True while this thread is in real_find() and has no allocator. */
bool real_booting(void);

/* A page of its own for p's object, of the few static ones; NULL and ENOMEM when they are used up.
 */
void *boot_alloc(size_t n);
/* The bytes that may be read from p on, if it came from boot_alloc; else 0. */
size_t boot_readable(const void *p);

/* The function that the caller, an address in its code, would have found without us: the next in
 * order, else what its own object needs (a C++ plugin in a C program). NULL if there is none. What
 * it finds is never unloaded. */
void *real_find_for(const char *name, const void *caller);

/* Do two functions belong to one object? */
bool same_object(const void *a, const void *b);
