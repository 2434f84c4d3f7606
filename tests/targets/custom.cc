// SPDX-License-Identifier: Apache-2.0

// custom.cc - custom.c as C++, and a template.
#include "tests/targets/custom.c"

namespace
{
template <class T> struct holder {
	__attribute__((noinline)) explicit holder(T v) : value(v)
	{
		PPROFD_ADD("holders", value, 0);
	}
	~holder()
	{
		PPROFD_REMOVE("holders", value);
	}
	T value;
};
holder<int> one(1);
holder<long> two(2);
} // namespace
