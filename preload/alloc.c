/* SPDX-License-Identifier: Apache-2.0 */

/* alloc.c - libpprofd-alloc.so: tells readers outside about a sample of a process's allocations.
 *
 *   LD_PRELOAD=libpprofd-alloc.so PROGRAM        or linked, before the allocator
 *   LD_PRELOAD="libpprofd-alloc.so libjemalloc.so.2" PROGRAM
 *   PPROFD_HEAP_RATE=524288                      mean bytes between samples (that is the default,
 * also for what is no number from 1 to 2^40)
 *
 * What it does. Allocation sizes as requested are counted down in each thread; where the countdown
 * (exponential: a Poisson process over bytes) ends, the object is a sample: the USDT probe
 * otel_memory:alloc(ptr, size, weight) fires, and otel_memory:free(ptr) when it is freed. Weight is
 * size / (1 - exp(-size/rate)), so sums of weight and of weight/size are unbiased (sampling.h).
 * realloc is free plus malloc. malloc(0) is never a sample. A sample stands at the start of a page
 * (marks.h), by the real allocator's own memalign, so whoever frees it, it is that allocator's own.
 *
 * Nobody attached (the semaphore is 0): a thread looks again each 4 MiB that it allocates; at once
 * at larger allocations. Samples made while somebody was attached are forgotten as they are freed.
 *
 * What it costs. malloc: a subtraction in thread-local storage and a jump; free: a test of the
 * address and a jump. A sample: about a microsecond with a reader, and up to 4 KiB of memory, which
 * small ones that were freed hand on to later ones (pool.h). No lock, no memory of its own but 1 MiB
 * of zeroes that samples touch here and there, no floating point, no library but libc.
 *
 * What it cannot do.
 * - It sees nothing of a program that has its allocator linked in statically, of calls to an
 *   allocator's own names (mallocx, tc_malloc, mi_malloc), or of an operator new that is neither
 * made of malloc nor of one object with it. Where malloc comes without a memalign of its own, no
 * sample can be made (counted: dropped).
 * - A sample freed by code that does not ask us (RTLD_DEEPBIND, __libc_free) looks alive until its
 *   address is a sample again, or is freed by a call that we see (counted: stale, if the former). A
 *   *sized* delete that goes past us in that way gives jemalloc and tcmalloc a size that is not
 * that of a sample: not for programs that dlopen with RTLD_DEEPBIND what deletes their objects, on
 * these.
 * - A calloc that is a sample is zeroed by hand, and so touched, where it does not already stand at
 *   the right place and the allocator has no aligned calloc: musl, tcmalloc (which touches it
 * anyway), and glibc for what it takes from its heap (less than 32 MiB each).
 * - A forked child inherits a raised semaphore: it goes on making samples that nobody hears.
 * - When realloc of a sample fails, that object is no longer known (counted: lost). */

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "preload/alloc.h"
#include "preload/marks.h"
#include "preload/pool.h"
#include "preload/probe.h"
#include "preload/real.h"
#include "preload/sampling.h"
#include "preload/thread.h"

#define JEMALLOC_PAGE 12     /* MALLOCX_LG_ALIGN(12) */
#define JEMALLOC_ZEROED 0x40 /* MALLOCX_ZERO */

EXPORT struct pprofd_alloc_stats pprofd_alloc_stats;

/* ---- samples */

static void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static void announce_free(void *p)
{
	count(&pprofd_alloc_stats.freed);
	pprofd_free_site(p);
}

static bool announce_alloc(void *p, size_t n)
{
	enum marks_result r = marks_add(p);

	if (r == MARKS_FULL)
		return false;
	if (r == MARKS_REPLACED) {
		count(&pprofd_alloc_stats.stale);
		announce_free(p);
	}
	count(&pprofd_alloc_stats.sampled);
	pprofd_alloc_site(p, n, sampling_weight(n, thread_rate));
	return true;
}

/* The object p becomes a sample in `page`, which may be p itself, or NULL for want of memory. */
static void *sample_in(void *page, void *p, size_t n, size_t keep)
{
	if (page && page != p && keep)
		memcpy(page, p, keep);
	if (!page || !marks_form(page) || !announce_alloc(page, n)) {
		count(&pprofd_alloc_stats.dropped);
		if (page != p)
			real.free(page);
		return p;
	}
	if (page != p)
		real.free(p);
	return page;
}

