/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/allocator_names.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "symbolizer/probes.h"

#define MAX_NAME 64 /* longer than each of them */

static const struct allocator_name names[] = {
	/* sorted */
	{ "_ZdaPv", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "_ZdaPvRKSt9nothrow_t", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "_ZdaPvSt11align_val_t", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "_ZdaPvSt11align_val_tRKSt9nothrow_t", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "_ZdaPvm", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "_ZdaPvmSt11align_val_t", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "_ZdlPv", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "_ZdlPvRKSt9nothrow_t", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "_ZdlPvSt11align_val_t", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "_ZdlPvSt11align_val_tRKSt9nothrow_t", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "_ZdlPvm", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "_ZdlPvmSt11align_val_t", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "_Znam", ALLOCATOR_NEW, NAME_OPERATOR | NAME_THROWS },
	{ "_ZnamRKSt9nothrow_t", ALLOCATOR_NEW_NOTHROW, NAME_OPERATOR },
	{ "_ZnamSt11align_val_t", ALLOCATOR_NEW, NAME_OPERATOR | NAME_THROWS },
	{ "_ZnamSt11align_val_tRKSt9nothrow_t", ALLOCATOR_NEW_NOTHROW, NAME_OPERATOR },
	{ "_Znwm", ALLOCATOR_NEW, NAME_OPERATOR | NAME_THROWS },
	{ "_ZnwmRKSt9nothrow_t", ALLOCATOR_NEW_NOTHROW, NAME_OPERATOR },
	{ "_ZnwmSt11align_val_t", ALLOCATOR_NEW, NAME_OPERATOR | NAME_THROWS },
	{ "_ZnwmSt11align_val_tRKSt9nothrow_t", ALLOCATOR_NEW_NOTHROW, NAME_OPERATOR },
	{ "aligned_alloc", ALLOCATOR_MEMALIGN, NAME_C },
	{ "calloc", ALLOCATOR_CALLOC, NAME_C },
	{ "cfree", ALLOCATOR_FREE, NAME_C },
	{ "dallocx", ALLOCATOR_FREE, NAME_C },
	{ "free", ALLOCATOR_FREE, NAME_C },
	{ "free_aligned_sized", ALLOCATOR_FREE, NAME_C },
	{ "free_sized", ALLOCATOR_FREE, NAME_C },
	{ "malloc", ALLOCATOR_MALLOC, NAME_C },
	{ "mallocx", ALLOCATOR_MALLOC, NAME_C },
	{ "memalign", ALLOCATOR_MEMALIGN, NAME_C },
	{ "mi_aligned_alloc", ALLOCATOR_MEMALIGN, 0 },
	{ "mi_calloc", ALLOCATOR_CALLOC, 0 },
	{ "mi_calloc_aligned", ALLOCATOR_CALLOC, 0 },
	{ "mi_calloc_aligned_at", ALLOCATOR_CALLOC, 0 },
	{ "mi_cfree", ALLOCATOR_FREE, 0 },
	{ "mi_free", ALLOCATOR_FREE, 0 },
	{ "mi_free_aligned", ALLOCATOR_FREE, 0 },
	{ "mi_free_size", ALLOCATOR_FREE, 0 },
	{ "mi_free_size_aligned", ALLOCATOR_FREE, 0 },
	{ "mi_malloc", ALLOCATOR_MALLOC, 0 },
	{ "mi_malloc_aligned", ALLOCATOR_MALLOC, 0 },
	{ "mi_malloc_aligned_at", ALLOCATOR_MALLOC, 0 },
	{ "mi_malloc_small", ALLOCATOR_MALLOC, 0 },
	{ "mi_mallocn", ALLOCATOR_CALLOC, 0 },
	{ "mi_memalign", ALLOCATOR_MEMALIGN, 0 },
	{ "mi_new", ALLOCATOR_NEW, NAME_OPERATOR | NAME_THROWS },
	{ "mi_new_aligned", ALLOCATOR_NEW, NAME_OPERATOR | NAME_THROWS },
	{ "mi_new_aligned_nothrow", ALLOCATOR_NEW_NOTHROW, NAME_OPERATOR },
	{ "mi_new_n", ALLOCATOR_CALLOC, NAME_THROWS },
	{ "mi_new_nothrow", ALLOCATOR_NEW_NOTHROW, NAME_OPERATOR },
	{ "mi_new_realloc", ALLOCATOR_REALLOC, NAME_THROWS },
	{ "mi_new_reallocn", ALLOCATOR_REALLOCARRAY, NAME_THROWS },
	{ "mi_posix_memalign", ALLOCATOR_POSIX_MEMALIGN, 0 },
	{ "mi_pvalloc", ALLOCATOR_MALLOC, 0 },
	{ "mi_realloc", ALLOCATOR_REALLOC, 0 },
	{ "mi_realloc_aligned", ALLOCATOR_REALLOC, 0 },
	{ "mi_realloc_aligned_at", ALLOCATOR_REALLOC, 0 },
	{ "mi_reallocarray", ALLOCATOR_REALLOCARRAY, 0 },
	{ "mi_reallocf", ALLOCATOR_REALLOC, 0 },
	{ "mi_reallocn", ALLOCATOR_REALLOCARRAY, 0 },
	{ "mi_recalloc", ALLOCATOR_REALLOCARRAY, 0 },
	{ "mi_recalloc_aligned", ALLOCATOR_REALLOCARRAY, 0 },
	{ "mi_recalloc_aligned_at", ALLOCATOR_REALLOCARRAY, 0 },
	{ "mi_rezalloc", ALLOCATOR_REALLOC, 0 },
	{ "mi_rezalloc_aligned", ALLOCATOR_REALLOC, 0 },
	{ "mi_rezalloc_aligned_at", ALLOCATOR_REALLOC, 0 },
	{ "mi_valloc", ALLOCATOR_MALLOC, 0 },
	{ "mi_zalloc", ALLOCATOR_MALLOC, 0 },
	{ "mi_zalloc_aligned", ALLOCATOR_MALLOC, 0 },
	{ "mi_zalloc_aligned_at", ALLOCATOR_MALLOC, 0 },
	{ "mi_zalloc_small", ALLOCATOR_MALLOC, 0 },
	{ "posix_memalign", ALLOCATOR_POSIX_MEMALIGN, NAME_C },
	{ "pvalloc", ALLOCATOR_MALLOC, NAME_C },
	{ "rallocx", ALLOCATOR_REALLOC, NAME_C },
	{ "realloc", ALLOCATOR_REALLOC, NAME_C },
	{ "reallocarray", ALLOCATOR_REALLOCARRAY, NAME_C },
	{ "sdallocx", ALLOCATOR_FREE, NAME_C },
	{ "tc_delete", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "tc_delete_aligned", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "tc_delete_aligned_nothrow", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "tc_delete_nothrow", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "tc_delete_sized", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "tc_delete_sized_aligned", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "tc_deletearray", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "tc_deletearray_aligned", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "tc_deletearray_aligned_nothrow", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "tc_deletearray_nothrow", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "tc_deletearray_sized", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "tc_deletearray_sized_aligned", ALLOCATOR_FREE, NAME_OPERATOR },
	{ "tc_malloc_skip_new_handler", ALLOCATOR_MALLOC, 0 },
	{ "tc_new", ALLOCATOR_NEW, NAME_OPERATOR | NAME_THROWS },
	{ "tc_new_aligned", ALLOCATOR_NEW, NAME_OPERATOR | NAME_THROWS },
	{ "tc_new_aligned_nothrow", ALLOCATOR_NEW_NOTHROW, NAME_OPERATOR },
	{ "tc_new_nothrow", ALLOCATOR_NEW_NOTHROW, NAME_OPERATOR },
	{ "tc_newarray", ALLOCATOR_NEW, NAME_OPERATOR | NAME_THROWS },
	{ "tc_newarray_aligned", ALLOCATOR_NEW, NAME_OPERATOR | NAME_THROWS },
	{ "tc_newarray_aligned_nothrow", ALLOCATOR_NEW_NOTHROW, NAME_OPERATOR },
	{ "tc_newarray_nothrow", ALLOCATOR_NEW_NOTHROW, NAME_OPERATOR },
	{ "valloc", ALLOCATOR_MALLOC, NAME_C },
};

static const char *const prefixes[] = { "je_", "_rjem_", "tc_", "__libc_", "__" };

static int by_name(const void *key, const void *item)
{
	return strcmp(key, ((const struct allocator_name *)item)->name);
}

static const struct allocator_name *find(const char *name)
{
	return bsearch(name, names, sizeof(names) / sizeof(names[0]), sizeof(names[0]), by_name);
}

const struct allocator_name *allocator_name_find(const char *name, unsigned *ret_prefix)
{
	const struct allocator_name *found;

	if (strnlen(name, MAX_NAME) == MAX_NAME)
		return NULL;
	found = find(name);
	*ret_prefix = 0;
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]) && !found; i++) {
		size_t n = strlen(prefixes[i]);

		if (strncmp(name, prefixes[i], n) != 0)
			continue;
		found = find(name + n);
		if (found && !(found->flags & NAME_C))
			found = NULL;
		*ret_prefix = (unsigned)n;
	}
	return found;
}
