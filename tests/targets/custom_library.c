/* SPDX-License-Identifier: Apache-2.0 */

/* custom_library.c - a shared library that uses a profile that its program uses too, and one of its own. */

#include "preload/pprofd.h"

#include <stdint.h>

void site_library(uintptr_t v);

__attribute__((noinline)) void site_library(uintptr_t v)
{
	PPROFD_PROFILE("of the library");
	PPROFD_ADD("things", v, 0);
	__asm__ __volatile__("" ::: "memory");
}
