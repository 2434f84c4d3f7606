/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* address.h - which bits an address of a program's can have here. What is above them in a return address is a signature
 * (arm64), which takes whatever the kernel's page tables leave: from bit 39, 47, 48 or 52 on. */

#include <stdint.h>
#include <sys/auxv.h>

/* By our own first stack, which the kernel puts at the end. 0: it is not told. */
static inline uint64_t address_mask(void)
{
	uint64_t at = getauxval(AT_EXECFN);

	return at ? (2ull << (63 - __builtin_clzll(at))) - 1 : 0;
}