static void *place(size_t n)
{
	void *page = pool_take(n);

	if (!page && real.place)
		page = real.place(PAGE_BYTES, pool_round(n));
	return page;
}

void *alloc_sample(void *p, size_t n, size_t keep)
{
	int error = errno;

	if (!p)
		return NULL;
	p = sample_in(marks_form(p) ? p : place(n), p, n, keep);
	errno = error;
	return p;
}

static void *place_zeroed(size_t n)
{
	void *page;

	if (real.jemalloc_mallocx)
		return real.jemalloc_mallocx(n, JEMALLOC_PAGE | JEMALLOC_ZEROED);
	if (real.mimalloc_zalloc_aligned)
		return real.mimalloc_zalloc_aligned(n, PAGE_BYTES);
	page = place(n);
	return page ? memset(page, 0, n) : NULL;
}

void *alloc_sample_zeroed(void *p, size_t n)
{
	int error = errno;

	if (!p)
		return NULL;
	p = sample_in(marks_form(p) ? p : place_zeroed(n), p, n, 0);
	errno = error;
	return p;
}

bool alloc_forget(void *p)
{
	if (!marks_remove(p))
		return false;
	announce_free(p);
	return true;
}

void alloc_free_sample(void *p)
{
	if (!real.malloc_usable_size || !pool_give(p, real.malloc_usable_size(p)))
		real.free(p);
}

void alloc_free_maybe(void *p)
{
	if (boot_readable(p))
		return;
	if (alloc_forget(p))
		alloc_free_sample(p);
	else
		real.free(p);
}

/* ---- malloc, free, realloc */

#define HOT __attribute__((aligned(64))) /* a cache line each */

static __attribute__((noinline)) void *malloc_slow(size_t n)
{
	bool taken = thread_take(n);
	void *p = real.malloc(n);

	return taken ? alloc_sample(p, n, 0) : p;
}

HOT EXPORT void *malloc(size_t n)
{
	if (thread_charge(n))
		return malloc_slow(n);
	return real.malloc(n);
}

HOT EXPORT void free(void *p)
{
	if (UNLIKELY(marks_maybe(p)))
		alloc_free_maybe(p);
	else
		real.free(p);
}

static void *realloc_boot(void *p, size_t n, size_t readable)
{
	void *q = real.malloc(n);

	return q ? memcpy(q, p, n < readable ? n : readable) : NULL;
}

static __attribute__((noinline)) void *realloc_slow(void *p, size_t n, bool charged)
{
	bool taken = charged && thread_take(n), was_sample;
	size_t readable = boot_readable(p), keep = 0;
	void *q;

	if (readable)
		return realloc_boot(p, n, readable);
	if (n > PTRDIFF_MAX) /* fails, and changes nothing */
		return real.realloc(p, n);
	if (taken && p) {
		keep = real.malloc_usable_size ? real.malloc_usable_size(p) : n;
		keep = keep < n ? keep : n;
	}
	/* Before p can be somebody else's. */
	was_sample = marks_maybe(p) && alloc_forget(p);
	q = real.realloc(p, n);
	if (!q && was_sample && n)
		count(&pprofd_alloc_stats.lost);
	return taken ? alloc_sample(q, n, keep) : q;
}

EXPORT void *realloc(void *p, size_t n)
{
	bool charged = thread_charge(n);

	if (charged || UNLIKELY(marks_maybe(p)))
		return realloc_slow(p, n, charged);
	return real.realloc(p, n);
}

/* ---- those that may end in malloc or in one another, as musl's do: then they are only passed on
 */

static __attribute__((noinline)) void *calloc_slow(size_t each, size_t size)
{
	size_t n = each * size; /* does not overflow, or nothing would have been charged */
	bool taken = thread_take(n);
	void *p = real.calloc(each, size);

	return taken ? alloc_sample_zeroed(p, n) : p;
}

static void *calloc_count(size_t each, size_t size)
{
	size_t n;

	if (!__builtin_mul_overflow(each, size, &n) && thread_charge(n))
		return calloc_slow(each, size);
	return real.calloc(each, size);
}

