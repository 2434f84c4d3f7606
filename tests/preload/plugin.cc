// SPDX-License-Identifier: Apache-2.0

// plugin.cc - C++ that comes late, into a program that has none (plugin-host.c).

#include <cstdlib>
#include <new>
#include <string>

extern "C" int plugin_work(void)
{
	static volatile size_t too_much = PTRDIFF_MAX - 64;
	int caught = 0;

	for (int i = 0; i < 20000; i++) {
		auto *s = new std::string(static_cast<size_t>(i % 3000), 'p');
		auto *a = new (std::nothrow) long[30];

		a[29] = i;
		if (s->size() != static_cast<size_t>(i % 3000) || a[29] != i)
			return -1;
		delete s;
		delete[] a;
	}
	if (getenv("PPROFD_TEST_MIMALLOC"))
		return 1;
	try {
		operator delete[](operator new[](too_much));
	} catch (const std::bad_alloc &) {
		caught++;
	}
	return caught;
}

extern "C" void plugin_free(void *p)
{
	free(p);
}
