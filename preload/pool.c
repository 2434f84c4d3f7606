/* SPDX-License-Identifier: Apache-2.0 */

/* pool.c - see pool.h. */

#include <stdint.h>

#include "preload/marks.h"
#include "preload/pool.h"

static void *pool[POOL_CLASSES + 1][POOL_WAYS];

void *pool_take(size_t n)
{
	size_t class = pool_round(n) / POOL_STEP;

	if (n > POOL_LARGEST)
		return NULL;
	for (int i = 0; i < POOL_WAYS; i++) {
		void *p = __atomic_load_n(&pool[class][i], __ATOMIC_RELAXED);

		if (p && (p = __atomic_exchange_n(&pool[class][i], NULL, __ATOMIC_ACQUIRE)))
			return p;
	}
	return NULL;
}

bool pool_give(void *p, size_t usable)
{
	size_t class = usable / POOL_STEP;
	void *none;

	if (!class || class > POOL_CLASSES || (uintptr_t)p % PAGE_BYTES)
		return false;
	for (int i = 0; i < POOL_WAYS; i++) {
		none = NULL;
		if (!__atomic_load_n(&pool[class][i], __ATOMIC_RELAXED) &&
		    __atomic_compare_exchange_n(&pool[class][i], &none, p, false, __ATOMIC_RELEASE,
						__ATOMIC_RELAXED))
			return true;
	}
	return false;
}
