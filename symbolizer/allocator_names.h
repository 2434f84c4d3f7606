/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* allocator_names.h - what functions that hand out and take back memory are called.
 *
 * The C library's, C++'s operators as the Itanium ABI mangles them, jemalloc's, tcmalloc's and
 * mimalloc's own, also under the prefixes that they are built with (_rjem_: Rust). Not here:
 * functions that allocate from a heap which is given (mi_heap_malloc), or change a size in place
 * (xallocx). */

#include <stdbool.h>
#include <stdint.h>

enum allocator_name_flag {
	NAME_C = 1,	   /* also known with a prefix */
	NAME_OPERATOR = 2, /* C++'s new and delete */
	NAME_THROWS = 4,
};

struct allocator_name {
	const char *name;
	uint8_t function; /* enum symbolizer_function */
	uint8_t flags;	  /* enum allocator_name_flag */
};

/* NULL: nothing of ours. ret_prefix: how many characters stand in front of the table's name. */
const struct allocator_name *allocator_name_find(const char *name, unsigned *ret_prefix);