static void *memalign_count(size_t align, size_t n)
{
	bool taken = thread_charge(n) && thread_take(n);
	void *p = real.memalign(align, n);

	return UNLIKELY(taken) ? alloc_sample(p, n, 0) : p;
}

static void *aligned_alloc_count(size_t align, size_t n)
{
	bool taken = thread_charge(n) && thread_take(n);
	void *p = real.aligned_alloc(align, n);

	return UNLIKELY(taken) ? alloc_sample(p, n, 0) : p;
}

static int posix_memalign_count(void **out, size_t align, size_t n)
{
	bool taken = thread_charge(n) && thread_take(n);
	int r = real.posix_memalign(out, align, n);

	if (UNLIKELY(taken) && r == 0)
		*out = alloc_sample(*out, n, 0);
	return r;
}

/* ---- before the real allocator is found */

static struct entry {
	void *(*calloc)(size_t each, size_t size);
	void *(*memalign)(size_t align, size_t n);
	void *(*aligned_alloc)(size_t align, size_t n);
	int (*posix_memalign)(void **out, size_t align, size_t n);
} entry;

static void *boot_calloc(size_t each, size_t size)
{
	size_t n;

	if (!real_booting()) {
		real_find();
		return entry.calloc(each, size);
	}
	if (__builtin_mul_overflow(each, size, &n))
		n = SIZE_MAX;
	return boot_alloc(n);
}

static void *boot_memalign(size_t align, size_t n)
{
	if (!real_booting()) {
		real_find();
		return entry.memalign(align, n);
	}
	return align <= PAGE_BYTES ? boot_alloc(n) : NULL;
}

static void *boot_aligned_alloc(size_t align, size_t n)
{
	if (!real_booting()) {
		real_find();
		return entry.aligned_alloc(align, n);
	}
	return align <= PAGE_BYTES ? boot_alloc(n) : NULL;
}

static int boot_posix_memalign(void **out, size_t align, size_t n)
{
	if (!real_booting()) {
		real_find();
		return entry.posix_memalign(out, align, n);
	}
	*out = align <= PAGE_BYTES ? boot_alloc(n) : NULL;
	return *out ? 0 : ENOMEM;
}

static struct entry entry = { boot_calloc, boot_memalign, boot_aligned_alloc, boot_posix_memalign };

EXPORT void *calloc(size_t each, size_t size)
{
	return entry.calloc(each, size);
}

EXPORT void *memalign(size_t align, size_t n)
{
	return entry.memalign(align, n);
}

EXPORT void *aligned_alloc(size_t align, size_t n)
{
	return entry.aligned_alloc(align, n);
}

EXPORT int posix_memalign(void **out, size_t align, size_t n)
{
	return entry.posix_memalign(out, align, n);
}

static void *test_calloc(const void *argument)
{
	return real.calloc(1, 1);
}

static void *test_memalign(const void *argument)
{
	return real.memalign(64, 1);
}

static void *test_aligned_alloc(const void *argument)
{
	return real.aligned_alloc(64, 64);
}

static void *test_posix_memalign(const void *argument)
{
	void *p = NULL;

	return real.posix_memalign(&p, 64, 1) == 0 ? p : NULL;
}

void alloc_enter(void)
{
	struct entry counting = { calloc_count, memalign_count, aligned_alloc_count,
				  posix_memalign_count };

	/* All of them count while they are tested: one may end in another. */
	entry = counting;
	if (thread_comes_back(test_calloc, NULL))
		counting.calloc = real.calloc;
	if (thread_comes_back(test_memalign, NULL)) {
		counting.memalign = real.memalign;
		if (real.place) /* musl */
			real.place = real.aligned_alloc;
	}
	if (thread_comes_back(test_aligned_alloc, NULL))
		counting.aligned_alloc = real.aligned_alloc;
	if (thread_comes_back(test_posix_memalign, NULL))
		counting.posix_memalign = real.posix_memalign;
	entry = counting;
}

static __attribute__((constructor)) void start(void)
{
	real_find();
	thread_rate = sampling_rate(getenv("PPROFD_HEAP_RATE"));
	pprofd_alloc_stats.rate = thread_rate;
}
