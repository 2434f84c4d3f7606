/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* shim.h - libpprofd-alloc.so from within a program that may run under it.
 *
 * PPROFD_TEST_SAMPLING=1 raises the semaphore, as a reader would through the kernel. */

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(what)                                                                                \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);         \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct shim_stats {
	uint64_t rate, sampled, freed, stale, dropped, lost;
};

static inline const volatile struct shim_stats *shim_stats(void)
{
	return (struct shim_stats *)dlsym(RTLD_DEFAULT, "pprofd_alloc_stats");
}

static inline bool shim_sampling(void)
{
	const char *wish = getenv("PPROFD_TEST_SAMPLING");

	return shim_stats() && wish && *wish == '1';
}

static inline void shim_set(uint16_t value)
{
	volatile uint16_t *semaphore =
		(volatile uint16_t *)dlsym(RTLD_DEFAULT, "pprofd_alloc_semaphore");

	if (semaphore)
		*semaphore = value;
}

/* More than the distance between looks at the semaphore, so that this thread looks. */
static inline void shim_look(void)
{
	void *volatile p = malloc((size_t)5 << 20);

	free(p);
}

static inline void shim_start(void)
{
	if (shim_sampling())
		shim_set(1);
	shim_look();
}

/* One line that run.py reads. */
static inline void shim_print(void)
{
	const volatile struct shim_stats *s = shim_stats();

	if (s)
		printf("rate %llu sampled %llu freed %llu stale %llu dropped %llu lost %llu\n",
		       (unsigned long long)s->rate, (unsigned long long)s->sampled,
		       (unsigned long long)s->freed, (unsigned long long)s->stale,
		       (unsigned long long)s->dropped, (unsigned long long)s->lost);
	fflush(stdout);
}

static inline uint64_t shim_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}
