/* SPDX-License-Identifier: Apache-2.0 */

/* named.cc - names with parameters and template arguments, and an inlined call, at lines that say so. */

#include <cstdio>

static volatile unsigned long sink;

namespace shop
{
static inline __attribute__((always_inline)) void inlined(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sink = sink + i; /* LINE OF THE LOOP */
}

template <typename T> struct box {
	__attribute__((noinline)) void fill(T n, const char *what);
};

template <typename T> void box<T>::fill(T n, const char *what)
{
	inlined(n); /* LINE OF THE CALL */
	__asm__ volatile("" : : "r"(what), "r"(this));
}
}

int main()
{
	volatile unsigned n = 1000000; /* so that no copy is made for a constant */
	const char *volatile what = "";
	shop::box<unsigned> b;

	std::printf("ready\n");
	std::fflush(stdout);
	for (;;)
		b.fill(n, what);
}
