/* SPDX-License-Identifier: Apache-2.0 */

/* real.c - see real.h. */

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload/alloc.h"
#include "preload/marks.h"
#include "preload/real.h"
#include "preload/thread.h"

#define BOOT_PAGES 16

static char boot_pages[BOOT_PAGES][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static size_t boot_used;

bool real_booting(void)
{
	return thread_state.booting;
}

/* Each starts a page, so that free recognises it by the test that it makes anyway. */
void *boot_alloc(size_t n)
{
	size_t pages = n / PAGE_BYTES + 1;
	size_t first = n <= sizeof(boot_pages) ?
			       __atomic_fetch_add(&boot_used, pages, __ATOMIC_RELAXED) :
			       BOOT_PAGES;

	if (first + pages > BOOT_PAGES) {
		errno = ENOMEM;
		return NULL;
	}
	marks_hint(boot_pages[first]);
	return boot_pages[first];
}

size_t boot_readable(const void *p)
{
	uintptr_t offset = (uintptr_t)p - (uintptr_t)boot_pages;

	return offset < sizeof(boot_pages) ? sizeof(boot_pages) - offset : 0;
}

static void *boot_malloc(size_t n)
{
	if (real_booting())
		return boot_alloc(n);
	real_find();
	return real.malloc(n);
}

static void boot_free(void *p)
{
	if (boot_readable(p) || real_booting())
		return;
	real_find();
	real.free(p);
}

static void *boot_realloc(void *p, size_t n)
{
	if (real_booting())
		return p ? NULL : boot_alloc(n);
	real_find();
	return real.realloc(p, n);
}

struct real real = { .malloc = boot_malloc, .free = boot_free, .realloc = boot_realloc };

/* dlsym goes by where it is called from, so this must be no tail call. */
static void *next(const char *name)
{
	void *volatile f = dlsym(RTLD_NEXT, name);

	return f;
}

static void *needed(const char *name)
{
	static const char message[] = "libpprofd-alloc: there is no allocator behind it\n";
	void *f = next(name);

	if (!f) {
		(void)!write(STDERR_FILENO, message, sizeof(message) - 1);
		abort();
	}
	return f;
}

bool same_object(const void *a, const void *b)
{
	Dl_info of_a, of_b;

	return dladdr(a, &of_a) && dladdr(b, &of_b) && of_a.dli_fbase == of_b.dli_fbase;
}

static void *beside_malloc(const char *name)
{
	void *f = next(name);

	return f && same_object(f, *(void **)&real.malloc) ? f : NULL;
}

void real_find(void)
{
	struct real found = { 0 };

	if (real.calloc)
		return;
	thread_state.booting = true;
	found.malloc = needed("malloc");
	found.free = needed("free");
	found.realloc = needed("realloc");
	found.calloc = needed("calloc");
	found.memalign = needed("memalign");
	found.aligned_alloc = needed("aligned_alloc");
	found.posix_memalign = needed("posix_memalign");
	real = found;
	thread_state.booting = false;

	real.malloc_usable_size = beside_malloc("malloc_usable_size");
	real.place = beside_malloc("memalign");
	real.jemalloc_mallocx = beside_malloc("mallocx");
	real.mimalloc_zalloc_aligned = beside_malloc("mi_zalloc_aligned");
	alloc_enter();
}

/* Keeps the object that holds f from being unloaded. */
static void pin(const void *f)
{
	Dl_info info;

	if (dladdr(f, &info) && info.dli_fname)
		dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
}

void *real_find_for(const char *name, const void *caller)
{
	void *f = next(name), *object;
	Dl_info info;

	if (!f && dladdr(caller, &info) && info.dli_fname) {
		object = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
		f = object ? dlsym(object, name) : NULL;
		if (f && same_object(f, (const void *)(uintptr_t)real_find_for))
			f = NULL;
		if (f)
			pin(f);
		if (object)
			dlclose(object);
	}
	return f;
}
