/* SPDX-License-Identifier: Apache-2.0 */

/* entries.c - every C entry point, on objects whose content is checked. */

#include <errno.h>
#include <malloc.h>
#include <string.h>

#include "tests/preload/shim.h"

#define SLOTS 4096

static struct object {
	unsigned char *p;
	size_t n;
	unsigned char seed;
} objects[SLOTS];
static uint64_t state = 88172645463325252ull;
static void (*frees[4])(void *p);
static bool mimalloc;
static void *(*whole_pages)(size_t n); /* pvalloc, which musl and jemalloc lack */

static void fill(struct object *o)
{
	o->seed = (unsigned char)shim_random(&state);
	for (size_t i = 0; i < o->n; i++)
		o->p[i] = (unsigned char)(o->seed + i * 7);
}

static void verify(const struct object *o, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK(o->p[i] == (unsigned char)(o->seed + i * 7));
}

static size_t some_size(void)
{
	uint64_t r = shim_random(&state);

	if (r % 1000 == 0)
		return 1 + r % (1 << 21);
	if (r % 50 == 0)
		return 1 + r % 65536;
	return r % 600;
}

static void *zeroed(size_t n)
{
	unsigned char *p = calloc(n / 8 + 1, 8);

	for (size_t i = 0; p && i < (n / 8 + 1) * 8; i++)
		CHECK(p[i] == 0);
	return p;
}

static void *aligned(size_t align, size_t n, unsigned int how)
{
	void *p = NULL;

	if (how == 0)
		p = memalign(align, n);
	else if (how == 1)
		p = aligned_alloc(align, (n + align - 1) & ~(align - 1));
	else
		CHECK(posix_memalign(&p, align, n) == 0);
	if (mimalloc && align > 128) /* 2.0.9 does not keep to it where size is a multiple */
		align = 128;
	CHECK(p && ((uintptr_t)p & (align - 1)) == 0);
	return p;
}

static void *allocate(size_t n, uint64_t r)
{
	void *p;

	switch (r % 8) {
	case 0:
		return zeroed(n);
	case 1:
		return realloc(NULL, n);
	case 2:
		return reallocarray(NULL, n, 1);
	case 3:
		return aligned((size_t)16 << (r >> 8) % 11, n + 1, (unsigned int)(r >> 20) % 3);
	case 4:
		if (r >> 8 & 15) /* few: each takes pages */
			return malloc(n);
		p = !whole_pages || r >> 12 & 1 ? valloc(n) : whole_pages(n);
		CHECK(((uintptr_t)p & 4095) == 0);
		return p;
	default:
		return malloc(n);
	}
}

static void resize(struct object *o, uint64_t r)
{
	size_t n = some_size() + 1, common = n < o->n ? n : o->n;
	unsigned char *p = r & 1 ? realloc(o->p, n) : reallocarray(o->p, n, 1);

	CHECK(p && malloc_usable_size(p) >= n);
	o->p = p;
	verify(o, common);
	o->n = n;
	fill(o);
}

static void drop(struct object *o, uint64_t r)
{
	if (!o->p)
		return;
	verify(o, o->n);
	if (frees[r & 3])
		frees[r & 3](o->p);
	else
		free(o->p);
	o->p = NULL;
}

static void churn(int rounds)
{
	for (int i = 0; i < rounds; i++) {
		uint64_t r = shim_random(&state);
		struct object *o = &objects[r % SLOTS];

		if (o->p && r >> 32 & 1) {
			resize(o, r >> 33);
			continue;
		}
		drop(o, r >> 34);
		o->n = some_size();
		o->p = allocate(o->n, r >> 12);
		CHECK(o->p && malloc_usable_size(o->p) >= o->n);
		CHECK(((uintptr_t)o->p & (o->n >= 16 ? 15 : 7)) == 0);
		fill(o);
	}
}

/* Sizes in variables, so that the compiler does not judge them. */
static volatile size_t too_big = SIZE_MAX, half = SIZE_MAX / 2 + 2, huge = PTRDIFF_MAX - 64;

static void failures(void)
{
	void *same = &state, *p = same;
	size_t sizes[] = { too_big, half, half + 4096, huge, too_big - 100 };
	char *text;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		errno = 0;
		CHECK(!malloc(sizes[i]) && (errno == ENOMEM || mimalloc));
		CHECK(!calloc(1, sizes[i]));
		CHECK(!calloc(sizes[i], 16));
		CHECK(!memalign(64, sizes[i]));
		CHECK(posix_memalign(&p, 64, sizes[i]) == ENOMEM);
	}
	errno = 0;
	CHECK(!reallocarray(NULL, half, 4) && errno == ENOMEM);
	CHECK(posix_memalign(&p, 3, 8) == EINVAL && posix_memalign(&p, 4, 8) == EINVAL);
	CHECK(posix_memalign(&p, 0, 8) == EINVAL && p == same);
	for (int i = 0; i < 500; i++) { /* some of them samples */
		text = malloc(100);
		strcpy(text, "kept");
		CHECK(!realloc(text, huge) && !realloc(text, too_big) && !strcmp(text, "kept"));
		CHECK(!reallocarray(text, half, 4) && !strcmp(text, "kept"));
		free(text);
	}
	free(NULL);
	p = malloc(0);
	free(p);
	p = realloc(malloc(10), 0); /* NULL or an object, as the allocator likes */
	free(p);
}

static void errno_is_kept(void)
{
	for (int i = 0; i < 3000; i++) {
		void *p;

		errno = 77;
		p = malloc(200);
		CHECK(errno == 77);
		free(p);
		CHECK(errno == 77);
	}
}

/* A large calloc is sparse, whoever makes a sample of it. */
static long resident_kib(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f && fscanf(f, "%*d %ld", &pages) == 1);
	fclose(f);
	return pages * 4;
}

static void sparse(void)
{
	long before = resident_kib();
	size_t n = (size_t)256 << 20;
	unsigned char *p = calloc(1, n), *q;

	CHECK(p && !p[n - 1] && !p[n / 2]);
	if (getenv("PPROFD_TEST_SPARSE"))
		CHECK(resident_kib() - before < 16 << 10);
	memset(p, 3, 4096);
	q = realloc(p, n * 2);
	CHECK(q && q[0] == 3 && q[4095] == 3 && q[4096] == 0);
	if (getenv("PPROFD_TEST_SPARSE_REALLOC"))
		CHECK(resident_kib() - before < 16 << 10);
	free(q);
}

int main(void)
{
	*(void **)&frees[1] = dlsym(RTLD_DEFAULT, "cfree");
	CHECK(!shim_stats() || frees[1]);
	mimalloc = getenv("PPROFD_TEST_MIMALLOC");
	if (shim_stats())
		*(void **)&whole_pages = dlsym(RTLD_DEFAULT, "pvalloc");
	CHECK(!shim_stats() || whole_pages);
	shim_start();
	errno_is_kept();
	failures();
	sparse();
	churn(120000);
	shim_set(0); /* the reader leaves, and comes back */
	churn(30000);
	shim_start();
	churn(30000);
	for (int i = 0; i < SLOTS; i++)
		drop(&objects[i], 0);
	shim_print();
	return 0;
}
