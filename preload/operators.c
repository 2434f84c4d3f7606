/* SPDX-License-Identifier: Apache-2.0 */

/* operators.c - operator new and delete, and frees that are told a size.
 *
 * libstdc++'s operator new ends in malloc and is passed on as it is. That of jemalloc, tcmalloc and
 * mimalloc does not: it is counted here. Which of both a process has is tried out at the first call
 * (thread_comes_back), because a C++ library may come late, with a plugin. Exceptions, new handlers
 * and the nothrow forms are the real function's: it is called first, whatever happens after.
 *
 * A delete that is told the size of a sample must not pass that on: the sample has the size class
 * of a page. So a sample is freed by free; allocators that have both, take either for either. */

#include <stdlib.h>

#include "preload/alloc.h"
#include "preload/marks.h"
#include "preload/real.h"
#include "preload/thread.h"

#define TEST_ALIGN 64

static void *test_new(const void *argument)
{
	new_function *const *f = argument;

	return (*f)(1, TEST_ALIGN, TEST_ALIGN); /* nobody looks into a nothrow_t */
}

/* What must not be counted is: what ends in our functions, and what is not malloc's own, since we
 * would give it memory that its delete may not know. */
static bool counts(new_function *f)
{
	void *address = *(void **)&f, *malloc_address = *(void **)&real.malloc;

	return same_object(address, malloc_address) && !thread_comes_back(test_new, &f);
}

static new_function *find_new(const char *name, const void *caller)
{
	void *f;

	real_find();
	f = real_find_for(name, caller);
	return f ? *(new_function **)&f : NULL;
}

static delete_function *find_delete(const char *name, const void *caller)
{
	void *f;

	real_find();
	f = real_find_for(name, caller);
	return f ? *(delete_function **)&f : NULL;
}

/* For a caller that has no C++ library at all. */
static void *new_by_malloc(size_t n, uintptr_t second, uintptr_t third)
{
	return malloc(n);
}

static void delete_by_free(void *p, uintptr_t second, uintptr_t third)
{
	free(p);
}

static __attribute__((noinline)) void *new_slow(new_function *f, size_t n, uintptr_t second,
						uintptr_t third)
{
	bool taken = thread_take(n);
	void *p = f(n, second, third);

	return taken ? alloc_sample(p, n, 0) : p;
}

#define GET(pointer) __atomic_load_n(&(pointer), __ATOMIC_RELAXED)
#define SET(pointer, value) __atomic_store_n(&(pointer), value, __ATOMIC_RELAXED)

#define NEW(symbol)                                                                                \
	EXPORT new_function symbol;                                                                \
	static new_function find_##symbol, *entry_##symbol = find_##symbol, *real_##symbol;        \
                                                                                                   \
	static void *count_##symbol(size_t n, uintptr_t second, uintptr_t third)                   \
	{                                                                                          \
		if (thread_charge(n))                                                              \
			return new_slow(GET(real_##symbol), n, second, third);                     \
		return GET(real_##symbol)(n, second, third);                                       \
	}                                                                                          \
                                                                                                   \
	static void *find_##symbol(size_t n, uintptr_t second, uintptr_t third)                    \
	{                                                                                          \
		new_function *f = find_new(#symbol, __builtin_return_address(0));                  \
                                                                                                   \
		if (!f)                                                                            \
			return new_by_malloc(n, second, third);                                    \
		SET(real_##symbol, f);                                                             \
		f = counts(f) ? count_##symbol : f;                                                \
		SET(entry_##symbol, f);                                                            \
		return f(n, second, third);                                                        \
	}                                                                                          \
                                                                                                   \
	void *symbol(size_t n, uintptr_t second, uintptr_t third)                                  \
	{                                                                                          \
		return GET(entry_##symbol)(n, second, third);                                      \
	}

#define DELETE(symbol)                                                                             \
	EXPORT delete_function symbol;                                                             \
	static delete_function find_##symbol, *real_##symbol = find_##symbol;                      \
                                                                                                   \
	static void find_##symbol(void *p, uintptr_t second, uintptr_t third)                      \
	{                                                                                          \
		delete_function *f = find_delete(#symbol, __builtin_return_address(0));            \
                                                                                                   \
		if (!f)                                                                            \
			f = delete_by_free;                                                        \
		SET(real_##symbol, f);                                                             \
		f(p, second, third);                                                               \
	}                                                                                          \
                                                                                                   \
	void symbol(void *p, uintptr_t second, uintptr_t third)                                    \
	{                                                                                          \
		if (UNLIKELY(marks_maybe(p)) && alloc_forget(p))                                   \
			alloc_free_sample(p);                                                      \
		else                                                                               \
			GET(real_##symbol)(p, second, third);                                      \
	}

/* new and new[]: plain, nothrow, aligned, aligned nothrow */
NEW(_Znwm)
NEW(_Znam)
NEW(_ZnwmRKSt9nothrow_t)
NEW(_ZnamRKSt9nothrow_t)
NEW(_ZnwmSt11align_val_t)
NEW(_ZnamSt11align_val_t)
NEW(_ZnwmSt11align_val_tRKSt9nothrow_t)
NEW(_ZnamSt11align_val_tRKSt9nothrow_t)

/* delete and delete[]: the same, then those that are told the size */
DELETE(_ZdlPv)
DELETE(_ZdaPv)
DELETE(_ZdlPvRKSt9nothrow_t)
DELETE(_ZdaPvRKSt9nothrow_t)
DELETE(_ZdlPvSt11align_val_t)
DELETE(_ZdaPvSt11align_val_t)
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t)
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t)
DELETE(_ZdlPvm)
DELETE(_ZdaPvm)
DELETE(_ZdlPvmSt11align_val_t)
DELETE(_ZdaPvmSt11align_val_t)

/* jemalloc's and tcmalloc's own, for the same reason */
DELETE(sdallocx)
DELETE(tc_free_sized)
DELETE(tc_delete_sized)
DELETE(tc_deletearray_sized)
DELETE(tc_delete_sized_aligned)
DELETE(tc_deletearray_sized_aligned)
